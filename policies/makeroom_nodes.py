"""Nodes cleared for one request after another: elastic work asked to go on with less, and attempts to leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elisa.model.columns import RunningRow
from elisa.model.decisions import Preempt, Resize
from elisa.model.ids import AttemptId, TaskId
from elisa.model.reasons import Fact, ReasonCode, because
from elisa.policies.ageing import gone_ahead
from elisa.policies.elastic import has_claim, is_settled, size_of, spare_of
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.preemption import (
    Cleared,
    Ground,
    Standing,
    Victim,
    cost_of,
    may_preempt,
    standings,
    victims_of,
)
from elisa.policies.preemption_ties import Site, clear_cheapest
from elisa.policies.profile import Need, need_of
from elisa.policies.snapshot import Snapshot
from elisa.policies.walk import Walk

__all__ = ["Clearer", "ground_of"]


def ground_of(walk: Walk, pool: Pool, leaving: Sequence[RunningRow] = ()) -> Ground:
    """Return what is free on a pool's cluster once `leaving` have left and what a walk started there has begun."""
    ground = Ground(pool.nodes, leaving)
    for start in walk.starts:
        if walk.snapshot.pools[start.way.pool].nodes is pool.nodes:
            need = need_of(start.way.request, start.way.gpu_type, pool.nodes)
            for node in start.taken.nodes:
                ground.take(need, node)
    return ground


class _Served(NamedTuple):
    """A request for which nodes of one cluster were cleared, and who was asked for that."""

    cluster: int
    need: Need
    site: Site
    cleared: Cleared


class _Mark(NamedTuple):
    """How far a clearer has come."""

    decided: int
    served: int
    asked: frozenset[str]
    grounds: Mapping[int, Ground]


class Clearer:
    """Clears nodes for whoever is to have them; who was asked for one is not asked for another.

    Those `left_alone` came of age before they began: nobody takes their place.
    """

    def __init__(self, snapshot: Snapshot, walk: Walk) -> None:
        self.decisions: list[Preempt | Resize] = []
        self.asked: set[str] = set()
        self.standings = standings(snapshot.running, snapshot.caps, snapshot.site)
        self._snapshot = snapshot
        self._walk = walk
        ahead = gone_ahead(snapshot)
        firm = [row.attempt for row in snapshot.running if row.task in ahead]
        self.left_alone = {attempt for attempt in firm if not self.standings[attempt].is_idle_only}
        victims = victims_of(snapshot.running, snapshot.caps, snapshot.site, snapshot.now_s)
        self._victims = [one for one in victims if one.row.attempt not in self.left_alone]
        self._grounds: dict[int, Ground] = {}
        self._served: list[_Served] = []
        rules, now_s = snapshot.site.preemption, snapshot.now_s
        self._elastic = [row for row in snapshot.running if is_settled(row, rules, now_s)]

    @property
    def may_clear(self) -> bool:
        """Whether anybody could be asked to leave nodes: all of them, or what is more than the least of elastic work."""
        return self._snapshot.site.preemption.enabled or bool(self._elastic)

    def mark(self) -> _Mark:
        """Return how far it has come, for `undo`."""
        grounds = {cluster: ground.copy() for cluster, ground in self._grounds.items()}
        return _Mark(len(self.decisions), len(self._served), frozenset(self.asked), grounds)

    def has_asked(self, mark: _Mark) -> bool:
        """Tell whether anybody was asked since a mark."""
        return len(self.decisions) > mark.decided

    def undo(self, mark: _Mark) -> None:
        """Ask nobody who was asked since a mark."""
        del self.decisions[mark.decided :], self._served[mark.served :]
        self.asked, self._grounds = set(mark.asked), dict(mark.grounds)

    def grounds_since(self, mark: _Mark) -> Mapping[int, Ground]:
        """Return what is free on each cluster once all have left who were asked until now, with nothing taken since a mark."""
        grounds = {
            id(pool.nodes): mark.grounds.get(id(pool.nodes)) or self._begun(pool) for pool in self._snapshot.pools
        }
        grounds = {cluster: ground.copy() for cluster, ground in grounds.items()}
        for one in self._served[mark.served :]:
            for victim in one.cleared.victims:
                if victim.row.attempt in self.asked:
                    grounds[one.cluster].add(victim.row, 1)
        return grounds

    def spare(self, mark: _Mark) -> None:
        """Ask nobody since a mark without whom there is room for all requests since then, the costliest first."""
        since = {one.attempt for one in self.decisions[mark.decided :] if isinstance(one, Preempt)}
        chosen = [victim for victim in self._victims if victim.row.attempt in since]
        for victim in sorted(chosen, key=lambda one: (-one.cost, one.row.attempt)):
            attempt = victim.row.attempt
            if self._have_room_beside(victim.row, mark):
                self.asked.remove(attempt)
                self.decisions = [one for one in self.decisions if one.attempt != attempt]

    def _have_room_beside(self, row: RunningRow, mark: _Mark) -> bool:
        """Let an attempt stay and move those to free nodes whom it leaves no room; tell whether there is enough for all.

        One that is tied to others is not moved: where they are going to be was chosen after its place.
        """
        [cluster] = {id(pool.nodes) for pool in self._snapshot.pools if pool.backend == row.backend}
        served = [one for one in self._served[mark.served :] if one.cluster == cluster]
        if any(row.task in tasks for one in served for tasks in one.site.bars.values()):
            return False
        before = self._grounds[cluster]
        ground = self._grounds[cluster] = before.copy()
        ground.add(row, -1)
        moving = [one for one in served if ground.lacks(one.cleared.nodes)]
        if not any(one.site.is_tied for one in moving) and self._move(moving, ground):
            return True
        self._grounds[cluster] = before
        return False

    def _move(self, moving: Sequence[_Served], ground: Ground) -> bool:
        """Find other nodes for requests that had some cleared; tell whether there are enough free."""
        moved: list[_Served] = []
        for one in moving:
            for node in one.cleared.nodes:
                ground.take(one.need, node, -1)
        for one in moving:
            cleared = clear_cheapest(ground, one.need, one.site, ())
            if cleared is None:
                return False
            moved.append(one._replace(cleared=one.cleared._replace(nodes=cleared.nodes)))
        others = dict(zip(map(id, moving), moved, strict=True))
        self._served = [others.get(id(one), one) for one in self._served]
        return True

    def clear(self, way: Way, standing: Standing, beneficiary: TaskId, site: Site) -> Sequence[int] | None:
        """Ask as many as necessary to leave; return where that, with those who leave already, makes room, None if nowhere.

        Elastic work that goes on with fewer nodes loses no more than a start: it is asked before anybody has to wait.
        """
        nodes = self._make_smaller(way, standing, beneficiary, site)
        if nodes is not None or not self._snapshot.site.preemption.enabled:
            return nodes
        pool = self._snapshot.pools[way.pool]
        eligible = [
            victim
            for victim in self._victims
            if victim.row.attempt not in self.asked
            and victim.row.backend == pool.backend
            and may_preempt(standing, victim.standing, self._snapshot.site.preemption)
        ]
        need = need_of(way.request, way.gpu_type, pool.nodes)
        cleared = clear_cheapest(self._ground(pool), need, site, eligible)
        if cleared is None:
            return None
        for victim in cleared.victims:
            self.decide(beneficiary, victim.row, {"cost_hours": round(victim.cost, 3)})
        self._served.append(_Served(id(pool.nodes), need, site, cleared))
        return cleared.nodes

    def _make_smaller(self, way: Way, standing: Standing, beneficiary: TaskId, site: Site) -> Sequence[int] | None:
        """Ask as many as necessary to go on with less; return where that, with those who leave already, makes room."""
        pool = self._snapshot.pools[way.pool]
        need = need_of(way.request, way.gpu_type, pool.nodes)
        smaller = clear_cheapest(self._ground(pool), need, site, self._shrinkable(pool, standing, beneficiary, site))
        if smaller is None:
            return None
        for victim in smaller.victims:
            self._shrink(beneficiary, AttemptId(victim.row.attempt))
        self._served.append(_Served(id(pool.nodes), need, site, smaller))
        return smaller.nodes

    def _shrinkable(self, pool: Pool, standing: Standing, beneficiary: TaskId, site: Site) -> Sequence[Victim]:
        """Return what elastic work holds beyond its least, of those who did not give way to this task before.

        Who must leave a node altogether is not helped by having less.
        """
        if not self._elastic:
            return ()
        wanted = {pool.nodes.names[node] for node in site.members}
        barred = frozenset().union(*site.bars.values())
        rows = [
            row
            for row in self._elastic
            if row.backend == pool.backend
            and row.attempt not in self.asked
            and beneficiary not in row.gave_way_to
            and row.task not in barred
            and has_claim(standing, self.standings[row.attempt])
        ]
        spare = ((row, spare_of(row, wanted)) for row in rows)
        return [
            Victim(
                row=part,
                standing=self.standings[row.attempt],
                cost=cost_of(row, self._snapshot.site, self._snapshot.now_s),
            )
            for row, part in spare
            if part is not None
        ]

    def _shrink(self, beneficiary: TaskId, attempt: AttemptId) -> None:
        self.asked.add(attempt)
        row = next(one for one in self._elastic if one.attempt == attempt)
        bounds = row.request.bounds
        least = bounds.least
        reason = because(ReasonCode.SHRINKS, task=beneficiary, was=size_of(row), size=least, of=bounds.unit)
        self.decisions.append(Resize(attempt=attempt, size=least, reason=reason, beneficiary=beneficiary))

    def _ground(self, pool: Pool) -> Ground:
        """Return what will be free on the pool's cluster, less what this plan started there."""
        ground = self._grounds.get(id(pool.nodes))
        if ground is None:
            ground = self._grounds[id(pool.nodes)] = self._begun(pool)
        return ground

    def _begun(self, pool: Pool) -> Ground:
        leaving = [row for row in self._snapshot.running if row.is_leaving and row.backend == pool.backend]
        return ground_of(self._walk, pool, leaving)

    def decide(self, beneficiary: TaskId, victim: RunningRow, facts: dict[str, Fact]) -> None:
        """Ask a running or waiting attempt to leave."""
        self.asked.add(victim.attempt)
        reason = because(ReasonCode.PREEMPTED_FOR, task=beneficiary, **facts)
        self.decisions.append(Preempt(attempt=AttemptId(victim.attempt), beneficiary=beneficiary, reason=reason))
