"""Whose doing an end was, and how often it came so in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from elisa.model.resources import Resources
from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason
from elisa.model.task import Attempt, had_its_turn
from elisa.policies.livelock import got_further

__all__ = ["barren_ends", "broke_down", "made_room", "times_alike", "was_given_back"]


def broke_down(attempt: Attempt) -> bool:
    """Tell whether the machine let an attempt down."""
    return attempt.end is not None and attempt.end.reason in INFRASTRUCTURE_ENDS - {
        EndReason.PREEMPTED,
        EndReason.BAD_GPU,
    }


def made_room(attempt: Attempt) -> bool:
    """Tell whether an attempt left so that others could run."""
    # A cancel that elisa sent without its owner asking for it made room for another task: a preemption.
    reason = attempt.end.reason if attempt.end is not None else None
    return reason is EndReason.PREEMPTED or (reason is EndReason.CANCELLED and attempt.cancel_sent)


def was_given_back(attempt: Attempt) -> bool:
    """Tell whether an attempt gave back a GPU that is not to be used."""
    return attempt.end is not None and attempt.end.reason is EndReason.BAD_GPU


def barren_ends(attempts: Sequence[Attempt]) -> int:
    """Count the breakdowns in a row, the last included, that brought no progress; preemptions are none and count nothing."""
    count = 0
    for attempt in filter(had_its_turn, reversed(attempts)):
        if got_further(attempt) or not (broke_down(attempt) or made_room(attempt) or was_given_back(attempt)):
            break
        count += broke_down(attempt)
    return count if broke_down(attempts[-1]) else 0


def times_alike(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts in a row ended as the last one did, that one included: for the same reason, at the same step."""
    last = attempts[-1]
    return 1 + sum(1 for _ in takewhile(lambda earlier: _are_alike(earlier, last), reversed(attempts[:-1])))


def _are_alike(one: Attempt, other: Attempt) -> bool:
    if one.end is None or other.end is None or _asked(one) != _asked(other):
        return False
    return (one.end.reason, one.end.exit_code, one.end.signal, one.end.step) == (
        other.end.reason,
        other.end.exit_code,
        other.end.signal,
        other.end.step,
    )


def _asked(one: Attempt) -> Resources:
    """Return what an attempt asked for, on whatever nodes."""
    return replace(one.request, nodelist=())
