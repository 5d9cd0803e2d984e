"""When things break by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from elisa.backends.simulated.dice import Dice, Distribution
from elisa.backends.simulated.spec import FaultSpec

__all__ = ["FaultTimers", "Timer"]

_SECOND = 1_000_000


class Timer(NamedTuple):
    """The `number`-th fault of its kind, counted from 0, and when it strikes."""

    number: int
    at_us: int


class FaultTimers:
    """One timer for each kind of fault: `node_down`, `preempt`, `outage`."""

    def __init__(self, spec: FaultSpec, dice: Dice, now_us: int) -> None:
        self._dice = dice
        means = {"node_down": spec.node_down_every_s, "preempt": spec.preempt_every_s, "outage": spec.outage_every_s}
        self._means = {name: mean_s for name, mean_s in means.items() if mean_s}
        self.timers = {name: self._next(name, 0, now_us) for name in self._means}

    def _next(self, name: str, number: int, after_us: int) -> Timer:
        source = Distribution(kind="exponential", numbers=(self._means[name],))
        return Timer(number, after_us + max(1, round(self._dice.draw(source, name, number) * _SECOND)))

    def next_us(self) -> int | None:
        """Return when the next fault strikes; None if nothing ever breaks."""
        return min((timer.at_us for timer in self.timers.values()), default=None)

    def strike(self, now_us: int) -> Iterator[tuple[str, int]]:
        """Yield each fault whose time has come, with its number, and wind its timer up again."""
        for name, timer in list(self.timers.items()):
            if timer.at_us <= now_us:
                self.timers[name] = self._next(name, timer.number + 1, timer.at_us)
                yield name, timer.number

    def restore(self, timers: dict[str, Timer]) -> None:
        """Take up the timers where they were written down; those of new kinds of faults begin afresh."""
        self.timers |= {name: timer for name, timer in timers.items() if name in self.timers}
