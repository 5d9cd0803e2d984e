"""What a plan looks at: ready tasks, the caps on their owners, and the pools they may run in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.columns import GangRow, Outlook, ProjectUsage, ReadyColumns, RunningRow, Shape
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.native import ClusterView
from elisa.model.site import ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.allowances import effective
from elisa.policies.badgpus import BadGpu
from elisa.policies.budgets import Owner
from elisa.policies.budgets_caps import Caps, cap_rows
from elisa.policies.claims import claiming, current
from elisa.policies.fusion import native_jobs
from elisa.policies.inheritance import Urged
from elisa.policies.overcommit import PLAIN, as_promised, is_firm, ratio_of
from elisa.policies.placement_pools import Pool, reachable_pools
from elisa.policies.task_table import (
    Floats,
    Ints,
    Smalls,
    TaskTable,
    bounds_of,
    by_id,
    owners_in_order,
    task_table,
)

__all__ = ["Floats", "Ints", "KeptRoom", "OrderPlugin", "Smalls", "Snapshot", "TaskTable"]

AWAITED = -1
"""The rank of jobs that others of their gang wait for."""
_WAITING = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

OrderPlugin = Callable[["Snapshot"], npt.NDArray[np.generic]]
"""Give numbers for what is in a snapshot: an order key one for each ready task, the smaller first."""


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
        ready, outlook = claiming(by_id(ready), outlook or Outlook(), site.reservations, firm, queueing)
        ready = _as_urged(ready, urged or {})
        live = native_jobs(live)
        owners, owner = owners_in_order(ready.owners, ready.owner)
        caps = cap_rows(site, owners, usage.rows)
        projects = tuple(owner.project for owner in caps.projects)
        listed = {policy.name: policy for policy in site.projects}
        policies = tuple(listed.get(project, site.unlisted) for project in projects)
        project = np.array(caps.project, dtype=np.int32)
        return cls(
            now_s=now.timestamp(),
            site=site,
            tasks=task_table(ready, owner, owners, project, bounds_of(site, owners, project, policies)),
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
