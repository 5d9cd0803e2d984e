"""When a waiting task has to look at its needs again although nothing happened to them."""

from __future__ import annotations

from elisa.store.connection import Row
from elisa.store.convert import needs_from

__all__ = ["next_look"]


def next_look(row: Row, now_us: int) -> int | None:
    """Return the first moment after now at which a retry's wait or the time limit of a need is over, None if there is none.

    `row` has `not_before`, `needs`, `submitted_at` and `pipeline_at`. A need's timeout counts from the pipeline's
    submission; a task made later looks again when it is over from its own, too: once too often does no harm.
    """
    timeouts = [need.timeout_s for need in needs_from(row["needs"]) if need.timeout_s is not None]
    starts = {row["pipeline_at"], row["submitted_at"]}
    moments = [start + timeout_s * 1_000_000 for timeout_s in timeouts for start in starts]
    if row["not_before"] is not None:
        moments.append(row["not_before"])
    return min((moment for moment in moments if moment > now_us), default=None)
