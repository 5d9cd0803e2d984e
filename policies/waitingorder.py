"""Jobs that wait in a native queue, brought into elisa's order by as few new places as will do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elisa.model.ids import AttemptId

__all__ = ["Waiting", "new_places"]


class Waiting(NamedTuple):
    """A job that waits. The native queue serves the lowest `place` first, and of one place the lowest `arrival`."""

    attempt: AttemptId
    place: int
    arrival: int


def new_places(wanted: Sequence[Waiting], *, moves: int) -> Mapping[AttemptId, int]:
    """Return the places to give out so that the native queue serves the jobs in the order of `wanted`; none if it does.

    As many jobs as possible stay where they are. Jobs that are to get the same place are moved by one call: after
    `moves` different places, counted from the front of the queue, the rest is left for another time.
    """
    staying = _longest_rise([(job.place, job.arrival) for job in wanted])
    places: dict[AttemptId, int] = {}
    floor = (0, -1)
    for number, job in enumerate(wanted):
        here = (job.place, job.arrival)
        if number not in staying or here <= floor:
            here = (floor[0] + (job.arrival < floor[1]), job.arrival)
        if here[0] != job.place:
            places[job.attempt] = here[0]
            if len(set(places.values())) > moves:
                del places[job.attempt]
                break
        floor = here
    return places


def _longest_rise(keys: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Return the indices of a longest rising subsequence (Fredman, On computing the length of longest ..., 1975)."""
    tails: list[tuple[int, int]] = []
    last: list[int] = []
    before: list[int] = []
    for number, key in enumerate(keys):
        at = bisect_left(tails, key)
        before.append(last[at - 1] if at else -1)
        tails[at : at + 1] = [key]
        last[at : at + 1] = [number]
    found, number = set(), last[-1] if last else -1
    while number >= 0:
        found.add(number)
        number = before[number]
    return frozenset(found)
