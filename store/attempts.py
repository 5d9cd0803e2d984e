"""What changes of attempts make of their rows."""

from __future__ import annotations

from elisa.model.changes import (
    AttemptContinued,
    AttemptIntended,
    AttemptMoved,
    AttemptNoted,
    AttemptSubmitted,
    CancelSent,
)
from elisa.model.errors import StaleChange
from elisa.model.states import ATTEMPT_MOVES, FINAL_ATTEMPT_STATES, AttemptState, TaskState
from elisa.model.task import Attempt, in_front
from elisa.store import tables
from elisa.store.batch import Batch, because_facts
from elisa.store.connection import Row
from elisa.store.convert import optional_json, resources_from, to_us
from elisa.store.ledger import NO_CHARGE, check_heir, reserve, settle, spend
from elisa.store.new_rows import attempt_row
from elisa.store.tasks import enter_state, stay_active

__all__ = ["continue_attempt", "intend_attempt", "move_attempt", "note_attempt", "send_cancel", "submit_attempt"]


def intend_attempt(batch: Batch, change: AttemptIntended) -> None:
    """Make the attempt, its task active, and its reservation.

    Raises StaleChange if the task is not ready (or waiting, for an attempt behind others that live; or active, for one
    that continues a live one) or had another attempt meanwhile, PolicyError if a hard cap forbids it.
    """
    attempt = change.attempt
    task = batch.change_task(attempt.task)
    if attempt.number != task["attempts"] + 1:
        raise StaleChange(
            f"{attempt.id} cannot be the next attempt at {attempt.task}",
            f"there were {task['attempts']} attempts",
            "read again and decide again",
        )
    _check_behind(batch, attempt)
    task["attempts"] = attempt.number
    if attempt.continues is not None:
        stay_active(batch, task, change.reason)
    else:
        before = TaskState.WAITING if attempt.behind else TaskState.READY
        enter_state(batch, task, before, TaskState.ACTIVE, change.reason)
    row = attempt_row(attempt, task, change.reserve)
    batch.attempts[attempt.id] = row
    batch.created.add(attempt.id)
    batch.inserts[tables.ATTEMPT].append(row)
    if attempt.inherits is not None:
        check_heir(batch, row, attempt.request)
    reserve(batch, row, attempt.request, change.reserve)
    place = {"backend": attempt.backend, "partition": attempt.partition, "reserve": change.reserve}
    if attempt.behind:
        place["behind"] = attempt.behind
    if attempt.continues is not None:
        place["continues"] = attempt.continues
    if attempt.leader is not None:
        place["leader"] = attempt.leader
    _audit_move(batch, row, None, {**place, **because_facts(change.reason)}, "attempt.intended")


def _check_behind(batch: Batch, attempt: Attempt) -> None:
    for other in in_front(attempt):
        row = batch.attempt(other)
        is_in_same_job = attempt.leader is not None and row["leader"] == attempt.leader
        is_known = row["native_id"] is not None or is_in_same_job
        if AttemptState(row["state"]) in FINAL_ATTEMPT_STATES or row["cancel_sent"] or not is_known:
            raise StaleChange(
                f"{attempt.id} cannot be queued behind {other}",
                f"it is {row['state']}, was asked to leave, or is not known to have been submitted",
                "read again and decide again",
            )


def continue_attempt(batch: Batch, change: AttemptContinued) -> None:
    """Make an attempt that was queued ahead its task's own."""
    before, row = batch.attempt(change.after), batch.change_attempt(change.attempt)
    if row["continues"] != change.after or AttemptState(before["state"]) not in FINAL_ATTEMPT_STATES:
        raise StaleChange(
            f"{change.attempt} cannot go on from {change.after}",
            f"it continues {row['continues'] or 'none'}, and {change.after} is {before['state']}",
            "read again and decide again",
        )
    row["continues"] = None
    row["resume_from"] = optional_json(change.resume_from)
    batch.audit.add("attempt.continued", change.attempt, {"continues": change.after, **because_facts(change.reason)})


def submit_attempt(batch: Batch, change: AttemptSubmitted) -> None:
    """Store the native id; the attempt is submitted unless news of it came first."""
    row = batch.change_attempt(change.attempt)
    if row["native_id"] == change.native_id:
        return
    before = AttemptState(row["state"])
    if row["native_id"] is not None or before in FINAL_ATTEMPT_STATES:
        raise StaleChange(
            f"attempt {change.attempt} cannot become native job {change.native_id}",
            f"it is {before.value}, its native job {row['native_id']}",
            "read again and decide again",
        )
    row["native_id"] = change.native_id
    row["submitted_at"] = batch.now_us
    row["state"] = (AttemptState.SUBMITTED if before is AttemptState.INTENDED else before).value
    _audit_move(batch, row, before, because_facts(change.reason), "attempt.submitted")


def move_attempt(batch: Batch, change: AttemptMoved) -> None:
    """Move an attempt; a final state books its spend and gives back the rest of its reservation.

    Raises StaleChange if the attempt is not in `before`, ValueError if no attempt may make that move.
    """
    row = batch.change_attempt(change.attempt)
    _check_move(row, change)
    row["state"] = change.after.value
    given = {"nodes": change.nodes, "started_at": to_us(change.started_at), "ended_at": to_us(change.ended_at)}
    row.update({name: value for name, value in given.items() if value is not None})
    if change.after in FINAL_ATTEMPT_STATES:
        _end(batch, row, change)
    elif change.spend is not None:
        spend(batch, row, change.spend)
    if change.incarnation is not None:
        if change.incarnation > row["incarnation"] and change.after not in FINAL_ATTEMPT_STATES:
            row.update(ending=None, absences=0, quiet_ticks=0)
        row["incarnation"] = change.incarnation
    facts = {"end": change.end, "spend": change.spend, **because_facts(change.reason)}
    _audit_move(batch, row, change.before, facts, "attempt.moved")


def _check_move(row: Row, change: AttemptMoved) -> None:
    if row["state"] != change.before:
        raise StaleChange(
            f"attempt {change.attempt} is {row['state']}, not {change.before.value}",
            f"something moved it before it could become {change.after.value}",
            "read again and decide again",
        )
    if change.after not in ATTEMPT_MOVES[change.before]:
        raise ValueError(f"no attempt goes from {change.before} to {change.after}")
    rises = (change.incarnation or 0) > row["incarnation"]
    if change.spend is not None and change.after not in FINAL_ATTEMPT_STATES and not rises:
        raise ValueError(f"{change.attempt} goes on: only a new incarnation settles what the last one spent")


def _end(batch: Batch, row: Row, change: AttemptMoved) -> None:
    settle(batch, row, resources_from(row["request"]), change.spend or NO_CHARGE)
    row["ending"] = optional_json(change.end)
    row["end_reason"] = change.end.reason.value if change.end else ""
    if row["ended_at"] is None:
        row["ended_at"] = batch.now_us


def _audit_move(batch: Batch, row: Row, before: AttemptState | None, facts: dict[str, object], kind: str) -> None:
    now = {"before": before, "after": row["state"], "incarnation": row["incarnation"], "native_id": row["native_id"]}
    batch.audit.add(kind, row["id"], {**now, **facts})


def note_attempt(batch: Batch, change: AttemptNoted) -> None:
    """Keep what is no change of state."""
    given = {
        "absences": change.absences,
        "quiet_ticks": change.quiet_ticks,
        "claimed": None if change.claimed is None else int(change.claimed),
        "native_detail": change.native_detail,
        "ending": optional_json(change.end),
    }
    batch.change_attempt(change.attempt).update({name: value for name, value in given.items() if value is not None})


def send_cancel(batch: Batch, change: CancelSent) -> None:
    """Write down that the resource manager is about to be asked, unless it was asked before."""
    row = batch.attempt(change.attempt)
    if row["cancel_sent"]:
        return
    batch.change_attempt(change.attempt)["cancel_sent"] = 1
    batch.audit.add("cancel.sent", change.attempt, because_facts(change.reason))
