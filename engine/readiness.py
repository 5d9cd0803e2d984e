"""Waiting tasks looked at again: made ready, skipped or failed as their needs say, templates turned into tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from elisa.engine.cutoff import proofs_of_end
from elisa.engine.managers import Managers
from elisa.engine.results import read_list
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, PassedOver, TaskMoved, TasksAdded
from elisa.model.ids import TaskId, new_task_id, task_of
from elisa.model.needs import ResolvedNeed
from elisa.model.pipeline import TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import TaskState
from elisa.model.task import Task
from elisa.pipelines.expand import instances
from elisa.policies.readiness import settle
from elisa.store.writer import Writer

__all__ = ["settle_waiting"]

# A chain of skips moves one task a round; what is left after so many is for the next tick.
_ROUNDS = 10_000


def settle_waiting(ws: Workspace, writer: Writer, managers: Managers, now: datetime) -> int:
    """Look at every task whose needs may have changed, until nothing follows from anything; return how many moved.

    Tasks whose last attempt was lost with its node need not wait any longer once nothing of it can run any more.
    """
    proofs = proofs_of_end(ws, writer, managers, now)
    moved = 0
    for _ in range(_ROUNDS):
        changes = list(_changes(ws, writer, proofs, now))
        if changes:
            ws.crash("readiness.begin")
            writer.apply(changes)
            ws.crash("readiness.done")
        steps = sum(isinstance(change, TaskMoved) for change in changes)
        moved += steps
        if not steps:
            break
    return moved


def _changes(ws: Workspace, writer: Writer, proofs: Mapping[TaskId, Reason], now: datetime) -> Iterator[Change]:
    early = _free_early(writer, proofs, now)
    ids = tuple(dict.fromkeys((*writer.to_check(now), *early)))
    tasks, needs = {**writer.tasks(ids), **early}, writer.upstream(ids)
    for task in ids:
        change = settle(tasks[task], needs.get(task, ()), tasks[task].submitted_at, now)
        if isinstance(change, PassedOver) and change.reason.code is ReasonCode.EXPANSION_PENDING:
            yield from _expand(ws, writer, tasks[task], needs.get(task, ()))
        elif change is not None:
            yield _told(change, proofs[task]) if task in early else change


def _free_early(writer: Writer, proofs: Mapping[TaskId, Reason], now: datetime) -> Mapping[TaskId, Task]:
    waiting = {task_of(one) for one in writer.cut_off(now)} if proofs else set()
    return {task.id: replace(task, not_before=None) for task in writer.tasks(sorted(waiting & proofs.keys())).values()}


def _told(change: TaskMoved | PassedOver, proof: Reason) -> TaskMoved | PassedOver:
    """Say why a task need not wait any longer."""
    is_free = isinstance(change, TaskMoved) and change.after is TaskState.READY
    return replace(change, reason=proof) if is_free else change


def _expand(ws: Workspace, writer: Writer, template: Task, needs: Sequence[ResolvedNeed]) -> Iterator[Change]:
    """Make the template's tasks of the list its source left; the template itself is done then, or has failed."""
    try:
        made = instances(template.spec, _items(ws, writer, template, needs))
    except ValueError as err:
        reason = because(ReasonCode.EXPANSION_INVALID, words=str(err))
        yield TaskMoved(task=template.id, before=TaskState.WAITING, after=TaskState.FAILED, reason=reason)
        return
    reason = because(ReasonCode.EXPANDED, count=len(made))
    if made:
        tasks = tuple(_instance(ws, template, spec) for spec in made)
        yield TasksAdded(template=template.id, tasks=tasks, reason=reason)
    yield TaskMoved(task=template.id, before=TaskState.WAITING, after=TaskState.SUCCEEDED, reason=reason)


def _items(ws: Workspace, writer: Writer, template: Task, needs: Sequence[ResolvedNeed]) -> object:
    expansion = template.spec.expansion
    assert expansion is not None
    found: list[TaskId] = [t.id for need in needs for t in need.targets if t.name == expansion.source]
    if not found:
        raise ValueError(f"there is no task `{expansion.source}` any more")
    return read_list(ws, writer, expansion, writer.task(found[0]))


def _instance(ws: Workspace, template: Task, spec: TaskSpec) -> Task:
    return Task(
        id=new_task_id(ws.random),
        pipeline=template.pipeline,
        project=template.project,
        owner_uid=template.owner_uid,
        spec=spec,
        state=TaskState.WAITING,
        request=spec.resources,
        submitted_at=ws.clock.now(),
        parent=template.id,
    )
