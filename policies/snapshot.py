"""What a plan looks at: ready tasks as columns, the caps on their owners, and the pools they may run in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from elisa.model.columns import GangRow, ProjectUsage, ReadyColumns, Shape
from elisa.model.ids import BackendName, ProjectName
from elisa.model.native import ClusterView
from elisa.model.site import SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.budgets import CapRow, Owner, cap_rows
from elisa.policies.placement import Pool, reachable_pools

__all__ = ["Snapshot", "TaskTable"]

_MICRO = 1e-6
_WAITING = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

_T = TypeVar("_T", str, tuple[str, int])

Ints = npt.NDArray[np.int64]
Smalls = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskTable:
    """Ready tasks in the order of their ids, one array a column; times in seconds since the epoch.

    `owner` numbers (project, user) pairs, `project` projects. `deadline_s` is infinite without a deadline; `predicted_s`
    and `path_s` fall back to the walltime asked for.
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

    def __len__(self) -> int:
        return len(self.ids)


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
    usage: ProjectUsage
    caps: tuple[CapRow, ...]
    pools: tuple[Pool, ...]
    live: tuple[Attempt, ...]
    unreachable: Mapping[BackendName, str]
    uid: int | None

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
    ) -> Snapshot:
        """Return the snapshot of this moment.

        `queueing` names the backends with a queue of their own, `unreachable` those that gave no answer, and why. With
        `uid`, only tasks of that user are started.
        """
        order = np.array(sorted(range(len(ready.task)), key=ready.task.__getitem__), dtype=np.int64)
        owners, owner = _numbered(list(zip(ready.project, ready.owner_uid, strict=True)))
        projects, project_of = _numbered([name for name, _ in owners])
        owner = owner[order]
        members = tuple(Owner(ProjectName(name), uid_) for name, uid_ in owners)
        return cls(
            now_s=now.timestamp(),
            site=site,
            tasks=_table(ready, order, owner, project_of[owner] if len(owners) else owner),
            shapes=tuple(ready.shapes),
            gangs=tuple(ready.gangs),
            owners=members,
            projects=tuple(ProjectName(name) for name in projects),
            usage=usage,
            caps=cap_rows(site, members, usage.rows),
            pools=_with_windows(reachable_pools(clusters, queueing), live, site),
            live=tuple(live),
            unreachable=unreachable or {},
            uid=uid,
        )


def _numbered(values: Sequence[_T]) -> tuple[list[_T], Smalls]:
    """Number distinct values in their own order, so that the order of the input leaves no trace."""
    distinct = sorted(set(values))
    numbers = {value: number for number, value in enumerate(distinct)}
    return distinct, np.array([numbers[value] for value in values], dtype=np.int32)


def _table(ready: ReadyColumns, order: Ints, owner: Smalls, project: Smalls) -> TaskTable:
    count = len(order)
    shape = np.array(ready.shape, dtype=np.int32)[order]
    walltime = np.array([shape_.request.walltime_s for shape_ in ready.shapes], dtype=np.float64)
    asked_s = walltime[shape] if count else np.zeros(0)
    deadline_us = np.array(ready.deadline_us, dtype=np.float64)[order]
    return TaskTable(
        ids=tuple(ready.task[i] for i in order.tolist()),
        owner=owner,
        project=project,
        uid=np.array(ready.owner_uid, dtype=np.int64)[order],
        priority=np.array(ready.priority, dtype=np.int8)[order],
        importance=np.array(ready.importance, dtype=np.float64)[order],
        submitted_s=np.array(ready.submitted_us, dtype=np.float64)[order] * _MICRO,
        ready_s=np.array(ready.ready_us, dtype=np.float64)[order] * _MICRO,
        deadline_s=np.where(deadline_us > 0, deadline_us * _MICRO, np.inf),
        shape=shape,
        gang=_optional(ready.gang, -1, order).astype(np.int32),
        predicted_s=_known(_optional(ready.predicted_s, 0, order), asked_s),
        path_s=_known(_optional(ready.path_s, 0, order), asked_s),
        progress=_optional(ready.progress, 0, order),
    )


def _optional(column: Sequence[float], default: float, order: Ints) -> Floats:
    if not column:
        return np.full(len(order), default, dtype=np.float64)
    return np.array(column, dtype=np.float64)[order]


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
