"""Who is served before and who after the ordinary order: guaranteed shares first, soft caps and best effort last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elisa.model.ids import ProjectName
from elisa.model.resources import Resources
from elisa.model.site import ServiceClass
from elisa.policies.ageing import ahead_us
from elisa.policies.budgets import CapRow, Meter, demand_of
from elisa.policies.drf import dominant_tags
from elisa.policies.fairshare import due_shares
from elisa.policies.ranks import Ranks, order_of
from elisa.policies.snapshot import Floats, Ints, Snapshot

__all__ = ["capacity_of", "dominant_shares", "has_tiers", "over_soft_cap", "tiers"]

_FIRST, _ORDINARY, _IDLE_ONLY = 0, 1, 2
_GROWTH = ("cpus", "memory_mib", "gpus")


def has_tiers(snapshot: Snapshot) -> bool:
    """Tell whether any rule of the site sets some tasks before or after the ordinary order."""
    services = {policy.service for policy in snapshot.policies}
    return bool(services - {ServiceClass.BURSTABLE}) or bool(snapshot.caps.soft())


def tiers(snapshot: Snapshot, order: Ints) -> npt.NDArray[np.int64]:
    """Return 0, 1 or 2 for each task (by row), given the order in which they would otherwise be served.

    0: of a guaranteed project, as far as its due share of the machine goes, or come of age and ahead of all others. 2: beyond
    a soft cap, or of a best-effort project: these get only what nobody else asks for, however long they wait.
    """
    tier = np.full(len(order), _ORDINARY, dtype=np.int64)
    service = np.array([_SERVICE[policy.service] for policy in snapshot.policies])
    of_task = service[snapshot.tasks.project]
    if (service == _FIRST).any():
        within = dominant_shares(snapshot, order) <= np.array(due_shares(snapshot))[snapshot.tasks.project]
        tier[(of_task == _FIRST) & within] = _FIRST
    tier[ahead_us(snapshot) <= snapshot.now_us] = _FIRST
    tier[(of_task == _IDLE_ONLY) | over_soft_cap(snapshot, order)] = _IDLE_ONLY
    return tier


_SERVICE = {
    ServiceClass.GUARANTEED: _FIRST,
    ServiceClass.BURSTABLE: _ORDINARY,
    ServiceClass.BEST_EFFORT: _IDLE_ONLY,
}


def over_soft_cap(snapshot: Snapshot, order: Ints) -> npt.NDArray[np.bool_]:
    """Return for each task (by row) whether it, after those before it in `order`, takes its owner beyond a soft cap."""
    over = np.zeros(len(order), dtype=np.bool_)
    soft = tuple(snapshot.caps.soft())
    for meter in dict.fromkeys(row.meter for row in soft):
        asked = _asked(snapshot, meter)[snapshot.tasks.shape]
        rows = [row for row in soft if row.meter == meter]
        for group, left in _limits(snapshot, rows):
            over |= _beyond(order, group, asked, left)
    return over


def _limits(snapshot: Snapshot, rows: Sequence[CapRow]) -> list[tuple[npt.NDArray[np.int32], Floats]]:
    """Return, for project caps and for user caps, the column that groups tasks and what is left for each group."""
    of_project = {row.owner.project: row.left for row in rows if row.owner.uid < 0}
    of_owner = {row.owner: row.left for row in rows if row.owner.uid >= 0}
    tasks = snapshot.tasks
    return [
        (tasks.project, np.array([of_project.get(name, np.inf) for name in snapshot.projects])),
        (tasks.owner, np.array([of_owner.get(owner, np.inf) for owner in snapshot.owners])),
    ]


def _asked(snapshot: Snapshot, meter: Meter) -> Floats:
    return np.array([_least(shape.request, meter) for shape in snapshot.shapes], dtype=np.float64)


def _least(request: Resources, meter: Meter) -> int:
    """Return what a request surely puts on a meter: one that may run on another type of GPU puts nothing on this one."""
    kinds = request.gpus.types or ("",)
    return min(demand_of(request, kind, meter) for kind in kinds)


def _beyond(order: Ints, group: npt.NDArray[np.int32], asked: Floats, left: Floats) -> npt.NDArray[np.bool_]:
    by_group = order[order_of(Ranks(group[order], int(group.max()) + 1))]
    total = np.cumsum(asked[by_group])
    starts = np.flatnonzero(np.concatenate(([True], np.diff(group[by_group]) != 0)))
    lengths = np.diff(np.append(starts, len(order)))
    before = np.repeat(total[starts] - asked[by_group][starts], lengths)
    over = np.zeros(len(order), dtype=np.bool_)
    over[by_group] = (total - before > left[group[by_group]]) & (asked[by_group] > 0)
    return over


def capacity_of(snapshot: Snapshot) -> Floats:
    """Return cores, memory and GPUs of all nodes that are up."""
    total = np.zeros(len(_GROWTH))
    for nodes in {id(pool.nodes): pool.nodes for pool in snapshot.pools}.values():
        up = nodes.is_up
        total += (nodes.cpus[up].sum(), nodes.memory_mib[up].sum(), nodes.gpus[:, up].sum())
    return total


def dominant_shares(snapshot: Snapshot, order: Ints) -> Floats:
    """Return for each task (by row) its project's dominant share of the machine once it runs, after those before it."""
    demand = np.array(
        [(s.request.cpus, s.request.memory_mib, s.request.gpu_count) for s in snapshot.shapes], dtype=np.float64
    )
    number = {name: place for place, name in enumerate(snapshot.projects)}
    held = np.zeros((len(snapshot.projects), len(_GROWTH)))
    for row in snapshot.usage.rows:
        place = number.get(ProjectName(row.project))
        if place is not None:
            held[place] += (row.cpus, row.memory_mib, row.gpus)
    tasks = snapshot.tasks
    tags = np.empty(len(order), dtype=np.float64)
    tags[order] = dominant_tags(
        tasks.project[order].astype(np.int64),
        demand[tasks.shape[order]],
        held,
        capacity_of(snapshot),
        np.ones(len(snapshot.projects)),
    )
    return tags
