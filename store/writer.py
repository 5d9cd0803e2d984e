"""The only way to change the state: one call, one transaction, one audit row for each thing that happened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elisa.model import layout
from elisa.model.changes import (
    AttemptContinued,
    AttemptIntended,
    AttemptMoved,
    AttemptNoted,
    AttemptSubmitted,
    CancelRequested,
    CancelSent,
    Change,
    CheckpointSeen,
    ClosureAdded,
    ClosureLifted,
    CursorMoved,
    HoldRequested,
    MetricSeen,
    Noted,
    OutputSeen,
    PassedOver,
    PipelineAdded,
    PipelineRanked,
    ResumeChosen,
    RuleDropped,
    RuleSet,
    TaskMoved,
    TaskRanked,
    TasksAdded,
    UsageSeen,
)
from elisa.model.errors import StaleChange, StoreBusy, StoreError
from elisa.model.ids import TaskId
from elisa.model.ports import Clock, CrashPoint, RandomSource, no_crash
from elisa.model.reasons import Fact
from elisa.model.site import SitePolicy
from elisa.store.attempts import (
    continue_attempt,
    intend_attempt,
    move_attempt,
    note_attempt,
    send_cancel,
    submit_attempt,
)
from elisa.store.audit import AuditTrail
from elisa.store.audit_head import mirror_head
from elisa.store.backups import daily_name, forget_all_but, is_due
from elisa.store.batch import Batch
from elisa.store.closures import add_closure, lift_closure
from elisa.store.connection import Connection
from elisa.store.convert import to_json, to_us
from elisa.store.database import create, open_for_writing
from elisa.store.load import load, read_meta
from elisa.store.pipelines import add_pipeline, add_tasks
from elisa.store.policy import is_stored, store_policy
from elisa.store.rank import rank_pipeline, rank_task
from elisa.store.reader import Reader
from elisa.store.rules import drop_rule, set_rule
from elisa.store.tasks import choose_resume, move_task, pass_over, request_cancel, request_hold
from elisa.store.told import move_cursor, note, see_checkpoint, see_metric, see_output, see_usage
from elisa.store.write import statements

__all__ = ["Writer"]

_MAKERS: Mapping[type, Callable[[Batch, Any], None]] = {
    PipelineAdded: add_pipeline,
    TasksAdded: add_tasks,
    TaskMoved: move_task,
    ResumeChosen: choose_resume,
    TaskRanked: rank_task,
    PipelineRanked: rank_pipeline,
    AttemptIntended: intend_attempt,
    AttemptContinued: continue_attempt,
    AttemptSubmitted: submit_attempt,
    AttemptMoved: move_attempt,
    AttemptNoted: note_attempt,
    CheckpointSeen: see_checkpoint,
    MetricSeen: see_metric,
    UsageSeen: see_usage,
    OutputSeen: see_output,
    CancelRequested: request_cancel,
    HoldRequested: request_hold,
    CancelSent: send_cancel,
    PassedOver: pass_over,
    CursorMoved: move_cursor,
    ClosureAdded: add_closure,
    ClosureLifted: lift_closure,
    RuleSet: set_rule,
    RuleDropped: drop_rule,
    Noted: note,
}
_TIMEOUT_S = 20.0
_NO_FACTS: Mapping[str, Fact] = MappingProxyType({})


class Writer(Reader):
    """The store, open for writing. Also answers all that a Reader does, from its own connection."""

    def __init__(self, connection: Connection, home: Path, clock: Clock, actor: str, crash: CrashPoint) -> None:
        super().__init__(connection, home)
        self._clock = clock
        self._actor = actor
        self._crash = crash
        self._seen_revision = 0
        self._seen_us = 0
        self._canary = ""

    @classmethod
    def create(
        cls, home: Path, *, clock: Clock, random: RandomSource, actor: str, crash: CrashPoint = no_crash
    ) -> Writer:
        """Make the database of a state folder that has none yet, and open it."""
        create(home, clock=clock, random=random, crash=crash)
        return cls.open(home, clock=clock, actor=actor, crash=crash)

    @classmethod
    def open(  # type: ignore[override]  # a writer must say who writes and when
        cls, home: Path, *, clock: Clock, actor: str, crash: CrashPoint = no_crash, timeout_s: float = _TIMEOUT_S
    ) -> Writer:
        """Open a state folder, first bringing its database up to date if an older elisa wrote it.

        `actor` is who stands in the audit. Raises StoreError: none there, busy, damaged, too new, on a host of its own.
        """
        connection = open_for_writing(home, now_us=to_us(clock.now()), crash=crash, timeout_s=timeout_s)
        return cls(connection, home, clock, actor, crash)

    @classmethod
    def take_over(cls, home: Path, *, clock: Clock, actor: str) -> Writer:
        """Open a state folder that belongs to another host, and make it this host's.

        Only for when nothing on the other host will ever write there again.
        """
        now_us = to_us(clock.now())
        connection = open_for_writing(home, now_us=now_us, crash=no_crash, timeout_s=_TIMEOUT_S, take_over=True)
        writer = cls(connection, home, clock, actor, no_crash)
        with writer._transaction() as batch:
            host = os.uname().nodename
            batch.audit.add("store.taken_over", host, {"from": batch.meta["host"]})
            batch.meta["host"] = host
        return writer

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all the changes in one transaction, or none.

        Raises StaleChange if one of them assumes a state that is no longer true, PolicyError if an attempt would exceed
        a hard cap, StoreBusy if another writer does not finish in time.
        """
        if changes:
            with self._transaction() as batch:
                load(self._db, batch, changes)
                for change in changes:
                    _MAKERS[type(change)](batch, change)

    def to_check(self, now: datetime) -> tuple[TaskId, ...]:
        """Return what `Reader.to_check` does, and remember when: a task passed over later counts as looked at until then.

        What happens to its needs after this call marks the task again.
        """
        self._seen_revision, self._seen_us = self.revision(), to_us(now)
        return super().to_check(now)

    def begin_tick(self, canary: str) -> None:
        """Put a word that nobody else uses into the database; from now on every transaction makes sure it is still there.

        Finding another's means that two ticks hold the tick lock: locks do not work on this filesystem.
        """
        with self._transaction() as batch:
            batch.meta["canary"] = canary
        self._canary = canary

    def ticked(self, facts: Mapping[str, Fact] = _NO_FACTS) -> None:
        """Note that a tick was completed, with the facts of its report."""
        with self._transaction() as batch:
            ticks = batch.meta["ticks"] + 1
            batch.meta.update(last_tick_at=batch.now_us, last_tick=to_json(facts), ticks=ticks)

    def keep_backup(self, *, every_s: float = 86_400.0, count: int = 3) -> Path | None:
        """Copy the database into the folder for that if the newest copy is older than `every_s`; keep `count` copies.

        Return the new copy's path, None if none was due or the database is on a server. Raises StoreError if not all of
        it can be copied.
        """
        folder, now_us = layout.backups(self._home), to_us(self._clock.now())
        if self._db.dialect != "sqlite" or not is_due(folder, now_us, every_s):
            return None
        with suppress(OSError):  # what stands in its way shows when the copy is made
            folder.mkdir(mode=0o700, exist_ok=True)
        copy = folder / daily_name(now_us)
        self._crash("store.backup.begin")
        self.back_up(copy)
        self._crash("store.backup.done")
        forget_all_but(folder, count)
        return copy

    def set_policy(self, site: SitePolicy) -> None:
        """Store the hard caps of a site's rules, against which every intended attempt is checked from now on."""
        if not is_stored(self._db, site):
            with self._transaction() as batch:
                store_policy(self._db, batch, site)

    @contextmanager
    def _transaction(self) -> Iterator[Batch]:
        self._crash("store.begin")
        self._db.begin()
        try:
            batch = self._new_batch()
            yield batch
            self._write(batch)
            self._crash("store.commit")
            self._db.commit()
        except BaseException:
            # What went wrong first is what the caller must hear of; closing the connection rolls back, too.
            with suppress(StoreError):
                self._db.rollback()
            raise
        self._crash("store.committed")
        mirror_head(self._home, batch.audit.seq, batch.audit.head)
        self._crash("store.mirrored")

    def _new_batch(self) -> Batch:
        now_us = to_us(self._clock.now())
        meta = read_meta(self._db)
        if self._canary and meta["canary"] != self._canary:
            raise StoreBusy(
                "another tick has begun although this one holds the lock",
                f"locks do not work on the filesystem of {self._home}",
                "run elisa on one host only, or keep its state in PostgreSQL; `elisa doctor` tells more",
            )
        seq, head = self._db.rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")[0]
        return Batch(
            now_us=now_us,
            revision=meta["revision"] + 1,
            seen_revision=self._seen_revision,
            seen_us=self._seen_us or now_us,
            audit=AuditTrail(seq, head, now_us, self._actor),
            meta={**meta, "revision": meta["revision"] + 1},
        )

    def _write(self, batch: Batch) -> None:
        for number, statement in enumerate(statements(batch, self._db.dialect)):
            self._crash(f"store.statement.{number}")
            changed = self._db.run_many(statement.sql, statement.rows)
            if statement.matches and changed != len(statement.rows):
                raise StaleChange(
                    "the state moved while it was being changed",
                    f"{len(statement.rows) - changed} of its rows were no longer as they had been read",
                    "read again and decide again",
                )
