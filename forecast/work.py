"""What is left to do: of one attempt, and of all of a task's work, with what is saved and what runs already."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from elisa.forecast.runtimes import Estimate, Runtimes
from elisa.model.columns import UnfinishedRow

__all__ = ["MEMORY", "Left", "left_of", "remaining_s"]

MEMORY = timedelta(days=90)
"""How far back finished work is remembered: a quarter, as most grants and allocations are."""


class Left(NamedTuple):
    """What is left of a task: `run_s` until its present or next attempt ends, never beyond the walltime; `left_s` of it all.

    A task that needs several attempts has more left than one of them can do. `done_s` is saved or running; without an
    `estimate` nothing was known, and the walltime stands for it.
    """

    run_s: float
    left_s: float
    done_s: float = 0.0
    estimate: Estimate | None = None

    @property
    def progress(self) -> float:
        """The finished part of the work, 0 to 1; where the whole is not known, one more full attempt counts as left."""
        whole_s = self.done_s + self.left_s
        return self.done_s / whole_s if whole_s > 0 else 0.0


def left_of(
    row: UnfinishedRow, runtimes: Runtimes, *, saved_s: float = 0.0, running_s: float = 0.0, speed: float = 1.0
) -> Left:
    """Return what is left of a task, of which `saved_s` of work are saved and an attempt has run for `running_s`.

    That of elastic work is what it takes on the fewest nodes that will do; `speed` is that of the attempt.
    """
    limit_s = max(0.0, row.walltime_s - running_s)
    done_s = saved_s + running_s * speed
    estimate = runtimes.estimate(row.name, row.walltime_s)
    left_s = None if estimate is None else estimate.left_s(done_s)
    if left_s is None:
        return Left(limit_s, limit_s, done_s)
    return Left(min(left_s / speed, limit_s), left_s, done_s, estimate)


def remaining_s(left: Left, *, said_s: float | None, progress: float | None) -> float | None:
    """Return how much work is left of a running task, beyond its walltime or not; None if nothing tells.

    As past runs say; else its author, who expects the whole to take `said_s`; else its own `progress`, 0 to 1, at the rate
    at which it came so far.
    """
    if left.estimate is not None:
        return left.left_s
    if said_s is not None:
        return max(0.0, said_s - left.done_s)
    if progress is not None and 0 < progress < 1:
        return left.done_s * (1 - progress) / progress
    return None
