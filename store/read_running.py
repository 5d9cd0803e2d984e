"""Live attempts as preemption sees them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from elisa.model.columns import RunningRow
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import TaskId
from elisa.model.notes import ROOM_GONE, ROOM_TO_GROW
from elisa.model.reasons import ReasonCode
from elisa.store.connection import Connection
from elisa.store.convert import resources_from, spec_from, to_us

__all__ = ["RunningQueries"]

_MICRO = 1e-6
_RESIZED = frozenset({ReasonCode.SHRINKS, ReasonCode.GROWS})
_RUNNING = (
    "SELECT a.id, a.task, a.project, a.owner_uid, a.backend, a.nodes, a.request, a.started_at, a.last_checkpoint,"
    " a.cancel_sent, a.partition_name, t.priority, t.spec, t.cancel_requested, p.deadline, a.leader, t.pipeline, t.ready_at"
    " FROM attempt a JOIN task t ON t.id = a.task JOIN pipeline p ON p.id = t.pipeline"
    " WHERE a.state NOT IN ('ended', 'lost') AND a.native_id IS NOT NULL ORDER BY a.id"
)
# A cancel that elisa sent by itself made room, too: its task goes on and will be run again. What was only queued behind
# others and taken back gave nothing away.
_MADE_ROOM = (
    "SELECT task, COUNT(*) FROM attempt WHERE task IN ({keys})"
    " AND (end_reason = 'preempted' OR (end_reason = 'cancelled' AND cancel_sent = 1))"
    " AND NOT (behind <> '[]' AND started_at IS NULL) AND continues IS NULL GROUP BY task"
)


# A template's text may hold the word for another reason: whoever reads the spec finds out.
_SAVING = (
    "SELECT t.id FROM attempt a JOIN task t ON t.id = a.task WHERE a.state = 'running' AND a.continues IS NULL"
    " AND t.state = 'active' AND t.cancel_requested = 0 AND t.spec LIKE '%\"checkpoint\"%' ORDER BY t.id"
)


_GAVE_WAY = (
    "SELECT a.task, u.facts FROM audit u JOIN attempt a ON a.id = u.subject"
    " WHERE a.task IN ({keys}) AND u.kind = 'cancel.sent' ORDER BY u.seq"
)
_ROOM = (
    f"SELECT subject, kind, at FROM audit WHERE subject IN ({{keys}}) AND kind IN ('noted.{ROOM_TO_GROW}',"
    f" 'noted.{ROOM_GONE}') ORDER BY seq"
)


class RunningQueries:
    """Queries for what runs."""

    _db: Connection

    def running(self, now: datetime) -> tuple[RunningRow, ...]:
        """Return every live attempt that a resource manager knows of, by id."""
        rows = self._db.rows(_RUNNING)
        preempted = dict(self._db.rows_in(_MADE_ROOM, {row[1] for row in rows}))
        plain = (_row(row, preempted.get(row[1], 0), to_us(now)) for row in rows)
        return self._with_sizes(tuple(plain))

    def _with_sizes(self, rows: tuple[RunningRow, ...]) -> tuple[RunningRow, ...]:
        """Return the rows with what became of those that may change their size; that is no preemption of a task."""
        elastic = [row for row in rows if row.may_resize]
        if not elastic:
            return rows
        ways: defaultdict[str, list[str]] = defaultdict(list)
        times: Counter[str] = Counter()
        grew_from: dict[str, int] = {}
        for task, text in self._db.rows_in(_GAVE_WAY, {row.task for row in elastic}):
            facts = json.loads(text)
            if facts["reason"] in _RESIZED:
                times[task] += 1
                has_shrunk = facts["reason"] == ReasonCode.SHRINKS
                ways[task] += [facts["because"]["task"]] if has_shrunk else []
                grew_from[task] = 0 if has_shrunk else facts["because"]["was"]
        roomy = {
            subject: at_us if kind == f"noted.{ROOM_TO_GROW}" else 0
            for subject, kind, at_us in self._db.rows_in(_ROOM, {row.attempt for row in elastic})
        }
        return tuple(
            row._replace(
                times_preempted=max(0, row.times_preempted - times[row.task]),
                gave_way_to=tuple(ways[row.task]),
                roomy_us=roomy.get(row.attempt, 0),
                grew_from=grew_from.get(row.task, 0),
            )
            if row.may_resize
            else row
            for row in rows
        )

    def running_and_saving(self) -> tuple[TaskId, ...]:
        """Return the tasks with a running attempt that save their work, so that another attempt can go on with it."""
        return tuple(TaskId(row[0]) for row in self._db.rows(_SAVING))


def _row(row: Sequence[Any], preempted: int, now_us: int) -> RunningRow:
    request, spec = resources_from(row[6]), spec_from(row[12])
    left_us = request.walltime_s * 1_000_000 - (now_us - row[7] if row[7] is not None else 0)
    return RunningRow(
        attempt=row[0],
        task=row[1],
        project=row[2],
        owner_uid=row[3],
        backend=row[4],
        nodes=tuple(expand_hosts(row[5])),
        request=request,
        priority=row[11],
        started_us=row[7] or 0,
        # One of several in a native job gives no room, and all of them are over soon.
        is_preemptible=spec.preemptible and row[15] is None,
        saved_us=_saved_us(row[8]),
        # A program that writes restart files by itself does so when it likes, not when it is asked.
        saves_on_request=spec.checkpoint is not None and not spec.checkpoint.pattern,
        times_preempted=preempted,
        slack_s=float("inf") if row[14] is None else (row[14] - now_us - max(0, left_us)) * _MICRO,
        is_leaving=bool(row[9] or row[13]),
        is_queued=row[7] is None,
        partition=row[10],
        ready_us=row[17] or 0,
        gang="" if spec.gang is None else f"{row[16]}/{spec.gang.name}",
        may_resize=request.elastic is not None and spec.preemptible and spec.checkpoint is not None,
    )


def _saved_us(checkpoint: str | None) -> int:
    saved_at: str | None = json.loads(checkpoint).get("saved_at") if checkpoint is not None else None
    return 0 if saved_at is None else to_us(datetime.fromisoformat(saved_at))
