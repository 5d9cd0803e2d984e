"""Read what a sequence of changes is about, in a few queries, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any

from elisa.model.changes import (
    AttemptContinued,
    AttemptIntended,
    AttemptMoved,
    AttemptNoted,
    AttemptSubmitted,
    CancelRequested,
    CancelSent,
    Change,
    CheckpointSeen,
    ClosureLifted,
    CursorMoved,
    HoldRequested,
    OutputSeen,
    PassedOver,
    PipelineAdded,
    PipelineRanked,
    ResumeChosen,
    RuleDropped,
    TaskMoved,
    TaskRanked,
    TasksAdded,
    UsageSeen,
)
from elisa.model.codec import decode
from elisa.model.pipeline import Pipeline
from elisa.model.states import FINAL_ATTEMPT_STATES, AttemptState
from elisa.model.task import in_front
from elisa.store.batch import Batch, CapRow
from elisa.store.connection import Connection, Row
from elisa.store.convert import CHARGES, read_facts
from elisa.store.ledger import account_row
from elisa.store.pipelines import names_of

__all__ = ["load", "read_meta"]

_META = ("id", "host", "revision", "canary", "last_tick_at", "ticks", "last_tick")
_TASK = (
    "id", "pipeline", "project", "owner_uid", "parent", "position", "needs", "state", "request", "ready_at", "ended_at",
    "not_before", "submitted_at", "attempts", "failures", "cancel_requested", "resume_from", "check_needs", "due_at",
    "hold_requested",
)  # fmt: skip
_ATTEMPT = (
    "id", "task", "project", "owner_uid", "request", "gpu_type", "state", "native_id", "native_detail", "submitted_at",
    "started_at", "ended_at", "incarnation", "absences", "quiet_ticks", "cancel_sent", "claimed", "nodes",
    "last_checkpoint", "usage", "end_reason", "ending", "continues", "inherits", "resume_from",
    "held_watts", *(f"held_{name}" for name in CHARGES),
)  # fmt: skip
_RANK = ("id", "priority", "importance", "spec", "ranked_by")
_DUE = ("id", "deadline", "spec")
_VERDICT = ("task", "code", "facts", "since")
_CURSOR = ("file", "inode", "position", "seq")
_RULE = ("id", "kind", "project", "body", "set_by", "set_at", "state")
_CLOSURE = ("id", "backend", "nodes", "starts_at", "ends_at", "why", "added_by", "is_forced", "state")

# Which table's row a change is about, and under which name it has the row's key.
_SUBJECTS = {
    AttemptContinued: ("attempt", attrgetter("attempt")),
    AttemptIntended: ("task", attrgetter("attempt.task")),
    AttemptMoved: ("attempt", attrgetter("attempt")),
    AttemptNoted: ("attempt", attrgetter("attempt")),
    AttemptSubmitted: ("attempt", attrgetter("attempt")),
    CancelRequested: ("task", attrgetter("task")),
    CancelSent: ("attempt", attrgetter("attempt")),
    CheckpointSeen: ("attempt", attrgetter("attempt")),
    ClosureLifted: ("closure", attrgetter("closure")),
    CursorMoved: ("cursor", attrgetter("file")),
    HoldRequested: ("task", attrgetter("task")),
    OutputSeen: ("attempt", attrgetter("attempt")),
    PassedOver: ("verdict", attrgetter("task")),
    PipelineRanked: ("due", attrgetter("pipeline")),
    ResumeChosen: ("task", attrgetter("task")),
    RuleDropped: ("rule", attrgetter("rule")),
    TaskMoved: ("task", attrgetter("task")),
    TaskRanked: ("task", attrgetter("task")),
    TasksAdded: ("task", attrgetter("template")),
    UsageSeen: ("attempt", attrgetter("attempt")),
}


def read_meta(connection: Connection) -> Row:
    """Return what of the row of `meta` changes."""
    return next(_named(_META, connection.rows(f"SELECT {', '.join(_META)} FROM meta")))


def load(connection: Connection, batch: Batch, changes: Sequence[Change]) -> None:
    """Put into the batch every row that one of the changes needs."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for change in changes:
        if type(change) in _SUBJECTS:
            table, key = _SUBJECTS[type(change)]
            keys[table].append(key(change))
        if isinstance(change, AttemptIntended):
            keys["attempt"].extend(in_front(change.attempt))
        if isinstance(change, AttemptContinued):
            keys["attempt"].append(change.after)
    kinds = {type(change) for change in changes}
    batch.tasks = {row["id"]: row for row in _tasks(connection, keys["task"])}
    batch.attempts = {row["id"]: row for row in _by_key(connection, "attempt", "id", _ATTEMPT, keys["attempt"])}
    if kinds & {AttemptIntended, AttemptMoved}:
        _load_heirs(connection, batch, keys["attempt"])
    batch.verdicts = {row["task"]: row for row in _by_key(connection, "verdict", "task", _VERDICT, keys["verdict"])}
    batch.cursors = {row["file"]: row for row in _by_key(connection, "event_cursor", "file", _CURSOR, keys["cursor"])}
    batch.closures = {row["id"]: row for row in _by_key(connection, "closure", "id", _CLOSURE, keys["closure"])}
    batch.rules = {row["id"]: row for row in _by_key(connection, "rule", "id", _RULE, keys["rule"])}
    batch.due = {row["id"]: row for row in _by_key(connection, "pipeline", "id", _DUE, keys["due"])}
    ranked = [change.task for change in changes if isinstance(change, TaskRanked)]
    batch.ranks = {row["id"]: row for row in _by_key(connection, "task", "id", _RANK, ranked)}
    if CheckpointSeen in kinds:
        _load_checkpoints(connection, batch)
    if PassedOver in kinds:
        _load_unchecked(connection, batch)
    if kinds & {AttemptIntended, AttemptMoved}:
        _load_accounts(connection, batch)
    if kinds & {AttemptIntended, PipelineAdded}:
        batch.projects = dict(connection.rows("SELECT name, in_policy FROM project"))
    templates = [change.template for change in changes if isinstance(change, TasksAdded)]
    for pipeline in {batch.task(template)["pipeline"] for template in templates}:
        _load_pipeline(connection, batch, pipeline)


def _load_heirs(connection: Connection, batch: Batch, attempts: Collection[str]) -> None:
    """Read the live attempts that take over what one of these holds."""
    found = {row["id"]: row for row in _by_key(connection, "attempt", "inherits", _ATTEMPT, attempts)}
    live = {key: row for key, row in found.items() if AttemptState(row["state"]) not in FINAL_ATTEMPT_STATES}
    batch.heirs = {row["inherits"]: key for key, row in live.items()}
    batch.attempts = {**live, **batch.attempts}


def _tasks(connection: Connection, keys: Collection[str]) -> Iterator[Row]:
    columns = ", ".join(f"t.{name}" for name in _TASK)
    query = (
        f"SELECT {columns}, p.submitted_at FROM task t JOIN pipeline p ON p.id = t.pipeline WHERE t.id IN ({{keys}})"
    )
    return _named((*_TASK, "pipeline_at"), connection.rows_in(query, keys))


def _by_key(
    connection: Connection, table: str, key: str, columns: tuple[str, ...], keys: Collection[str]
) -> Iterator[Row]:
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} IN ({{keys}})"
    return _named(columns, connection.rows_in(query, keys))


def _named(names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
    return (dict(zip(names, row, strict=True)) for row in rows)


def _load_checkpoints(connection: Connection, batch: Batch) -> None:
    query = "SELECT attempt, step, path, saved_at FROM checkpoint WHERE attempt IN ({keys})"
    for attempt, step, path, saved_at in connection.rows_in(query, batch.attempts):
        batch.checkpoints[attempt, step, path] = saved_at


def _load_unchecked(connection: Connection, batch: Batch) -> None:
    names = ("id", "needs", "not_before", "submitted_at", "check_needs", "due_at", "pipeline_at")
    query = (
        "SELECT t.id, t.needs, t.not_before, t.submitted_at, t.check_needs, t.due_at, p.submitted_at FROM task t"
        " JOIN pipeline p ON p.id = t.pipeline WHERE t.state = 'waiting' AND (t.check_needs > 0 OR t.due_at <= ?)"
    )
    batch.unchecked = {row["id"]: row for row in _named(names, connection.rows(query, batch.seen_us))}


def _load_accounts(connection: Connection, batch: Batch) -> None:
    columns = tuple(account_row(("", 0, "")))
    for row in _named(columns, connection.rows(f"SELECT {', '.join(columns)} FROM account")):
        batch.accounts[row["project"], row["owner_uid"], row["gpu_type"]] = row
    budget = connection.rows("SELECT project, per_user, owner_uid, resource, gpu_type, cap FROM budget")
    batch.caps = tuple(CapRow(*row) for row in budget)
    names = ("project", "owner_uid", "gpu_type", "day", *CHARGES)
    query = f"SELECT {', '.join(names)} FROM daily_use WHERE day = ?"
    for row in _named(names, connection.rows(query, batch.today)):
        batch.daily[row["project"], row["owner_uid"], row["gpu_type"], row["day"]] = row


def _load_pipeline(connection: Connection, batch: Batch, pipeline: str) -> None:
    spec = connection.rows("SELECT spec FROM pipeline WHERE id = ?", pipeline)[0][0]
    names = connection.rows("SELECT name, group_name, id FROM task WHERE pipeline = ? AND parent IS NULL", pipeline)
    batch.pipelines[pipeline] = (decode(Pipeline, read_facts(spec)), names_of(names))
