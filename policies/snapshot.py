"""What a plan looks at: ready tasks as columns, the caps on their owners, and the pools they may run in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from elisa.model.columns import GangRow, Outlook, ProjectUsage, ReadyColumns, RunningRow, Shape
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.native import ClusterView
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.allowances import effective
from elisa.policies.budgets import CapRow, Owner, cap_rows
from elisa.policies.placement import Pool, reachable_pools
from elisa.policies.rights import best_rank

__all__ = ["KeptRoom", "OrderPlugin", "Snapshot", "TaskTable"]

_MICRO = 1e-6
_WAITING = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

_T = TypeVar("_T", str, int)

Ints = npt.NDArray[np.int64]
Smalls = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

OrderPlugin = Callable[["Snapshot"], npt.NDArray[np.generic]]
"""Give one number for each ready task; the smaller goes first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskTable:
    """Ready tasks in the order of their ids, one array a column; times in seconds since the epoch.

    `owner` numbers (project, user) pairs, `project` projects. `priority` and `importance` are no better than project and
    user may use: nobody raises himself by what he writes into a file. `deadline_s` is infinite without a deadline;
    `predicted_s` and `path_s` fall back to the walltime asked for.
    """

    ids: tuple[str, ...]
    owner: Smalls
    project: Smalls
    uid: Ints
    priority: npt.NDArray[np.int8]
    importance: Floats
    submitted_s: Floats
    ready_s: Floats
    deadline_s: Floats
    shape: Smalls
    gang: Smalls
    predicted_s: Floats
    path_s: Floats
    progress: Floats
    promise: Floats

    def __len__(self) -> int:
        return len(self.ids)


class KeptRoom(NamedTuple):
    """Room that an earlier plan kept for one task: when it may start, and where."""

    starts_s: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """All that a plan depends on. Two snapshots built from the same facts in any order give the same plan."""

    now_s: float
    site: SitePolicy
    tasks: TaskTable
    shapes: tuple[Shape, ...]
    gangs: tuple[GangRow, ...]
    owners: tuple[Owner, ...]
    projects: tuple[ProjectName, ...]
    policies: tuple[ProjectPolicy, ...]
    usage: ProjectUsage
    caps: tuple[CapRow, ...]
    pools: tuple[Pool, ...]
    live: tuple[Attempt, ...]
    unreachable: Mapping[BackendName, str]
    uid: int | None
    plugins: Mapping[str, OrderPlugin]
    ends: Mapping[AttemptId, float]
    promised: Mapping[TaskId, KeptRoom]
    running: tuple[RunningRow, ...]
    outlook: Outlook
    avoid: Mapping[BackendName, Sequence[str]]

    @classmethod
    def build(  # noqa: PLR0913, PLR0917 - the facts of a tick, each from another source
        cls,
        ready: ReadyColumns,
        usage: ProjectUsage,
        clusters: Sequence[ClusterView],
        live: Sequence[Attempt],
        site: SitePolicy,
        now: datetime,
        *,
        queueing: Collection[BackendName] = (),
        unreachable: Mapping[BackendName, str] | None = None,
        uid: int | None = None,
        plugins: Mapping[str, OrderPlugin] | None = None,
        ends: Mapping[AttemptId, float] | None = None,
        promised: Mapping[TaskId, KeptRoom] | None = None,
        running: Sequence[RunningRow] = (),
        outlook: Outlook | None = None,
        avoid: Mapping[BackendName, Sequence[str]] | None = None,
    ) -> Snapshot:
        """Return the snapshot of this moment.

        `queueing` names the backends with a queue of their own, `unreachable` those that gave no answer, and why. With
        `uid`, only tasks of that user are started. `plugins` are order keys from outside, by name.
        `ends` predicts when live attempts end (seconds since the epoch), where that is before their walltime is over.
        `promised` is the room that the last plan kept for tasks (the facts `starts_at` and `nodes` of their reasons).
        Without `running`, nobody is preempted. Nodes to `avoid`, by backend
        and the worst first, are left out of the count of what is free.
        """
        site = effective(site, usage, now)
        ready = _by_id(ready)
        projects, project = _numbered(ready.project)
        uids, uid_number = _numbered(ready.owner_uid)
        pairs, owner = _pairs(project, uid_number, len(uids))
        listed = {policy.name: policy for policy in site.projects}
        policies = tuple(listed.get(ProjectName(name), site.unlisted) for name in projects)
        owners = tuple(Owner(ProjectName(projects[one]), uids[other]) for one, other in pairs)
        return cls(
            now_s=now.timestamp(),
            site=site,
            tasks=_table(ready, owner, project, _bounds(site, owners, dict(zip(projects, policies, strict=True)))),
            shapes=tuple(ready.shapes),
            gangs=tuple(ready.gangs),
            owners=owners,
            projects=tuple(ProjectName(name) for name in projects),
            policies=policies,
            usage=usage,
            caps=cap_rows(site, owners, usage.rows),
            pools=_with_windows(reachable_pools(clusters, queueing, avoid or {}), live, site),
            live=tuple(live),
            unreachable=unreachable or {},
            uid=uid,
            plugins=plugins or {},
            ends=ends or {},
            promised=promised or {},
            running=tuple(sorted(running, key=lambda row: row.attempt)),
            outlook=outlook or Outlook(),
            avoid=avoid or {},
        )


def _by_id(ready: ReadyColumns) -> ReadyColumns:
    """Return the rows in the order of their ids: the store keeps them so, and then this costs nothing."""
    ids = list(ready.task)
    if ids == sorted(ids):
        return ready
    order = sorted(range(len(ids)), key=ids.__getitem__)
    columns = {
        name: [column[i] for i in order] if column and name not in {"shapes", "gangs"} else column
        for name, column in ready._asdict().items()
    }
    return ReadyColumns(**columns)


def _numbered(values: Sequence[_T]) -> tuple[list[_T], Smalls]:
    """Number distinct values in their own order, so that the order of the input leaves no trace."""
    distinct = sorted(set(values))
    numbers = {value: number for number, value in enumerate(distinct)}
    return distinct, np.fromiter(map(numbers.__getitem__, values), dtype=np.int32, count=len(values))


def _pairs(first: Smalls, second: Smalls, width: int) -> tuple[list[tuple[int, int]], Smalls]:
    """Number the pairs that occur, in their order; `second` is below `width`."""
    code = first.astype(np.int64) * width + second
    # A table of all pairs is much faster than sorting them, as long as it is not much larger than the tasks are many.
    if not len(code) or int(code.max()) > 16 * len(code) + 2**20:
        distinct, numbers = np.unique(code, return_inverse=True)
    else:
        occurs = np.zeros(int(code.max()) + 1, dtype=np.bool_)
        occurs[code] = True
        distinct, numbers = np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[code]
    return [divmod(pair, width) for pair in distinct.tolist()], numbers.astype(np.int32)


class _Bounds(NamedTuple):
    """What each owner may say of his own tasks at most: the rank of the best class, and importance."""

    rank: npt.NDArray[np.int8]
    importance: Floats


def _bounds(site: SitePolicy, owners: Sequence[Owner], policies: Mapping[str, ProjectPolicy]) -> _Bounds:
    ranks = [
        max(CLASS_RANK[policies[owner.project].highest], best_rank(site.reserved_classes, owner.uid))
        for owner in owners
    ]
    limits = [policies[owner.project].importance_limit or np.inf for owner in owners]
    return _Bounds(np.array(ranks, np.int8), np.array(limits, np.float64))


def _table(ready: ReadyColumns, owner: Smalls, project: Smalls, bounds: _Bounds) -> TaskTable:
    count = len(ready.task)
    shape = np.array(ready.shape, dtype=np.int32)
    walltime = np.array([shape_.request.walltime_s for shape_ in ready.shapes], dtype=np.float64)
    asked_s = walltime[shape] if count else np.zeros(0)
    deadline_us = _floats(ready.deadline_us, 0, count)
    return TaskTable(
        ids=tuple(ready.task),
        owner=owner,
        project=project,
        uid=np.array(ready.owner_uid, dtype=np.int64),
        priority=np.maximum(np.array(ready.priority, dtype=np.int8), bounds.rank[owner]),
        importance=np.minimum(_floats(ready.importance, 0, count), bounds.importance[owner]),
        submitted_s=_floats(ready.submitted_us, 0, count) * _MICRO,
        ready_s=_floats(ready.ready_us, 0, count) * _MICRO,
        deadline_s=np.where(deadline_us > 0, deadline_us * _MICRO, np.inf),
        shape=shape,
        gang=_floats(ready.gang, -1, count).astype(np.int32),
        predicted_s=_known(_floats(ready.predicted_s, 0, count), asked_s),
        path_s=_known(_floats(ready.path_s, 0, count), asked_s),
        progress=_floats(ready.progress, 0, count),
        promise=_floats(ready.promise, 0, count),
    )


def _floats(column: Sequence[float], default: float, count: int) -> Floats:
    """Return a column; an empty one, of which nothing is known, is `default` throughout."""
    if not len(column):
        return np.full(count, default, dtype=np.float64)
    return np.array(column, dtype=np.float64)


def _known(column: Floats, otherwise: Floats) -> Floats:
    return np.where(column > 0, column, otherwise)


def _with_windows(pools: Sequence[Pool], live: Sequence[Attempt], site: SitePolicy) -> tuple[Pool, ...]:
    windows = {(window.backend, window.partition): window.size for window in site.windows}
    queued = Counter((attempt.backend, attempt.partition) for attempt in live if attempt.state in _WAITING)
    return tuple(
        replace(
            pool,
            window=windows.get(
                (pool.backend, pool.partition.name), windows.get((pool.backend, ""), site.default_window)
            ),
            queued=queued[pool.backend, pool.partition.name],
        )
        for pool in pools
    )
