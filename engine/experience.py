"""What this site has learnt, looked up for one attempt that is about to be released."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

from elisa.model.rows import PastRun
from elisa.model.task import CheckpointRef, Task
from elisa.policies.experience import Interruptions, Lead, interruptions, lead_of, usual_save_s
from elisa.store.reader import Reader

__all__ = ["Experience"]

# Hardware and neighbours change: what was a month ago says little of tomorrow.
_MEMORY = timedelta(days=30)


class Experience:
    """The past as one tick or command sees it; read when it is first asked for, and only once."""

    def __init__(self, reader: Reader, now: datetime) -> None:
        self._reader = reader
        self._now = now

    @cached_property
    def runs(self) -> tuple[PastRun, ...]:
        """The newest runs that ended."""
        return self._reader.past_runs(self._now - _MEMORY)

    def lead(self, task: Task) -> Lead:
        """Return how early an attempt at `task` is told that its walltime ends."""
        own = self._reader.checkpoints_of(task.id)
        group = self._group(task, own)
        learnt = lead_of(own, group, ())
        return learnt if learnt.whose else lead_of(own, group, [run.save_s for run in self.runs if run.save_s])

    def save_s(self, task: Task) -> float | None:
        """Return what a save of `task` usually takes; None if nothing was measured."""
        own = self._reader.checkpoints_of(task.id)
        return usual_save_s(own, self._group(task, own))

    def _group(self, task: Task, own: tuple[CheckpointRef, ...]) -> tuple[float, ...]:
        if len(own) >= 3:
            return ()
        return self._reader.saves_of_group(task.pipeline, task.spec.group, task.spec.name) if task.spec.group else ()

    def interruptions(self, backend: str, partition: str, nodes: int) -> Interruptions | None:
        """Return how often a job there is interrupted; None if too little is known."""
        return interruptions(self.runs, backend, partition, nodes)
