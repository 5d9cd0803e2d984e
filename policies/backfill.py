"""Room kept free for work that cannot start yet, in pools where elisa places jobs itself.

Pools with a queue of their own are left alone: their manager backfills, and knows more than we do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.closures import CLOSING
from elisa.model.resources import Resources
from elisa.model.site import Closure, Reservation
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.affinity import Presence
from elisa.policies.claims import Claims, guests_of
from elisa.policies.heldroom import Held, Inside, held_rooms
from elisa.policies.overcommit import PLAIN, footprint, is_firm
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import NodeColumns, Pool, Way
from elisa.policies.profile import Asked, Hold, Need, Profile, Slot, members_that_fit, need_of
from elisa.policies.snapshot import KeptRoom, Snapshot
from elisa.policies.topology import on_few_switches

__all__ = ["Backfill", "Promise", "ends_of"]


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

    def __init__(
        self,
        snapshot: Snapshot,
        ways: Sequence[Way],
        claims: Sequence[Claims],
        guests: Collection[int],
        presence: Presence,
    ) -> None:
        """Take note of closed times and of what is reserved; `claims` are the reservations that each way may use.

        To `guests`, by way, they are only lent. `presence` knows by which ways tasks go that are tied to others.
        """
        self._presence = presence
        self._snapshot = snapshot
        self._ways = ways
        self._clusters = [id(snapshot.pools[way.pool].nodes) for way in ways]
        self._claims = claims
        self._guests = guests
        # For each cluster, and each set of reservations there that some way may use, what is free to such ways.
        self._profiles: dict[int, dict[Claims, Profile]] = {}
        self._held: dict[int, tuple[Held, ...]] = {}
        self._inside: dict[int, Inside] = {}
        self._placed: list[tuple[int, tuple[int, ...]]] = []
        self._needs: dict[int, Need] = {}
        self._kept: dict[int, set[int]] = defaultdict(set)
        self._promised: dict[int, set[int]] = defaultdict(set)
        self.promises: dict[int, Promise] = {}
        bounded = {one.backend for one in snapshot.site.closures} | {one.backend for one in snapshot.site.reservations}
        for pool in snapshot.pools:
            if not pool.keeps_queue and pool.backend in bounded and id(pool.nodes) not in self._profiles:
                self._begin(pool)
                self._note_closures(pool)
                self._note_held(pool)

    def kept(self, number: int) -> Collection[int]:
        """Return the nodes of pool `number`'s cluster on which something is kept: elsewhere a start needs no check.

        It grows as more is kept.
        """
        return self._kept[id(self._snapshot.pools[number].nodes)]

    def promise(self, number: int) -> Promise | None:
        """Return for whom room is first kept in the cluster of pool `number`, so that a start must be checked against it."""
        return self.promises.get(id(self._snapshot.pools[number].nodes))

    def fits(self, way: int, node: int) -> bool:
        """Tell whether the way could run on a node that has room now until its end, without touching what is kept."""
        cluster = self._clusters[way]
        # Where nothing is kept, what is free only grows with time.
        return node not in self._kept[cluster] or self._profile(way).fits_now(self._need(way), node)

    def promised_nodes(self, way: int) -> frozenset[int]:
        """Return the nodes of a way's cluster on which room is kept for somebody who cannot start yet, or reserved."""
        return self.reserved_nodes(way) | self.kept_nodes(self._pool(way))

    def kept_nodes(self, pool: Pool) -> frozenset[int]:
        """Return the nodes of a pool's cluster on which room is kept for somebody who cannot start yet."""
        return frozenset(self._promised.get(id(pool.nodes), ()))

    def reserved_nodes(self, way: int) -> frozenset[int]:
        """Return the nodes of a way's cluster with reserved room that it may not use, and would run into."""
        return frozenset(node for one in self._not_for(way) for node in one.nodes)

    def own_nodes(self, way: int) -> frozenset[int]:
        """Return the nodes of a way's cluster with room that is reserved for it at the time when it would run."""
        rooms = self._meeting(way, is_own=True) if way not in self._guests else ()
        return frozenset(node for one in rooms for node in one.nodes)

    def lender(self, way: int, nodes: Collection[int]) -> Reservation | None:
        """Return the first reservation of which a guest that was placed has nodes."""
        rooms = self._meeting(way, is_own=True) if way in self._guests else ()
        return next((one.reservation for one in rooms if not one.nodes.isdisjoint(nodes)), None)

    def in_the_way(self, way: int) -> Reservation | None:
        """Return the first reservation but for which the way had room; None if none is what it lacks."""
        held = self._not_for(way)
        if not held:
            return None
        request, number, gpu_type, _ = self._ways[way]
        unreserved = self._profiles[self._clusters[way]][self._all_claims(self._pool(way))]
        fitting = fitting_nodes(request, gpu_type, self._snapshot.pools[number], free=True).tolist()
        fits = sum(unreserved.fits_now(self._need(way), node) for node in fitting) >= request.nodes
        return held[0].reservation if fits else None

    def _not_for(self, way: int) -> Sequence[Held]:
        """Return the reserved room that a way may not use, and would run into."""
        return self._meeting(way, is_own=False)

    def _meeting(self, way: int, *, is_own: bool) -> Sequence[Held]:
        """Return the rooms of reservations at the time when a way would run: those that it may use, or the others."""
        rooms = self._held.get(self._clusters[way], ())
        if not rooms:
            return ()
        now_s, claims = self._snapshot.now_s, self._claims[way]
        met = [one for one in rooms if one.reservation.overlaps(now_s, now_s + self._need(way).duration_s)]
        return [one for one in met if (one.reservation.id in claims) is is_own]

    def take(self, way: int, nodes: tuple[int, ...], sign: int = 1) -> None:
        """Note a start on `nodes`; with `sign` -1 that it was undone."""
        if sign > 0:
            self._placed.append((way, nodes))
        else:
            self._placed.remove((way, nodes))
        for profile in self._profiles.get(self._clusters[way], {}).values():
            profile.take_now(self._need(way), nodes, sign)
        if self._claims[way] and self._clusters[way] in self._inside:
            self._use(way, nodes, sign)

    def _use(self, way: int, nodes: tuple[int, ...], sign: int) -> None:
        """Count what starts in reserved room of its own towards that, lest others lose the same room twice."""
        inside = self._inside[self._clusters[way]]
        for node in nodes:
            used = inside.take(self._need(way), node, self._key(way), sign)
            for key, profile in self._profiles[self._clusters[way]].items():
                for reservation, amounts in used:
                    if reservation.id not in key:
                        profile.give(node, amounts, inside.times_s)

    def reserve(self, choices: Sequence[Sequence[int]], holder: str) -> Promise | None:
        """Keep room for jobs that start together, each by one of its ways, at the earliest moment that is known.

        Several jobs must share a cluster, and take the first way that leads there. None if none of this can be foreseen, or
        only for later than the site looks ahead.
        """
        options = [ways for ways in self._together(choices) if ways]
        slots = [(self._profile(ways[0]).find([self._asked(way, holder) for way in ways]), ways) for ways in options]
        known = [(slot, ways) for slot, ways in slots if slot is not None]
        if not known:
            return None
        slot, ways = min(known, key=lambda pair: pair[0].start_s)
        if 0 < self._snapshot.site.backfill_lookahead_s < slot.start_s - self._snapshot.now_s:
            return None
        self._keep(ways, slot, holder)
        names = self._pool(ways[0]).nodes.names
        promise = Promise(holder, slot.start_s, tuple(names[node] for at in slot.nodes for node in at))
        self.promises.setdefault(self._clusters[ways[0]], promise)
        return promise

    def renew(self, ways: Sequence[int], kept: KeptRoom, holder: str) -> int | None:
        """Keep room again as it was promised before, and return by which way; None if it is no longer there."""
        if kept.starts_s < self._snapshot.now_s:
            return None
        for way in ways:
            slot = self._slot(way, kept)
            if not self._pool(way).keeps_queue and self._profile(way).can_keep(self._asked(way, holder), slot):
                self._keep([way], slot, holder)
                self.promises.setdefault(self._clusters[way], Promise("an earlier promise", kept.starts_s, kept.nodes))
                return way
        return None

    def give_up(self, way: int, kept: KeptRoom, holder: str) -> None:
        """Undo `renew`."""
        self._presence.release(holder)
        for profile in self._of_cluster(way).values():
            profile.give_up([self._need(way)], self._slot(way, kept))

    def _keep(self, ways: Sequence[int], slot: Slot, holder: str) -> None:
        for profile in self._of_cluster(ways[0]).values():
            profile.keep([self._need(way) for way in ways], slot)
        nodes = {node for nodes in slot.nodes for node in nodes}
        self._kept[self._clusters[ways[0]]] |= nodes
        self._promised[self._clusters[ways[0]]] |= nodes
        for way, own in zip(ways, slot.nodes, strict=True):
            if way in self._presence.tied:
                between_s = (slot.start_s, slot.start_s + self._need(way).duration_s)
                self._presence.pledge(self._presence.tied[way], self._pool(way), own, holder, between_s)

    def _slot(self, way: int, kept: KeptRoom) -> Slot:
        names = self._pool(way).nodes.names
        return Slot(kept.starts_s, ([names.index(name) for name in kept.nodes if name in names],))

    def _together(self, choices: Sequence[Sequence[int]]) -> list[list[int]]:
        placed = [[way for way in ways if not self._pool(way).keeps_queue] for ways in choices]
        if len(placed) == 1:
            return [[way] for way in placed[0]]
        clusters = dict.fromkeys(self._clusters[way] for ways in placed for way in ways)
        sets = [
            [[way for way in ways if self._clusters[way] == cluster][:1] for ways in placed] for cluster in clusters
        ]
        return [[way for ways in chosen for way in ways] for chosen in sets if all(chosen)]

    def _pool(self, way: int) -> Pool:
        return self._snapshot.pools[self._ways[way].pool]

    def _need(self, way: int) -> Need:
        need = self._needs.get(way)
        if need is None:
            request, _, gpu_type, duration_s = self._ways[way]
            need = need_of(request, gpu_type, self._pool(way).nodes)
            if duration_s not in {0, need.duration_s}:
                need = need._replace(duration_s=duration_s)
            self._needs[way] = need
        return need

    def _asked(self, way: int, holder: str) -> Asked:
        """Return what a way takes, the nodes that could ever give it, and what its ties make of them."""
        request, _, gpu_type, _ = self._ways[way]
        pool, need = self._pool(way), self._need(way)
        members = members_that_fit(request, gpu_type, pool)
        shape, switches = self._presence.tied.get(way), pool.nodes.switches

        def allows(start_s: float) -> npt.NDArray[np.bool_]:
            from_s = start_s if start_s > self._snapshot.now_s else None
            return self._presence.allowed(shape or 0, pool, lasts_s=need.duration_s, from_s=from_s, holder=holder)[
                members
            ]

        def choose(nodes: list[int]) -> Sequence[int] | None:
            return on_few_switches(nodes, switches, need.nodes, most=request.switches)

        def enter(start_s: float, nodes: Sequence[int], sign: int) -> None:
            self._presence.take(shape or 0, pool, nodes, sign, start_s - self._snapshot.now_s + need.duration_s)

        chooses = choose if request.switches > 0 and switches else None
        return Asked(need, members, choose=chooses) if shape is None else Asked(need, members, allows, chooses, enter)

    def _of_cluster(self, way: int) -> Mapping[Claims, Profile]:
        return self._profiles.get(self._clusters[way]) or self._begin(self._pool(way))

    def _profile(self, way: int) -> Profile:
        profiles = self._of_cluster(way)
        return profiles[self._key(way)] if len(profiles) > 1 else profiles[()]

    def _key(self, way: int) -> Claims:
        """Return the reservations of its cluster that a way may use."""
        return tuple(one for one in self._all_claims(self._pool(way)) if one in self._claims[way])

    def _all_claims(self, pool: Pool) -> Claims:
        return tuple(dict.fromkeys(one.id for one in self._reserved(pool)))

    def _reserved(self, pool: Pool) -> Sequence[Reservation]:
        return [one for one in self._snapshot.site.reservations if one.backend == pool.backend]

    def _begin(self, pool: Pool) -> Mapping[Claims, Profile]:
        """Work out a cluster's future, for everybody and for those who may use what is reserved there."""
        reserved, cluster = self._reserved(pool), id(pool.nodes)
        if not reserved:
            self._profiles[cluster] = {(): self._fresh(pool)}
            return self._profiles[cluster]
        own = {one: _holds(self._snapshot, pool, self._of_holder(one)) for one in reserved}
        profile = self._fresh(pool)
        is_lent = any(one.is_lent for one in reserved)
        leaving = guests_of(self._snapshot.running, self._snapshot.site.reservations) if is_lent else {}
        guests = _holds(self._snapshot, pool, leaving) if is_lent else ()
        rooms = self._held[cluster] = held_rooms(reserved, profile, own, pool.nodes, guests)
        self._inside[cluster] = Inside(rooms, profile.times_s)
        keys = {self._key(way) for way in range(len(self._ways)) if self._clusters[way] == cluster}
        self._profiles[cluster] = {key: self._fresh(pool) for key in (*keys, (), self._all_claims(pool))}
        for key, left in self._profiles[cluster].items():
            for room in rooms:
                if room.reservation.id not in key:
                    left.remove(room.amounts, room.window)
        return self._profiles[cluster]

    def _of_holder(self, reservation: Reservation) -> frozenset[str]:
        """Return the attempts that count towards a reservation."""
        running = self._snapshot.running
        return frozenset(row.attempt for row in running if reservation.is_for(row.project, row.owner_uid))

    def _fresh(self, pool: Pool) -> Profile:
        """Return what is free as time goes on: what runs gives back what it holds, what this plan started takes its part."""
        snapshot = self._snapshot
        durations = {shape.duration_s for shape in snapshot.shapes}
        moments = [snapshot.now_s + duration_s for duration_s in durations]
        closures = [one for one in snapshot.site.closures if one.backend == pool.backend]
        moments += [moment.timestamp() for one in closures for moment in (one.starts_at, one.ends_at)]
        exact = [moment.timestamp() for one in self._reserved(pool) for moment in (one.starts_at, one.ends_at)]
        profile = Profile(pool.nodes, _holds(snapshot, pool), snapshot.now_s, moments, exact)
        for way, nodes in self._placed:
            if self._pool(way).nodes is pool.nodes:
                profile.take_now(self._need(way), nodes)
        for closure in closures:
            if closure.ends_at.timestamp() > snapshot.now_s:
                nodes_closed = _named(closure, pool.nodes)
                profile.close(nodes_closed, closure.starts_at.timestamp(), closure.ends_at.timestamp())
        return profile

    def _note_closures(self, pool: Pool) -> None:
        for closure in self._snapshot.site.closures:
            if closure.backend == pool.backend and closure.ends_at.timestamp() > self._snapshot.now_s:
                self._kept[id(pool.nodes)].update(_named(closure, pool.nodes))
                self.promises.setdefault(id(pool.nodes), Promise(CLOSING, closure.starts_at.timestamp()))

    def _note_held(self, pool: Pool) -> None:
        for one in self._held.get(id(pool.nodes), ()):
            self._kept[id(pool.nodes)] |= one.nodes
            holder = Promise(f"project {one.reservation.project}", one.reservation.starts_at.timestamp())
            self.promises.setdefault(id(pool.nodes), holder)


def _named(closure: Closure, nodes: NodeColumns) -> list[int]:
    return [place for place, name in enumerate(nodes.names) if not closure.nodes or name in closure.nodes]


def _holds(snapshot: Snapshot, pool: Pool, of: Collection[str] | None = None) -> list[Hold]:
    """Return what live attempts hold on a cluster and when they give it back, at the latest when their time is up.

    With `of`, only what these hold.
    """
    number = {name: place for place, name in enumerate(pool.nodes.names)}
    needs: dict[tuple[Resources, str], Need] = {}
    firm = _firm(snapshot) if pool.promised != PLAIN else frozenset()
    holds = []
    for attempt in snapshot.live:
        is_wanted = of is None or attempt.id in of
        if attempt.backend == pool.backend and attempt.state is AttemptState.RUNNING and is_wanted:
            nodes = tuple(number[name] for name in attempt.nodes.split(",") if name in number)
            kind = _gpu_type(attempt, nodes, pool.nodes)
            request = footprint(attempt.request, pool.promised) if attempt.id in firm else attempt.request
            if (request, kind) not in needs:
                needs[request, kind] = need_of(request, kind, pool.nodes)
            holds.append(Hold(needs[request, kind], nodes, _end_s(attempt, snapshot)))
    return holds


def _gpu_type(attempt: Attempt, nodes: Sequence[int], columns: NodeColumns) -> str:
    if attempt.request.gpus.types:
        return attempt.request.gpus.types[0]
    kinds = [kind for row, kind in enumerate(columns.gpu_types) if nodes and columns.gpus[row, nodes[0]]]
    return kinds[0] if kinds else ""


def ends_of(snapshot: Snapshot) -> Mapping[str, float]:
    """Return when each task that runs is expected to be over, at the latest when its time is up."""
    running = (one for one in snapshot.live if one.state is AttemptState.RUNNING)
    return {one.task: _end_s(one, snapshot) for one in running}


def _end_s(attempt: Attempt, snapshot: Snapshot) -> float:
    """Return when an attempt ends: as predicted, unless that is past already; else when its walltime is over.

    One that was asked to leave is gone in a moment. Were its walltime believed, others would start for so long on what it
    leaves bit by bit, and whom it makes room for would wait for those.
    """
    now_s = snapshot.now_s
    began_s = attempt.started_at.timestamp() if attempt.started_at is not None else now_s
    limit_s = began_s + attempt.request.walltime_s
    guess_s = snapshot.ends.get(attempt.id, limit_s)
    end_s = guess_s if now_s < guess_s < limit_s else limit_s
    return min(end_s, now_s + snapshot.site.preemption.grace_s) if attempt.cancel_sent else end_s


def _firm(snapshot: Snapshot) -> frozenset[str]:
    """Return the attempts that are never overcommitted."""
    return frozenset(row.attempt for row in snapshot.running if is_firm(snapshot.site, row.project))
