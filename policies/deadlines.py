"""Deadlines of whole pipelines: the longest path of work still to do, and an honest word on whether it can be met.

Critical path method (Kelley and Walker, "Critical-path planning and scheduling", EJCC 1959); the bound from total work over
parallel slots is Graham's (Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

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


class _Paths(NamedTuple):
    """For each task the seconds from its start to the end of the longest chain that begins with it, and who is next in it."""

    seconds: Mapping[TaskId, float]
    next: Mapping[TaskId, TaskId]


def longest_paths(work: Iterable[Work]) -> Mapping[TaskId, float]:
    """Return for each task the seconds from its start to the end of the longest chain that begins with it.

    Raises ValueError if the needs run in a circle.
    """
    return _paths_of(tuple(work)).seconds


def _paths_of(work: Sequence[Work]) -> _Paths:
    return _paths({one.id: one.needs for one in work}, {one.id: one.remaining_s for one in work})


def _paths(needs: Mapping[TaskId, Sequence[TaskId]], left_s: Mapping[TaskId, float]) -> _Paths:
    """Go from the ends of all chains to their beginnings; of chains of the same length the one with smaller ids counts."""
    waited_for = dict.fromkeys(needs, 0)
    for wanted in needs.values():
        for need in wanted:
            if need in waited_for:
                waited_for[need] += 1
    paths: dict[TaskId, float] = {}
    follows: dict[TaskId, TaskId] = {}
    order = [id_ for id_, count in waited_for.items() if not count]
    for id_ in order:
        after = follows.get(id_)
        path_s = paths[id_] = left_s[id_] + (0.0 if after is None else paths[after])
        for need in needs[id_]:
            if need not in waited_for:
                continue
            other = follows.get(need)
            if other is None or (-path_s, id_) < (-paths[other], other):
                follows[need] = id_
            waited_for[need] -= 1
            if not waited_for[need]:
                order.append(need)
    if len(order) < len(needs):
        circle = sorted(id_ for id_, count in waited_for.items() if count)
        raise ValueError(f"the needs of {', '.join(circle)} run in a circle")
    return _Paths(paths, follows)


def judge(work: Sequence[Work], deadline: datetime, now: datetime) -> DeadlineVerdict:
    """Return whether the unfinished `work` of one pipeline can end by its deadline."""
    return _verdict(_paths_of(work), sum(one.remaining_s for one in work), deadline, now)


def _verdict(paths: _Paths, total_s: float, deadline: datetime, now: datetime) -> DeadlineVerdict:
    longest_s = max(paths.seconds.values(), default=0.0)
    left_s = (deadline - now).total_seconds()
    slack_s = left_s - longest_s
    return DeadlineVerdict(
        deadline=deadline,
        is_reachable=slack_s >= 0,
        slack_s=slack_s,
        earliest_end=now + timedelta(seconds=longest_s),
        critical=tuple(_critical(paths, longest_s)),
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
    of_pipeline: dict[tuple[str, int], dict[TaskId, Sequence[TaskId]]] = defaultdict(dict)
    for row in rows:
        of_pipeline[row.pipeline, row.deadline_us][TaskId(row.task)] = cast("tuple[TaskId, ...]", row.needs)
    paths: dict[TaskId, float] = {}
    verdicts: dict[PipelineId, DeadlineVerdict] = {}
    for (pipeline, deadline_us), needs in of_pipeline.items():
        with suppress(ValueError):
            own = _paths(needs, left_s)
            paths |= own.seconds
            deadline = datetime.fromtimestamp(deadline_us * _MICRO, UTC)
            verdicts[PipelineId(pipeline)] = _verdict(own, sum(left_s[id_] for id_ in needs), deadline, now)
    return Due(paths, verdicts)


def _ceiling(total_s: float, left_s: float) -> int:
    return max(1, int(-(-total_s // left_s))) if total_s > 0 else 0


def _critical(paths: _Paths, longest_s: float) -> Iterator[TaskId]:
    """Yield the tasks of the longest chain, first to last; of chains of the same length the one with smaller ids."""
    id_ = min((id_ for id_, path_s in paths.seconds.items() if path_s == longest_s), default=None)
    while id_ is not None:
        yield id_
        id_ = paths.next.get(id_)


def urgency(path_s: float, left_s: float) -> float:
    """Return how pressing a deadline is, from 0 (none, or all the time in the world) to 1 (now or never, or too late)."""
    if path_s <= 0:
        return 0.0
    return min(1.0, path_s / max(left_s, path_s))
