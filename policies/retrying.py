"""How long a retry waits, and how much more it asks for where too little was the reason."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from elisa.model.pipeline import Backoff, Grow
from elisa.model.resources import Resources
from elisa.model.states import EndReason

__all__ = ["backoff_s", "grown"]


def backoff_s(backoff: Backoff, failures: int, fraction: float) -> float:
    """Return the seconds to wait before the retry that follows the `failures`-th failure (from 1), never negative.

    `fraction` 0 is the early end of the jitter, 1 the late one.
    """
    # 64 doublings pass every maximum; more would overflow.
    pause_s = min(backoff.initial_s * backoff.factor ** min(failures - 1, 64), backoff.maximum_s)
    return max(0.0, pause_s * (1 + backoff.jitter * (2 * fraction - 1)))


def grown(request: Resources, reason: EndReason, grow: Grow) -> Resources:
    """Return what the attempt after an end asks for: more memory or time where that was too little, else the same."""
    if reason is EndReason.OUT_OF_MEMORY:
        memory_mib = _grown(request.memory_mib_per_node, grow.memory_factor, grow.memory_maximum_mib)
        return replace(request, memory_mib_per_node=memory_mib)
    if reason is EndReason.TIMEOUT:
        return replace(request, walltime_s=_grown(request.walltime_s, grow.walltime_factor, grow.walltime_maximum_s))
    return request


def _grown(value: int, factor: float, maximum: int) -> int:
    more = ceil(value * factor)
    return max(value, min(more, maximum)) if maximum else max(value, more)
