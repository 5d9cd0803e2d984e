"""Priority inheritance: what an urgent task waits for is as urgent as the task itself.

As with locks (Sha, Rajkumar, Lehoczky, IEEE Trans. Computers 39, 1990), the rank of a task is the best among its own and
those of everything that waits for it. Nobody gains a class that the project may not use, and nobody passes on more than
was set by whoever may set it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from elisa.model.ids import TaskId

__all__ = ["inherited"]


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
    effective = {task: max(rank, bound.get(task, 0)) for task, rank in ranks.items()}
    by_rank: dict[int, list[TaskId]] = defaultdict(list)
    for task, rank in effective.items():
        by_rank[rank].append(task)
    for rank in sorted(by_rank):
        _pass_on(rank, by_rank[rank], effective, needs, bound)
    return effective


def _pass_on(
    rank: int,
    sources: list[TaskId],
    effective: dict[TaskId, int],
    needs: Mapping[TaskId, tuple[TaskId, ...]],
    bound: Mapping[TaskId, int],
) -> None:
    """Raise everything that `sources` wait for, directly or not, to `rank` where that is better and allowed."""
    seen = set(sources)
    for task in sources:
        for need in needs.get(task, ()):
            if need not in effective or need in seen:
                continue
            seen.add(need)
            sources.append(need)
            effective[need] = min(effective[need], max(rank, bound.get(need, 0)))
