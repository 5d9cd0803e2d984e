"""An attempt made ready to run: its folders and the sealed instructions that its agent follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elisa
from elisa.engine.tokens import Lookup, fill, fill_shell, folders_of
from elisa.model import layout
from elisa.model.ids import NativeId, TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import CheckpointPolicy, NeedKind, Output, PythonCall
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, CheckpointRef, PipelineRecord, Task
from elisa.policies.badgpus import BadGpu

__all__ = ["AGENT_PATH", "Habits", "JobRules", "Release", "Source", "job_document", "sources_of"]

_VERSION = 1
# The folder that holds the package `elisa`: the job's Python finds the agent there.
AGENT_PATH = str(Path(elisa.__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """What a site asks of every job's agent."""

    heartbeat_s: float = 30.0
    sample_s: float = 5.0
    grace_s: float = 30.0
    self_fence_s: float = 900.0
    output_limit_mib: int = 4096
    local_checkpoints: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What was learnt for one attempt: how early it is told that its walltime ends, how often jobs there are interrupted.

    None: nothing is known.
    """

    lead_s: float | None = None
    mtbf_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A task that another takes something from: these outputs, and its function's return value (None without one)."""

    name: str
    group: str
    outputs: tuple[Output, ...]
    result: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """All that goes into the instructions of one attempt.

    `environment` was kept from the submitter's own; `earlier` are the task's other attempts; `after` the native jobs of
    those that it is queued behind, `after_any` of the one that it continues. On `bad_gpus` it is not to run.
    """

    home: Path
    record: PipelineRecord
    task: Task
    attempt: Attempt
    key: bytes
    sources: tuple[Source, ...]
    environment: Mapping[str, str]
    rules: JobRules
    earlier: tuple[Attempt, ...] = ()
    habits: Habits = Habits()
    after: tuple[NativeId, ...] = ()
    after_any: tuple[NativeId, ...] = ()
    bad_gpus: tuple[BadGpu, ...] = ()

    @property
    def lead_s(self) -> float | None:
        """How early the attempt is told that its walltime ends: as its author says, else as was learnt."""
        policy = self.task.spec.checkpoint
        return policy.lead_s if policy is not None and policy.lead_s is not None else self.habits.lead_s

    @property
    def places(self) -> layout.AttemptPlaces:
        return layout.attempt_places(self.home, self.record.id, self.task.spec.name, self.attempt.id)

    @property
    def look_up(self) -> Lookup:
        return folders_of(self.home, self.record.id, self.task.spec.name)


def sources_of(
    needs: Iterable[ResolvedNeed],
    tasks: Mapping[TaskId, Task],
    results: Mapping[TaskId, Path],
    expected: Collection[TaskId] = (),
) -> tuple[Source, ...]:
    """Return what a task may read, in the order of its needs.

    `tasks` holds every target by id, `results` the files with return values of those that have one. `expected` will
    have succeeded before the task begins.
    """
    return tuple(
        Source(
            name=target.name,
            group=tasks[target.id].spec.group,
            outputs=tuple(_usable(resolved, target, tasks[target.id].spec.outputs, expected)),
            result=results.get(target.id),
        )
        for resolved in needs
        for target in resolved.targets
    )


def _usable(
    resolved: ResolvedNeed, target: Target, outputs: Iterable[Output], expected: Collection[TaskId]
) -> Iterator[Output]:
    """Yield the outputs that were waited for and came; a need that went on without them promises nothing."""
    for output in outputs:
        match resolved.need.kind:
            case NeedKind.SUCCESS if target.state is TaskState.SUCCEEDED or target.id in expected:
                yield output
            case NeedKind.DATA if output.name == resolved.need.output and target.outputs.get(output.name):
                yield output
            case _:
                continue


def job_document(release: Release) -> dict[str, Any]:
    """Return the sealed instructions that the agent reads as JSON."""
    spec = release.task.spec
    return {
        **_identity(release),
        **_program(release),
        **_places(release),
        **_limits(release),
        "checkpoint": _checkpoint(release, spec.checkpoint),
        "resume": _resume(release.attempt.resume_from),
        "inputs": list(_inputs(release)),
        "outputs": [_declared(release.places.task_dir, output, release.look_up) for output in spec.outputs],
        "parameters": dict(spec.parameters),
        "metadata": dict(spec.metadata),
        "confirmed_ended": list(_confirmed_ended(release)),
        "behind": list(release.attempt.behind),
        "continues": release.attempt.continues,
    }


def _confirmed_ended(release: Release) -> Iterator[str]:
    """Yield the attempts whose end was told by themselves or their manager: nothing of them runs any more."""
    yield from (earlier.id for earlier in release.earlier if earlier.state is AttemptState.ENDED)


def _identity(release: Release) -> dict[str, Any]:
    return {
        "v": _VERSION,
        "attempt": release.attempt.id,
        "task": release.task.id,
        "number": release.attempt.number,
        "home": str(release.home),
        "key": release.key.hex(),
        "agent_path": AGENT_PATH,
    }


def _program(release: Release) -> dict[str, Any]:
    spec, look_up = release.task.spec, release.look_up
    filler = fill_shell if spec.shell else fill
    return {
        "argv": [filler(word, look_up) for word in spec.command] or None,
        "call": _call(release, spec.call) if spec.call else None,
        "shell": spec.shell,
        "workdir": str(_workdir(release)),
        "env": {**release.environment, **{name: fill(value, look_up) for name, value in spec.environment}},
        "pass_env": list(spec.pass_environment),
    }


def _workdir(release: Release) -> Path:
    """Return the folder the program starts in; relative ones count from the pipeline's, or else from the task's."""
    return _base(release) / fill(release.task.spec.workdir, release.look_up)


def _base(release: Release) -> Path:
    return Path(release.record.pipeline.folder or release.places.task_dir)


def _places(release: Release) -> dict[str, Any]:
    places = release.places
    return {
        "task_dir": places.task_dir,
        "checkpoint_dir": places.checkpoint_dir,
        "pipeline_dir": places.pipeline_dir,
        "stdout": places.stdout_log,
        "stderr": places.stderr_log,
    }


def _limits(release: Release) -> dict[str, Any]:
    request, rules = release.attempt.request, release.rules
    return {
        "walltime_s": request.walltime_s,
        "memory_mib": request.memory_mib_per_node,
        "output_limit_mib": rules.output_limit_mib,
        "grace_s": rules.grace_s,
        "heartbeat_s": rules.heartbeat_s,
        "sample_s": rules.sample_s,
        "self_fence_s": rules.self_fence_s,
        "nodes": request.nodes,
        "tasks_per_node": request.tasks_per_node,
        "cpus_per_task": request.cpus_per_task,
        "gpus_per_node": request.gpus.per_node,
        "gpu_types": list(request.gpus.types),
        "bad_gpus": [[one.node, one.gpu, one.until.timestamp()] for one in release.bad_gpus],
    }


def _call(release: Release, call: PythonCall) -> dict[str, Any]:
    results = {
        name: {"paths": list(_result_paths(release.sources, wanted.tasks)), "many": wanted.many}
        for name, wanted in call.results
    }
    return {
        "file": str(_base(release) / call.file),
        "function": call.function,
        "arguments": dict(call.arguments),
        "results": results,
        "result_path": release.places.result_file,
    }


def _result_paths(sources: tuple[Source, ...], wanted: tuple[str, ...]) -> Iterator[str]:
    """Yield the files in the order of `wanted`; a template's name stands for all tasks made from it."""
    for name in wanted:
        named = [source for source in sources if source.name == name] or [
            source for source in sources if source.group == name
        ]
        yield from (str(source.result) for source in named if source.result is not None)


def _inputs(release: Release) -> Iterator[dict[str, Any]]:
    for source in release.sources:
        folder = str(layout.task_dir(release.home, release.record.id, source.name))
        look_up = folders_of(release.home, release.record.id, source.name)
        yield from (_declared(folder, output, look_up) for output in source.outputs)


def _declared(folder: str, output: Output, look_up: Lookup) -> dict[str, Any]:
    return {
        "name": output.name,
        "path": str(Path(folder) / fill(output.path, look_up)),
        "format": output.format,
        "columns": list(output.columns),
        "optional": output.optional,
    }


def _checkpoint(release: Release, policy: CheckpointPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    return {
        "interval_s": policy.interval_s,
        "keep": policy.keep,
        "pattern": policy.pattern,
        "complete_when": policy.complete_when,
        "signal": policy.signal,
        "lead_s": release.lead_s,
        "mtbf_s": release.habits.mtbf_s,
        "local_dir": release.rules.local_checkpoints,
    }


def _resume(checkpoint: CheckpointRef | None) -> dict[str, Any] | None:
    """Return where to resume from; `exact` if a person chose it, so that whatever is newer is set aside."""
    if checkpoint is None:
        return None
    place = {"path": checkpoint.path, "step": checkpoint.step}
    return {**place, "exact": True} if checkpoint.chosen_for else place
