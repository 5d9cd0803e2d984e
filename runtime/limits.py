"""When a program has gone beyond what it declared. Pure: told what was seen, it says what is over."""

from __future__ import annotations

from elisa.runtime.tuples import NamedTuple

__all__ = ["Limits", "OverLimit", "Seen", "first_over", "next_look_s"]

_SHORTEST_LOOK_S = 0.1
_EMERGENCY = 1.25  # of the memory: beyond it other jobs on the node are in danger, and there is no grace


class Limits(NamedTuple):
    """Limits for one node; 0 is no limit."""

    memory_mib: float = 0.0
    walltime_s: float = 0.0
    output_mib: float = 0.0


class Seen(NamedTuple):
    """What a program has reached."""

    memory_mib: float = 0.0
    run_s: float = 0.0
    output_mib: float = 0.0


class OverLimit(NamedTuple):
    """A limit that was passed. `why` becomes that of the `exited` event; `is_emergency`: no time for a grace."""

    resource: str
    limit: float
    seen: float
    why: str
    is_emergency: bool = False


def first_over(limits: Limits, seen: Seen) -> OverLimit | None:
    """Return the first limit that is passed."""
    if 0 < limits.memory_mib < seen.memory_mib:
        is_emergency = seen.memory_mib > limits.memory_mib * _EMERGENCY
        return OverLimit("memory", limits.memory_mib, seen.memory_mib, "out_of_memory", is_emergency)
    if 0 < limits.output_mib < seen.output_mib:
        return OverLimit("output", limits.output_mib, seen.output_mib, "output_limit", is_emergency=True)
    if 0 < limits.walltime_s <= seen.run_s:
        return OverLimit("walltime", limits.walltime_s, seen.run_s, "timeout")
    return None


def next_look_s(limits: Limits, before: Seen, now: Seen, longest_s: float) -> float:
    """Return how long the program may be left alone: half the time in which, growing on like this, it is over.

    Never longer than it has been running: much can happen in the first seconds.
    """
    elapsed_s = max(now.run_s - before.run_s, 1e-3)
    looks = [longest_s, now.run_s]
    for limit, was, is_now in (
        (limits.memory_mib, before.memory_mib, now.memory_mib),
        (limits.output_mib, before.output_mib, now.output_mib),
    ):
        if limit and is_now > was:
            looks.append((limit - is_now) / (is_now - was) * elapsed_s / 2)
    return max(_SHORTEST_LOOK_S, min(looks))
