"""The ways by which the shapes of a snapshot may run, numbered: those of one shape in a row, the best first."""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.reasons import Reason
from elisa.policies.affinity import Presence
from elisa.policies.claims import Claims
from elisa.policies.closing import Closing, open_options
from elisa.policies.elastic import sized, sizes_above
from elisa.policies.overcommit import PLAIN, footprint
from elisa.policies.placement import options_of
from elisa.policies.placement_nodes import largest_size
from elisa.policies.placement_pools import Way
from elisa.policies.score import rank_options
from elisa.policies.snapshot import Snapshot

__all__ = ["Ways"]


class Ways:
    """Every way of every shape, with what each may use; `refusals` say of shapes why they have none.

    Behind the ways of an elastic shape stand those with more nodes or GPUs, which `larger` gives for each of them, the
    largest first. `claims` are the reservations that a way may use, to `guests` they are only lent. `counted` are the ways with
    what each counts for where nodes promise more than they have.
    """

    def __init__(self, snapshot: Snapshot, closing: Closing, presence: Presence) -> None:
        self._snapshot = snapshot
        self.all: list[Way] = []
        self.of: list[range] = []
        self.larger: dict[int, range] = {}
        self.claims: list[Claims] = []
        self.guests: set[int] = set()
        self.refusals: dict[int, Reason] = {}
        self._is_firm: list[bool] = []
        for number in range(len(snapshot.shapes)):
            self._open(number, closing, presence)
        self.counted: Sequence[Way] = self._counted()

    def _open(self, number: int, closing: Closing, presence: Presence) -> None:
        shape = self._snapshot.shapes[number]
        options = options_of(shape, self._snapshot.pools, self._snapshot.unreachable)
        options = open_options(shape, options, self._snapshot.pools, closing)
        first = len(self.all)
        ranked = rank_options(number, shape, options.ways, self._snapshot)
        self.all.extend(Way(shape.request, one.option.pool, one.option.gpu_type, shape.duration_s) for one in ranked)
        self.of.append(range(first, len(self.all)))
        if number in presence.bonds:
            presence.tied |= dict.fromkeys(self.of[number], number)
        elif shape.request.elastic is not None:
            for way in self.of[number]:
                self._open_larger(way)
        self.claims += [shape.claims] * (len(self.all) - first)
        if shape.is_guest:
            self.guests.update(range(first, len(self.all)))
        self._is_firm += [shape.is_firm] * (len(self.all) - first)
        if options.refusal is not None:
            self.refusals[number] = options.refusal

    def _open_larger(self, way: int) -> None:
        """Add the ways in which an elastic request gets more nodes or GPUs in the same place, the largest first."""
        request, number, gpu_type, duration_s = self.all[way]
        pool = self._snapshot.pools[number]
        most = largest_size(request, pool, gpu_type)
        first = len(self.all)
        self.all += [
            Way(sized(request, size), number, gpu_type, duration_s) for size in sizes_above(request) if size <= most
        ]
        self.larger[way] = range(first, len(self.all))

    def _counted(self) -> Sequence[Way]:
        pools = self._snapshot.pools
        if all(pool.promised == PLAIN for pool in pools):
            return self.all
        return [
            way._replace(request=footprint(way.request, pools[way.pool].promised)) if is_firm else way
            for way, is_firm in zip(self.all, self._is_firm, strict=True)
        ]
