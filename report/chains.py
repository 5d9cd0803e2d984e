"""Which jobs another one still waits for, in words."""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.ids import AttemptId
from elisa.model.states import LIVE_ATTEMPT_STATES
from elisa.model.text import job_words
from elisa.store.reader import Reader

__all__ = ["queued_behind"]


def queued_behind(reader: Reader, behind: Sequence[AttemptId]) -> str:
    """Name the jobs among these attempts' that are not over: `queued behind prep's job 45`; empty if all are."""
    if not behind:
        return ""
    attempts = reader.attempts(behind)
    live = [one for one in attempts.values() if one.state in LIVE_ATTEMPT_STATES]
    tasks = reader.tasks([one.task for one in live])
    names = sorted(job_words(tasks[one.task].spec.name, one.native_id) for one in live)
    return f"queued behind {', '.join(names)}" if names else ""
