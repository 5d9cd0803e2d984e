"""The room that is left while a plan is made: it only shrinks, so that what does not fit once need not be tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from elisa.model.ids import BackendName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.backfill import Promise
from elisa.policies.free import Free
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.room_nodes import Bounds, FreeNodes

__all__ = ["Room", "Taken"]


class Taken(NamedTuple):
    """Room that was taken: nodes by index, or a place in the queue when `nodes` is empty.

    On `pinned` nodes it must run and nowhere else, now or later: on all that it took, or on those that it waits for.
    """

    way: int
    nodes: tuple[int, ...]
    pinned: tuple[int, ...] = ()


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
        self._future, _, self._reserved, self._presence = bounds
        self._has_reserved = not bounds.reserved.is_empty
        self._tied = bounds.presence.tied
        self._pools = pools
        self._ways = ways
        self._limit = submits_per_tick
        self._submits: dict[BackendName, int] = {pool.backend: submits_per_tick for pool in pools}
        self._window = [pool.window - pool.queued for pool in pools]
        free = {id(pool.nodes): Free(pool.nodes, pool.licences) for pool in pools}
        self._free = [free[id(pool.nodes)] for pool in pools]
        self.nodes = FreeNodes(pools, ways, self._free, bounds)

    def place_now(self, way: int) -> Taken | None:
        """Take free nodes for one request, or return None: then nothing fits this way until something is given back."""
        number = self._ways[way].pool
        pool = self._pools[number]
        if self._submits[pool.backend] <= 0 or (pool.keeps_queue and self._window[number] <= 0):
            return None
        if self._has_reserved and self._reserved.refusing(way) is not None:
            return None
        nodes = self.nodes.find(way)
        if nodes is None:
            return None
        is_chosen = self.nodes.are_chosen(way)
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

    def _bound(self, way: int, nodes: tuple[int, ...], *, is_chosen: bool) -> Taken:
        """Note where a task is that is tied to others, and pin it there if that was chosen for their sake."""
        shape, pool = self._tied[way], self._pools[self._ways[way].pool]
        self._presence.take(shape, pool, nodes, lasts_s=self._ways[way].lasts_s)
        is_wish = not pool.keeps_queue and self._presence.preference(shape, pool) is not None
        return Taken(way, nodes, nodes if is_chosen or is_wish or self._presence.is_held(shape) else ())

    def widen(self, way: int, nodes: tuple[int, ...]) -> bool:
        """Take as much again on the same nodes, by no submission of its own; tell whether it is free there."""
        request, number, gpu_type, _ = self._ways[way]
        free = self._free[number]
        if not (free.has_licences(request) and all(self.nodes.fits(way, node) for node in nodes)):
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
        fitting = self.nodes.stay_open(fitting_nodes(request, gpu_type, pool, free=False), request, pool)
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
        self.nodes.clear()

    def exchange(self, taken: Taken, way: int) -> Taken | None:
        """Take free nodes by another way of the same pool in place of what was taken; None, and all as before, if it can't.

        Not for tasks that are tied to others.
        """
        self.give_back(taken)
        other = self.place_now(way)
        if other is None:
            self._take(taken)
        return other

    def reserve(self, choices: Sequence[Sequence[int]], holder: str) -> Promise | None:
        """Keep room for jobs that start together later, each by one of its ways; None if it cannot be foreseen."""
        open_ways = [[way for way in ways if self._waits_for_nodes(way)] for ways in choices]
        return self._future.reserve(open_ways, holder)

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
            reason = self.nodes.too_spread(way) or self._kept_for_others(number, names)
            if reason is not None:
                return reason
        return self._free[number].refusal(request, gpu_type, pool, names)

    def _kept_for_others(self, number: int, names: Mapping[str, str | int | float]) -> Reason | None:
        promise = self._future.promise(number)
        if promise is None:
            return None
        return because(ReasonCode.RESERVED_FOR_HIGHER, task=promise.holder, starts_at=promise.starts_at, **names)
