"""Turn a finished batch into the few statements that write it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from elisa.model.states import FINAL_ATTEMPT_STATES
from elisa.store import tables
from elisa.store.batch import Batch
from elisa.store.connection import Row
from elisa.store.looks import next_look
from elisa.store.statements import insert_into, update_where, upsert_into

__all__ = ["Statement", "statements"]

_TASK = (
    "state", "request", "ready_at", "ended_at", "not_before", "attempts", "failures", "cancel_requested", "resume_from",
    "check_needs", "due_at", "hold_requested",
)  # fmt: skip
_ATTEMPT = (
    "state", "native_id", "native_detail", "submitted_at", "started_at", "ended_at", "incarnation", "absences",
    "quiet_ticks", "cancel_sent", "claimed", "nodes", "last_checkpoint", "usage", "end_reason", "ending", "continues",
    "inherits", "resume_from", "held_node_s", "held_cpu_s", "held_memory_mib_s", "held_gpu_s", "held_watt_s",
    "held_watts",
)  # fmt: skip
_OVER = frozenset(state.value for state in FINAL_ATTEMPT_STATES)
_RANK = ("priority", "importance", "spec", "ranked_by")
_META = ("host", "revision", "canary", "last_tick_at", "ticks", "last_tick")
# A row comes after those it refers to.
_INSERTED = (
    tables.BUDGET,
    tables.PROJECT,
    tables.PIPELINE,
    tables.TASK,
    tables.NEED_EDGE,
    tables.ATTEMPT,
    tables.LEDGER,
)
_UPSERTED = (
    tables.PROJECT,
    tables.CHECKPOINT,
    tables.METRIC,
    tables.LATEST_METRIC,
    tables.OUTPUT,
    tables.ACCOUNT,
    tables.DAILY_USE,
    tables.VERDICT,
    tables.EVENT_CURSOR,
    tables.CLOSURE,
    tables.RULE,
)


class Statement(NamedTuple):
    """One statement with the rows to run it for; `matches`: every row must change exactly one row of the database."""

    sql: str
    rows: Sequence[Row]
    matches: bool = False


def statements(batch: Batch, dialect: str) -> Iterator[Statement]:
    """Yield what writes the batch, in an order in which every reference holds."""
    yield from (statement for statement in _all(batch, dialect) if statement.rows)


def _all(batch: Batch, dialect: str) -> Iterator[Statement]:
    yield Statement(update_where(tables.META, _META, ("id",), dialect), [{**batch.meta, "old_id": batch.meta["id"]}])
    looked = update_where(tables.TASK, ("check_needs", "due_at"), ("id", "state"), dialect)
    yield Statement(looked, list(_looked_at(batch)))
    task_update = update_where(tables.TASK, _TASK, ("id", "state"), dialect)
    yield Statement(task_update, list(_compared(batch.task_states, batch.tasks)), matches=True)
    ranked = update_where(tables.TASK, _RANK, ("id",), dialect)
    yield Statement(ranked, [{**batch.ranks[key], "old_id": key} for key in sorted(batch.ranked & batch.ranks.keys())])
    due = update_where(tables.PIPELINE, ("deadline", "spec"), ("id",), dialect)
    yield Statement(due, [{**batch.due[key], "old_id": key} for key in sorted(batch.ranked & batch.due.keys())])
    attempt_update = update_where(tables.ATTEMPT, _ATTEMPT, ("id", "state"), dialect)
    # Who ends makes way for who goes on: a task has one live attempt of its own at any moment.
    ended_first = sorted(_compared(batch.attempt_states, batch.attempts), key=lambda row: row["state"] not in _OVER)
    yield Statement(attempt_update, ended_first, matches=True)
    for table in batch.clears:
        yield Statement(f"DELETE FROM {table.name}", [{}])
    for table in _INSERTED:
        yield Statement(insert_into(table, dialect), batch.inserts[table])
    yield Statement(_named(_FORGET_VERDICT, dialect), [{"task": task} for task in sorted(batch.dropped_verdicts)])
    for table in _UPSERTED:
        yield Statement(upsert_into(table, dialect), list(batch.upserts[table].values()))
    yield Statement(insert_into(tables.AUDIT, dialect), batch.audit.rows)
    marks = [{"target": target, "revision": batch.revision} for target in sorted(batch.marks)]
    yield Statement(_named(_MARK_DEPENDENTS, dialect), marks)
    yield Statement(_named(_MARK_TEMPLATE, dialect), marks)


_PLACEHOLDER = re.compile(r":(\w+)")
_FORGET_VERDICT = "DELETE FROM verdict WHERE task = :task"
_MARK_DEPENDENTS = (
    "UPDATE task SET check_needs = :revision WHERE state = 'waiting'"
    " AND id IN (SELECT task FROM need_edge WHERE target IN (:target, (SELECT parent FROM task WHERE id = :target)))"
)
_MARK_TEMPLATE = (
    "UPDATE task SET check_needs = :revision WHERE state = 'waiting'"
    " AND id = (SELECT parent FROM task WHERE id = :target)"
)


def _compared(states: dict[str, str], rows: dict[str, Row]) -> Iterator[Row]:
    for key, state in states.items():
        yield {**rows[key], "old_id": key, "old_state": state}


def _looked_at(batch: Batch) -> Iterator[Row]:
    for task in sorted(batch.looked_at & batch.unchecked.keys()):
        row = batch.unchecked[task]
        check = 0 if row["check_needs"] <= batch.seen_revision else row["check_needs"]
        yield {
            "check_needs": check,
            "due_at": next_look(row, batch.seen_us),
            "old_id": task,
            "old_state": "waiting",
        }


def _named(sql: str, dialect: str) -> str:
    if dialect == "sqlite":
        return sql
    return _PLACEHOLDER.sub(r"%(\1)s", sql)
