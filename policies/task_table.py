"""Ready tasks as columns: one array for each thing that is known of them, bounded by what their owners may say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from elisa.model.charge import Charge
from elisa.model.columns import ReadyColumns
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy
from elisa.policies.budgets import Owner, charge_of
from elisa.policies.rights import best_rank

__all__ = [
    "Bounds",
    "Floats",
    "Ints",
    "Smalls",
    "TaskTable",
    "bounds_of",
    "by_id",
    "owners_in_order",
    "task_table",
]

_MICRO = 1e-6

Ints = npt.NDArray[np.int64]
Smalls = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskTable:
    """Ready tasks in the order of their ids, one array a column; times in seconds since the epoch.

    `owner` numbers (project, user) pairs, `project` projects. `priority` and `importance` are no better than project and
    user may use: nobody raises himself by what he writes into a file. `deadline_s` is infinite without a deadline;
    `predicted_s` and `path_s` fall back to the walltime asked for. `brief_s` is how long a task is expected to run that
    may share a native job, infinite for all others.

    `ready_us` is what `ready_s` is in whole microseconds: those are sorted faster. Columns that only some orders look at
    are made from `told` when one does.
    """

    told: ReadyColumns
    owners: Sequence[Owner]
    ids: tuple[str, ...]
    owner: Smalls
    project: Smalls
    priority: npt.NDArray[np.int8]
    importance: Floats
    ready_us: Ints
    deadline_s: Floats
    shape: Smalls
    gang: Smalls
    walltime_s: Floats
    path_s: Floats
    brief_s: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def uid(self) -> Ints:
        return np.array([one.uid for one in self.owners], dtype=np.int64)[self.owner]

    @cached_property
    def charges(self) -> Sequence[Charge]:
        """What a whole run of each shape costs."""
        return [charge_of(shape.request, shape.request.walltime_s) for shape in self.told.shapes]

    @cached_property
    def ready_s(self) -> Floats:
        return _seconds(self.ready_us)

    @cached_property
    def submitted_us(self) -> Ints:
        return _ints(self.told.submitted_us)

    @cached_property
    def submitted_s(self) -> Floats:
        return _seconds(self.submitted_us)

    @cached_property
    def predicted_s(self) -> Floats:
        return _known(self.told.predicted_s, self.walltime_s)

    @cached_property
    def progress(self) -> Floats:
        return _floats(self.told.progress, len(self))

    @cached_property
    def promise(self) -> Floats:
        return _floats(self.told.promise, len(self))


def by_id(ready: ReadyColumns) -> ReadyColumns:
    """Return the rows in the order of their ids: the store keeps them so, and then this costs nothing."""
    ids = list(ready.task)
    if ids == sorted(ids):
        return ready
    order = sorted(range(len(ids)), key=ids.__getitem__)
    columns: dict[str, Any] = {
        name: [column[i] for i in order] if column and name not in _NO_ROWS else column
        for name, column in ready._asdict().items()
    }
    return ReadyColumns(**columns)


_NO_ROWS = frozenset({"owners", "shapes", "gangs", "ranked_by"})


def owners_in_order(owners: Sequence[tuple[str, int]], codes: Sequence[int]) -> tuple[tuple[Owner, ...], Smalls]:
    """Return the owners, and each task's, numbered in their own order: that of the input leaves no trace."""
    order = sorted(range(len(owners)), key=owners.__getitem__)
    number = np.empty(len(owners), dtype=np.int32)
    number[order] = np.arange(len(owners))
    return tuple(map(Owner._make, map(owners.__getitem__, order))), number[_ints(codes)]


class Bounds(NamedTuple):
    """What each owner may say of his own tasks at most: the rank of the best class, and importance.

    `highest` is the rank of the best class that his project may have, whoever says so; `reserved` are the classes that
    certain users may use.
    """

    rank: Ints
    importance: Floats
    highest: Ints
    reserved: Sequence[tuple[PriorityClass, Sequence[int]]]


def bounds_of(site: SitePolicy, owners: Sequence[Owner], project: Smalls, policies: Sequence[ProjectPolicy]) -> Bounds:
    # Once for each project and each user: there may be thousands of pairs of them.
    highest = np.array([CLASS_RANK[policy.highest] for policy in policies], dtype=np.int64)[project]
    limits = np.array([policy.importance_limit or np.inf for policy in policies], dtype=np.float64)[project]
    of_user = {uid: best_rank(site.reserved_classes, uid) for uid in {owner.uid for owner in owners}}
    ranks = np.array([of_user[owner.uid] for owner in owners], dtype=np.int64)
    return Bounds(np.maximum(ranks, highest), limits, highest, site.reserved_classes)


def _best_ranks(ready: ReadyColumns, owner: Smalls, bounds: Bounds) -> Ints:
    """Return the rank of the best class that each task may have: by its owner's rights, or by those of who ranked it."""
    best = bounds.rank[owner]
    for task, uid in ready.ranked_by.items():
        row = bisect_left(ready.task, task)
        if row < len(ready.task) and ready.task[row] == task:
            best[row] = max(int(bounds.highest[owner[row]]), best_rank(bounds.reserved, uid))
    return best


def task_table(
    ready: ReadyColumns, owner: Smalls, owners: Sequence[Owner], project: Smalls, bounds: Bounds
) -> TaskTable:
    count = len(ready.task)
    shape = _ints(ready.shape).astype(np.int32)
    walltime = np.array([shape_.request.walltime_s for shape_ in ready.shapes], dtype=np.float64)
    walltime_s = walltime[shape] if count else np.zeros(0)
    return TaskTable(
        told=ready,
        owners=owners,
        ids=tuple(ready.task),
        owner=owner,
        project=project[owner],
        priority=np.maximum(_ints(ready.priority), _best_ranks(ready, owner, bounds)).astype(np.int8),
        importance=np.minimum(_floats(ready.importance, count), bounds.importance[owner]),
        ready_us=_ints(ready.ready_us),
        deadline_s=_deadlines(_ints(ready.deadline_us)),
        shape=shape,
        gang=_ints(ready.gang).astype(np.int32) if len(ready.gang) else _throughout(np.int32(-1), count),
        walltime_s=walltime_s,
        path_s=_known(ready.path_s, walltime_s),
        brief_s=_known(ready.brief_s, _throughout(np.float64(np.inf), count)),
    )


def _ints(column: Sequence[int]) -> Ints:
    # `np.array` would look at each of them twice.
    return np.fromiter(column, np.int64, len(column))


def _seconds(micros: Ints) -> Floats:
    return micros.astype(np.float64) * _MICRO


def _deadlines(micros: Ints) -> Floats:
    """Return deadlines in seconds, infinite for 0."""
    seconds = _seconds(micros)
    seconds[micros <= 0] = np.inf
    return seconds


def _floats(column: Sequence[float], count: int) -> Floats:
    """Return a column; an empty one, of which nothing is known, is 0 throughout."""
    return np.fromiter(column, np.float64, count) if len(column) else _throughout(np.float64(0), count)


def _known(column: Sequence[float], otherwise: Floats) -> Floats:
    """Return a column with `otherwise` in the place of 0, and throughout if nothing is known."""
    if not len(column):
        return otherwise
    values = np.fromiter(column, np.float64, len(column))
    return np.where(values > 0, values, otherwise)


def _throughout(value: _Number, count: int) -> npt.NDArray[_Number]:
    """Return a column with one value in every row, which takes the room of one."""
    return np.broadcast_to(value, (count,))
