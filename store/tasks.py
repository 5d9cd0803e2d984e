"""What changes of tasks make of their rows."""

from __future__ import annotations

from elisa.model.changes import CancelRequested, HoldRequested, PassedOver, ResumeChosen, TaskMoved
from elisa.model.errors import StaleChange
from elisa.model.reasons import Reason
from elisa.model.states import FINAL_TASK_STATES, TASK_MOVES, TaskState
from elisa.store import tables
from elisa.store.batch import Batch, because_facts
from elisa.store.connection import Row
from elisa.store.convert import optional_json, to_json, to_us
from elisa.store.looks import next_look

__all__ = ["choose_resume", "enter_state", "move_task", "pass_over", "request_cancel", "request_hold", "stay_active"]


# Who comes to these begins to wait; who goes from one to the other goes on.
_WAITS = frozenset({TaskState.WAITING, TaskState.READY})


def move_task(batch: Batch, change: TaskMoved) -> None:
    """Move a task, and store what its next attempt shall be like."""
    row = batch.change_task(change.task)
    if change.request is not None:
        row["request"] = to_json(change.request)
    row["not_before"] = to_us(change.not_before)
    goes_on = change.before is TaskState.ACTIVE and change.after not in FINAL_TASK_STATES
    if change.resume_from is not None or goes_on:
        row["resume_from"] = optional_json(change.resume_from)
    row["failures"] = 0 if change.resets_failures else row["failures"] + change.counts_as_failure
    enter_state(batch, row, change.before, change.after, change.reason, keeps_age=change.keeps_age)


def choose_resume(batch: Batch, change: ResumeChosen) -> None:
    """Store where the next attempt begins. Raises StaleChange if the task is not in `before`."""
    row = batch.change_task(change.task)
    if row["state"] != change.before:
        raise StaleChange(
            f"task {change.task} is {row['state']}, not {change.before.value}",
            "something moved it before its checkpoint could be chosen",
            "read again and decide again",
        )
    row["resume_from"] = to_json(change.checkpoint)
    facts = {"step": change.checkpoint.step, "path": change.checkpoint.path}
    batch.audit.add("resume.chosen", change.task, {**facts, **because_facts(change.reason)})


def enter_state(
    batch: Batch, row: Row, before: TaskState, after: TaskState, reason: Reason, *, keeps_age: bool = False
) -> None:
    """Change a task's state with all that follows from it; the row is one to be changed.

    Raises StaleChange if the task is not in `before`, ValueError if no task may make that move.
    """
    if row["state"] != before:
        raise StaleChange(
            f"task {row['id']} is {row['state']}, not {before.value}",
            f"something moved it before it could become {after.value}",
            "read again and decide again",
        )
    if after not in TASK_MOVES[before]:
        raise ValueError(f"no task goes from {before} to {after}")
    row["state"] = after.value
    if after in _WAITS and before is not TaskState.WAITING and not keeps_age:
        row["ready_at"] = None
    _note_times(batch, row, after)
    _drop_verdict(batch, row["id"])
    if before in FINAL_TASK_STATES or after in FINAL_TASK_STATES:
        batch.marks.add(row["id"])
    facts = {"before": before, "after": after, "attempts": row["attempts"], "failures": row["failures"]}
    batch.audit.add("task.moved", row["id"], {**facts, **because_facts(reason)})


def stay_active(batch: Batch, row: Row, reason: Reason) -> None:
    """Count one more attempt at a task that is active, and stays so. Raises StaleChange if it is not."""
    if row["state"] != TaskState.ACTIVE:
        raise StaleChange(
            f"task {row['id']} is {row['state']}, not active",
            "its attempt ended before another could be queued behind that",
            "read again and decide again",
        )
    facts = {"after": row["state"], "attempts": row["attempts"], "failures": row["failures"]}
    batch.audit.add("task.queued_ahead", row["id"], {**facts, **because_facts(reason)})


def _note_times(batch: Batch, row: Row, after: TaskState) -> None:
    is_final = after in FINAL_TASK_STATES
    is_waiting = after is TaskState.WAITING
    row["ended_at"] = batch.now_us if is_final else None
    if after is TaskState.READY and row["ready_at"] is None:
        row["ready_at"] = batch.now_us
    if is_final:
        row["cancel_requested"] = 0
    if is_final or after is TaskState.HELD:
        row["hold_requested"] = 0
    row["check_needs"] = batch.revision if is_waiting else 0
    row["due_at"] = next_look(row, batch.now_us) if is_waiting else None


def _drop_verdict(batch: Batch, task: str) -> None:
    batch.verdicts.pop(task, None)
    batch.upserts[tables.VERDICT].pop(task, None)
    if task not in batch.created:
        batch.dropped_verdicts.add(task)


def request_cancel(batch: Batch, change: CancelRequested) -> None:
    """Write down the wish, unless it was there already or the task is over."""
    row = batch.task(change.task)
    if row["cancel_requested"] or row["state"] in FINAL_TASK_STATES:
        return
    batch.change_task(change.task)["cancel_requested"] = 1
    batch.audit.add("cancel.requested", change.task, {"by": change.by})


def request_hold(batch: Batch, change: HoldRequested) -> None:
    """Write down the wish, or that it is gone, unless it was so already. Raises StaleChange if the task is not active."""
    row = batch.task(change.task)
    if row["state"] != TaskState.ACTIVE:
        raise StaleChange(
            f"task {change.task} is {row['state']}, not active",
            "something moved it before its job could be held",
            "read again and decide again",
        )
    if bool(row["hold_requested"]) != change.wanted:
        batch.change_task(change.task)["hold_requested"] = int(change.wanted)
        batch.audit.add("hold.requested" if change.wanted else "hold.withdrawn", change.task, {"by": change.by})


def pass_over(batch: Batch, change: PassedOver) -> None:
    """Store a verdict that differs from the stored one; the task has now looked at its needs."""
    batch.looked_at.add(change.task)
    code, facts = change.reason.code.value, batch.facts_text(change.reason)
    known = batch.verdicts.get(change.task)
    if known and (known["code"], known["facts"]) == (code, facts):
        return
    since = known["since"] if known and known["code"] == code else batch.now_us
    row = {"task": change.task, "code": code, "facts": facts, "since": since}
    batch.verdicts[change.task] = batch.upserts[tables.VERDICT][change.task] = row
