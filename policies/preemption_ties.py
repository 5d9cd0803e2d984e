"""Where room is worth making for a task that is tied to others, or to few switches: only where it could then start."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from types import MappingProxyType

from elisa.policies.affinity import Presence
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.preemption import Cleared, Ground, Victim, choose_victims
from elisa.policies.profile import Need, members_that_fit

__all__ = ["Site", "clear_cheapest", "site_of"]

# So many sets of switches are looked at for one task: all of them, unless it may be spread over several of many.
_SETS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Sets of nodes, in each of which room would do; `bars` and `stay` are as in `Clearing`, if it `is_tied` to others."""

    sets: tuple[tuple[int, ...], ...]
    bars: Mapping[int, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    stay: frozenset[str] = frozenset()
    is_tied: bool = False

    @property
    def members(self) -> Sequence[int]:
        """All nodes of its sets."""
        return sorted({node for some in self.sets for node in some})

    def may_leave(self, victim: Victim) -> bool:
        """Tell whether a task would still be wanted there after this one has left."""
        return victim.row.task not in self.stay


def site_of(
    way: Way, pool: Pool, presence: Presence, tie: tuple[int, str] | None, but_not: Collection[int] = ()
) -> Site:
    """Return where to make room for one way of a task; `tie` is its shape and its id if it is tied to others.

    In a native queue nobody can tell who comes and goes meanwhile: there only nodes do that it may have at this moment.
    """
    members = [node for node in members_that_fit(way.request, way.gpu_type, pool).tolist() if node not in but_not]
    if tie is None:
        return Site(sets=tuple(_sets(way, pool, members)))
    shape, holder = tie
    clearing = presence.clearing(shape, pool, holder)
    if pool.keeps_queue:
        allowed = presence.allowed(shape, pool, holder=holder)
        return Site(
            sets=tuple(_sets(way, pool, [one for one in members if allowed[one]])), stay=clearing.stay, is_tied=True
        )
    members = [node for node in members if clearing.nodes[node]]
    return Site(sets=tuple(_sets(way, pool, members)), bars=clearing.bars, stay=clearing.stay, is_tied=True)


def _sets(way: Way, pool: Pool, members: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the nodes on which a request may be together, by sets of as many switches as it may have."""
    switches = pool.nodes.switches
    if not (way.request.switches and switches):
        yield tuple(members)
        return
    groups: dict[int, list[int]] = {}
    for node in members:
        groups.setdefault(switches[node] if switches[node] >= 0 else -2 - node, []).append(node)
    largest = sorted(groups.values(), key=len, reverse=True)
    most = min(way.request.switches, len(largest))
    together = (sorted(node for group in some for node in group) for some in combinations(largest, most))
    yield from (tuple(some) for some in islice(together, _SETS) if len(some) >= way.request.nodes)


def clear_cheapest(ground: Ground, need: Need, site: Site, eligible: Sequence[Victim]) -> Cleared | None:
    """Return whom to stop so that there is room in one of the site's sets, and its nodes; as `choose_victims` does in one."""
    willing = [victim for victim in eligible if site.may_leave(victim)]
    best: tuple[float, tuple[int, ...]] | None = None
    for members in site.sets if len(site.sets) > 1 else ():
        found = choose_victims(ground.copy(), need, members, willing, site.bars)
        cost = sum(victim.cost for victim in found.victims) if found is not None else 0.0
        if found is not None and (best is None or cost < best[0]):
            best = (cost, members)
    chosen = best[1] if best is not None else next(iter(site.sets), ())
    return choose_victims(ground, need, chosen, willing, site.bars) if chosen else None
