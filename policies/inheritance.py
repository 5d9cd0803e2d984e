"""Priority inheritance: what an urgent task waits for is as urgent as the task itself.

As with locks (Sha, Rajkumar, Lehoczky, IEEE Trans. Computers 39, 1990), the rank of a task is the best among its own and
those of everything that waits for it. Nobody gains a class that the project may not use, and nobody passes on more than
was set by whoever may set it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from elisa.model.ids import TaskId

__all__ = ["Urged", "inherited", "urged"]


class Urged(NamedTuple):
    """The class rank that a task has because `by`, the most urgent of those that wait for it, has it."""

    rank: int
    by: TaskId


def inherited(
    ranks: Mapping[TaskId, int],
    needs: Mapping[TaskId, tuple[TaskId, ...]],
    highest: Mapping[TaskId, int] | None = None,
) -> Mapping[TaskId, int]:
    """Return the effective class rank (0 is the best) of every unfinished task.

    `needs` are the unfinished tasks that each waits for. `highest` is the best rank that each task's project may use: it
    bounds a task's own rank before it is passed on, and what it inherits.
    """
    bound = highest or {}
    own = {task: max(rank, bound.get(task, 0)) for task, rank in ranks.items()}
    return own | {task: one.rank for task, one in urged(ranks, needs, highest).items()}


def urged(
    ranks: Mapping[TaskId, int],
    needs: Mapping[TaskId, tuple[TaskId, ...]],
    highest: Mapping[TaskId, int] | None = None,
) -> Mapping[TaskId, Urged]:
    """Return the tasks that inherit a better rank than their own, and from whom; see `inherited`."""
    bound = highest or {}
    effective = {task: max(rank, bound.get(task, 0)) for task, rank in ranks.items()}
    by_rank: dict[int, list[TaskId]] = defaultdict(list)
    for task, rank in effective.items():
        by_rank[rank].append(task)
    raised: dict[TaskId, Urged] = {}
    for rank in sorted(by_rank):
        for task, by in _waited_for(by_rank[rank], needs, effective).items():
            better = max(rank, bound.get(task, 0))
            if better < effective[task]:
                effective[task] = better
                raised[task] = Urged(better, by)
    return raised


def _waited_for(
    sources: list[TaskId], needs: Mapping[TaskId, tuple[TaskId, ...]], known: Mapping[TaskId, int]
) -> Mapping[TaskId, TaskId]:
    """Return everything that `sources` wait for, directly or not, each with the source through which it was found."""
    by = {task: task for task in sources}
    waiting = list(sources)
    for task in waiting:
        for need in needs.get(task, ()):
            if need in known and need not in by:
                by[need] = by[task]
                waiting.append(need)
    return {task: source for task, source in by.items() if task != source}
