"""What a replay begins with, looked up: the old pipeline, the checkpoint that is meant, and where it is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elisa.engine.checkpoint_choice import proved
from elisa.engine.checkpoints import Stored, read_shelf, resolve_task
from elisa.engine.replay_plan import Place
from elisa.engine.workspace import Workspace
from elisa.model.errors import PolicyError, UsageError
from elisa.model.ids import BackendName, PipelineId, TaskId
from elisa.model.task import Attempt, CheckpointRef, PipelineRecord, Task
from elisa.store.reader import Reader

__all__ = ["Details", "Old", "find", "place_of"]

_SIMULATED, _LOCAL = "simulated", "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """The pipeline that is replayed, as it was found."""

    record: PipelineRecord
    tasks: tuple[Task, ...]
    attempts: Mapping[TaskId, tuple[Attempt, ...]]
    task: Task
    checkpoint: CheckpointRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a task that is taken over, beside its state."""

    metrics: Mapping[str, float]
    outputs: Mapping[str, tuple[str, bool, str]]
    checkpoint: CheckpointRef | None

    @classmethod
    def read(cls, reader: Reader, task: TaskId) -> Details:
        """Read it from the store."""
        saved = reader.checkpoints_of(task)
        return cls(
            metrics=reader.metrics([task]).get(task, {}),
            outputs={name: (row.path, row.ok, row.why) for name, row in reader.outputs_of(task).items()},
            checkpoint=max(saved, key=lambda one: one.step) if saved else None,
        )


def place_of(ws: Workspace, wanted: str) -> Place:
    """Return the backend for a replay: `wanted`, or the first fit one. Raises UsageError if there is none."""
    kinds = {name: config.kind for name, config in ws.site.backends.items() if config.kind in {_LOCAL, _SIMULATED}}
    if wanted and wanted not in kinds:
        hint = f"choose one of {', '.join(kinds)}" if kinds else "add `local: {kind: local}` to site.yaml"
        raise UsageError(f"a replay cannot run on `{wanted}`", "it is not a local or simulated backend", hint)
    name = wanted or min(kinds, key=lambda one: (kinds[one] != _LOCAL, one), default="")
    if not name:
        raise UsageError(
            "a replay has nowhere to run",
            "site.yaml has no local or simulated backend",
            "add `local: {kind: local}` to it",
        )
    if kinds[name] == _SIMULATED:
        return Place(backend=name, is_simulated=True)
    nodes = ws.backends[BackendName(name)].cluster().nodes
    return Place(backend=name, is_simulated=False, largest=max(nodes, key=lambda node: node.cpus, default=None))


def find(ws: Workspace, reader: Reader, pipeline: str, begin: str, task: str) -> Old:
    """Return the pipeline and the checkpoint that are meant, every byte of it checked.

    Raises UsageError if one of them is not there, not sound or not unique, PolicyError if they are somebody else's.
    """
    found = reader.resolve(pipeline)
    if not found.startswith("p"):
        raise UsageError(f"`{pipeline}` is no pipeline", f"it names {found}", "a task is chosen with --task")
    record = reader.pipeline(PipelineId(found))
    if record.owner_uid != ws.uid:
        raise PolicyError(
            f"pipeline {record.id} belongs to {record.owner}", "a replay runs its programs as you", "ask them to do it"
        )
    tasks = reader.tasks_of(record.id)
    one, stored = _begin(ws, reader, tasks, begin, task)
    return Old(
        record=record,
        tasks=tasks,
        attempts={each.id: reader.attempts_of(each.id) for each in tasks},
        task=one,
        checkpoint=proved(one, stored, f"step {stored.step}"),
    )


def _begin(ws: Workspace, reader: Reader, tasks: Sequence[Task], begin: str, name: str) -> tuple[Task, Stored]:
    """Return the one task and checkpoint that are meant: of several of one step the newest, a sound one if there is any."""
    wanted = _wanted(reader, tasks, name)
    fits = [(one, stored) for one in wanted for stored in read_shelf(ws, reader, one).stored if _is(stored, begin)]
    distinct = sorted({(one.spec.name, stored.step) for one, stored in fits})
    if len(distinct) == 1:
        return next((pair for pair in fits if pair[1].is_sound), fits[0])
    if not distinct:
        raise UsageError(
            f"there is no checkpoint `{begin}` in this pipeline",
            "it must be a step, or the folder of a checkpoint",
            "`elisa checkpoints list TASK` shows them",
        )
    listed = ", ".join(f"{each} (step {step})" for each, step in distinct)
    raise UsageError(f"`{begin}` means more than one checkpoint", listed, "say whose with --task")


def _wanted(reader: Reader, tasks: Sequence[Task], name: str) -> Sequence[Task]:
    if not name:
        return [task for task in tasks if task.attempts]
    named = [task for task in tasks if task.spec.name == name]
    if named:
        return named
    found = resolve_task(reader, name)
    if all(task.id != found for task in tasks):
        raise UsageError(f"this pipeline has no task `{name}`", hint="see `elisa status --all`")
    return [task for task in tasks if task.id == found]


def _is(stored: Stored, begin: str) -> bool:
    return str(stored.step) == begin if begin.isdigit() else Path(stored.path) == Path(begin).absolute()
