"""What a person wishes of tasks that are there already. Each wish is carried out at once, or by the next tick."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from elisa.engine.checkpoint_choice import chosen
from elisa.engine.roles import read_roles
from elisa.engine.workspace import Workspace
from elisa.model.changes import CancelRequested, Change, HoldRequested, TaskMoved
from elisa.model.errors import StaleChange, UsageError
from elisa.model.ids import AttemptId, PipelineId, TaskId, task_of
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import FINAL_TASK_STATES, AttemptState, TaskState
from elisa.model.task import Task
from elisa.policies.chaining import is_chained
from elisa.policies.resuming import newest_checkpoint
from elisa.policies.rights import Action, demand
from elisa.store.reader import Reader

__all__ = ["Done", "cancel", "check_control", "hold", "named_tasks", "release", "retry"]

_TRIES = 5
_IDLE = frozenset({TaskState.WAITING, TaskState.READY})
_QUEUED = frozenset({AttemptState.SUBMITTED, AttemptState.QUEUED})
_OVER = FINAL_TASK_STATES - {TaskState.SUCCEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Which tasks a command changed, and why it left others as they are."""

    changed: tuple[TaskId, ...]
    unchanged: Mapping[TaskId, str]


Wish = Callable[[Reader, Task, str], Change | str]
"""What to do about a task for somebody, or words on why nothing is to be done."""


def cancel(ws: Workspace, ids: Sequence[str]) -> Done:
    """Cancel tasks, or all unfinished tasks of pipelines; running ones are asked to stop by the next tick."""
    return _carry_out(ws, ids, _cancelled)


def hold(ws: Workspace, ids: Sequence[str]) -> Done:
    """Keep tasks from starting that have not begun; what waits in a native queue is held there by the next tick."""
    return _carry_out(ws, ids, _held)


def release(ws: Workspace, ids: Sequence[str]) -> Done:
    """Let held tasks go on."""
    return _carry_out(ws, ids, _released)


def retry(ws: Workspace, ids: Sequence[str], *, from_step: int | None = None) -> Done:
    """Try ended tasks again, from their newest checkpoints, and with them whatever was skipped on their account.

    With `from_step`, those that ran before begin from the checkpoint of that step, and only where they have a sound one.
    """
    if from_step is None:
        return _carry_out(ws, ids, _retried, with_skipped=True)
    return _carry_out(ws, ids, _retried_from(ws, from_step), with_skipped=True)


def _carry_out(ws: Workspace, ids: Sequence[str], wish: Wish, *, with_skipped: bool = False) -> Done:
    """Read, decide and write; again if a tick moved a task in between. Raises UsageError for an id nobody has."""
    with ws.writer() as writer:
        for left in reversed(range(_TRIES)):
            tasks = named_tasks(writer, ids)
            if with_skipped:
                tasks |= _skipped_behind(writer, tasks)
            check_control(ws, tasks.values())
            answers = {task.id: wish(writer, task, ws.actor) for task in tasks.values()}
            changes = [answer for answer in answers.values() if not isinstance(answer, str)]
            try:
                writer.apply(changes)
                break
            except StaleChange:
                if not left:
                    raise
    return Done(
        changed=tuple(task for task, answer in answers.items() if not isinstance(answer, str)),
        unchanged={task: answer for task, answer in answers.items() if isinstance(answer, str)},
    )


def check_control(ws: Workspace, tasks: Iterable[Task]) -> None:
    """Raise PolicyError if some tasks are not this user's own, and their project's rules give no right to them."""
    foreign = sorted({task.project for task in tasks if task.owner_uid != ws.uid})
    if foreign:
        roles, owner = read_roles(ws.files, ws.home)
        for project in foreign:
            demand(roles.rights(owner), ws.uid, Action.CONTROL, project)


def named_tasks(reader: Reader, ids: Iterable[str]) -> dict[TaskId, Task]:
    tasks: dict[TaskId, Task] = {}
    for prefix in ids:
        found = reader.resolve(prefix)
        if found.startswith("p"):
            tasks |= {task.id: task for task in reader.tasks_of(PipelineId(found))}
        else:
            # An attempt's id stands for its task; a task's id is what it is.
            task = reader.task(task_of(AttemptId(found)))
            tasks |= {child: reader.task(child) for child in reader.children_of(task.id)}
            tasks[task.id] = task
    return tasks


def _cancelled(_: Reader, task: Task, by: str) -> Change | str:
    if task.state in FINAL_TASK_STATES:
        return f"it is {task.state.value}"
    if task.cancel_requested:
        return "it is being cancelled"
    if task.state is TaskState.ACTIVE:
        return CancelRequested(task=task.id, by=by)
    reason = because(ReasonCode.CANCELLED_BY_USER, by=by)
    return TaskMoved(task=task.id, before=task.state, after=TaskState.CANCELLED, reason=reason)


def _held(reader: Reader, task: Task, by: str) -> Change | str:
    if task.state is TaskState.ACTIVE and not task.hold_requested and _waits_in_a_queue(reader, task):
        return HoldRequested(task=task.id, by=by)
    if task.state not in _IDLE:
        return f"it is {task.state.value}"
    return TaskMoved(
        task=task.id,
        before=task.state,
        after=TaskState.HELD,
        reason=because(ReasonCode.HELD, by=by),
        not_before=task.not_before,
    )


def _waits_in_a_queue(reader: Reader, task: Task) -> bool:
    """Tell whether a native job of the task has not begun, be it the next one at work that runs."""
    live = {attempt.id: attempt for attempt in reader.live_attempts()}
    own = [attempt for attempt in live.values() if attempt.task == task.id]
    return any(attempt.state in _QUEUED or is_chained(attempt, live) for attempt in own)


def _released(_: Reader, task: Task, by: str) -> Change | str:
    if task.hold_requested:
        return HoldRequested(task=task.id, by=by, wanted=False)
    if task.state is not TaskState.HELD:
        return f"it is {task.state.value}"
    return TaskMoved(
        task=task.id,
        before=TaskState.HELD,
        after=TaskState.WAITING,
        reason=because(ReasonCode.RELEASED, by=by),
        not_before=task.not_before,
    )


def _retried(reader: Reader, task: Task, by: str) -> TaskMoved | str:
    if task.state not in _OVER:
        return f"it is {task.state.value}"
    return TaskMoved(
        task=task.id,
        before=task.state,
        after=TaskState.WAITING,
        reason=because(ReasonCode.RETRIED_BY_USER, by=by),
        resume_from=newest_checkpoint(task, reader.attempts_of(task.id)),
        resets_failures=True,
    )


def _retried_from(ws: Workspace, step: int) -> Wish:
    def wish(reader: Reader, task: Task, by: str) -> Change | str:
        moved = _retried(reader, task, by)
        if isinstance(moved, str) or not task.attempts:
            return moved
        try:
            return replace(moved, resume_from=chosen(ws, reader, task, step))
        except UsageError as err:
            return f"{err.what}: {err.why}; {err.hint}"

    return wish


def _skipped_behind(reader: Reader, tasks: Mapping[TaskId, Task]) -> dict[TaskId, Task]:
    """Return the tasks that were skipped because they need, over however many steps, one that is to be retried."""
    found: dict[TaskId, Task] = {}
    for pipeline in {task.pipeline for task in tasks.values()}:
        members = reader.tasks_of(pipeline)
        revived = {task.spec.name for task in tasks.values() if task.pipeline == pipeline and task.state in _OVER}
        found |= _behind(members, revived)
    return found


def _behind(members: Collection[Task], revived: set[str]) -> dict[TaskId, Task]:
    found: dict[TaskId, Task] = {}
    skipped = [task for task in members if task.state is TaskState.SKIPPED]
    while fresh := [task for task in skipped if task.id not in found and _needs_any(task, revived)]:
        found |= {task.id: task for task in fresh}
        revived |= {task.spec.name for task in fresh} | {task.spec.group for task in fresh if task.spec.group}
    return found


def _needs_any(task: Task, names: Collection[str]) -> bool:
    return any(name in names for need in task.spec.needs for name in need.tasks)
