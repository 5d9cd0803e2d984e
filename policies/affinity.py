"""Which tasks are on which node, for those that must run beside or apart from others, or prefer to.

It is what Kubernetes calls affinity and anti-affinity between pods, over nodes. To be beside a circle of tasks is to be where
one of them lives, or else where one of the same pipeline was last; to be apart is to share no node with any that lives, and
holds from both sides. Who must be beside others waits for one that is queued or ready, but never for one that waits for it
in turn: of a ring of such tasks the first in the order goes where it likes, and the others follow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.affinity import Bond, Company, Neighbour
from elisa.model.columns import Shape
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.placement_pools import Pool

__all__ = ["Presence"]

_Bools = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Whereabouts:
    """Where tasks are: on which nodes of which cluster, in the queue of which backend, and where those were that are over."""

    on: Counter[tuple[int, int]] = field(default_factory=Counter)
    living: int = 0
    queued: Counter[str] = field(default_factory=Counter)
    was_on: set[tuple[int, int]] = field(default_factory=set)
    is_over: bool = False

    def enter(self, cluster: int, backend: str, nodes: Iterable[int], sign: int, *, is_placed: bool) -> None:
        """Count one that lives; with `sign` -1 no more."""
        self.living += sign * is_placed
        self.queued[backend] += sign * (not is_placed)
        for node in nodes:
            self.on[cluster, node] += sign

    def nodes(self, cluster: int) -> frozenset[int]:
        """Return the nodes of a cluster where one lives."""
        return _within(cluster, (place for place, count in self.on.items() if count > 0))


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


class Presence:
    """Who is where, kept true while a plan places more. Shapes go by number, nodes by their place in `pool.nodes`.

    `bonds` are of the shapes that are tied to others, `followers` those that must be beside some. `tied` is for who numbers
    the ways: the shape of each way of these.
    """

    def __init__(self, shapes: Sequence[Shape], pools: Sequence[Pool], company: Company) -> None:
        self.bonds: Mapping[int, Bond] = {
            number: shape.bond for number, shape in enumerate(shapes) if shape.bond.ties or shape.bond.circles
        }
        self.followers = frozenset(number for number, bond in self.bonds.items() if tuple(_followed(bond)))
        self.tied: dict[int, int] = {}
        self._company = company
        self._members: defaultdict[int, _Whereabouts] = defaultdict(_Whereabouts)
        self._shunners: defaultdict[int, _Whereabouts] = defaultdict(_Whereabouts)
        self._awaited = _awaited(self.bonds, self.followers)
        if self.bonds:
            clusters = {str(pool.backend): pool.nodes for pool in pools}
            places = {name: {node: at for at, node in enumerate(one.names)} for name, one in clusters.items()}
            for one in company.neighbours:
                at = places.get(one.backend, {})
                cluster = id(clusters[one.backend]) if one.backend in clusters else 0
                self._enter_neighbour(one, cluster, [at[name] for name in one.nodes if name in at])

    def _enter_neighbour(self, one: Neighbour, cluster: int, nodes: Sequence[int]) -> None:
        if one.is_over:
            for circle in one.circles:
                self._members[circle].is_over = True
                self._members[circle].was_on.update((cluster, node) for node in nodes)
            return
        for book, circles in ((self._members, one.circles), (self._shunners, one.shuns)):
            for circle in circles:
                book[circle].enter(cluster, one.backend, nodes, 1, is_placed=bool(one.nodes))

    def take(self, number: int, pool: Pool, nodes: Collection[int], sign: int = 1) -> None:
        """Note that a task of a shape got these nodes, or without any that it waits in a queue; `sign` -1 undoes it."""
        bond = self.bonds[number]
        shuns = tuple(tie.whom for tie in bond.ties if tie.apart and not tie.weight)
        for book, circles in ((self._members, bond.circles), (self._shunners, shuns)):
            for circle in circles:
                book[circle].enter(id(pool.nodes), pool.backend, nodes, sign, is_placed=bool(nodes))

    def is_held(self, number: int) -> bool:
        """Tell whether something must be true of the nodes that a task of the shape gets, for its own sake or for others'."""
        bond = self.bonds.get(number)
        if bond is None:
            return False
        return any(not tie.weight for tie in bond.ties) or not set(bond.circles).isdisjoint(self._company.held)

    def is_anchored(self, number: int, pool: Pool) -> bool:
        """Tell whether a task of the shape may only go where others are."""
        return any(one.wants == "beside" for one in self._bindings(number, pool))

    def allowed(self, number: int, pool: Pool) -> _Bools:
        """Tell for each node of the pool's cluster whether a task of the shape may run there now."""
        count = len(pool.nodes.names)
        mask: _Bools = np.ones(count, dtype=np.bool_)
        for one in self._bindings(number, pool):
            mask &= one.allowed(count)
        return mask

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

    def _bindings(self, number: int, pool: Pool) -> Iterator[_Binding]:
        bond, cluster = self.bonds[number], id(pool.nodes)
        for circle in _followed(bond):
            beside = self._beside(number, circle, cluster)
            if beside is not None:
                yield _Binding("beside", circle, *beside)
        shunned = [tie.whom for tie in bond.ties if tie.apart and not tie.weight]
        for wants, book, circles in (("apart", self._members, shunned), ("shunned", self._shunners, bond.circles)):
            for circle in circles:
                nodes = book[circle].nodes(cluster)
                if book[circle].queued[pool.backend] > 0:
                    yield _Binding(wants, circle, "queued", frozenset())
                elif nodes:
                    yield _Binding(wants, circle, "runs", nodes)

    def _beside(self, number: int, circle: int, cluster: int) -> tuple[str, frozenset[int]] | None:
        """Return how a circle is that somebody must be beside, and on which nodes; None if any node will do."""
        one = self._members[circle]
        if one.living > 0:
            return "runs", one.nodes(cluster)
        if any(count > 0 for count in one.queued.values()):
            return "queued", frozenset()
        if one.is_over:
            return "ran", _within(cluster, one.was_on)
        return ("ready", frozenset()) if circle in self._awaited.get(number, ()) else None


def _within(cluster: int, places: Iterable[tuple[int, int]]) -> frozenset[int]:
    return frozenset(node for where, node in places if where == cluster)


def _followed(bond: Bond) -> Iterator[int]:
    """Yield the circles that tasks must be beside."""
    return (tie.whom for tie in bond.ties if not (tie.apart or tie.weight))


def _awaited(bonds: Mapping[int, Bond], followers: Iterable[int]) -> Mapping[int, frozenset[int]]:
    """Return for each shape the circles of which a ready task can go first, that does not wait for the shape in turn."""
    belong: defaultdict[int, list[int]] = defaultdict(list)
    for number, bond in bonds.items():
        for circle in bond.circles:
            belong[circle].append(number)
    ahead = {one: frozenset(other for circle in _followed(bonds[one]) for other in belong[circle]) for one in followers}
    return {
        one: frozenset(
            circle
            for circle in _followed(bonds[one])
            if any(one not in _reached(other, ahead) for other in belong[circle])
        )
        for one in ahead
    }


def _reached(start: int, ahead: Mapping[int, frozenset[int]]) -> set[int]:
    """Return a shape and all that it waits for, directly or not."""
    found, waiting = {start}, [start]
    for number in waiting:
        fresh = ahead.get(number, frozenset()) - found
        found |= fresh
        waiting.extend(fresh)
    return found
