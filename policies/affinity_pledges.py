"""Nodes kept for tasks that are tied to others: who must not be there by then, lest the tie could not hold."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.affinity import Bond
from elisa.policies.placement_pools import Pool

__all__ = ["Pledge", "Pledges", "shunned_by"]

_Bools = npt.NDArray[np.bool_]


class Pledge(NamedTuple):
    """Nodes of a cluster that a task (its id) is to have for a time.

    It belongs to `circles` and must be apart from `shuns`. It `leans` on circles of whom nobody lives any more by then, and of
    `strangers` among them nobody ever did: should one of them live elsewhere, or have been there, it would have to go there.
    For circles that are `wide`, over switches, it has all nodes that share a switch with one of its own (`mates`), and only
    those are beside it for sure that share one with each of its own (`common`).
    """

    holder: str
    cluster: int
    nodes: frozenset[int]
    from_s: float
    until_s: float
    circles: frozenset[int]
    shuns: frozenset[int]
    leans: frozenset[int]
    strangers: frozenset[int]
    wide: frozenset[int]
    mates: frozenset[int]
    common: frozenset[int]

    def spares(self, bond: Bond, pool: Pool, from_s: float, until_s: float) -> _Bools:
        """Return for each node of a pool's cluster whether a task with such a bond may have it for a time."""
        mask = self.only(pool, self._drawn_by(bond, from_s, until_s))
        shunned = self.shuns.intersection(bond.circles) | self.circles.intersection(shunned_by(bond))
        if shunned and from_s < self.until_s and self.from_s < until_s:
            mask &= ~self._here(pool, self.nodes if shunned.isdisjoint(self.wide) else self.mates)
        return mask

    def only(self, pool: Pool, circles: AbstractSet[int]) -> _Bools:
        """Return the nodes on which some circles may be while the holder must be beside them; of none it is all nodes.

        Its own, none if these are several; for circles over switches those of its switch, none if it has several.
        """
        if not circles:
            return np.ones(len(pool.nodes.names), dtype=np.bool_)
        if circles <= self.wide:
            return self._here(pool, self.common)
        return self._here(pool, self.nodes if len(self.nodes) == 1 else ())

    def _here(self, pool: Pool, nodes: Iterable[int]) -> _Bools:
        mask: _Bools = np.zeros(len(pool.nodes.names), dtype=np.bool_)
        if id(pool.nodes) == self.cluster:
            mask[list(nodes)] = True
        return mask

    def _drawn_by(self, bond: Bond, from_s: float, until_s: float) -> AbstractSet[int]:
        """Return the circles of such a task for whose sake the holder would have to go where it is or was."""
        leans = self.leans if self.from_s < until_s else self.strangers
        return leans.intersection(bond.circles) if from_s <= self.from_s else frozenset()


class Pledges:
    """All that a plan keeps for tied tasks."""

    def __init__(self) -> None:
        self._all: list[Pledge] = []

    def add(self, pledge: Pledge) -> None:
        """Keep nodes for one more."""
        self._all.append(pledge)

    def drop(self, holder: str) -> None:
        """Keep nothing for somebody any longer."""
        self._all = [one for one in self._all if one.holder != holder]

    def spared(self, bond: Bond, pool: Pool, between_s: tuple[float, float], holder: str) -> _Bools:
        """Return for each node of a pool's cluster whether a task may have it for a time, but for what is kept for itself."""
        mask: _Bools = np.ones(len(pool.nodes.names), dtype=np.bool_)
        for one in self._all:
            if one.holder != holder:
                mask &= one.spares(bond, pool, *between_s)
        return mask

    def drawing(
        self, leans: AbstractSet[int], strangers: AbstractSet[int], pool: Pool, at_s: float, holder: str
    ) -> _Bools:
        """Return for each node whether a task may lean there at a moment on those for whom nodes are kept until then."""
        mask: _Bools = np.ones(len(pool.nodes.names), dtype=np.bool_)
        for one in self._all:
            met = leans if at_s < one.until_s else strangers
            if one.holder != holder and one.from_s <= at_s:
                mask &= one.only(pool, met & one.circles)
        return mask


def shunned_by(bond: Bond) -> tuple[int, ...]:
    """Return the circles that a task must be apart from."""
    return tuple(tie.whom for tie in bond.ties if tie.apart and not tie.weight)
