"""Which of the free nodes a way gets: those with enough left that nobody else is to have, where ties and switches allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.policies.affinity import Presence
from elisa.policies.backfill import Backfill
from elisa.policies.closing import Closing
from elisa.policies.free import Free, Part
from elisa.policies.placement_nodes import fitting_nodes, is_local, most_on
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.placement_words import switch_words
from elisa.policies.reservations import QueueLimits
from elisa.policies.topology import on_few_switches

__all__ = ["Bounds", "FreeNodes"]

_Ints = npt.NDArray[np.int64]


class Bounds(NamedTuple):
    """What may keep a task from room that is free: who else is to have it, when, and who is there."""

    future: Backfill
    closing: Closing
    reserved: QueueLimits
    presence: Presence


class FreeNodes:
    """The nodes with room that is left, by `free` of each pool. What does not fit once is not tried again until `clear`."""

    def __init__(self, pools: Sequence[Pool], ways: Sequence[Way], free: Sequence[Free], bounds: Bounds) -> None:
        self._future, self._closing, _, self._presence = bounds
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
        self._free = free
        self._kept = [self._future.kept(number) for number in range(len(pools))]
        self._candidates: dict[int, list[int]] = {}
        self._parts: dict[int, Part] = {}

    def find(self, way: int) -> tuple[int, ...] | None:
        """Return as many nodes as a way needs, or None: then it needs not be asked again before `clear`."""
        if way in self._simple and self._gang is None:
            return self._first_fits(way, self._candidates_of(way))
        return self._find_with_care(way)

    def are_chosen(self, way: int) -> bool:
        """Tell whether it matters which nodes a way gets, where elisa places jobs itself, so that it must run on these."""
        pool = self._pools[self._ways[way].pool]
        return not pool.keeps_queue and (way in self._grouped or way in self._local or self._gathers(pool))

    def gather(self, nodes: int) -> None:
        """Place what comes next, so many nodes in all, on as few switches as there can be; 0 ends that."""
        self._gang = _Together(nodes) if nodes else None

    def _gathers(self, pool: Pool) -> bool:
        return self._gang is not None and bool(pool.nodes.switches) and not pool.keeps_queue

    def clear(self) -> None:
        """Forget which nodes were found too small."""
        self._candidates.clear()

    def fits(self, way: int, node: int) -> bool:
        """Tell whether one node's part of a request is free there, and kept for nobody else."""
        return self._part(way).fits(node) and self._future.fits(way, node)

    def look_again(self, ways: Sequence[int]) -> None:
        """Forget which nodes were found too small for these ways: some of what was kept for others is theirs now."""
        for way in ways:
            self._candidates.pop(way, None)

    def _find_with_care(self, way: int) -> tuple[int, ...] | None:
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
        nodes = self.stay_open(fitting_nodes(request, gpu_type, pool, free=True), request, pool)
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
        return sum(self.fits(way, node) for node in self._free_now(way).tolist())

    def stay_open(self, nodes: _Ints, request: Resources, pool: Pool) -> _Ints:
        """Return those of some nodes that do not close before a request is over."""
        closed = self._closing.closed(pool, request.walltime_s)
        return nodes if closed is None else nodes[~closed[nodes]]

    def too_spread(self, way: int) -> Reason | None:
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
