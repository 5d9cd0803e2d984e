"""When to save: by the interval that what saving costs here asks for, and in time before the end."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Callable

from elisa.runtime.checkpoint.interval import Choice, choose_interval
from elisa.runtime.eventfile import Scalar

__all__ = ["Pace"]

_REMEMBERED = 20
_FIRST_GUESS_S = 10.0  # what a save takes, as long as none was seen
_LEAST_LEAD_S = 2.0


class Pace:
    """Keeps the times of saves and steps of one run. `fixed_s` is an interval that was asked for; None: choose.

    `left_s` tells the walltime that is left.
    """

    def __init__(
        self,
        *,
        fixed_s: float | None,
        mtbf_s: float | None,
        left_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed_s = fixed_s
        self._mtbf_s = mtbf_s
        self._left_s = left_s
        self._clock = clock
        self._blocked: deque[float] = deque(maxlen=_REMEMBERED)
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._saved_at = -math.inf
        self._step_at = clock()
        self._most_lead_s = max(0.0, left_s() / 2)

    def restored(self, save_s: float) -> None:
        """Begin with what an earlier life of this run learnt: a save took `save_s`, and there is one as of now."""
        self.saved(save_s)
        self.took(save_s)

    def saved(self, blocked_s: float) -> None:
        """Note a save that kept the program waiting for `blocked_s`."""
        self._blocked.append(blocked_s)
        self._saved_at = self._step_at = self._clock()

    def took(self, seconds: float) -> None:
        """Note how long a save took, be it beside the program or not."""
        self._took.append(seconds)

    def stepped(self) -> None:
        """Note that the program got to a point where it could save."""
        now = self._clock()
        self._steps.append(now - self._step_at)
        self._step_at = now

    def is_due(self) -> bool:
        """Tell whether the interval since the last save is over. The first save is due at once: it shows the cost."""
        return self._clock() - self._saved_at >= self.choice().interval_s

    def choice(self) -> Choice:
        """Return the interval that holds now, and why."""
        save_s = _median(self._blocked)
        chosen = choose_interval(save_s, mtbf_s=self._mtbf_s, remaining_s=self._left_s())
        return chosen if self._fixed_s is None else chosen._replace(interval_s=self._fixed_s, bound="fixed")

    def as_event(self) -> dict[str, Scalar]:
        """Return the interval and its reasons, for the event that tells of a checkpoint: `elisa` explains it so."""
        choice = self.choice()
        return {
            "interval_s": round(choice.interval_s, 3),
            "bound": choice.bound,
            "blocked_s": round(choice.save_s, 6),
            "mtbf_s": choice.mtbf_s,
            "optimum_s": round(choice.optimum_s, 3),
            "lead_s": round(self.lead_s(), 3),
        }

    def lead_s(self) -> float:
        """Return how long before the end of the walltime the last save has to begin: twice what slow ones take."""
        save_s = _quantile(self._took, 0.95) if self._took else _FIRST_GUESS_S
        return min(_LEAST_LEAD_S + 2 * save_s + 1.5 * max(self._steps, default=0.0), self._most_lead_s)

    def is_late(self) -> bool:
        """Tell whether it is time for the last save before the end of the walltime."""
        return self._left_s() <= self.lead_s()


def _median(values: deque[float]) -> float:
    return _quantile(values, 0.5) if values else 0.0


def _quantile(values: deque[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1 if ordered else 0)]
