"""What is left of ready, running and waiting work, as past runs let one expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from math import ceil, log

from elisa.forecast.runtimes import Runtimes
from elisa.forecast.speeds import Kind, Speeds, kind_of
from elisa.forecast.work import MEMORY, Left, left_of
from elisa.model.columns import ReadyColumns, UnfinishedRow
from elisa.model.ids import AttemptId, TaskId
from elisa.model.rows import FinishedWork, StepRate
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.store.reader import Reader

__all__ = ["WorkLeft"]

# Tasks that differ by less are of one shape: a plan's time grows with the number of those.
_STEP = 1.1
_SHORTEST_S = 0.001


class WorkLeft:
    """What is left, as one tick or command sees it; the past is read when it is first asked for, and only once."""

    def __init__(
        self,
        reader: Reader,
        live: Sequence[Attempt],
        now: datetime,
        gpu_speeds: Sequence[tuple[str, float]] = (),
        more: Sequence[UnfinishedRow] = (),
    ) -> None:
        """Begin with what the site says of types of GPU, where speeds are asked for; `more` count as ready tasks."""
        self._reader = reader
        self._now = now
        self._gpu_speeds = dict(gpu_speeds)
        self._more = tuple(more)
        self._running = [one for one in live if _is_running(one)]

    @cached_property
    def runtimes(self) -> Runtimes:
        """What is known of run times."""
        return Runtimes(self._finished)

    @cached_property
    def speeds(self) -> Speeds:
        """What is known of speeds on types of GPU."""
        return Speeds(self._finished, self._rates, self._gpu_speeds)

    @cached_property
    def _finished(self) -> Sequence[FinishedWork]:
        return self._reader.finished_work(self._now - MEMORY)

    @cached_property
    def kinds(self) -> Mapping[TaskId, Kind]:
        """The kind of work of each ready task, if anything is known of the speed of any work."""
        if not (self._finished or self._rates or self._gpu_speeds):
            return {}
        rows = self._ready_rows if self._finished else (*self._reader.ready_work(), *self._more)
        return {TaskId(row.task): kind_of(row.name) for row in rows}

    @cached_property
    def tried(self) -> Mapping[tuple[Kind, str], tuple[int, int]]:
        """How many attempts at each kind of work began on each type of GPU, and how many of them are live."""
        found: dict[tuple[Kind, str], tuple[int, int]] = {}
        for row in self._reader.tried(self._now - MEMORY):
            times, live = found.get((kind_of(row.name), row.gpu_type), (0, 0))
            found[kind_of(row.name), row.gpu_type] = (times + row.times, live + row.live)
        return found

    @cached_property
    def _rates(self) -> Sequence[StepRate]:
        return self._reader.step_rates(self._now - MEMORY)

    @cached_property
    def _ready_rows(self) -> Sequence[UnfinishedRow]:
        return (*self._reader.ready_work(saved_only=not self._finished), *self._more)

    def of(self, rows: Iterable[UnfinishedRow]) -> Mapping[TaskId, Left]:
        """Return what is left of each task."""
        rows = tuple(rows)
        saved_s = self._reader.saved_work([TaskId(row.task) for row in rows if row.has_saved])
        return {
            TaskId(row.task): left_of(
                row,
                self.runtimes,
                saved_s=saved_s.get(TaskId(row.task), 0.0),
                running_s=self._running_s.get(TaskId(row.task), 0.0) if row.is_active else 0.0,
                speed=self._speeds_now.get(TaskId(row.task), 1.0) if row.is_active else 1.0,
            )
            for row in rows
        }

    @cached_property
    def _running_s(self) -> Mapping[TaskId, float]:
        return {
            one.task: max(0.0, (self._now - one.started_at).total_seconds()) for one in self._running if one.started_at
        }

    @cached_property
    def _speeds_now(self) -> Mapping[TaskId, float]:
        return {one.task: one.request.speed for one in self._running if one.request.elastic is not None}

    @cached_property
    def ready(self) -> Mapping[TaskId, Left]:
        """What is left of ready tasks, those left out of which nothing is known but their walltime."""
        return self.of(self._ready_rows)

    def fill(self, ready: ReadyColumns) -> ReadyColumns:
        """Return the columns with what is expected of each task."""
        known = self.ready if ready.task else {}
        if not known:
            return ready
        left = [known.get(TaskId(task)) for task in ready.task]
        return ready._replace(
            predicted_s=[0.0 if one is None else one.run_s for one in left],
            progress=[0.0 if one is None else one.progress for one in left],
            brief_s=[_brief(said_s, one) for said_s, one in zip(ready.brief_s, left, strict=True)],
        )

    def split(self, ready: ReadyColumns) -> ReadyColumns:
        """Return the columns with shapes of their own for tasks that are expected to run shorter than they ask for."""
        known = self.ready if ready.task else {}
        if not known:
            return ready
        walltime_s = [shape.request.walltime_s for shape in ready.shapes]
        keys = [
            (shape, _rounded(known.get(TaskId(task)), walltime_s[shape]))
            for task, shape in zip(ready.task, ready.shape, strict=True)
        ]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        shapes = [ready.shapes[shape]._replace(expected_s=expected_s) for shape, expected_s in numbers]
        return ready._replace(shape=[numbers[key] for key in keys], shapes=shapes)

    def ends(self) -> Mapping[AttemptId, float]:
        """Return when running attempts are expected to end, in seconds since the epoch, as far as the past tells."""
        if not (self._running and self.runtimes):
            return {}
        left = self.of(self._reader.active_work())
        known = {one.id: left[one.task] for one in self._running if one.task in left}
        return {
            attempt: self._now.timestamp() + one.run_s for attempt, one in known.items() if one.estimate is not None
        }


def _is_running(attempt: Attempt) -> bool:
    is_own = attempt.continues is None
    return is_own and attempt.state is AttemptState.RUNNING and attempt.started_at is not None


def _brief(said_s: float, left: Left | None) -> float:
    """Return how long a task runs that may share a job, as past runs say, else its author; 0 if it may not."""
    if not said_s or left is None or left.estimate is None:
        return said_s
    return max(left.run_s, _SHORTEST_S)


def _rounded(left: Left | None, walltime_s: int) -> float:
    """Return the expected run time, rounded up to one of few; 0 stands for the walltime."""
    if left is None or left.estimate is None or left.run_s < 1:
        return 0.0
    expected_s: float = _STEP ** ceil(log(left.run_s, _STEP))
    return expected_s if expected_s < walltime_s else 0.0
