"""Calls to resource managers: one after another, or a few side by side where a manager takes them so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from elisa.engine.threads import threads
from elisa.model.ids import BackendName

__all__ = ["Answer", "neighbours", "side_by_side", "waves"]

T = TypeVar("T")
Answer = Callable[[], T]


def neighbours(
    calls: Sequence[T], at_once: Callable[[T], tuple[BackendName, int]]
) -> Iterator[tuple[tuple[BackendName, int], Sequence[T]]]:
    """Yield calls in their order, those to the same manager together, after whom they go to and how many it takes."""
    for taker, some in groupby(calls, at_once):
        yield taker, list(some)


def waves(calls: Sequence[T], at_once: Callable[[T], tuple[BackendName, int]]) -> Iterator[Sequence[T]]:
    """Yield calls in their order, in groups that may run side by side: neighbours that go to the same manager.

    `at_once` tells whom a call goes to, and how many calls that manager takes at a time when the group begins.
    """
    left = list(calls)
    while left:
        name, most = at_once(left[0])
        wave = [left.pop(0)]
        while left and len(wave) < most and at_once(left[0])[0] == name:
            wave.append(left.pop(0))
        yield wave


def side_by_side(calls: Sequence[Answer[T]]) -> Sequence[Answer[T]]:
    """Make all calls at the same time; return, when all have ended, how to get each one's result or its exception."""
    from concurrent.futures import wait

    begun = [threads().submit(call) for call in calls]
    wait(begun)
    return [future.result for future in begun]
