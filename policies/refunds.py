"""Budget given back for work that was lost through no fault of its owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason
from elisa.model.task import Attempt, End

__all__ = ["RefundRules", "refunded_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRules:
    """`share` (0 to 1) of the time lost is given back after these `ends`.

    Lost is the time since the newest checkpoint; with `whole_run` all of the run, as if it had never been.
    """

    ends: frozenset[EndReason] = INFRASTRUCTURE_ENDS
    share: float = 1.0
    whole_run: bool = False


def refunded_s(attempt: Attempt, end: End, ended_at: datetime, seconds: int, rules: RefundRules | None) -> int:
    """Return how many of the `seconds` that an attempt ran are not booked; never more than it ran."""
    if rules is None or end.reason not in rules.ends:
        return 0
    saved_at = attempt.last_checkpoint.saved_at if attempt.last_checkpoint is not None else None
    lost_s = float(seconds)
    if saved_at is not None and not rules.whole_run:
        lost_s = min(max(0.0, (ended_at - saved_at).total_seconds()), lost_s)
    return int(lost_s * rules.share)
