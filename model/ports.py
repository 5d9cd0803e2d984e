"""The openings through which the world reaches elisa: time, chance, and the points where a test may crash it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

__all__ = ["Clock", "CrashPoint", "RandomSource", "no_crash"]


class Clock(Protocol):
    """Tells the time; the simulated one jumps."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class RandomSource(Protocol):
    """Gives chance; the seeded one repeats itself."""

    def bits(self, count: int) -> int:
        """Return an integer in `[0, 2**count)`."""
        ...

    def uniform(self) -> float:
        """Return a float in `[0, 1)`."""
        ...


CrashPoint = Callable[[str], None]
"""Called with the point's name before and after each statement that changes the world."""


def no_crash(point: str) -> None:
    """Go on: what every crash point does outside of tests."""
