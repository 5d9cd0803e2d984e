"""What a replay consists of: which tasks of the old pipeline are taken as they were, and what the others ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from elisa.model.ids import TaskId
from elisa.model.native import NodeView
from elisa.model.pipeline import SitePlacement, TaskSpec
from elisa.model.resources import GpuRequest, Resources, is_shared, meets
from elisa.model.states import FINAL_TASK_STATES
from elisa.model.task import Attempt, Task

__all__ = ["Place", "adapted", "below", "fitted", "taken_over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a replay runs. `largest` is the node that requests are cut down to, None to leave them as they are."""

    backend: str
    is_simulated: bool
    largest: NodeView | None = None


def below(tasks: Sequence[Task], chosen: Task) -> frozenset[TaskId]:
    """Return the tasks that need `chosen`, over however many steps."""
    found: set[TaskId] = set()
    names = set(_names(chosen, tasks))
    while fresh := [task for task in tasks if task.id not in found and _needs_any(task, names)]:
        found |= {task.id for task in fresh}
        names |= {name for task in fresh for name in _names(task, tasks)}
    return frozenset(found - {chosen.id})


def _names(task: Task, tasks: Sequence[Task]) -> Iterator[str]:
    """Yield every name by which others may need a task: a made task's template stands for it, too."""
    yield task.spec.name
    if task.spec.group:
        yield task.spec.group
    yield from (one.spec.name for one in tasks if one.id == task.parent)


def _needs_any(task: Task, names: set[str]) -> bool:
    return any(name in names for need in task.spec.needs for name in need.tasks)


def taken_over(tasks: Sequence[Task], chosen: Task, *, rerun: bool) -> frozenset[TaskId]:
    """Return the tasks that stay as they ended: all that are over and need nothing of `chosen`; none with `rerun`.

    What was made from a template is kept with it, whether or not it ran to its end.
    """
    if rerun:
        return frozenset()
    again = below(tasks, chosen) | {chosen.id}
    return frozenset(task.id for task in tasks if task.id not in again and task.state in FINAL_TASK_STATES)


def adapted(task: Task, place: Place, attempts: Sequence[Attempt]) -> tuple[TaskSpec, str]:
    """Return the spec of a task as it is replayed, and what had to be made smaller about it, "" for nothing."""
    spec = replace(task.spec, placement=SitePlacement(backend=place.backend))
    if place.is_simulated:
        return replace(spec, metadata=_metadata(spec, attempts)), ""
    if place.largest is None:
        return spec, ""
    request = fitted(spec.resources, place.largest)
    words = f"{spec.name} asks for {_words(request)} instead of {_words(spec.resources)}"
    return replace(spec, resources=request), "" if request == spec.resources else words


def fitted(request: Resources, node: NodeView) -> Resources:
    """Return a request that fits one node, of whatever type its GPUs are."""
    gpus = dict(node.gpus)
    types = tuple(kind for wish in request.gpus.types for kind in gpus if gpus[kind] and meets(kind, wish))
    most = max((gpus[kind] for kind in types or gpus if types or not is_shared(kind)), default=0)
    # Who asked for parts of a GPU where none is given away in such parts gets a whole one.
    is_part = any(map(is_shared, request.gpus.types)) and not types
    per_node = min(1 if is_part else request.gpus.per_node, most)
    per_task = min(request.cpus_per_task, node.cpus)
    return replace(
        request,
        nodes=1,
        tasks_per_node=max(1, min(request.tasks_per_node, node.cpus // max(1, per_task))),
        cpus_per_task=per_task,
        memory_mib_per_node=min(request.memory_mib_per_node, node.memory_mib),
        gpus=GpuRequest(per_node=per_node, types=types, parts=request.gpus.parts if types else 1)
        if per_node
        else GpuRequest(),
        licences=(),
        features=tuple(name for name in request.features if name in node.features),
        constraint="",
    )


def _words(request: Resources) -> str:
    return f"{request.nodes} nodes, {request.cpus} cpus, {request.gpu_count} gpus"


def _metadata(spec: TaskSpec, attempts: Sequence[Attempt]) -> tuple[tuple[str, str], ...]:
    """Let a simulated task last as long as it really did, unless its author said how long that is."""
    told: Mapping[str, str] = dict(spec.metadata)
    ran_s = sum(
        (attempt.ended_at - attempt.started_at).total_seconds()
        for attempt in attempts
        if attempt.started_at is not None and attempt.ended_at is not None
    )
    if "sim_duration" in told or ran_s <= 0:
        return spec.metadata
    steps = [attempt.last_checkpoint.step for attempt in attempts if attempt.last_checkpoint is not None]
    ends = [attempt.end.step for attempt in attempts if attempt.end is not None and attempt.end.step is not None]
    most = max((*steps, *ends), default=0)
    known = {"sim_duration": json.dumps(ran_s), **({"sim_steps": json.dumps(most)} if most > 0 else {})}
    return tuple(sorted({**known, **told}.items()))
