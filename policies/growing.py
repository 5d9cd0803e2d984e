"""Running elastic work for which there is room to run on more nodes or GPUs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elisa.model.columns import RunningRow
from elisa.model.decisions import Resize
from elisa.model.ids import AttemptId, BackendName, ProjectName
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.policies.budgets import Owner, demand_of
from elisa.policies.budgets_caps import cap_rows
from elisa.policies.elastic import is_settled, pays, size_of, sized, sizes_above
from elisa.policies.makeroom_nodes import ground_of
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import Pool
from elisa.policies.preemption import Ground
from elisa.policies.profile import need_of
from elisa.policies.snapshot import AWAITED, Snapshot
from elisa.policies.walk import Walk

__all__ = ["NO_GROWTH", "Growth", "growth"]

_NOBODY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What sizes running attempts could have now, and which of them start again to have them."""

    room: Mapping[str, int]
    decisions: tuple[Resize, ...] = ()


NO_GROWTH = Growth(room={})


def growth(snapshot: Snapshot, walk: Walk, going: Collection[str]) -> Growth:
    """Return what a plan's starts leave for running elastic work, those left out that are `going` anyway."""
    rules, now_s = snapshot.site.preemption, snapshot.now_s
    rows = [one for one in snapshot.running if is_settled(one, rules, now_s) and one.attempt not in going]
    if not rows:
        return NO_GROWTH
    grower = _Grower(snapshot, walk)
    room = {row.attempt: size for row in sorted(rows, key=_in_turn) if (size := grower.room_for(row))}
    asked = [
        row for row in rows if row.attempt in room and pays(row, room[row.attempt], grower.rest_s(row), rules, now_s)
    ]
    return Growth(room=room, decisions=tuple(_decision(row, room[row.attempt], now_s) for row in asked))


def _in_turn(row: RunningRow) -> tuple[int, int, str]:
    return row.priority, row.started_us, row.attempt


class _Grower:
    """Gives out idle nodes to one attempt after another."""

    def __init__(self, snapshot: Snapshot, walk: Walk) -> None:
        self._snapshot = snapshot
        self._walk = walk
        self._best = _best_waiting(snapshot, walk)
        self._pools = {(pool.backend, pool.partition.name): pool for pool in snapshot.pools}
        self._grounds: dict[int, Ground] = {}
        self._reserved = {one.backend for one in snapshot.site.reservations}
        self._starting = {snapshot.projects[int(snapshot.tasks.project[one.row])] for one in walk.starts}

    def room_for(self, row: RunningRow) -> int:
        """Return the largest size that an attempt could have, and count it as taken; 0 if no larger than it is.

        Whoever waits for nodes of the same cluster and is of its class or a better one comes first, and so does who starts now
        on the same budget. Where room is reserved, nobody can tell whose it will be by then.
        """
        pool = self._pools.get((BackendName(row.backend), row.partition))
        if pool is None or pool.backend in self._reserved or row.project in self._starting:
            return 0
        # It did so before and got no more: others, or rules that are not known here, take the nodes in between.
        if 0 < size_of(row) <= row.grew_from:
            return 0
        if self._best.get(id(pool.nodes), _NOBODY) <= row.priority:
            return 0
        affordable = (size for size in sizes_above(row.request) if self._affords(row, size))
        if row.request.bounds.of_gpus:
            return next((size for size in affordable if self._take_gpus(row, size, pool)), 0)
        free = self._free(row, row.request, pool, but_not=row.nodes)
        size = next((size for size in affordable if _may_have(row, size, free, pool)), 0)
        if size:
            ground, need = self._ground(pool), need_of(row.request, _gpu_type(row), pool.nodes)
            for node in free[: size - len(row.nodes)]:
                ground.take(need, node)
        return size

    def _take_gpus(self, row: RunningRow, size: int, pool: Pool) -> bool:
        """Tell whether it could have so many GPUs on each node once it has left its own, and move it there if so.

        On its own nodes where that will do, so that others find as much room as before.
        """
        ground, own = self._ground(pool), set(self._ground(pool).places(row))
        need = need_of(sized(row.request, size), _gpu_type(row), pool.nodes)
        ground.add(row, 1)
        fit = sorted(self._free(row, sized(row.request, size), pool), key=lambda node: node not in own)
        if len(fit) < need.nodes:
            ground.add(row, -1)
            return False
        for node in fit[: need.nodes]:
            ground.take(need, node)
        return True

    def _free(self, row: RunningRow, request: Resources, pool: Pool, but_not: Collection[str] = ()) -> list[int]:
        """Return the nodes that it could have, as indices: idle, open long enough, and kept for nobody."""
        ground, need = self._ground(pool), need_of(request, _gpu_type(row), pool.nodes)
        closed = self._walk.closing.closed(pool, request.walltime_s)
        kept = self._walk.future.kept_nodes(pool)
        own = {place for place, name in enumerate(pool.nodes.names) if name in but_not}
        fit = fitting_nodes(request, _gpu_type(row), pool, free=False)
        fit = fit[pool.nodes.is_up[fit] & (True if closed is None else ~closed[fit])]
        return [node for node in fit.tolist() if node not in own and node not in kept and ground.fits(need, node)]

    def _affords(self, row: RunningRow, size: int) -> bool:
        """Tell whether its caps allow a whole run on so many nodes once it has given back what it holds and did not use."""
        owner, kind = Owner(ProjectName(row.project), row.owner_uid), _gpu_type(row)
        asked, held = sized(row.request, size), _remaining(row, self._snapshot.now_s)
        caps = cap_rows(self._snapshot.site, [owner], self._snapshot.usage.rows).hard()
        binding = (cap for cap in caps if cap.meter.counts(kind))
        return all(demand_of(asked, kind, one.meter) - demand_of(held, kind, one.meter) <= one.left for one in binding)

    def rest_s(self, row: RunningRow) -> float:
        """Return how long an attempt still runs, as is predicted, else until its walltime is over."""
        limit_s = float(_remaining(row, self._snapshot.now_s).walltime_s)
        end_s = self._snapshot.ends.get(AttemptId(row.attempt))
        return limit_s if end_s is None else min(limit_s, max(0.0, end_s - self._snapshot.now_s))

    def _ground(self, pool: Pool) -> Ground:
        key = id(pool.nodes)
        if key not in self._grounds:
            self._grounds[key] = ground_of(self._walk, pool)
        return self._grounds[key]


def _best_waiting(snapshot: Snapshot, walk: Walk) -> Mapping[int, int]:
    """Return, by cluster, the rank of the best class of all that wait for room there: ready tasks, and jobs in its queues.

    Whom others of their gang wait for come before every class.
    """
    tasks = snapshot.tasks
    waits = ~walk.why.are_refused_by_caps(tasks)
    waits[[start.row for start in walk.starts if start.taken.nodes or start.host >= 0]] = False
    best = np.full(len(snapshot.shapes), _NOBODY, dtype=np.int64)
    # The last stands for those in no gang.
    begun = np.array([*(gang.is_begun for gang in snapshot.gangs), False])
    ranks = np.where(begun[tasks.gang], AWAITED, tasks.priority)
    np.minimum.at(best, tasks.shape[waits], ranks[waits].astype(np.int64))
    found: dict[int, int] = {}
    for shape, ways in enumerate(walk.ways_of):
        for way in ways:
            cluster = id(snapshot.pools[walk.ways[way].pool].nodes)
            found[cluster] = min(found.get(cluster, _NOBODY), int(best[shape]))
    clusters = {pool.backend: id(pool.nodes) for pool in snapshot.pools}
    for attempt, rank in snapshot.queued_jobs():
        if attempt.backend in clusters:
            cluster = clusters[attempt.backend]
            found[cluster] = min(found.get(cluster, _NOBODY), rank)
    return found


def _may_have(row: RunningRow, size: int, free: Sequence[int], pool: Pool) -> bool:
    return not 0 < pool.partition.max_nodes < size and size <= len(row.nodes) + len(free)


def _gpu_type(row: RunningRow) -> str:
    return row.request.gpus.types[0] if row.request.gpus.types else ""


def _remaining(row: RunningRow, now_s: float) -> Resources:
    used_s = max(0.0, now_s - row.started_us / 1e6)
    return replace(row.request, walltime_s=max(0, int(row.request.walltime_s - used_s)))


def _decision(row: RunningRow, size: int, now_s: float) -> Resize:
    idle_s = round(now_s - row.roomy_us / 1e6)
    reason = because(ReasonCode.GROWS, was=size_of(row), size=size, of=row.request.bounds.unit, idle_s=idle_s)
    return Resize(attempt=AttemptId(row.attempt), size=size, reason=reason)
