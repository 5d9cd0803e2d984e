"""Why a task is where it is: what was decided about it, in order, and what it waits for now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from elisa.model.reasons import Fact, Reason, ReasonCode
from elisa.model.rows import AuditRow
from elisa.model.task import Attempt, Task, Verdict
from elisa.store.reader import Reader

from .names import resolve_task
from .words import in_words

__all__ = ["Explanation", "Happening", "read_explanation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened to the task or to an attempt at it."""

    at: datetime
    subject: str
    became: str
    code: str
    facts: Mapping[str, object]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`now` is one sentence about the present; `history` is the audit, oldest first."""

    task: Task
    attempts: tuple[Attempt, ...]
    verdict: Verdict | None
    now: str
    history: tuple[Happening, ...]


def read_explanation(reader: Reader, name: str) -> Explanation:
    """Explain the task that `name` stands for.

    Raises UsageError if it is not known, not unique, or no task.
    """
    task = reader.task(resolve_task(reader, name))
    attempts = tuple(reader.attempts_of(task.id))
    verdict = reader.verdict(task.id)
    rows = [
        row for subject in (task.id, *(attempt.id for attempt in attempts)) for row in reader.audit(subject=subject)
    ]
    history = tuple(_happening(row) for row in sorted(rows, key=lambda row: row.seq))
    return Explanation(
        task=task, attempts=attempts, verdict=verdict, now=_now(task, attempts, verdict, history), history=history
    )


def _happening(row: AuditRow) -> Happening:
    code = str(row.facts.get("reason", row.kind))
    facts = row.facts.get("facts")
    told = facts if isinstance(facts, Mapping) else {}
    return Happening(
        at=row.at,
        subject=row.subject,
        became=str(row.facts.get("after", "")),
        code=code,
        facts=told,
        words=_words(code, told),
    )


def _words(code: str, facts: Mapping[str, Fact]) -> str:
    try:
        return in_words(Reason(code=ReasonCode(code), facts=facts))
    except ValueError:
        told = ", ".join(f"{name} {fact}" for name, fact in facts.items())
        return f"{code.replace('_', ' ')}{f': {told}' if told else ''}"


def _now(task: Task, attempts: tuple[Attempt, ...], verdict: Verdict | None, history: tuple[Happening, ...]) -> str:
    """Prefer the newest refusal; else what the newest attempt does; else the last thing that happened to the task."""
    if verdict is not None:
        return f"{task.state.value}: {_words(verdict.code, verdict.facts)}"
    live = [attempt for attempt in attempts if attempt.end is None]
    if live:
        newest = live[-1]
        where = f"{newest.backend}{f' as {newest.native_id}' if newest.native_id else ''}"
        queue = f" ({newest.native_detail})" if newest.native_detail else ""
        return f"{task.state.value}: attempt {newest.number} is {newest.state.value} on {where}{queue}"
    own = [one for one in history if one.subject == task.id and one.became]
    return f"{task.state.value}: {own[-1].words}" if own else task.state.value
