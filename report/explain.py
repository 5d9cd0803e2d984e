"""Why a task is where it is: what was decided about it, in order, and what it waits for now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from elisa.forecast.work import Left
from elisa.model.reasons import Fact, Reason, ReasonCode
from elisa.model.rows import AuditRow
from elisa.model.states import FINAL_TASK_STATES, LIVE_ATTEMPT_STATES
from elisa.model.task import Attempt, Task, Verdict, own_attempts
from elisa.model.units import format_duration, format_memory
from elisa.policies.unexplained import UNHEARD, is_unheard
from elisa.store.reader import Reader

from .chains import queued_behind
from .deadlines import Judged, read_judged_one
from .expected import read_expected
from .names import resolve_task
from .words import in_words, parked_words

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
    """`now` is one sentence about the present; `history` is the audit, oldest first.

    `left` is what is left of its work, None if it is over; `due` how its pipeline's deadline stands, if it has one.
    """

    task: Task
    attempts: tuple[Attempt, ...]
    verdict: Verdict | None
    now: str
    history: tuple[Happening, ...]
    left: Left | None = None
    due: Judged | None = None


def read_explanation(reader: Reader, name: str, now: datetime) -> Explanation:
    """Explain the task that `name` stands for, and what is expected of it `now`.

    Raises UsageError if it is not known, not unique, or no task.
    """
    task = reader.task(resolve_task(reader, name))
    attempts = tuple(reader.attempts_of(task.id))
    verdict = reader.verdict(task.id)
    rows = [
        row for subject in (task.id, *(attempt.id for attempt in attempts)) for row in reader.audit(subject=subject)
    ]
    history = tuple(_happenings(sorted(rows, key=lambda row: row.seq)))
    present = reader.meta().present(now)
    return Explanation(
        task=task,
        attempts=attempts,
        verdict=verdict,
        now=_now(reader, task, attempts, verdict, history),
        history=history,
        left=read_expected(reader, task, attempts, present),
        due=read_judged_one(reader, task.pipeline, present) if task.state not in FINAL_TASK_STATES else None,
    )


def _happenings(rows: Sequence[AuditRow]) -> Iterator[Happening]:
    """Tell what happened, in order; a wish to cancel is carried out later, but in the name of whoever had it."""
    by: dict[str, Fact] = {}
    for row in rows:
        if row.kind == "cancel.requested":
            by = {"by": str(row.facts.get("by"))}
        yield _happening(row, by)


def _happening(row: AuditRow, cancelled_by: Mapping[str, Fact]) -> Happening:
    told = _mapping(row.facts.get("because"))
    code = str(row.facts.get("reason", row.kind))
    if code == ReasonCode.CANCELLED_BY_USER:
        told = {**cancelled_by, **told}
    return Happening(
        at=row.at,
        subject=row.subject,
        became=str(row.facts.get("after") or ""),
        code=code,
        facts=told
        if "because" in row.facts
        else {name: fact for name, fact in row.facts.items() if name not in _BOOKKEEPING},
        words=_words(row.kind, code, told, row.facts),
    )


def _mapping(value: object) -> Mapping[str, Fact]:
    return value if isinstance(value, Mapping) else {}


def _words(kind: str, code: str, told: Mapping[str, Fact], facts: Mapping[str, object]) -> str:
    if kind in _OWN_WORDS and "reason" not in facts:
        return _OWN_WORDS[kind](facts)
    end = _mapping(facts.get("end"))
    return _reason_words(code, told) + (f": {_end_words(end)}" if end else "")


def _reason_words(code: str, told: Mapping[str, Fact]) -> str:
    try:
        return in_words(Reason(code=ReasonCode(code), facts=told))
    except ValueError:
        return code.replace("_", " ").replace(".", " ")


def _end_words(end: Mapping[str, Fact]) -> str:
    """Say how an attempt ended: `failed (signal 9)`, `timeout at step 12`."""
    words = str(end["reason"]).replace("_", " ")
    if end.get("signal"):
        words += f" (signal {end['signal']})"
    elif end.get("exit_code"):
        words += f" (exit code {end['exit_code']})"
    is_news = end.get("detail") and end["detail"] != end["reason"]
    detail = f", {end['detail']}" if is_news else ""
    return words + (f" at step {end['step']}" if end.get("step") is not None else "") + detail


def _ranked_words(facts: Mapping[str, object]) -> str:
    told = f"class {facts['priority']}, " if facts.get("priority") else ""
    return f"{facts.get('by')} ranked it anew: {told}importance {facts.get('importance')}"


def _output_words(facts: Mapping[str, object]) -> str:
    name = facts.get("name")
    return (
        f"its output {name} is as declared"
        if facts.get("ok")
        else f"its output {name} is not usable: {facts.get('why')}"
    )


def _over_words(facts: Mapping[str, object]) -> str:
    """Say which limit was passed; one of time is not told in memory."""
    tell = format_duration if facts.get("resource") == "walltime" else format_memory
    seen, limit = (tell(ceil(float(str(facts.get(name) or 0)))) for name in ("seen", "limit"))
    return f"it came to {seen} of {facts.get('resource')}, of the {limit} it may use"


def _set_aside_words(facts: Mapping[str, object]) -> str:
    return f"a checkpoint was set aside, {facts.get('path')}: {facts.get('why')}"


_BOOKKEEPING = frozenset({"after", "before", "pipeline", "parent", "incarnation"})
_OWN_WORDS: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "task.added": lambda _: "it was submitted",
    "task.ranked": _ranked_words,
    "cancel.requested": lambda facts: f"{facts.get('by')} asked for it to be cancelled",
    "checkpoint.seen": lambda facts: f"it saved step {facts.get('step')}",
    "output.seen": _output_words,
    "noted.given_up": lambda facts: f"the resource manager is to be asked to delete {facts.get('native_id')}",
    "noted.cancel_answered": lambda _: "the resource manager was asked to stop it",
    "noted.over_limit": _over_words,
    "noted.quarantined": _set_aside_words,
}


def _parked(attempts: tuple[Attempt, ...], verdict: Verdict) -> str:
    own = own_attempts(attempts)
    newest = own[-1] if own else None
    if newest is None or newest.end is None:
        return ""
    if is_unheard(newest):
        return f"{UNHEARD}; "
    saved = newest.last_checkpoint or newest.resume_from
    return parked_words(verdict.code, newest.end.reason, saved.step if saved is not None else None)


def _now(
    reader: Reader,
    task: Task,
    attempts: tuple[Attempt, ...],
    verdict: Verdict | None,
    history: tuple[Happening, ...],
) -> str:
    """Prefer the newest refusal; else what the newest attempt does; else the last thing that happened to the task."""
    if verdict is not None:
        return f"{task.state.value}: {_parked(attempts, verdict)}{_reason_words(verdict.code, verdict.facts)}"
    live = [attempt for attempt in attempts if attempt.state in LIVE_ATTEMPT_STATES]
    present = own_attempts(live)
    if present:
        newest = present[-1]
        where = f"{newest.backend}{f' as {newest.native_id}' if newest.native_id else ''}"
        queue = queued_behind(reader, newest.behind) or newest.native_detail
        queue = f" ({queue})" if queue else ""
        ahead = _ahead_words(live)
        return f"{task.state.value}: attempt {newest.number} is {newest.state.value} on {where}{queue}{ahead}"
    own = [one for one in history if one.subject == task.id and one.became]
    return f"{task.state.value}: {own[-1].words}" if own else task.state.value


def _ahead_words(live: Sequence[Attempt]) -> str:
    """Say which attempts are queued ahead of the present one's end."""
    ahead = [attempt for attempt in live if attempt.continues is not None]
    if not ahead:
        return ""
    names = [f"{attempt.number}{f' as {attempt.native_id}' if attempt.native_id else ''}" for attempt in ahead]
    return f"; queued ahead to go on: attempt {', '.join(names)}"
