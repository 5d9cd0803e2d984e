"""Which tasks are on which node, for those that must run beside or apart from others, or prefer to.

It is what Kubernetes calls affinity and anti-affinity between pods, over nodes or leaf switches. To be beside a circle of
tasks is to be where one of them lives, or else where one of the same pipeline was last; to be apart is to share no node with
any that lives, and holds from both sides. Over switches a task is on all nodes of the switches that it has a node of. Who must
be beside others waits for one that is queued or ready, but never for one that waits for it in turn: of a ring of such tasks
the first in the order goes where it likes, and the others follow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.affinity import Bond, Company, Neighbour, Over
from elisa.model.columns import Shape
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.affinity_order import awaited, followed
from elisa.policies.affinity_pledges import Pledge, Pledges, shunned_by
from elisa.policies.affinity_whereabouts import Stay, Whereabouts
from elisa.policies.placement_pools import NodeColumns, Pool
from elisa.policies.topology import switch_mates

__all__ = ["Clearing", "Presence"]

_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


class _Binding(NamedTuple):
    """A wish that must be met, as it stands for one shape: `state` tells how the others are, `nodes` where."""

    wants: str
    whom: int
    state: str
    nodes: frozenset[int]

    def allowed(self, count: int) -> _Bools:
        """Tell for each node whether it lets a task run there."""
        mask: _Bools = np.zeros(count, dtype=np.bool_)
        mask[list(self.nodes)] = True
        if self.wants == "beside":
            return mask
        # Where one waits in a queue, nobody knows which node it will get.
        return ~mask if self.state == "runs" else np.zeros(count, dtype=np.bool_)


class Clearing(NamedTuple):
    """Where room may be made for a task: on which nodes, which tasks must leave each of them first, and who must not."""

    nodes: _Bools
    bars: Mapping[int, frozenset[str]]
    stay: frozenset[str]


class Presence:
    """Who is where, kept true while a plan places more. Shapes go by number, nodes by their place in `pool.nodes`.

    `bonds` are of the shapes that are tied to others, `followers` those that must be beside some. `tied` is for who numbers
    the ways: the shape of each way of these.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        pools: Sequence[Pool],
        company: Company,
        now_s: float = 0.0,
        ends_s: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Begin with those of `company`; `ends_s` tells of live tasks when they are expected to be over."""
        self.bonds: Mapping[int, Bond] = {
            number: shape.bond for number, shape in enumerate(shapes) if shape.bond.ties or shape.bond.circles
        }
        self.followers = frozenset(number for number, bond in self.bonds.items() if tuple(followed(bond)))
        self.tied: dict[int, int] = {}
        self._company = company
        self._now_s = now_s
        self._ends_s = ends_s
        self._pledges = Pledges()
        self.is_patient = True
        """Whether a task waits for others that are ready: one that was promised room does not, for they came later."""
        self._members: defaultdict[int, Whereabouts] = defaultdict(Whereabouts)
        self._shunners: defaultdict[int, Whereabouts] = defaultdict(Whereabouts)
        self._awaited = awaited(self.bonds, self.followers)
        self._wide = frozenset(number for number, circle in enumerate(company.circles) if circle.over is Over.SWITCH)
        self._mates: dict[int, Mapping[int, tuple[int, ...]]] = {}
        if self.bonds:
            clusters = {str(pool.backend): pool.nodes for pool in pools}
            places = {name: {node: at for at, node in enumerate(one.names)} for name, one in clusters.items()}
            for one in company.neighbours:
                at = places.get(one.backend, {})
                self._enter_neighbour(one, clusters.get(one.backend), [at[name] for name in one.nodes if name in at])

    def _enter_neighbour(self, one: Neighbour, columns: NodeColumns | None, nodes: Sequence[int]) -> None:
        cluster = id(columns) if columns is not None else 0
        if one.is_over:
            for circle in one.circles:
                self._members[circle].is_over = True
                self._members[circle].was_on.update((cluster, node) for node in self._reach(circle, columns, nodes))
            return
        until_s = self._ends_s.get(one.task, inf)
        for book, circles in ((self._members, one.circles), (self._shunners, one.shuns)):
            for circle in circles:
                stay = Stay(cluster, self._reach(circle, columns, nodes), until_s, one.task)
                book[circle].enter(stay, one.backend, 1, is_placed=bool(one.nodes))

    def _reach(self, circle: int, columns: NodeColumns | None, nodes: Iterable[int]) -> tuple[int, ...]:
        """Return where a task on some nodes is for a circle: there, or over switches on all that share a switch with them.

        A node whose switch is not known is on one by itself.
        """
        if circle not in self._wide or columns is None:
            return tuple(nodes)
        return tuple(sorted({mate for node in nodes for mate in self._mates_of(node, columns)}))

    def _mates_of(self, node: int, columns: NodeColumns) -> Sequence[int]:
        if id(columns) not in self._mates:
            self._mates[id(columns)] = switch_mates(columns.switches)
        return self._mates[id(columns)].get(node, (node,))

    def take(self, number: int, pool: Pool, nodes: Sequence[int], sign: int = 1, lasts_s: float = inf) -> None:
        """Note that a task of a shape got these nodes, or without any that it waits in a queue; `sign` -1 undoes it."""
        bond, until_s = self.bonds[number], self._now_s + lasts_s
        for book, circles in ((self._members, bond.circles), (self._shunners, shunned_by(bond))):
            for circle in circles:
                stay = Stay(id(pool.nodes), self._reach(circle, pool.nodes, nodes), until_s)
                book[circle].enter(stay, pool.backend, sign, is_placed=bool(nodes))

    def is_held(self, number: int) -> bool:
        """Tell whether something must be true of the nodes that a task of the shape gets, for its own sake or for others'."""
        bond = self.bonds.get(number)
        if bond is None:
            return False
        return any(not tie.weight for tie in bond.ties) or not set(bond.circles).isdisjoint(self._company.held)

    def is_anchored(self, number: int, pool: Pool) -> bool:
        """Tell whether a task of the shape may only go where others are."""
        return any(one.wants == "beside" for one in self._bindings(number, pool))

    def allowed(
        self, number: int, pool: Pool, *, lasts_s: float = inf, from_s: float | None = None, holder: str = ""
    ) -> _Bools:
        """Tell for each node of the pool's cluster whether a task of the shape may begin there now, or `from_s` on.

        What is pledged to others meanwhile is closed to it, but not what is pledged to `holder`, the task itself.
        """
        count, begins_s = len(pool.nodes.names), self._now_s if from_s is None else from_s
        mask: _Bools = np.ones(count, dtype=np.bool_)
        for one in self._bindings(number, pool, -inf if from_s is None else from_s):
            mask &= one.allowed(count)
        mask &= self._pledges.spared(self.bonds[number], pool, (begins_s, begins_s + lasts_s), holder)
        if from_s is not None:
            mask &= self._pledges.drawing(*self._leans(number, from_s), pool, from_s, holder)
        return mask

    def _leans(self, number: int, at_s: float) -> tuple[frozenset[int], frozenset[int]]:
        """Return the circles that a task of the shape must be beside of whom nobody will live any more, or ever did."""
        leans = [one for one in followed(self.bonds[number]) if not self._members[one].lives(at_s)]
        strangers = [one for one in leans if not (self._members[one].is_over or self._members[one].stays)]
        return frozenset(leans), frozenset(strangers)

    def pledge(
        self, number: int, pool: Pool, nodes: Iterable[int], holder: str, between_s: tuple[float, float]
    ) -> None:
        """Keep nodes for a task of the shape, so that its ties can hold for all of a time."""
        bond, (from_s, until_s), own = self.bonds[number], between_s, frozenset(nodes)
        mates = [frozenset(self._mates_of(node, pool.nodes)) for node in own] if self._wide else [own]
        self._pledges.add(
            Pledge(
                holder, id(pool.nodes), own, from_s, until_s, frozenset(bond.circles), frozenset(shunned_by(bond)),
                *self._leans(number, from_s), self._wide,
                frozenset().union(*mates), frozenset.intersection(*mates),
            )
        )  # fmt: skip

    def release(self, holder: str) -> None:
        """Keep nothing for a task any longer."""
        self._pledges.drop(holder)

    def clearing(self, number: int, pool: Pool, holder: str) -> Clearing:
        """Return which nodes others could make room on for a task of the shape, and who must go or stay for its ties."""
        count = len(pool.nodes.names)
        mask: _Bools = np.ones(count, dtype=np.bool_)
        bars: defaultdict[int, set[str]] = defaultdict(set)
        stay: set[str] = set()
        for one in self._bindings(number, pool):
            stays = (self._shunners if one.wants == "shunned" else self._members)[one.whom].stays
            if one.wants == "beside":
                stay.update(other.task for other in stays)
            if one.wants == "beside" or one.state != "runs":
                mask &= one.allowed(count)
                continue
            for other in stays:
                for node in other.nodes if other.cluster == id(pool.nodes) else ():
                    bars[node].add(other.task)
        mask &= self._pledges.spared(self.bonds[number], pool, (self._now_s, inf), holder)
        return Clearing(mask, {node: frozenset(tasks) for node, tasks in bars.items()}, frozenset(stay))

    def binds(self, task: str) -> bool:
        """Tell whether where a live task may run depends on others, or where others may on it."""
        held = self._company.held
        return any(
            one.task == task and (one.shuns or not set(one.circles).isdisjoint(held))
            for one in self._company.neighbours
        )

    def refusal(self, number: int, pool: Pool) -> Reason | None:
        """Return what keeps a task of the shape off nodes of the pool; None if nothing does."""
        one = next(self._bindings(number, pool), None)
        if one is None:
            return None
        facts = {
            "wants": one.wants,
            "whom": self._company.circles[one.whom].words,
            "state": one.state,
            "nodes": ",".join(pool.nodes.names[node] for node in sorted(one.nodes)),
            **({"over": str(Over.SWITCH)} if one.whom in self._wide else {}),
        }
        return because(ReasonCode.AFFINITY, backend=pool.backend, partition=pool.partition.name, **facts)

    def preference(self, number: int, pool: Pool) -> _Floats | None:
        """Return for each node which part of what the shape prefers it fulfils, 0 to 1; None if it prefers nothing."""
        ties = [tie for tie in self.bonds[number].ties if tie.weight]
        if not ties:
            return None
        parts: _Floats = np.zeros(len(pool.nodes.names))
        for tie in ties:
            here = np.zeros(len(parts), dtype=np.bool_)
            here[list(self._members[tie.whom].nodes(id(pool.nodes)))] = True
            parts += tie.weight * (here ^ tie.apart)
        return parts / sum(tie.weight for tie in ties)

    def _bindings(self, number: int, pool: Pool, at_s: float = -inf) -> Iterator[_Binding]:
        bond, cluster = self.bonds[number], id(pool.nodes)
        for circle in followed(bond):
            beside = self._beside(number, circle, cluster, at_s)
            if beside is not None:
                yield _Binding("beside", circle, *beside)
        for wants, book, circles in (
            ("apart", self._members, shunned_by(bond)),
            ("shunned", self._shunners, bond.circles),
        ):
            for circle in circles:
                nodes = book[circle].nodes(cluster, at_s)
                if book[circle].queued[pool.backend] > 0:
                    yield _Binding(wants, circle, "queued", frozenset())
                elif nodes:
                    yield _Binding(wants, circle, "runs", nodes)

    def _beside(self, number: int, circle: int, cluster: int, at_s: float) -> tuple[str, frozenset[int]] | None:
        """Return how a circle is that somebody must be beside, and on which nodes; None if any node will do."""
        one = self._members[circle]
        if one.lives(at_s):
            return "runs", one.nodes(cluster, at_s)
        if any(count > 0 for count in one.queued.values()):
            return "queued", frozenset()
        if one.is_over or one.stays:
            return "ran", one.were_on(cluster, at_s)
        return ("ready", frozenset()) if self.is_patient and circle in self._awaited.get(number, ()) else None
