"""What `elisa status` shows: pipelines, their tasks, and whether somebody still ticks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elisa.model.closures import Closure
from elisa.model.ids import PipelineId, TaskId
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.rows import PipelineSummary, StoreMeta, TaskRow
from elisa.model.states import FINAL_TASK_STATES, AttemptState, EndReason, TaskState
from elisa.model.task import NOT_SUBMITTED
from elisa.model.units import format_duration
from elisa.policies.livelock import SpinRules, rounds_of
from elisa.policies.unexplained import UNHEARD, held_unexplained
from elisa.store.reader import Reader

from .chains import queued_behind
from .deadlines import Judged, read_judged
from .words import in_words, parked_words

__all__ = ["STALE_TICK_S", "Status", "StatusTask", "read_status", "tick_warning"]

# Cron ticks each minute; five missed ones are no accident.
STALE_TICK_S = 300.0

# The order in which a person wants to see them.
_ORDER = {
    TaskState.ACTIVE: 0,
    TaskState.READY: 1,
    TaskState.HELD: 2,
    TaskState.FAILED: 3,
    TaskState.WAITING: 4,
    TaskState.CANCELLED: 5,
    TaskState.SKIPPED: 6,
    TaskState.SUCCEEDED: 7,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTask:
    """One task and, in `note`, the one thing worth knowing about it now."""

    row: TaskRow
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole answer. `alarms` are those of the last tick. `hidden` tasks are left out of `tasks`; `counts` covers them all.

    `deadlines` tells how the unfinished pipelines that have one stand; `closures` are people's.
    """

    meta: StoreMeta
    warning: str
    alarms: str
    pipelines: tuple[PipelineSummary, ...]
    deadlines: Mapping[PipelineId, Judged]
    counts: Mapping[TaskState, int]
    tasks: tuple[StatusTask, ...]
    hidden: int
    closures: tuple[Closure, ...] = ()


def read_status(
    reader: Reader,
    now: datetime,
    *,
    ids: Sequence[str] = (),
    project: str | None = None,
    everything: bool = False,
    limit: int = 40,
) -> Status:
    """Read what is unfinished (or everything), narrowed to a project or to pipelines and tasks by id.

    Raises UsageError if an id is not known or not unique.
    """
    wanted_pipelines, wanted_tasks = _resolve(reader, ids)
    pipelines = tuple(
        one
        for one in reader.pipelines(project=project, unfinished_only=not (everything or ids))
        if not ids or one.id in wanted_pipelines
    )
    meta = reader.meta()
    now = meta.present(now)
    counts = _sum_counts(pipelines)
    rows = [row for one in pipelines for row in _rows(reader, one, wanted_tasks, everything=everything, limit=limit)]
    shown = sorted(rows, key=lambda row: (_ORDER[row.state], row.pipeline, row.name))
    shown = shown if everything else shown[:limit]
    return Status(
        meta=meta,
        alarms=str(meta.last_tick.get("alarms", "")),
        warning=tick_warning(
            meta, now, unfinished=any(counts[state] for state in counts if state not in FINAL_TASK_STATES)
        ),
        pipelines=pipelines,
        deadlines=read_judged(reader, pipelines, now),
        counts=counts,
        tasks=tuple(StatusTask(row=row, note=_note(reader, row, now)) for row in shown),
        hidden=max(0, (len(wanted_tasks) or sum(counts.values())) - len(shown)),
        closures=reader.closures(now),
    )


def _rows(
    reader: Reader, pipeline: PipelineSummary, wanted: frozenset[TaskId], *, everything: bool, limit: int
) -> Sequence[TaskRow]:
    """Rows of one pipeline; succeeded ones only when all were asked for, or when that is all there is."""
    if wanted:
        return [row for row in reader.task_rows(pipeline=pipeline.id) if row.id in wanted]
    if everything:
        return reader.task_rows(pipeline=pipeline.id)
    present = [state for state in _ORDER if pipeline.counts.get(state)]
    worth_showing = [state for state in present if state is not TaskState.SUCCEEDED] or present
    return [
        row for state in worth_showing for row in reader.task_rows(pipeline=pipeline.id, states=[state], limit=limit)
    ]


def _resolve(reader: Reader, ids: Sequence[str]) -> tuple[frozenset[PipelineId], frozenset[TaskId]]:
    found = [reader.resolve(text) for text in ids]
    tasks = {TaskId(one.partition(".")[0]) for one in found if one.startswith("t")}
    pipelines = {PipelineId(one) for one in found if one.startswith("p")}
    owners = {task.pipeline for task in reader.tasks(tasks).values()} if tasks else set()
    return frozenset(pipelines | owners), frozenset(tasks)


def _sum_counts(pipelines: Sequence[PipelineSummary]) -> Counter[TaskState]:
    total: Counter[TaskState] = Counter()
    for one in pipelines:
        total.update(one.counts)
    return total


def tick_warning(meta: StoreMeta, now: datetime, *, unfinished: bool) -> str:
    """Return a sentence if work waits for ticks that do not come, or for a resource manager that does not answer."""
    if not unfinished:
        return ""
    if meta.last_tick_at is None:
        return "no tick has run yet: nothing starts before `elisa tick` runs; `elisa cron install` has cron do it"
    age_s = (now - meta.last_tick_at).total_seconds()
    if age_s < STALE_TICK_S:
        return _outage_warning(meta)
    return f"the last tick was {format_duration(age_s)} ago: is cron running it? see `elisa cron show`"


def _outage_warning(meta: StoreMeta) -> str:
    """Return a sentence if a resource manager did not answer the last tick, else nothing."""
    outages = meta.last_tick.get("outages")
    if not outages:
        return ""
    return f"no answer at the last tick from {outages}; nothing is concluded about jobs there, and it is asked again by itself"


def _note(reader: Reader, row: TaskRow, now: datetime) -> str:
    if row.cancel_requested and row.state not in FINAL_TASK_STATES:
        return "will be cancelled"
    if row.hold_requested:
        return "held in its queue" if "held" in row.native_detail.lower() else "will be held"
    if row.state is TaskState.HELD and row.end_reason == EndReason.CANCELLED:
        return _held_note(reader, row)
    if row.state is TaskState.ACTIVE:
        return _active_note(row, now, queued_behind(reader, row.behind)) + _left_alone(reader, row, now)
    if row.reason == ReasonCode.BACKING_OFF and (spun := _spin(reader, row, now)) is not None:
        return in_words(spun)
    if row.reason:
        verdict = reader.verdict(row.id)
        words = in_words(Reason(code=ReasonCode(verdict.code), facts=verdict.facts)) if verdict else row.reason
        return _unheard(reader, row) + parked_words(row.reason, row.end_reason, row.saved_step) + words
    if row.state is TaskState.FAILED:
        words = _last_detail(reader, row) if row.end_reason == EndReason.REJECTED else ""
        return row.end_reason.replace("_", " ") + (f": {words}" if words else "")
    if row.state is TaskState.READY and row.end_reason == EndReason.CANCELLED:
        words = _last_detail(reader, row)
        return words if words.startswith(NOT_SUBMITTED) else ""
    return ""


def _last_detail(reader: Reader, row: TaskRow) -> str:
    """Return what was said of the end of a task's newest attempt: mostly a manager's own words."""
    ends = [attempt.end for attempt in reader.attempts_of(row.id) if attempt.end is not None]
    return ends[-1].detail if ends else ""


def _unheard(reader: Reader, row: TaskRow) -> str:
    """Return the words about a task whose last job never began."""
    is_so = row.end_reason == EndReason.LOST and _last_detail(reader, row) == UNHEARD
    return f"{UNHEARD}; " if is_so else ""


def _held_note(reader: Reader, row: TaskRow) -> str:
    reason = held_unexplained(reader.attempts_of(row.id))
    return "" if reason is None else in_words(reason)


def _left_alone(reader: Reader, row: TaskRow, now: datetime) -> str:
    is_due = row.attempts > SpinRules().rounds and row.saved_step is None
    spun = rounds_of(reader.attempts_of(row.id), now) if is_due else None
    return "" if spun is None else f"; left alone, for it came back {spun.times} times without getting any further"


def _spin(reader: Reader, row: TaskRow, now: datetime) -> Reason | None:
    """Return the livelock for which a task waits, None for any other wait."""
    spun = rounds_of(reader.attempts_of(row.id), now)
    verdict = reader.verdict(row.id)
    if spun is None or verdict is None:
        return None
    return because(ReasonCode.SPINS, **spun.facts(now), not_before=verdict.facts["not_before"])


def _active_note(row: TaskRow, now: datetime, behind: str) -> str:
    if row.attempt_state is AttemptState.RUNNING and row.started_at is not None:
        saved = "" if row.saved_step is None else f"; saved step {row.saved_step}"
        return f"running for {format_duration((now - row.started_at).total_seconds())} on {row.backend}{saved}"
    if behind:
        return f"{behind} on {row.backend}"
    queue = f": {row.native_detail}" if row.native_detail else ""
    return f"{row.attempt_state.value if row.attempt_state else 'unknown'} on {row.backend}{queue}"
