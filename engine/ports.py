"""The real world behind the ports: the system's clock and chance, and the crash point that a test may arm."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random

from elisa.model.errors import UsageError
from elisa.model.ports import CrashPoint, no_crash

__all__ = ["CRASH_EXIT", "RepeatableRandom", "SystemClock", "SystemRandom", "crash_point_from"]

# What a shell reports for a process that was killed with SIGKILL.
CRASH_EXIT = 137


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)


class SystemRandom:
    """The operating system's chance: ids made from it do not collide between login nodes."""

    def bits(self, count: int) -> int:
        """Return an integer in `[0, 2**count)`."""
        return secrets.randbits(count)

    def uniform(self) -> float:
        """Return a float in `[0, 1)`."""
        return secrets.randbits(53) / 2**53


class RepeatableRandom:
    """Chance that repeats itself: the same `key` gives the same numbers for ever. For what is simulated alone."""

    def __init__(self, key: str) -> None:
        self._random = Random(key)  # noqa: S311 - nobody has to be kept from guessing it

    def bits(self, count: int) -> int:
        """Return an integer in `[0, 2**count)`."""
        return self._random.getrandbits(count)

    def uniform(self) -> float:
        """Return a float in `[0, 1)`."""
        return self._random.random()


def crash_point_from(environment: Mapping[str, str]) -> CrashPoint:
    """Return the crash point that `ELISA_CRASH_AT=point:k` asks for: the k-th pass (from 1) ends this process at once.

    `*` stands for every point. Nothing is flushed and no `finally` runs, as after SIGKILL.
    """
    wanted = environment.get("ELISA_CRASH_AT", "")
    if not wanted:
        return no_crash
    name, _, number = wanted.rpartition(":")
    if not name or not number.isdecimal():
        raise UsageError(
            f"ELISA_CRASH_AT=`{wanted}` is not understood", hint="write it like store.apply.begin:1 or *:7"
        )
    return _Countdown(name, int(number))


class _Countdown:
    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._left = number

    def __call__(self, point: str) -> None:
        if self._name not in {"*", point}:
            return
        self._left -= 1
        if self._left == 0:
            os._exit(CRASH_EXIT)
