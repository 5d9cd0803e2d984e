"""Which of those that must be beside others go first: they are waited for, but never by one that they wait for in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from elisa.model.affinity import Bond

__all__ = ["awaited", "followed"]


def followed(bond: Bond) -> Iterator[int]:
    """Yield the circles that tasks must be beside."""
    return (tie.whom for tie in bond.ties if not (tie.apart or tie.weight))


def awaited(bonds: Mapping[int, Bond], followers: Iterable[int]) -> Mapping[int, frozenset[int]]:
    """Return for each shape the circles of which a ready task can go first, that does not wait for the shape in turn."""
    belong: defaultdict[int, list[int]] = defaultdict(list)
    for number, bond in bonds.items():
        for circle in bond.circles:
            belong[circle].append(number)
    ahead = {one: frozenset(other for circle in followed(bonds[one]) for other in belong[circle]) for one in followers}
    return {
        one: frozenset(
            circle
            for circle in followed(bonds[one])
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
