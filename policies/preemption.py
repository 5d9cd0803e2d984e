"""Who is asked to leave so that somebody more important can start, at the least loss of work.

No ping-pong: a *standing* is (works with idle means only, rank of the class), and one may preempt another only if it is
strictly before it: ordinary before idle-only, or within the same the class better by at least the site's gap. That is a
strict partial order, and a victim comes back with the standing it had, so nobody it made room for can be its victim: every
chain of preemptions goes down this order and ends. (Whether an attempt works beyond a soft cap is judged in the order of
its project's attempts, so that the loss of those behind it never changes it.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from elisa.model.columns import RunningRow
from elisa.model.ids import ProjectName
from elisa.model.resources import Resources
from elisa.model.site import PreemptionRules, ServiceClass, SitePolicy
from elisa.policies.budgets import CapRow, Meter, Owner, charge_of, demand_of
from elisa.policies.fairshare import billed
from elisa.policies.placement_pools import NodeColumns
from elisa.policies.profile import Need, free_on, need_of

__all__ = [
    "Cleared",
    "Ground",
    "Standing",
    "Victim",
    "choose_victims",
    "cost_of",
    "may_preempt",
    "standings",
    "victims_of",
]

# One that misses its deadline by being stopped costs so many times the work it loses.
_LATE = 10.0


class Standing(NamedTuple):
    """How firm a task's hold on what it uses is: the smaller, the firmer."""

    is_idle_only: bool
    rank: int


def may_preempt(one: Standing, other: Standing, rules: PreemptionRules) -> bool:
    """Tell whether a task of the first standing may take the place of one of the second."""
    if one.is_idle_only != other.is_idle_only:
        return other.is_idle_only
    return one.rank + max(1, rules.class_gap) <= other.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """An attempt that may be asked to leave: what it would free on each of its nodes, and what that would cost.

    `cost` is in billing hours: the work since its newest checkpoint and the restart, more if its deadline is near.
    """

    row: RunningRow
    standing: Standing
    cost: float


def standings(running: Sequence[RunningRow], caps: Iterable[CapRow], site: SitePolicy) -> Mapping[str, Standing]:
    """Return the standing of each running attempt: idle-only beyond a soft cap or in a best-effort project."""
    services = {policy.name: policy.service for policy in site.projects}
    beyond = _beyond_soft_caps(running, [row for row in caps if not row.cap.is_hard])
    return {
        row.attempt: Standing(
            row.attempt in beyond
            or services.get(ProjectName(row.project), site.unlisted.service) is ServiceClass.BEST_EFFORT,
            row.priority,
        )
        for row in running
    }


def _beyond_soft_caps(running: Sequence[RunningRow], caps: Iterable[CapRow]) -> set[str]:
    """Return the attempts that use what lies beyond a soft cap, the best and oldest of an owner counted first."""
    of_owner: dict[Owner, list[RunningRow]] = defaultdict(list)
    for row in sorted(running, key=lambda one: (one.priority, one.started_us, one.attempt)):
        project = ProjectName(row.project)
        of_owner[Owner(project)].append(row)
        of_owner[Owner(project, row.owner_uid)].append(row)
    beyond: set[str] = set()
    for cap in caps:
        rows = of_owner.get(cap.owner, [])
        asked = [_demand(row, cap.meter) for row in rows]
        total = cap.used - sum(asked)
        for row, amount in zip(rows, asked, strict=True):
            total += amount
            if amount > 0 and total > cap.cap.limit:
                beyond.add(row.attempt)
    return beyond


def _demand(row: RunningRow, meter: Meter) -> int:
    kind = row.request.gpus.types[0] if row.request.gpus.types else ""
    return demand_of(row.request, kind, meter)


def victims_of(
    running: Sequence[RunningRow], caps: Iterable[CapRow], site: SitePolicy, now_s: float
) -> tuple[Victim, ...]:
    """Return the running attempts that anybody may be allowed to preempt, with what their loss would cost."""
    standing = standings(running, caps, site)
    return tuple(
        Victim(row=row, standing=standing[row.attempt], cost=cost_of(row, site, now_s))
        for row in running
        if _is_fair_game(row, site.preemption, now_s)
    )


def _is_fair_game(row: RunningRow, rules: PreemptionRules, now_s: float) -> bool:
    """Tell whether an attempt is neither protected, nor leaving, nor priceless, nor too young, nor stopped too often."""
    if row.is_leaving or row.is_queued or row.is_protected or not row.is_preemptible:
        return False
    return (
        row.extra_cost < inf
        and now_s - row.started_us / 1e6 >= rules.minimum_run_s
        and row.times_preempted < rules.times
    )


def cost_of(row: RunningRow, site: SitePolicy, now_s: float) -> float:
    """Return what stopping an attempt now costs, in billing hours."""
    rules = site.preemption
    since_s = max(row.saved_us, row.started_us) / 1e6
    lost_s = 0.0 if row.saves_on_request else max(0.0, now_s - since_s)
    lost = billed(charge_of(row.request, round(lost_s + rules.restart_s)), site.fair_share.billing)
    is_late = row.slack_s < lost_s + rules.restart_s + rules.grace_s
    return (lost * _LATE if is_late else lost) + row.extra_cost


class Ground:
    """What would be free on each node of a cluster once everybody who was asked has left."""

    def __init__(self, nodes: NodeColumns, leaving: Iterable[RunningRow] = ()) -> None:
        """Begin with what is free and what `leaving` attempts give back."""
        self._nodes = nodes
        self._number = {name: place for place, name in enumerate(nodes.names)}
        self._free = free_on(nodes)
        self._needs: dict[tuple[Resources, str], Need] = {}
        self._gone: set[str] = set()
        for row in leaving:
            self.add(row, 1)

    def copy(self) -> Ground:
        """Return what can be changed without changing this."""
        other = Ground(self._nodes)
        other._free, other._gone = self._free.copy(), set(self._gone)
        return other

    def add(self, row: RunningRow, sign: int) -> None:
        """Give back what an attempt holds; with `sign` -1 take it again."""
        (self._gone.add if sign > 0 else self._gone.discard)(row.task)
        for node in self.places(row):
            self._free[:, node] += sign * self._held(row, node).amounts[:, node]

    def places(self, row: RunningRow) -> list[int]:
        """Return the cluster's nodes that an attempt runs on."""
        return [self._number[name] for name in row.nodes if name in self._number]

    def take(self, need: Need, node: int, sign: int = 1) -> None:
        """Take one node's part of a need; with `sign` -1 give it back."""
        self._free[:, node] -= sign * need.amounts[:, node]

    def fits(self, need: Need, node: int) -> bool:
        """Tell whether one node's part of a need is free."""
        return bool((self._free[:, node] >= need.amounts[:, node]).all())

    def lacks(self, nodes: Sequence[int]) -> bool:
        """Tell whether more was taken of some of these nodes than they have."""
        return bool((self._free[:, list(nodes)] < 0).any())

    @property
    def gone(self) -> AbstractSet[str]:
        """The tasks that were asked to leave."""
        return self._gone

    def columns(self) -> NodeColumns:
        """Return the nodes as they would then be."""
        cpus, memory_mib, *gpus = self._free
        return replace(
            self._nodes,
            free_cpus=cpus,
            free_memory_mib=memory_mib,
            free_gpus=np.array(gpus, dtype=np.int64).reshape(self._nodes.free_gpus.shape),
        )

    def is_left(self, tasks: AbstractSet[str]) -> bool:
        """Tell whether all of some tasks were asked to leave."""
        return tasks <= self._gone

    def _held(self, row: RunningRow, node: int) -> Need:
        kinds = [kind for place, kind in enumerate(self._nodes.gpu_types) if self._nodes.gpus[place, node]]
        wanted = [kind for kind in row.request.gpus.types if kind in kinds] or [*kinds, ""]
        key = (row.request, wanted[0])
        if key not in self._needs:
            self._needs[key] = need_of(*key, self._nodes)
        return self._needs[key]


class Cleared(NamedTuple):
    """The attempts that have to leave, and the nodes that the need then has."""

    victims: tuple[Victim, ...]
    nodes: tuple[int, ...]


class _Wanted(NamedTuple):
    """What is to fit, and which tasks must have left a node for it whatever else is free there."""

    need: Need
    bars: Mapping[int, AbstractSet[str]]

    def fits(self, ground: Ground, node: int) -> bool:
        """Tell whether one node's part of it could be there."""
        return ground.fits(self.need, node) and (node not in self.bars or ground.is_left(self.bars[node]))


def choose_victims(
    ground: Ground,
    need: Need,
    members: Sequence[int],
    eligible: Sequence[Victim],
    bars: Mapping[int, AbstractSet[str]] = MappingProxyType({}),
) -> Cleared | None:
    """Return the attempts to stop so that `need` fits on some of `members`, as cheaply as a greedy search finds.

    Nobody if it fits once those who were asked have left. None if not even all `eligible` would be enough; then `ground` is
    as before. Else the need is taken from `ground`, which the victims' holdings are added to. `bars` names tasks that must
    leave a node before it counts.
    """
    wanted = _Wanted(need, bars)
    on_node: dict[int, list[Victim]] = defaultdict(list)
    cheapest = sorted(eligible, key=lambda one: (one.cost, one.row.attempt))
    for victim in cheapest:
        for node in ground.places(victim.row):
            on_node[node].append(victim)
    for node, first in _barring(cheapest, bars):
        on_node[node] = [*first, *(one for one in on_node[node] if one.row.task not in bars[node])]
    chosen: list[Victim] = []
    picked: list[int] = []
    for _ in range(need.nodes):
        found = _cheapest(ground, wanted, [node for node in members if node not in picked], on_node, chosen)
        if found is None:
            _undo(ground, need, picked)
            for victim in chosen:
                ground.add(victim.row, -1)
            return None
        node, extra = found
        for victim in extra:
            ground.add(victim.row, 1)
        ground.take(need, node)
        picked.append(node)
        chosen.extend(extra)
    _undo(ground, need, picked)
    needed = _without_the_needless(ground, wanted, members, chosen)
    nodes = tuple([node for node in members if wanted.fits(ground, node)][: need.nodes])
    for node in nodes:
        ground.take(need, node)
    return Cleared(needed, nodes)


def _barring(
    cheapest: Sequence[Victim], bars: Mapping[int, AbstractSet[str]]
) -> Iterator[tuple[int, Sequence[Victim]]]:
    """Yield for each barred node those who bar it, the cheapest first; over switches they may be on other nodes."""
    barred = frozenset[str]().union(*bars.values())
    barring = [one for one in cheapest if one.row.task in barred] if barred else []
    yield from ((node, [one for one in barring if one.row.task in tasks]) for node, tasks in bars.items())


def _cheapest(
    ground: Ground,
    wanted: _Wanted,
    members: Sequence[int],
    on_node: Mapping[int, Sequence[Victim]],
    chosen: Sequence[Victim],
) -> tuple[int, list[Victim]] | None:
    """Return the node that is cheapest to clear, and whom to stop for it."""
    best: tuple[float, int, list[Victim]] | None = None
    for node in members:
        extra = _fewest(ground, wanted, node, [one for one in on_node.get(node, ()) if one not in chosen])
        if extra is None:
            continue
        cost = sum(victim.cost for victim in extra)
        if best is None or cost < best[0]:
            best = (cost, node, extra)
        if not extra:
            break
    return None if best is None else best[1:]


def _fewest(ground: Ground, wanted: _Wanted, node: int, candidates: Sequence[Victim]) -> list[Victim] | None:
    """Return the first candidates, taken in turn, with which the need fits on one node; None if all are too few."""
    extra: list[Victim] = []
    fits = wanted.fits(ground, node)
    for victim in candidates:
        if fits:
            break
        extra.append(victim)
        ground.add(victim.row, 1)
        fits = wanted.fits(ground, node)
    for victim in extra:
        ground.add(victim.row, -1)
    return extra if fits else None


def _undo(ground: Ground, need: Need, picked: Sequence[int]) -> None:
    for node in picked:
        ground.take(need, node, -1)


def _without_the_needless(
    ground: Ground, wanted: _Wanted, members: Sequence[int], chosen: Sequence[Victim]
) -> tuple[Victim, ...]:
    """Spare every attempt, the costliest first, without which there is still room on enough nodes."""
    spared: set[str] = set()
    for victim in sorted(chosen, key=lambda one: (-one.cost, one.row.attempt)):
        ground.add(victim.row, -1)
        if sum(wanted.fits(ground, node) for node in members) >= wanted.need.nodes:
            spared.add(victim.row.attempt)
        else:
            ground.add(victim.row, 1)
    return tuple(victim for victim in chosen if victim.row.attempt not in spared)
