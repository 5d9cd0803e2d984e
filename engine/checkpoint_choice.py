"""A checkpoint chosen by a person: the next attempt begins there, and what was saved after it counts no more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from elisa.engine.checkpoints import Shelf, Stored, read_shelf, resolve_task
from elisa.engine.workspace import Workspace
from elisa.model.changes import ResumeChosen
from elisa.model.errors import UsageError
from elisa.model.ids import TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import CheckpointRef, Task
from elisa.runtime.checkpoint.manifest import DamagedError, verify
from elisa.store.reader import Reader

__all__ = ["Restored", "chosen", "proved", "restore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was chosen. `is_over`: the task has ended, and begins again only when it is retried."""

    task: TaskId
    checkpoint: CheckpointRef
    is_over: bool


def restore(ws: Workspace, name: str, step: int) -> Restored:
    """Make the next attempt at a task begin from the checkpoint of `step`.

    Raises UsageError if the task runs or has succeeded, or has no sound checkpoint of that step; StaleChange if it moved
    meanwhile.
    """
    with Reader.open(ws.home) as reader:
        task = reader.task(resolve_task(reader, name))
        _refuse_wrong_state(task)
        checkpoint = chosen(ws, reader, task, step)
    reason = because(ReasonCode.RESUME_CHOSEN, by=ws.actor, resume_step=step)
    with ws.writer() as writer:
        writer.apply([ResumeChosen(task=task.id, before=task.state, checkpoint=checkpoint, reason=reason)])
    return Restored(task=task.id, checkpoint=checkpoint, is_over=task.state in FINAL_TASK_STATES)


def _refuse_wrong_state(task: Task) -> None:
    what = f"the checkpoint of {task.spec.name} ({task.id}) cannot be chosen now"
    if task.state is TaskState.ACTIVE:
        raise UsageError(what, "an attempt at it is live, and saves newer ones", f"first `elisa cancel {task.id}`")
    if task.state is TaskState.SUCCEEDED:
        raise UsageError(
            what, "it has succeeded", f"`elisa replay {task.pipeline} --from STEP` runs it again in a copy"
        )


def chosen(ws: Workspace, reader: Reader, task: Task, step: int) -> CheckpointRef:
    """Return the checkpoint of a step for the next attempt at `task`, after every byte of it was checked.

    Raises UsageError if there is none, or it is damaged.
    """
    shelf = read_shelf(ws, reader, task)
    found = proved(task, shelf.of_step(step), f"step {step}", _others(shelf, step))
    return replace(found, chosen_for=task.attempts + 1)


def proved(task: Task, stored: Stored | None, which: str, hint: str = "") -> CheckpointRef:
    """Return a checkpoint of a task after every byte of it was checked; raises UsageError if it is not sound or None."""
    fault = "there is none" if stored is None else stored.fault or _content_fault(stored)
    if stored is None or fault:
        raise UsageError(f"{task.spec.name} has no sound checkpoint of {which}", fault, hint)
    return stored.ref()


def _content_fault(stored: Stored) -> str:
    if not stored.generation:
        return ""
    try:
        verify(stored.path)
    except (DamagedError, OSError) as err:
        return str(err)
    return ""


def _others(shelf: Shelf, step: int) -> str:
    steps = sorted({one.step for one in shelf.stored if one.is_sound and one.step != step})
    return f"there are checkpoints of step {', '.join(map(str, steps))}" if steps else "it has no others either"
