"""Deadlines and expected run times, in sentences and as data."""

from __future__ import annotations

from datetime import datetime

from elisa.forecast.work import Left
from elisa.model.units import format_duration
from elisa.report.deadlines import Judged

__all__ = ["judged_data", "judged_words", "left_data"]

_NAMED = 5


def judged_words(judged: Judged) -> str:
    """Say whether a deadline can be met; if not, when it was lost, by how much, and what it would take."""
    verdict = judged.verdict
    deadline, path = _moment(verdict.deadline), _path(judged.critical)
    if verdict.is_reachable:
        return f"deadline {deadline} leaves {format_duration(verdict.slack_s)} to spare on its longest path, {path}"
    late = format_duration(verdict.cut_s)
    since = f" (since {_moment(judged.lost_at)})" if judged.lost_at is not None else ""
    lost = f"deadline {deadline} cannot be met any more{since}: at best it ends at {_moment(verdict.earliest_end)}, {late} late"
    return f"{lost}; it would take {late} less work on its longest path, {path}, or a deadline {late} later"


def _path(names: tuple[str, ...]) -> str:
    """Name a path from its first task to its last; of a long one the ends."""
    shown = names if len(names) <= _NAMED else (*names[: _NAMED - 2], "...", names[-1])
    return " > ".join(shown)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%m-%d %H:%M}"


def judged_data(judged: Judged | None) -> dict[str, object] | None:
    """Return the JSON form: `slots` is how many of its tasks must run at once, 0 if no number is enough."""
    if judged is None:
        return None
    verdict = judged.verdict
    return {
        "deadline": verdict.deadline,
        "is_reachable": verdict.is_reachable,
        "slack_s": verdict.slack_s,
        "earliest_end": verdict.earliest_end,
        "lost_at": judged.lost_at,
        "late_s": verdict.cut_s,
        "critical": judged.critical,
        "slots": verdict.slots,
        "words": judged_words(judged),
    }


def left_data(left: Left | None) -> dict[str, object] | None:
    """Return the JSON form of what is left of a task; `runs` counts the past runs that it rests on, 0 for none."""
    if left is None:
        return None
    known = left.estimate
    return {
        "run_s": left.run_s,
        "left_s": left.left_s,
        "done_s": left.done_s,
        "progress": left.progress,
        "runs": len(known.runs_s) if known else 0,
        "whose": known.whose if known else "",
        "total_s": known.total_s if known else None,
        "usual_s": known.usual_s if known else None,
    }
