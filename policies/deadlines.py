"""Deadlines of whole pipelines: the longest path of work still to do, and an honest word on whether it can be met.

Critical path method (Kelley and Walker, "Critical-path planning and scheduling", EJCC 1959); the bound from total work over
parallel slots is Graham's (Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from elisa.model.columns import UnfinishedRow
from elisa.model.ids import PipelineId, TaskId

__all__ = ["DeadlineVerdict", "Due", "Work", "due_of", "judge", "longest_paths", "urgency"]

_MICRO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An unfinished task: `remaining_s` of predicted work after `needs` (finished ones may be left out)."""

    id: TaskId
    remaining_s: float
    needs: tuple[TaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineVerdict:
    """Whether a deadline can be met, and what it would take if not.

    `slack_s` is what is left over on the critical path, negative if it cannot be met even with unlimited resources.
    `earliest_end` is the best that can be hoped for. `cut_s` is how much shorter the critical path must become (0 if it
    fits), `slots` how many tasks must run at once for the rest to keep up; 0 when no number is enough.
    """

    deadline: datetime
    is_reachable: bool
    slack_s: float
    earliest_end: datetime
    critical: tuple[TaskId, ...]
    cut_s: float
    slots: int


def longest_paths(work: Iterable[Work]) -> Mapping[TaskId, float]:
    """Return for each task the seconds from its start to the end of the longest chain that begins with it.

    Raises ValueError if the needs run in a circle.
    """
    tasks = {one.id: one for one in work}
    dependents: dict[TaskId, list[TaskId]] = defaultdict(list)
    for one in tasks.values():
        for need in one.needs:
            if need in tasks:
                dependents[need].append(one.id)
    paths: dict[TaskId, float] = {}
    for id_ in reversed(_topological(tasks, dependents)):
        paths[id_] = tasks[id_].remaining_s + max((paths[other] for other in dependents[id_]), default=0.0)
    return paths


def _topological(tasks: Mapping[TaskId, Work], dependents: Mapping[TaskId, Sequence[TaskId]]) -> list[TaskId]:
    waiting = {id_: sum(need in tasks for need in one.needs) for id_, one in tasks.items()}
    order = [id_ for id_, count in waiting.items() if not count]
    for id_ in order:
        for dependent in dependents.get(id_, ()):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                order.append(dependent)
    if len(order) < len(tasks):
        circle = sorted(id_ for id_, count in waiting.items() if count)
        raise ValueError(f"the needs of {', '.join(circle)} run in a circle")
    return order


def judge(
    work: Sequence[Work], deadline: datetime, now: datetime, paths: Mapping[TaskId, float] | None = None
) -> DeadlineVerdict:
    """Return whether the unfinished `work` of one pipeline, with its longest `paths`, can end by its deadline."""
    paths = longest_paths(work) if paths is None else paths
    longest_s = max(paths.values(), default=0.0)
    left_s = (deadline - now).total_seconds()
    slack_s = left_s - longest_s
    total_s = sum(one.remaining_s for one in work)
    return DeadlineVerdict(
        deadline=deadline,
        is_reachable=slack_s >= 0,
        slack_s=slack_s,
        earliest_end=now + timedelta(seconds=longest_s),
        critical=_critical(work, paths),
        cut_s=max(0.0, -slack_s),
        slots=_ceiling(total_s, left_s) if left_s > 0 else 0,
    )


class Due(NamedTuple):
    """What is due: the longest path that begins with each unfinished task, and how each pipeline stands."""

    paths: Mapping[TaskId, float]
    verdicts: Mapping[PipelineId, DeadlineVerdict]


def due_of(rows: Iterable[UnfinishedRow], left_s: Mapping[TaskId, float], now: datetime) -> Due:
    """Return how pipelines with a deadline stand, each with all its unfinished tasks and what is left of them.

    A pipeline whose needs run in a circle is left out: submission refuses those, and no plan may fail for one.
    """
    of_pipeline: dict[tuple[str, int], list[Work]] = defaultdict(list)
    for row in rows:
        id_ = TaskId(row.task)
        one = Work(id=id_, remaining_s=left_s[id_], needs=tuple(TaskId(need) for need in row.needs))
        of_pipeline[row.pipeline, row.deadline_us].append(one)
    paths: dict[TaskId, float] = {}
    verdicts: dict[PipelineId, DeadlineVerdict] = {}
    for (pipeline, deadline_us), work in of_pipeline.items():
        with suppress(ValueError):
            own = longest_paths(work)
            paths |= own
            deadline = datetime.fromtimestamp(deadline_us * _MICRO, UTC)
            verdicts[PipelineId(pipeline)] = judge(work, deadline, now, own)
    return Due(paths, verdicts)


def _ceiling(total_s: float, left_s: float) -> int:
    return max(1, int(-(-total_s // left_s))) if total_s > 0 else 0


def _critical(work: Sequence[Work], paths: Mapping[TaskId, float]) -> tuple[TaskId, ...]:
    """Return the tasks of the longest chain, first to last; of chains of the same length the one with smaller ids."""
    dependents: dict[TaskId, list[TaskId]] = defaultdict(list)
    for one in work:
        for need in one.needs:
            dependents[need].append(one.id)
    chain: list[TaskId] = []
    choices: Sequence[TaskId] = list(paths)
    while choices:
        best = min(choices, key=lambda id_: (-paths[id_], id_))
        chain.append(best)
        choices = dependents[best]
    return tuple(chain)


def urgency(path_s: float, left_s: float) -> float:
    """Return how pressing a deadline is, from 0 (none, or all the time in the world) to 1 (now or never, or too late)."""
    if path_s <= 0:
        return 0.0
    return min(1.0, path_s / max(left_s, path_s))
