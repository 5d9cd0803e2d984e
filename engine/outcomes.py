"""What became of submissions, gathered and written down: accepted, refused, taken back, or left in doubt."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from elisa.engine.workspace import Workspace
from elisa.model.changes import AttemptMoved, AttemptSubmitted, Change, Charge, TaskMoved
from elisa.model.ids import AttemptId, NativeId, TaskId
from elisa.model.native import JobRequest
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import NOT_SUBMITTED, Attempt, End, Task
from elisa.policies.budgets import charge_of
from elisa.policies.fusion import Bundle
from elisa.policies.recovery import after_end
from elisa.store.writer import Writer

__all__ = ["Acted", "Item", "NativeJob", "Outcomes"]

_log = logging.getLogger(__name__)
# Outcomes wait no longer than this to be written down: what is not written must be searched for after a crash.
_FLUSH_AFTER = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class Acted:
    """What became of a plan's submissions."""

    submitted: list[AttemptId] = field(default_factory=list)
    rejected: list[AttemptId] = field(default_factory=list)
    withdrawn: list[AttemptId] = field(default_factory=list)
    uncertain: list[AttemptId] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An attempt to be submitted, and its task as it was before."""

    task: Task
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeJob:
    """A native job to be: the attempts that run in it, one unless they are a `bundle`, the leader first.

    `start` is the task that the plan chose the place for; `kept_off` are the nodes that the job must not get. `alone` is
    what to ask for if the leader is to run without the others.
    """

    start: TaskId
    items: tuple[Item, ...]
    bundle: Bundle | None = None
    kept_off: tuple[str, ...] = ()
    alone: JobRequest | None = None

    @property
    def first(self) -> Attempt:
        """The attempt by whose name the job is known."""
        return self.items[0].attempt


def _as_before(item: Item, words: str) -> TaskMoved:
    return TaskMoved(
        task=item.task.id,
        before=TaskState.ACTIVE,
        after=TaskState.WAITING if item.attempt.behind else TaskState.READY,
        reason=because(ReasonCode.BACKEND_BUSY, backend=item.attempt.backend, words=words),
        resume_from=item.task.resume_from,
        keeps_age=True,
    )


class Outcomes:
    """Gathers outcomes; what they mean for attempts and tasks is committed together."""

    def __init__(self, ws: Workspace, writer: Writer, now: datetime) -> None:
        self._ws = ws
        self._writer = writer
        self._now = now
        self._changes: list[Change] = []
        self._flushed_at = ws.clock.now()
        self._refused: dict[AttemptId, str] = {}
        self.acted = Acted()

    def accept(self, items: Iterable[Item], native_id: NativeId) -> None:
        """Note that a manager has taken the job in which these run."""
        reason = because(ReasonCode.ACCEPTED, native_id=native_id)
        for item in items:
            self._changes.append(AttemptSubmitted(attempt=item.attempt.id, native_id=native_id, reason=reason))
            self.acted.submitted.append(item.attempt.id)

    def reject(self, items: Iterable[Item], words: str) -> None:
        """Note that a manager will never take what these ask for."""
        end = End(reason=EndReason.REJECTED, detail=words)
        for item in items:
            self._refused[item.attempt.id] = words
            ended = self._end(item, end, ReasonCode.REFUSED_BY_BACKEND, words)
            if ended.continues is None:
                self._changes.append(after_end(item.task, ended, (), self._now, self._ws.random.uniform()))
            self.acted.rejected.append(item.attempt.id)

    def refusal(self, attempt: AttemptId) -> str | None:
        """Return the words with which an attempt was rejected, None if it was not."""
        return self._refused.get(attempt)

    def withdraw(self, items: Iterable[Item], words: str) -> None:
        """Take back intents that certainly reached nobody: their tasks are as if nothing had been."""
        # Not `lost`: nothing was, and a row of these must not look like a task that keeps losing its place.
        end = End(reason=EndReason.CANCELLED, detail=f"{NOT_SUBMITTED}: {words}")
        for item in items:
            self._end(item, end, ReasonCode.BACKEND_BUSY, words)
            if item.attempt.continues is None:
                self._changes.append(_as_before(item, words))
            self.acted.withdrawn.append(item.attempt.id)

    def doubt(self, items: Iterable[Item], words: str) -> None:
        """Leave attempts as they are intended: a later tick finds out what became of them."""
        for item in items:
            name, backend = item.attempt.id, item.attempt.backend
            _log.warning("attempt=%s backend=%s may have been submitted: %s", name, backend, words)
            self.acted.uncertain.append(name)

    def _end(self, item: Item, end: End, code: ReasonCode, words: str) -> Attempt:
        self._changes.append(
            AttemptMoved(
                attempt=item.attempt.id,
                before=AttemptState.INTENDED,
                after=AttemptState.ENDED,
                reason=because(code, backend=item.attempt.backend, words=words),
                end=end,
                spend=Charge(gpu_type=charge_of(item.attempt.request, 0).gpu_type),
                ended_at=self._now,
            )
        )
        return replace(item.attempt, state=AttemptState.ENDED, end=end)

    def flush_if_due(self) -> None:
        """Write down what was gathered if the oldest of it has waited for long."""
        if self._ws.clock.now() - self._flushed_at >= _FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Write down what was gathered."""
        changes, self._changes = self._changes, []
        if changes:
            self._writer.apply(changes)
            self._ws.crash("act.recorded")
        self._flushed_at = self._ws.clock.now()
