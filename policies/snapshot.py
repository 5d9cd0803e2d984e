"""What a plan looks at: ready tasks as columns, the caps on their owners, and the pools they may run in."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from elisa.model.charge import Charge
from elisa.model.columns import GangRow, Outlook, ProjectUsage, ReadyColumns, RunningRow, Shape
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.native import ClusterView
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.allowances import effective
from elisa.policies.badgpus import BadGpu
from elisa.policies.budgets import Owner, charge_of
from elisa.policies.budgets_caps import Caps, cap_rows
from elisa.policies.claims import claiming, current
from elisa.policies.fusion import native_jobs
from elisa.policies.inheritance import Urged
from elisa.policies.overcommit import PLAIN, as_promised, is_firm, ratio_of
from elisa.policies.placement_pools import Pool, reachable_pools
from elisa.policies.rights import best_rank

__all__ = ["KeptRoom", "OrderPlugin", "Snapshot", "TaskTable"]

_MICRO = 1e-6
AWAITED = -1
"""The rank of jobs that others of their gang wait for."""
_WAITING = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

Ints = npt.NDArray[np.int64]
Smalls = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
_Number = TypeVar("_Number", bound=np.generic)

OrderPlugin = Callable[["Snapshot"], npt.NDArray[np.generic]]
"""Give numbers for what is in a snapshot: an order key one for each ready task, the smaller first."""


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


class KeptRoom(NamedTuple):
    """Room that an earlier plan kept for one task: when it may start, and where."""

    starts_s: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """All that a plan depends on. Two snapshots built from the same facts in any order give the same plan.

    `plugins` are order keys by name, and other plug-ins by their whole names; `said` is what the latter gave, see
    `opinions.heard`.
    """

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
    clusters: Sequence[ClusterView]
    bad_gpus: Mapping[BackendName, Sequence[BadGpu]]
    said: Mapping[str, Floats] = field(default_factory=dict)

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
        unexcluding: Collection[BackendName] = (),
        bad_gpus: Mapping[BackendName, Sequence[BadGpu]] | None = None,
    ) -> Snapshot:
        """Return the snapshot of this moment.

        `queueing` names the backends with a queue of their own, `unreachable` those that gave no answer, and why. With
        `uid`, only tasks of that user are started. `plugins` are order keys from outside, by name.
        `ends` predicts when live attempts end (seconds since the epoch), where that is before their walltime is over.
        `promised` is the room that the last plan kept for tasks (the facts `starts_at` and `nodes` of their reasons).
        Without `running`, nobody is preempted. Nodes to `avoid`, by backend and the worst first, are left out of the count of
        what is free. `urged` tasks have the class of those that wait for them, as far as their own projects may use it.
        `unexcluding` backends cannot keep a job off a node. `bad_gpus` of backends are not counted.
        """
        site = current(effective(site, usage, now), now.timestamp())
        clusters = as_promised(clusters, running, site)
        overcommits = any(ratio_of(view.nodes) != PLAIN for view in clusters)
        firm = {project for project, _ in ready.owners if is_firm(site, project)} if overcommits else set()
        ready, outlook = claiming(_by_id(ready), outlook or Outlook(), site.reservations, firm, queueing)
        ready = _as_urged(ready, urged or {})
        live = native_jobs(live)
        owners, owner = _in_order(ready.owners, ready.owner)
        caps = cap_rows(site, owners, usage.rows)
        projects = tuple(owner.project for owner in caps.projects)
        listed = {policy.name: policy for policy in site.projects}
        policies = tuple(listed.get(project, site.unlisted) for project in projects)
        project = np.array(caps.project, dtype=np.int32)
        return cls(
            now_s=now.timestamp(),
            site=site,
            tasks=_table(ready, owner, owners, project, _bounds(site, owners, project, policies)),
            shapes=tuple(ready.shapes),
            gangs=tuple(ready.gangs),
            owners=owners,
            projects=projects,
            policies=policies,
            usage=usage,
            caps=caps,
            pools=_with_windows(
                reachable_pools(
                    clusters, queueing, avoid or {}, site.taints, unexcluding, data=site.data, bad_gpus=bad_gpus or {}
                ),
                live,
                site,
            ),
            live=live,
            unreachable=unreachable or {},
            uid=uid,
            plugins=plugins or {},
            ends=ends or {},
            promised=promised or {},
            running=tuple(sorted(_with_class(running, urged or {}), key=lambda row: row.attempt)),
            outlook=outlook,
            avoid=avoid or {},
            urged=urged or {},
            clusters=clusters,
            bad_gpus=bad_gpus or {},
        )

    @property
    def now_us(self) -> int:
        """The moment in whole microseconds, as tasks tell theirs."""
        return round(self.now_s * 1e6)

    def queued_jobs(self) -> Iterator[tuple[Attempt, int]]:
        """Yield the jobs that wait in native queues for nothing but room, each with the rank of its class.

        Those for which others of their gang wait on nodes rank before every class: what these hold is idle until then.
        """
        begun = {row.gang for row in self.running if row.gang and not row.is_queued}
        rank = {row.attempt: AWAITED if row.gang in begun else row.priority for row in self.running}
        live = {attempt.id for attempt in self.live}
        for attempt in self.live:
            may_begin = not attempt.cancel_sent and live.isdisjoint(attempt.behind)
            if attempt.state in _WAITING and may_begin:
                yield attempt, rank.get(attempt.id, 0)


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


def _in_order(owners: Sequence[tuple[str, int]], codes: Sequence[int]) -> tuple[tuple[Owner, ...], Smalls]:
    """Return the owners, and each task's, numbered in their own order: that of the input leaves no trace."""
    order = sorted(range(len(owners)), key=owners.__getitem__)
    number = np.empty(len(owners), dtype=np.int32)
    number[order] = np.arange(len(owners))
    return tuple(map(Owner._make, map(owners.__getitem__, order))), number[_ints(codes)]


class _Bounds(NamedTuple):
    """What each owner may say of his own tasks at most: the rank of the best class, and importance.

    `highest` is the rank of the best class that his project may have, whoever says so; `reserved` are the classes that
    certain users may use.
    """

    rank: Ints
    importance: Floats
    highest: Ints
    reserved: Sequence[tuple[PriorityClass, Sequence[int]]]


def _bounds(site: SitePolicy, owners: Sequence[Owner], project: Smalls, policies: Sequence[ProjectPolicy]) -> _Bounds:
    # Once for each project and each user: there may be thousands of pairs of them.
    highest = np.array([CLASS_RANK[policy.highest] for policy in policies], dtype=np.int64)[project]
    limits = np.array([policy.importance_limit or np.inf for policy in policies], dtype=np.float64)[project]
    of_user = {uid: best_rank(site.reserved_classes, uid) for uid in {owner.uid for owner in owners}}
    ranks = np.array([of_user[owner.uid] for owner in owners], dtype=np.int64)
    return _Bounds(np.maximum(ranks, highest), limits, highest, site.reserved_classes)


def _best_ranks(ready: ReadyColumns, owner: Smalls, bounds: _Bounds) -> Ints:
    """Return the rank of the best class that each task may have: by its owner's rights, or by those of who ranked it."""
    best = bounds.rank[owner]
    for task, uid in ready.ranked_by.items():
        row = bisect_left(ready.task, task)
        if row < len(ready.task) and ready.task[row] == task:
            best[row] = max(int(bounds.highest[owner[row]]), best_rank(bounds.reserved, uid))
    return best


def _table(ready: ReadyColumns, owner: Smalls, owners: Sequence[Owner], project: Smalls, bounds: _Bounds) -> TaskTable:
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
