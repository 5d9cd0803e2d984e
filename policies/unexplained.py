"""Jobs of which nobody knows why they are over: cancelled before their program began, or forgotten with the reason.

It may have been a person who meant it, or the resource manager: a prolog that failed, a node that was shut down, a server
that lost its jobs. The second must not lose a task, and whoever did the first must not be fought.
"""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import EndReason
from elisa.model.task import Attempt, own_attempts

__all__ = [
    "FORGOTTEN",
    "UNEXPLAINED",
    "UNHEARD",
    "VANISHED",
    "held_unexplained",
    "is_forgotten",
    "is_unexplained",
    "is_unheard",
]

UNEXPLAINED = "cancelled before its program began, and nobody can tell by whom"
"""The words of an end that its manager told without saying whose doing it was."""

VANISHED = "it had not begun, and its resource manager has no record of who took it out of the queue"
FORGOTTEN = "told to stop, and the resource manager has no record of why"
UNHEARD = "its agent never gave a sign"


def is_unexplained(attempt: Attempt) -> bool:
    """Tell whether an attempt was cancelled before its program began, by nobody knows whom."""
    return attempt.end is not None and attempt.end.detail == UNEXPLAINED


def is_forgotten(attempt: Attempt) -> bool:
    """Tell whether a job is over of which its manager knows no more: it was told to stop, or was to be in the queue.

    What waited for others may have been ended unrun with them, and says nothing.
    """
    if attempt.end is None or attempt.end.reason is not EndReason.LOST:
        return False
    waited = attempt.end.detail.endswith(VANISHED) and not attempt.behind
    return waited or attempt.end.detail == FORGOTTEN


def is_unheard(attempt: Attempt) -> bool:
    """Tell whether an attempt was given up because its agent gave no sign; if nobody claimed it, its program did not run."""
    return attempt.end is not None and attempt.end.reason is EndReason.LOST and attempt.end.detail == UNHEARD


def held_unexplained(attempts: Sequence[Attempt]) -> Reason | None:
    """Return why a task of these attempts, the first one first, waits for a person: its last two had such an end; else None."""
    last_two = own_attempts(attempts)[-2:]
    if len(last_two) < 2 or not all(is_unexplained(one) or is_forgotten(one) for one in last_two):
        return None
    before, last = (str(attempt.native_id or "") for attempt in last_two)
    code = ReasonCode.HELD_FORGOTTEN if any(map(is_forgotten, last_two)) else ReasonCode.HELD_UNEXPLAINED
    return because(code, native_id=last, before=before)
