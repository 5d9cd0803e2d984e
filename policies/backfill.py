"""Room kept free for work that cannot start yet, in pools where elisa places jobs itself.

Pools with a queue of their own are left alone: their manager backfills, and knows more than we do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import NamedTuple

from elisa.model.ids import AttemptId
from elisa.model.resources import Resources
from elisa.model.site import Closure
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.placement import NodeColumns, Pool, Way
from elisa.policies.profile import Hold, Need, Profile, Slot, members_that_fit, need_of
from elisa.policies.snapshot import Ints, KeptRoom, Snapshot

__all__ = ["Backfill", "Promise"]


class Promise(NamedTuple):
    """Room that is kept: for whom (a task's id, or a closure), and from when."""

    holder: str
    starts_s: float
    nodes: tuple[str, ...] = ()

    @property
    def starts_at(self) -> str:
        """The moment in words, in whole seconds: rounded up, because an earlier one might not be kept."""
        return datetime.fromtimestamp(ceil(self.starts_s), UTC).isoformat(timespec="seconds")


class Backfill:
    """The future of every pool without a queue, worked out only once something must wait for room in it."""

    def __init__(self, snapshot: Snapshot, ways: Sequence[Way]) -> None:
        self._snapshot = snapshot
        self._ways = ways
        self._profiles: dict[int, Profile] = {}
        self._placed: list[tuple[int, tuple[int, ...]]] = []
        self._needs: dict[int, Need] = {}
        self._kept: dict[int, set[int]] = defaultdict(set)
        self._promised: dict[int, set[int]] = defaultdict(set)
        self.promises: dict[int, Promise] = {}
        for pool in snapshot.pools:
            if not pool.keeps_queue and any(one.backend == pool.backend for one in snapshot.site.closures):
                self._close(pool)

    def watches(self, number: int) -> bool:
        """Tell whether room is kept for somebody in pool `number`, so that a start must be checked against it."""
        return id(self._snapshot.pools[number].nodes) in self._profiles

    def promise(self, number: int) -> Promise:
        """Return for whom room is first kept in the cluster of pool `number`."""
        return self.promises[id(self._snapshot.pools[number].nodes)]

    def fits(self, way: int, node: int) -> bool:
        """Tell whether the way could run on a node that has room now until its end, without touching what is kept."""
        cluster = self._cluster(way)
        # Where nothing is kept, what is free only grows with time.
        return node not in self._kept[cluster] or self._profiles[cluster].fits_now(self._need(way), node)

    def promised_nodes(self, pool: Pool) -> frozenset[int]:
        """Return the nodes of a pool's cluster on which room is kept for somebody who cannot start yet."""
        return frozenset(self._promised.get(id(pool.nodes), ()))

    def take(self, way: int, nodes: tuple[int, ...], sign: int = 1) -> None:
        """Note a start on `nodes`; with `sign` -1 that it was undone."""
        if sign > 0:
            self._placed.append((way, nodes))
        else:
            self._placed.remove((way, nodes))
        profile = self._profiles.get(self._cluster(way))
        if profile is not None:
            profile.take_now(self._need(way), nodes, sign)

    def reserve(self, choices: Sequence[Sequence[int]], holder: str) -> Promise | None:
        """Keep room for jobs that start together, each by one of its ways, at the earliest moment that is known.

        Several jobs must share a cluster, and take the first way that leads there. None if none of this can be foreseen.
        """
        options = [ways for ways in self._together(choices) if ways]
        slots = [(self._profile(ways[0]).find([self._need_and_nodes(way) for way in ways]), ways) for ways in options]
        known = [(slot, ways) for slot, ways in slots if slot is not None]
        if not known:
            return None
        slot, ways = min(known, key=lambda pair: pair[0].start_s)
        self._keep(ways, slot)
        names = self._pool(ways[0]).nodes.names
        promise = Promise(holder, slot.start_s, tuple(names[node] for at in slot.nodes for node in at))
        self.promises.setdefault(self._cluster(ways[0]), promise)
        return promise

    def renew(self, ways: Sequence[int], kept: KeptRoom) -> int | None:
        """Keep room again as it was promised before, and return by which way; None if it is no longer there."""
        if kept.starts_s < self._snapshot.now_s:
            return None
        for way in ways:
            slot = self._slot(way, kept)
            if not self._pool(way).keeps_queue and self._profile(way).can_keep(self._need_and_nodes(way), slot):
                self._keep([way], slot)
                self.promises.setdefault(self._cluster(way), Promise("an earlier promise", kept.starts_s, kept.nodes))
                return way
        return None

    def give_up(self, way: int, kept: KeptRoom) -> None:
        """Undo `renew`."""
        self._profile(way).give_up([self._need(way)], self._slot(way, kept))

    def _keep(self, ways: Sequence[int], slot: Slot) -> None:
        self._profile(ways[0]).keep([self._need(way) for way in ways], slot)
        nodes = {node for nodes in slot.nodes for node in nodes}
        self._kept[self._cluster(ways[0])] |= nodes
        self._promised[self._cluster(ways[0])] |= nodes

    def _slot(self, way: int, kept: KeptRoom) -> Slot:
        names = self._pool(way).nodes.names
        return Slot(kept.starts_s, ([names.index(name) for name in kept.nodes if name in names],))

    def _together(self, choices: Sequence[Sequence[int]]) -> list[list[int]]:
        placed = [[way for way in ways if not self._pool(way).keeps_queue] for ways in choices]
        if len(placed) == 1:
            return [[way] for way in placed[0]]
        clusters = dict.fromkeys(self._cluster(way) for ways in placed for way in ways)
        sets = [[[way for way in ways if self._cluster(way) == cluster][:1] for ways in placed] for cluster in clusters]
        return [[way for ways in chosen for way in ways] for chosen in sets if all(chosen)]

    def _pool(self, way: int) -> Pool:
        return self._snapshot.pools[self._ways[way].pool]

    def _cluster(self, way: int) -> int:
        return id(self._pool(way).nodes)

    def _need(self, way: int) -> Need:
        if way not in self._needs:
            request, _, gpu_type, duration_s = self._ways[way]
            need = need_of(request, gpu_type, self._pool(way).nodes)
            self._needs[way] = need._replace(duration_s=duration_s or need.duration_s)
        return self._needs[way]

    def _need_and_nodes(self, way: int) -> tuple[Need, Ints]:
        """Return what a way takes, and the nodes that could ever give it."""
        request, _, gpu_type, _ = self._ways[way]
        return self._need(way), members_that_fit(request, gpu_type, self._pool(way))

    def _profile(self, way: int) -> Profile:
        return self._profiles.get(self._cluster(way)) or self._begin(self._pool(way))

    def _begin(self, pool: Pool) -> Profile:
        """Work out a cluster's future: what runs there gives back what it holds, what this plan started takes its part."""
        snapshot = self._snapshot
        durations = {shape.duration_s for shape in snapshot.shapes}
        moments = [snapshot.now_s + duration_s for duration_s in durations]
        closures = [one for one in snapshot.site.closures if one.backend == pool.backend]
        moments += [moment.timestamp() for one in closures for moment in (one.starts_at, one.ends_at)]
        profile = Profile(pool.nodes, _holds(snapshot, pool), snapshot.now_s, moments)
        for way, nodes in self._placed:
            if self._pool(way).nodes is pool.nodes:
                profile.take_now(self._need(way), nodes)
        self._profiles[id(pool.nodes)] = profile
        return profile

    def _close(self, pool: Pool) -> None:
        profile = self._profiles.get(id(pool.nodes)) or self._begin(pool)
        for closure in self._snapshot.site.closures:
            if closure.backend == pool.backend and closure.ends_at.timestamp() > self._snapshot.now_s:
                nodes = _named(closure, pool.nodes)
                profile.close(nodes, closure.starts_at.timestamp(), closure.ends_at.timestamp())
                self._kept[id(pool.nodes)].update(nodes)
                self.promises.setdefault(id(pool.nodes), Promise("closure", closure.starts_at.timestamp()))


def _named(closure: Closure, nodes: NodeColumns) -> list[int]:
    return [place for place, name in enumerate(nodes.names) if not closure.nodes or name in closure.nodes]


def _holds(snapshot: Snapshot, pool: Pool) -> list[Hold]:
    """Return what live attempts hold on a cluster and when they give it back, at the latest when their time is up."""
    number = {name: place for place, name in enumerate(pool.nodes.names)}
    needs: dict[tuple[Resources, str], Need] = {}
    holds = []
    for attempt in snapshot.live:
        if attempt.backend == pool.backend and attempt.state is AttemptState.RUNNING:
            nodes = tuple(number[name] for name in attempt.nodes.split(",") if name in number)
            kind = _gpu_type(attempt, nodes, pool.nodes)
            if (attempt.request, kind) not in needs:
                needs[attempt.request, kind] = need_of(attempt.request, kind, pool.nodes)
            holds.append(Hold(needs[attempt.request, kind], nodes, _end_s(attempt, snapshot.ends, snapshot.now_s)))
    return holds


def _gpu_type(attempt: Attempt, nodes: Sequence[int], columns: NodeColumns) -> str:
    if attempt.request.gpus.types:
        return attempt.request.gpus.types[0]
    kinds = [kind for row, kind in enumerate(columns.gpu_types) if nodes and columns.gpus[row, nodes[0]]]
    return kinds[0] if kinds else ""


def _end_s(attempt: Attempt, predicted: Mapping[AttemptId, float], now_s: float) -> float:
    """Return when an attempt ends: as predicted, unless that is past already; else when its walltime is over."""
    began_s = attempt.started_at.timestamp() if attempt.started_at is not None else now_s
    limit_s = began_s + attempt.request.walltime_s
    guess_s = predicted.get(attempt.id, limit_s)
    return guess_s if now_s < guess_s < limit_s else limit_s
