"""The room that is left while a plan is made: it only shrinks, so that what does not fit once need not be tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.ids import BackendName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.policies.affinity import Presence
from elisa.policies.backfill import Backfill, Promise
from elisa.policies.closing import Closing
from elisa.policies.free import Free, Part
from elisa.policies.placement_nodes import fitting_nodes, is_local, most_on
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.placement_words import switch_words
from elisa.policies.reservations import QueueLimits
from elisa.policies.topology import on_few_switches

__all__ = ["Bounds", "Room", "Taken"]

_Ints = npt.NDArray[np.int64]


class Taken(NamedTuple):
    """Room that was taken: nodes by index, or a place in the queue when `nodes` is empty.

    On `pinned` nodes it must run and nowhere else, now or later: on all that it took, or on those that it waits for.
    """

    way: int
    nodes: tuple[int, ...]
    pinned: tuple[int, ...] = ()


class Bounds(NamedTuple):
    """What may keep a task from room that is free: who else is to have it, when, and who is there."""

    future: Backfill
    closing: Closing
    reserved: QueueLimits
    presence: Presence


class Room:
    """Free nodes, places in native queues and submissions of this tick.

    Ways are numbered as in `ways`. In a pool with a queue, a job that fits on free nodes does not use up the window, as
    long as fewer jobs wait there than the window allows: so an idle cluster fills in one tick, and a full one is not
    flooded. `presence` knows by which ways tasks go that are tied to others.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        ways: Sequence[Way],
        submits_per_tick: int,
        bounds: Bounds,
    ) -> None:
        self._future, self._closing, self._reserved, self._presence = bounds
        self._has_reserved = not bounds.reserved.is_empty
        self._tied = bounds.presence.tied
        self._gang: _Together | None = None
        self._local = frozenset(
            number for number, way in enumerate(ways) if way.request.data and is_local(way.request, pools[way.pool])
        )
        self._grouped = frozenset(
            number for number, way in enumerate(ways) if _is_grouped(way.request, pools[way.pool])
        )
        # The others only need nodes with enough left: nobody else's place, data or switch matters, and no licence.
        particular = self._local.union(self._grouped, self._tied)
        self._simple = frozenset(
            number
            for number, way in enumerate(ways)
            if number not in particular and not way.request.licences and pools[way.pool].members.size
        )
        self._pools = pools
        self._ways = ways
        self._limit = submits_per_tick
        self._submits: dict[BackendName, int] = {pool.backend: submits_per_tick for pool in pools}
        self._window = [pool.window - pool.queued for pool in pools]
        free = {id(pool.nodes): Free(pool.nodes, pool.licences) for pool in pools}
        self._free = [free[id(pool.nodes)] for pool in pools]
        self._kept = [self._future.kept(number) for number in range(len(pools))]
        self._candidates: dict[int, list[int]] = {}
        self._parts: dict[int, Part] = {}

    def place_now(self, way: int) -> Taken | None:
        """Take free nodes for one request, or return None: then nothing fits this way until something is given back."""
        number = self._ways[way].pool
        pool = self._pools[number]
        if self._submits[pool.backend] <= 0 or (pool.keeps_queue and self._window[number] <= 0):
            return None
        if self._has_reserved and self._reserved.refusing(way) is not None:
            return None
        if way in self._simple and self._gang is None:
            nodes = self._first_fits(way, self._candidates_of(way))
            return None if nodes is None else self._take(Taken(way, nodes))
        return self._place_with_care(way, pool)

    def _place_with_care(self, way: int, pool: Pool) -> Taken | None:
        nodes = self._fit(way)
        if nodes is None:
            return None
        is_chosen = not pool.keeps_queue and (way in self._grouped or way in self._local or self._gathers(pool))
        taken = self._take(Taken(way, nodes, nodes if is_chosen else ()))
        return taken if way not in self._tied else self._bound(way, nodes, is_chosen=is_chosen)

    def _take(self, taken: Taken) -> Taken:
        request, number, gpu_type, _ = self._ways[taken.way]
        self._submits[self._pools[number].backend] -= 1
        if self._has_reserved:
            self._reserved.take(taken.way)
        self._free[number].take(request, gpu_type, taken.nodes, 1)
        self._future.take(taken.way, taken.nodes)
        return taken

    def gather(self, nodes: int) -> None:
        """Place what comes next, so many nodes in all, on as few switches as there can be; 0 ends that."""
        self._gang = _Together(nodes) if nodes else None

    def _gathers(self, pool: Pool) -> bool:
        return self._gang is not None and bool(pool.nodes.switches) and not pool.keeps_queue

    def _bound(self, way: int, nodes: tuple[int, ...], *, is_chosen: bool) -> Taken:
        """Note where a task is that is tied to others, and pin it there if that was chosen for their sake."""
        shape, pool = self._tied[way], self._pools[self._ways[way].pool]
        self._presence.take(shape, pool, nodes, lasts_s=self._ways[way].lasts_s)
        is_wish = not pool.keeps_queue and self._presence.preference(shape, pool) is not None
        return Taken(way, nodes, nodes if is_chosen or is_wish or self._presence.is_held(shape) else ())

    def widen(self, way: int, nodes: tuple[int, ...]) -> bool:
        """Take as much again on the same nodes, by no submission of its own; tell whether it is free there."""
        request, number, gpu_type, _ = self._ways[way]
        free, fits = self._free[number], self._part(way).fits
        is_free = all(fits(node) and self._future.fits(way, node) for node in nodes)
        if not (is_free and free.has_licences(request)):
            return False
        free.take(request, gpu_type, nodes, 1)
        self._future.take(way, nodes)
        return True

    def place_in_queue(self, way: int) -> Taken | None:
        """Take a place in the pool's queue for one request, or return None if it keeps none or none is left."""
        number = self._ways[way].pool
        pool = self._pools[number]
        if self._submits[pool.backend] <= 0 or not pool.keeps_queue or self._window[number] <= 0:
            return None
        if self._reserved.refusing(way) is not None:
            return None
        pinned = self._nodes_to_wait_for(way) if way in self._tied else ()
        if pinned is None:
            return None
        self._submits[pool.backend] -= 1
        self._reserved.take(way)
        self._window[number] -= 1
        if way in self._tied:
            self._presence.take(self._tied[way], pool, pinned)
        return Taken(way, (), pinned)

    def may_wait(self, way: int) -> bool:
        """Tell whether a place in the queue would do for a task, were there one."""
        return way not in self._tied or self._nodes_to_wait_for(way) is not None

    def _nodes_to_wait_for(self, way: int) -> tuple[int, ...] | None:
        """Return the nodes that a task must wait for which is tied to others, none if it may get any that it is not kept off.

        None: it may not wait in the queue. One that must be apart from others can't where the manager would not keep it off
        their nodes.
        """
        request, number, gpu_type, _ = self._ways[way]
        shape, pool = self._tied[way], self._pools[number]
        if not self._presence.is_held(shape):
            return ()
        fitting = self._open(fitting_nodes(request, gpu_type, pool, free=False), request, pool)
        usable = fitting[self._presence.allowed(shape, pool)[fitting] & pool.nodes.is_up[fitting]]
        if usable.size < request.nodes:
            return None
        if self._presence.is_anchored(shape, pool):
            return tuple(usable[: request.nodes].tolist())
        return () if pool.excludes or self._presence.refusal(shape, pool) is None else None

    def give_back(self, taken: Taken) -> None:
        """Undo one placement; ways that were tried in between are open again."""
        request, number, gpu_type, _ = self._ways[taken.way]
        self._submits[self._pools[number].backend] += 1
        self._reserved.take(taken.way, -1)
        self._free[number].take(request, gpu_type, taken.nodes, -1)
        if taken.nodes:
            self._future.take(taken.way, taken.nodes, -1)
        else:
            self._window[number] += 1
        if taken.way in self._tied:
            nodes = taken.nodes or taken.pinned
            lasts_s = self._ways[taken.way].lasts_s if taken.nodes else inf
            self._presence.take(self._tied[taken.way], self._pools[number], nodes, -1, lasts_s)
        self._candidates.clear()

    def exchange(self, taken: Taken, way: int) -> Taken | None:
        """Take free nodes by another way of the same pool in place of what was taken; None, and all as before, if it can't.

        Not for tasks that are tied to others.
        """
        self.give_back(taken)
        other = self.place_now(way)
        if other is None:
            self._take(taken)
        return other

    def _fit(self, way: int) -> tuple[int, ...] | None:
        request, number, *_ = self._ways[way]
        pool = self._pools[number]
        free = self._free[number]
        if not pool.members.size or not free.has_licences(request):
            return None
        if way in self._grouped or self._gathers(pool):
            return self._on_few_switches(way)
        if way in self._tied:
            return self._first_fits(way, self._beside_and_apart(way))
        return self._first_fits(way, self._candidates_of(way))

    def _candidates_of(self, way: int) -> list[int]:
        candidates = self._candidates.get(way)
        if candidates is None:
            # The last comes first: taking from the end of a list is cheap.
            candidates = self._candidates[way] = self._free_now(way)[::-1].tolist()
        return candidates

    def _first_fits(self, way: int, candidates: list[int]) -> tuple[int, ...] | None:
        """Return as many of the last candidates as a way needs that have enough for it; None if they are too few.

        Those that no longer fit are dropped for good.
        """
        # `Part.fits`, without a call for each node: it is looked at more nodes than at anything else.
        cpus, least_cpus, gpus, least_gpus, memory, least_memory = self._part(way)
        wanted, kept = self._ways[way].request.nodes, self._kept[self._ways[way].pool]
        found: list[int] = []
        place = len(candidates)
        while place and len(found) < wanted:
            place -= 1
            node = candidates[place]
            has_enough = cpus[node] >= least_cpus and gpus[node] >= least_gpus and memory[node] >= least_memory
            if has_enough and (node not in kept or self._future.fits(way, node)):
                found.append(node)
        if len(candidates) - place > len(found):
            candidates[place:] = found[::-1]
        return tuple(found) if len(found) == wanted else None

    def _part(self, way: int) -> Part:
        """Return what one node must have left for its part of a request."""
        part = self._parts.get(way)
        if part is None:
            request, number, gpu_type, _ = self._ways[way]
            part = self._parts[way] = self._free[number].part(request, gpu_type)
        return part

    def _on_few_switches(self, way: int) -> tuple[int, ...] | None:
        request, number, *_ = self._ways[way]
        pool, fits, kept = self._pools[number], self._part(way).fits, self._kept[number]
        tried = self._beside_and_apart(way) if way in self._tied else self._free_now(way)[::-1].tolist()
        nodes = [node for node in reversed(tried) if fits(node) and (node not in kept or self._future.fits(way, node))]
        gang = self._gang or _Together(0)
        chosen = on_few_switches(
            nodes,
            pool.nodes.switches,
            request.nodes,
            most=request.switches,
            favoured=gang.switches.get(id(pool.nodes), ()),
            in_all=gang.nodes,
        )
        if chosen is not None:
            gang.enter(id(pool.nodes), [pool.nodes.switches[node] for node in chosen])
        return chosen

    def _free_now(self, way: int) -> _Ints:
        request, number, gpu_type, _ = self._ways[way]
        pool = self._pools[number]
        nodes = self._open(fitting_nodes(request, gpu_type, pool, free=True), request, pool)
        own = self._future.own_nodes(way)
        # What was reserved for it first, so that others keep what was not.
        return nodes[np.argsort(~np.isin(nodes, list(own)), kind="stable")] if own else nodes

    def _beside_and_apart(self, way: int) -> list[int]:
        """Return the nodes to try for a task that is tied to others, what it prefers last: others may come and go meanwhile."""
        shape, pool = self._tied[way], self._pools[self._ways[way].pool]
        nodes = self._free_now(way)
        nodes = nodes[self._presence.allowed(shape, pool, lasts_s=self._ways[way].lasts_s)[nodes]]
        parts = self._presence.preference(shape, pool)
        if parts is not None:
            nodes = nodes[np.argsort(-parts[nodes], kind="stable")]
        tried: list[int] = nodes[::-1].tolist()
        return tried

    def count(self, way: int) -> int:
        """Return on how many nodes there is room now for one node's part of a request."""
        fits = self._part(way).fits
        return sum(fits(node) and self._future.fits(way, node) for node in self._free_now(way).tolist())

    def _open(self, nodes: _Ints, request: Resources, pool: Pool) -> _Ints:
        closed = self._closing.closed(pool, request.walltime_s)
        return nodes if closed is None else nodes[~closed[nodes]]

    def reserve(self, choices: Sequence[Sequence[int]], holder: str) -> Promise | None:
        """Keep room for jobs that start together later, each by one of its ways; None if it cannot be foreseen."""
        open_ways = [[way for way in ways if self._waits_for_nodes(way)] for ways in choices]
        return self._future.reserve(open_ways, holder)

    def look_again(self, ways: Sequence[int]) -> None:
        """Forget which nodes were found too small for these ways: some of what was kept for others is theirs now."""
        for way in ways:
            self._candidates.pop(way, None)

    def _waits_for_nodes(self, way: int) -> bool:
        request, number, *_ = self._ways[way]
        return self._submits[self._pools[number].backend] > 0 and self._free[number].has_licences(request)

    def refusal(self, way: int) -> Reason:
        """Return why the way is closed."""
        request, number, gpu_type, _ = self._ways[way]
        pool = self._pools[number]
        names: dict[str, str | int | float] = {"backend": pool.backend, "partition": pool.partition.name}
        if self._submits[pool.backend] <= 0:
            return because(ReasonCode.SUBMIT_RATE, backend=pool.backend, limit=self._limit)
        reservation = self._reserved.refusing(way) or self._future.in_the_way(way)
        if reservation is not None:
            return self._reserved.refusal(reservation, way)
        if way in self._tied and not (pool.keeps_queue and self._window[number] <= 0):
            tied = self._presence.refusal(self._tied[way], pool)
            if tied is not None:
                return tied
        if pool.keeps_queue:
            queued = pool.window - self._window[number]
            return because(ReasonCode.WINDOW_FULL, window=pool.window, queued=queued, **names)
        if self._free[number].has_room(request, gpu_type, pool):
            reason = self._too_spread(way) or self._kept_for_others(number, names)
            if reason is not None:
                return reason
        return self._free[number].refusal(request, gpu_type, pool, names)

    def _too_spread(self, way: int) -> Reason | None:
        """Return that the free nodes hang on too many switches for a way that is bound to few."""
        request, number, *_ = self._ways[way]
        if not (request.switches and way in self._grouped):
            return None
        pool, fits = self._pools[number], self._part(way).fits
        free = most_on(filter(fits, self._free_now(way).tolist()), request.switches, pool.nodes)
        if free >= request.nodes:
            return None
        names = {"backend": pool.backend, "partition": pool.partition.name}
        what = switch_words(request.switches)
        return because(ReasonCode.NO_ROOM, resource=what, asked=request.nodes, free=free, **names)

    def _kept_for_others(self, number: int, names: Mapping[str, str | int | float]) -> Reason | None:
        promise = self._future.promise(number)
        if promise is None:
            return None
        return because(ReasonCode.RESERVED_FOR_HIGHER, task=promise.holder, starts_at=promise.starts_at, **names)


class _Together:
    """A gang that is being placed: how many nodes it needs still, and on which switches of which cluster it is already."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.switches: dict[int, set[int]] = {}

    def enter(self, cluster: int, switches: Sequence[int]) -> None:
        """Note that one of it was placed on nodes of these switches."""
        self.nodes -= len(switches)
        self.switches.setdefault(cluster, set()).update(switches)


def _is_grouped(request: Resources, pool: Pool) -> bool:
    """Tell whether elisa chooses among switches: where it places work itself, or must know if enough is free on few."""
    return request.nodes > 1 and bool(pool.nodes.switches) and (not pool.keeps_queue or request.switches > 0)
