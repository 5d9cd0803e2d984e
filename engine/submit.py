"""A pipeline taken into the queue: ids given, rules checked, all of it stored or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from elisa.engine.roles import read_roles
from elisa.engine.rules import policy_of
from elisa.engine.trial import check_requests
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import PipelineAdded
from elisa.model.ids import PipelineId, TaskId, new_pipeline_id, new_task_id
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.site import CLASS_RANK
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import PipelineRecord, Task
from elisa.policies.rights import check_class, check_member, check_queue
from elisa.store.writer import Writer

__all__ = ["KEPT_VARIABLES", "Submitted", "check_rules", "own_environment", "read_environment", "submit"]

# What a program needs to find its interpreter, its user's files and its language, wherever it is started from.
KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TZ", "USER", "VIRTUAL_ENV")
_UNFINISHED = frozenset(TaskState) - FINAL_TASK_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What was stored: the ids of the pipeline and of its tasks by name."""

    pipeline_id: PipelineId
    tasks: Mapping[str, TaskId]
    warnings: tuple[str, ...] = ()


def submit(ws: Workspace, pipeline: Pipeline, *, source: str = "") -> Submitted:
    """Store a pipeline; the next tick begins with it. Raises PolicyError if the site's rules forbid it.

    Raises SpecError if it asks for what none of its backends has words for.
    """
    record = PipelineRecord(
        id=new_pipeline_id(ws.random),
        pipeline=pipeline,
        owner_uid=ws.uid,
        owner=ws.actor,
        submitted_at=ws.clock.now(),
        source=source,
    )
    tasks = tuple(_task(ws, record, spec) for spec in pipeline.tasks)
    check_requests(ws, pipeline, source)
    with ws.writer() as writer:
        check_rules(ws, writer, pipeline)
        _keep_environment(ws, record)
        writer.apply([PipelineAdded(record=record, tasks=tasks)])
    return Submitted(
        pipeline_id=record.id,
        tasks={task.spec.name: task.id for task in tasks},
        warnings=tuple(_warnings(ws, pipeline)),
    )


def _task(ws: Workspace, record: PipelineRecord, spec: TaskSpec) -> Task:
    return Task(
        id=new_task_id(ws.random),
        pipeline=record.id,
        project=record.pipeline.project,
        owner_uid=record.owner_uid,
        spec=spec,
        state=TaskState.READY if _starts(spec) else TaskState.WAITING,
        request=spec.resources,
        submitted_at=record.submitted_at,
        ready_at=record.submitted_at if _starts(spec) else None,
    )


def _starts(spec: TaskSpec) -> bool:
    """Tell whether the task waits for nothing, so that `elisa plan` shows it before the first tick."""
    return not (spec.needs or spec.when or spec.expansion)


def check_rules(ws: Workspace, writer: Writer, pipeline: Pipeline) -> None:
    """Raise PolicyError if a rule of the site forbids this user to submit such a pipeline."""
    roles, owner = read_roles(ws.files, ws.home)
    check_member(roles.rights(owner), ws.uid, pipeline.project)
    site = policy_of(ws, writer, ws.clock.now())
    for wanted in sorted({pipeline.priority, *(spec.priority for spec in pipeline.tasks)}, key=CLASS_RANK.__getitem__):
        check_class(site, pipeline.project, ws.uid, wanted)
    rules = site.project(pipeline.project)
    if rules.queue_limit:
        unfinished = len(writer.task_rows(project=pipeline.project, states=_UNFINISHED))
        check_queue(rules, pipeline.project, unfinished, len(pipeline.tasks))


def _keep_environment(ws: Workspace, record: PipelineRecord) -> None:
    """Keep the submitter's variables in a file that only they can read: secrets do not belong in the database."""
    names = {*KEPT_VARIABLES, *(name for spec in record.pipeline.tasks for name in spec.pass_environment)}
    kept = {name: ws.environment[name] for name in sorted(names) if name in ws.environment}
    path = layout.environment_file(ws.home, record.id)
    ws.files.make_folder(path.parent)
    ws.files.write(path, json.dumps(kept).encode("utf-8", "surrogateescape"))


def read_environment(ws: Workspace, pipeline: PipelineId) -> Mapping[str, str]:
    """Return what was kept of the submitter's environment for all tasks of a pipeline."""
    content: dict[str, str] = json.loads(ws.files.read(layout.environment_file(ws.home, pipeline)) or b"{}")
    return content


def own_environment(kept: Mapping[str, str], spec: TaskSpec) -> Mapping[str, str]:
    """Return what a task's program gets of the environment that was kept for its pipeline."""
    wanted = {*KEPT_VARIABLES, *spec.pass_environment}
    return {name: value for name, value in kept.items() if name in wanted}


def _warnings(ws: Workspace, pipeline: Pipeline) -> Iterator[str]:
    wanted = {spec.placement.backend for spec in pipeline.tasks if spec.placement.backend}
    for name in sorted(wanted - set(ws.site.backends)):
        yield f"no backend is called `{name}`: its tasks will wait until site.yaml has one"
    folders = [path for config in ws.site.data.values() for path in config.paths]
    read = {wish.name for spec in pipeline.tasks for wish in spec.resources.data}
    for name in sorted(name for name in read - set(ws.site.data) if not name.startswith(tuple(folders))):
        yield f"site.yaml does not say where the data `{name}` are: no place is preferred for them"
    if ws.site.projects and pipeline.project not in ws.site.projects:
        yield f"site.yaml knows no project `{pipeline.project}`: the rules for unlisted projects hold"
