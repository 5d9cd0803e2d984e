"""Native jobs that were given up though their manager still calls them running: it is asked to delete them, until it answers.

Nothing depends on it: the fence was raised before they were given up, and whatever comes of them runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from elisa.engine.stop import ANSWERED, Stop
from elisa.model.changes import Noted
from elisa.model.reasons import ReasonCode, because
from elisa.model.task import Attempt
from elisa.policies.unexplained import is_unheard
from elisa.store.reader import Reader

__all__ = ["leftover_stops", "notes_of_left"]

_LEFT = "given_up"
# Who does not answer for so long has a trouble that its operators see.
_WHILE = timedelta(hours=6)


def notes_of_left(ended: Iterable[Attempt]) -> Sequence[Noted]:
    """Return what to write down with the ends of attempts, so that their native jobs are deleted wherever a tick is killed."""
    return [
        Noted(subject=attempt.id, what=_LEFT, facts={"native_id": attempt.native_id})
        for attempt in ended
        if attempt.native_id is not None and is_unheard(attempt)
    ]


def leftover_stops(reader: Reader, now: datetime) -> list[Stop]:
    """Return the native jobs that were given up, and whose manager has not answered yet that it was asked to delete them."""
    left = reader.lost_noted(now - _WHILE, _LEFT, ANSWERED)
    return [
        Stop(
            attempt=attempt,
            native_id=attempt.native_id,
            reason=because(ReasonCode.NEVER_BEGAN, native_id=attempt.native_id),
            is_duplicate=True,
        )
        for attempt in (reader.attempts(left).values() if left else ())
        if attempt.native_id is not None
    ]
