"""Jobs that were cancelled when they had nodes and their program had not begun, by nobody knows whom.

It may have been a person who meant it, or the resource manager because it could not launch them: a prolog that failed. The
second must not lose a task, and whoever did the first must not be fought.
"""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.task import Attempt, own_attempts

__all__ = ["UNEXPLAINED", "held_unexplained", "is_unexplained"]

UNEXPLAINED = "cancelled before its program began, and nobody can tell by whom"
"""The words of such an end."""


def is_unexplained(attempt: Attempt) -> bool:
    """Tell whether an attempt had such an end."""
    return attempt.end is not None and attempt.end.detail == UNEXPLAINED


def held_unexplained(attempts: Sequence[Attempt]) -> Reason | None:
    """Return why a task of these attempts, the first one first, waits for a person: its last two had such an end; else None."""
    last_two = own_attempts(attempts)[-2:]
    if len(last_two) < 2 or not all(map(is_unexplained, last_two)):
        return None
    before, last = (str(attempt.native_id or "") for attempt in last_two)
    return because(ReasonCode.HELD_UNEXPLAINED, native_id=last, before=before)
