"""Where the tasks of one circle live, until when, and where those were that are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

__all__ = ["Stay", "Whereabouts"]


class Stay(NamedTuple):
    """Where a task lives for a circle, and until when; one that this plan places has no name yet."""

    cluster: int
    nodes: tuple[int, ...]
    until_s: float = inf
    task: str = ""


@dataclass(slots=True)
class Whereabouts:
    """Where tasks are: on which nodes of which cluster, in the queue of which backend, and where those were that are over."""

    stays: list[Stay] = field(default_factory=list)
    queued: Counter[str] = field(default_factory=Counter)
    was_on: set[tuple[int, int]] = field(default_factory=set)
    is_over: bool = False

    def enter(self, stay: Stay, backend: str, sign: int, *, is_placed: bool) -> None:
        """Count one that lives; with `sign` -1 no more."""
        if not is_placed:
            self.queued[backend] += sign
        elif sign > 0:
            self.stays.append(stay)
        else:
            self.stays.remove(stay)

    def nodes(self, cluster: int, at_s: float = -inf) -> frozenset[int]:
        """Return the nodes of a cluster where one lives, or will live still."""
        return frozenset(node for stay in self._at(at_s) if stay.cluster == cluster for node in stay.nodes)

    def lives(self, at_s: float) -> bool:
        """Tell whether one lives, or will live still."""
        return any(True for _ in self._at(at_s))

    def were_on(self, cluster: int, at_s: float) -> frozenset[int]:
        """Return the nodes of a cluster where those were that are over, or will be by then."""
        gone = ((stay.cluster, node) for stay in self.stays if stay.until_s <= at_s for node in stay.nodes)
        return _within(cluster, (*self.was_on, *gone))

    def _at(self, at_s: float) -> Iterator[Stay]:
        return (stay for stay in self.stays if stay.until_s > at_s)


def _within(cluster: int, places: Iterable[tuple[int, int]]) -> frozenset[int]:
    return frozenset(node for where, node in places if where == cluster)
