"""New pipelines and new tasks: their rows, and which tasks each of their needs stands for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from elisa.model.changes import PipelineAdded, TasksAdded
from elisa.model.errors import UsageError
from elisa.model.states import TaskState
from elisa.model.task import Task
from elisa.store import tables
from elisa.store.batch import Batch, Names, because_facts
from elisa.store.connection import Row
from elisa.store.looks import next_look
from elisa.store.new_rows import pipeline_row, task_row

__all__ = ["add_pipeline", "add_tasks", "names_of"]

# Room between two tasks of a pipeline for those that the first is expanded to.
_STRIDE = 1 << 20


def add_pipeline(batch: Batch, change: PipelineAdded) -> None:
    """Add a pipeline, its project if it is the first of it, and its tasks."""
    record = change.record
    _add_project(batch, record.pipeline.project)
    row = pipeline_row(record)
    batch.inserts[tables.PIPELINE].append(row)
    batch.audit.add("pipeline.added", record.id, {name: row[name] for name in ("project", "name", "owner", "source")})
    names = names_of((task.spec.name, task.spec.group, task.id) for task in change.tasks)
    for number, task in enumerate(change.tasks):
        new = {**task_row(task, number * _STRIDE, record.pipeline), "pipeline_at": row["submitted_at"]}
        _add_task(batch, task, new, names)
        batch.audit.add("task.added", task.id, _birth(task))


def add_tasks(batch: Batch, change: TasksAdded) -> None:
    """Add the tasks that a template was expanded to; whoever needs the template looks at its needs again."""
    template = batch.change_task(change.template)
    pipeline, names = batch.pipelines[template["pipeline"]]
    all_names = {**names, **names_of((task.spec.name, "", task.id) for task in change.tasks)}
    for number, task in enumerate(change.tasks, start=1):
        row = task_row(task, template["position"] + number, pipeline)
        _add_task(batch, task, {**row, "pipeline_at": template["pipeline_at"]}, all_names)
        batch.audit.add("task.added", task.id, {**_birth(task), **because_facts(change.reason)})
    template["check_needs"] = batch.revision
    batch.marks.add(change.template)


def names_of(tasks: Iterable[tuple[str, str, str]]) -> Names:
    """Return the ids behind each name and group of (name, group, id); a name goes before a group of the same name."""
    exact: dict[str, tuple[str, ...]] = {}
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, group, task in tasks:
        exact[name] = (task,)
        groups[group].append(task)
    return {**{group: tuple(members) for group, members in groups.items()}, **exact}


def _add_project(batch: Batch, project: str) -> None:
    if project not in batch.projects:
        batch.projects[project] = 0
        batch.inserts[tables.PROJECT].append({"name": project, "created_at": batch.now_us, "in_policy": 0})


def _add_task(batch: Batch, task: Task, row: Row, names: Names) -> None:
    if task.state is TaskState.WAITING:
        row["check_needs"] = batch.revision
        row["due_at"] = next_look(row, batch.now_us)
    batch.tasks[task.id] = row
    batch.created.add(task.id)
    batch.inserts[tables.TASK].append(row)
    batch.inserts[tables.NEED_EDGE].extend(
        {"task": task.id, "need": number, "target": target}
        for number, need in enumerate(task.spec.needs)
        for target in dict.fromkeys(target for name in need.tasks for target in _behind(names, name, task))
    )


def _behind(names: Names, name: str, task: Task) -> tuple[str, ...]:
    if name not in names:
        raise UsageError(
            f"task `{task.spec.name}` needs `{name}`", "its pipeline has no task of that name", "correct the name"
        )
    return names[name]


def _birth(task: Task) -> dict[str, object]:
    return {
        "pipeline": task.pipeline,
        "name": task.spec.name,
        "parent": task.parent,
        "after": task.state,
        "attempts": task.attempts,
        "failures": task.failures,
    }
