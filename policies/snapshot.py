"""What a plan looks at: ready tasks as columns, the caps on their owners, and the pools they may run in."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.columns import GangRow, Outlook, ProjectUsage, ReadyColumns, RunningRow, Shape
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.native import ClusterView
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.allowances import effective
from elisa.policies.budgets import Owner
from elisa.policies.budgets_caps import Caps, cap_rows
from elisa.policies.fusion import native_jobs
from elisa.policies.inheritance import Urged
from elisa.policies.placement import Pool, reachable_pools
from elisa.policies.rights import best_rank

__all__ = ["KeptRoom", "OrderPlugin", "Snapshot", "TaskTable"]

_MICRO = 1e-6
_WAITING = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

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
    `predicted_s` and `path_s` fall back to the walltime asked for. `brief_s` is how long a task is expected to run that
    may share a native job, infinite for all others.
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
    brief_s: Floats

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
    caps: Caps
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
    urged: Mapping[TaskId, Urged]

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
        urged: Mapping[TaskId, Urged] | None = None,
    ) -> Snapshot:
        """Return the snapshot of this moment.

        `queueing` names the backends with a queue of their own, `unreachable` those that gave no answer, and why. With
        `uid`, only tasks of that user are started. `plugins` are order keys from outside, by name.
        `ends` predicts when live attempts end (seconds since the epoch), where that is before their walltime is over.
        `promised` is the room that the last plan kept for tasks (the facts `starts_at` and `nodes` of their reasons).
        Without `running`, nobody is preempted. Nodes to `avoid`, by backend and the worst first, are left out of the count of
        what is free. `urged` tasks have the class of those that wait for them, as far as their own projects may use it.
        """
        site = effective(site, usage, now)
        ready = _as_urged(_by_id(ready), urged or {})
        live = native_jobs(live)
        owners = tuple(Owner(ProjectName(project), uid) for project, uid in sorted(ready.owners))
        owner = _renumbered(ready.owner, ready.owners)
        projects = tuple(dict.fromkeys(owner.project for owner in owners))
        listed = {policy.name: policy for policy in site.projects}
        policies = tuple(listed.get(project, site.unlisted) for project in projects)
        return cls(
            now_s=now.timestamp(),
            site=site,
            tasks=_table(ready, owner, owners, _bounds(site, owners, dict(zip(projects, policies, strict=True)))),
            shapes=tuple(ready.shapes),
            gangs=tuple(ready.gangs),
            owners=owners,
            projects=projects,
            policies=policies,
            usage=usage,
            caps=cap_rows(site, owners, usage.rows),
            pools=_with_windows(reachable_pools(clusters, queueing, avoid or {}, site.taints), live, site),
            live=live,
            unreachable=unreachable or {},
            uid=uid,
            plugins=plugins or {},
            ends=ends or {},
            promised=promised or {},
            running=tuple(sorted(_with_class(running, urged or {}), key=lambda row: row.attempt)),
            outlook=outlook or Outlook(),
            avoid=avoid or {},
            urged=urged or {},
        )


def _as_urged(ready: ReadyColumns, urged: Mapping[TaskId, Urged]) -> ReadyColumns:
    """Return the columns with the classes that tasks inherit."""
    if not urged:
        return ready
    classes = zip(ready.task, ready.priority, strict=True)
    inherits = ((rank, urged.get(TaskId(task))) for task, rank in classes)
    return ready._replace(priority=[rank if one is None else min(rank, one.rank) for rank, one in inherits])


def _with_class(running: Sequence[RunningRow], urged: Mapping[TaskId, Urged]) -> Iterator[RunningRow]:
    for row in running:
        one = urged.get(TaskId(row.task))
        yield row if one is None else row._replace(priority=min(row.priority, one.rank))


def _by_id(ready: ReadyColumns) -> ReadyColumns:
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


def _renumbered(codes: Sequence[int], owners: Sequence[tuple[str, int]]) -> Smalls:
    """Number the owners in their own order, so that the order of the input leaves no trace."""
    number = np.empty(len(owners), dtype=np.int32)
    number[sorted(range(len(owners)), key=owners.__getitem__)] = np.arange(len(owners))
    return number[_ints(codes)]


class _Bounds(NamedTuple):
    """What each owner may say of his own tasks at most: the rank of the best class, and importance.

    `highest` is the rank of the best class that his project may have, whoever says so; `reserved` are the classes that
    certain users may use.
    """

    rank: Ints
    importance: Floats
    highest: Sequence[int]
    reserved: Sequence[tuple[PriorityClass, Sequence[int]]]


def _bounds(site: SitePolicy, owners: Sequence[Owner], policies: Mapping[str, ProjectPolicy]) -> _Bounds:
    # Once for each project and each user: there may be thousands of pairs of them.
    of_project = {
        name: (CLASS_RANK[policy.highest], policy.importance_limit or np.inf) for name, policy in policies.items()
    }
    of_user = {uid: best_rank(site.reserved_classes, uid) for uid in {owner.uid for owner in owners}}
    highest = [of_project[project][0] for project, _ in owners]
    ranks = [max(of_user[uid], bound) for (_, uid), bound in zip(owners, highest, strict=True)]
    limits = [of_project[project][1] for project, _ in owners]
    return _Bounds(np.array(ranks, np.int64), np.array(limits, np.float64), highest, site.reserved_classes)


def _best_ranks(ready: ReadyColumns, owner: Smalls, bounds: _Bounds) -> Ints:
    """Return the rank of the best class that each task may have: by its owner's rights, or by those of who ranked it."""
    best = bounds.rank[owner]
    for task, uid in ready.ranked_by.items():
        row = bisect_left(ready.task, task)
        if row < len(ready.task) and ready.task[row] == task:
            best[row] = max(bounds.highest[owner[row]], best_rank(bounds.reserved, uid))
    return best


def _table(ready: ReadyColumns, owner: Smalls, owners: Sequence[Owner], bounds: _Bounds) -> TaskTable:
    count = len(ready.task)
    shape = _ints(ready.shape).astype(np.int32)
    walltime = np.array([shape_.request.walltime_s for shape_ in ready.shapes], dtype=np.float64)
    asked_s = walltime[shape] if count else np.zeros(0)
    deadline_us = _ints(ready.deadline_us)
    return TaskTable(
        ids=tuple(ready.task),
        owner=owner,
        project=_projects(owners)[owner],
        uid=np.array([one.uid for one in owners], dtype=np.int64)[owner],
        priority=np.maximum(_ints(ready.priority), _best_ranks(ready, owner, bounds)).astype(np.int8),
        importance=np.minimum(_floats(ready.importance, count), bounds.importance[owner]),
        submitted_s=_seconds(_ints(ready.submitted_us)),
        ready_s=_seconds(_ints(ready.ready_us)),
        deadline_s=np.where(deadline_us > 0, _seconds(deadline_us), np.inf),
        shape=shape,
        gang=_ints(ready.gang).astype(np.int32) if len(ready.gang) else np.full(count, -1, dtype=np.int32),
        predicted_s=_known(_floats(ready.predicted_s, count), asked_s),
        path_s=_known(_floats(ready.path_s, count), asked_s),
        progress=_floats(ready.progress, count),
        promise=_floats(ready.promise, count),
        brief_s=_known(_floats(ready.brief_s, count), np.full(count, np.inf)),
    )


def _projects(owners: Sequence[Owner]) -> Smalls:
    """Return the number of each owner's project."""
    number = {project: place for place, project in enumerate(dict.fromkeys(owner.project for owner in owners))}
    return np.array([number[owner.project] for owner in owners], dtype=np.int32)


def _ints(column: Sequence[int]) -> Ints:
    # As whole numbers, and only then as what they are to be: NumPy reads a list of ints twice as fast that way.
    return np.array(column, dtype=np.int64)


def _seconds(micros: Ints) -> Floats:
    return micros.astype(np.float64) * _MICRO


def _floats(column: Sequence[float], count: int) -> Floats:
    """Return a column; an empty one, of which nothing is known, is 0 throughout."""
    return np.array(column, dtype=np.float64) if len(column) else np.zeros(count)


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
