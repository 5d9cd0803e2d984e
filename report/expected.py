"""How long a task is expected to run on, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from elisa.forecast.runtimes import Runtimes
from elisa.forecast.work import MEMORY, Left, left_of
from elisa.model.columns import UnfinishedRow
from elisa.model.ids import TaskId
from elisa.model.states import AttemptState
from elisa.model.task import Attempt, Task
from elisa.model.units import format_duration
from elisa.store.reader import Reader

__all__ = ["expected_words", "read_expected", "read_left"]

_WHOSE = {"task": "runs of this name", "group": "runs of its group"}


def read_expected(reader: Reader, task: Task, attempts: Sequence[Attempt], now: datetime) -> Left | None:
    """Return what is left of a task's work; None if it is over."""
    row = reader.work_of(task.id)
    if row is None:
        return None
    return read_left(reader, (row,), [attempt for attempt in attempts if attempt.end is None], now)[task.id]


def read_left(
    reader: Reader, rows: Sequence[UnfinishedRow], live: Sequence[Attempt], now: datetime
) -> Mapping[TaskId, Left]:
    """Return what is left of each of these tasks."""
    runtimes = Runtimes(reader.finished_work(now - MEMORY))
    saved_s = reader.saved_work([TaskId(row.task) for row in rows if row.has_saved])
    running_s = {
        one.task: max(0.0, (now - one.started_at).total_seconds())
        for one in live
        if one.state is AttemptState.RUNNING and one.started_at is not None
    }
    speeds = {one.task: one.request.speed for one in live if one.task in running_s}
    ids = [TaskId(row.task) for row in rows]
    return {
        id_: left_of(
            row, runtimes, saved_s=saved_s.get(id_, 0.0), running_s=running_s.get(id_, 0.0), speed=speeds.get(id_, 1.0)
        )
        for id_, row in zip(ids, rows, strict=True)
    }


def expected_words(left: Left) -> str:
    """Say what is left of a task and how that is known."""
    if left.estimate is None:
        return f"nothing is known of its run time: it counts with {format_duration(left.left_s)}, its walltime"
    usual_s, known = left.estimate.usual_s, len(left.estimate.runs_s)
    basis = f"nine in ten of the last {known} {_WHOSE[left.estimate.whose]} took at most"
    words = f"it has {format_duration(left.left_s)} left: {basis} {format_duration(left.estimate.total_s)}"
    return f"{words}, half of them {format_duration(usual_s)}" + (
        f"; {left.progress:.0%} is done" if left.done_s else ""
    )
