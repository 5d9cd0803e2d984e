"""What results are hoped to be worth, from the last number that was reported."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from elisa.model.pipeline import Promise

__all__ = ["promise_of"]


def promise_of(promise: Promise, values: Iterable[float | None]) -> float:
    """Return, from 0 (nothing) to 1, what the first of the values that is a number promises; 0 without one."""
    for value in values:
        if value is not None and isfinite(value):
            part = (value - promise.worst) / (promise.best - promise.worst)
            return min(1.0, max(0.0, part))
    return 0.0
