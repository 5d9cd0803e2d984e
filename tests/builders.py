"""Model objects for tests: say only what matters, the rest is ordinary.

    a_task("train").in_project("nlp").needing("prepare").asking(nodes=2).ready().build()

Every method returns a new builder, so that a test may branch off from one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from elisa.model.changes import AttemptIntended, AttemptMoved, AttemptSubmitted, Charge, PipelineAdded, TaskMoved
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId, attempt_id, is_attempt_id
from elisa.model.pipeline import Expansion, Gang, Need, NeedKind, Pipeline, TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, PipelineRecord, Task

__all__ = [
    "NOW",
    "AttemptBuilder",
    "FakeClock",
    "PipelineBuilder",
    "SeededRandom",
    "TaskBuilder",
    "a_pipeline",
    "a_task",
    "an_attempt",
    "ended",
    "intended",
    "moved",
    "pipeline_id",
    "submitted",
    "task_id",
]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
OWNER_UID = 1000
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _id(prefix: str, name: str) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    return prefix + "".join(_ALPHABET[byte & 31] for byte in digest[:9])


def task_id(name: str, pipeline: str = "study") -> TaskId:
    """Return the id that `a_task(name)` has in the pipeline of that name."""
    return TaskId(_id("t", f"{pipeline}/{name}"))


def pipeline_id(name: str = "study") -> PipelineId:
    """Return the id that `a_pipeline(name)` has."""
    return PipelineId(_id("p", name))


class FakeClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: datetime = NOW) -> None:
        self.moment = now

    def now(self) -> datetime:
        return self.moment

    def forward(self, **amount: float) -> datetime:
        """Go on by a timedelta's arguments, such as `hours=1`."""
        self.moment += timedelta(**amount)
        return self.moment


class SeededRandom:
    """Chance that repeats itself."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def uniform(self) -> float:
        return self._random.random()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBuilder:
    spec: TaskSpec
    pipeline: str = "study"
    project: str = "nlp"
    state: TaskState = TaskState.WAITING
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> TaskId:
        return task_id(self.spec.name, self.pipeline)

    def in_pipeline(self, name: str) -> TaskBuilder:
        return replace(self, pipeline=name)

    def in_project(self, name: str) -> TaskBuilder:
        return replace(self, project=name)

    def specified(self, **changes: Any) -> TaskBuilder:
        """Change any field of the spec."""
        return replace(self, spec=replace(self.spec, **changes))

    def needing(self, *names: str, kind: NeedKind = NeedKind.SUCCESS, **details: Any) -> TaskBuilder:
        """Add one need of all these tasks."""
        return self.specified(needs=(*self.spec.needs, Need(tasks=names, kind=kind, **details)))

    def asking(self, *, gpus: int = 0, gpu_types: tuple[str, ...] = (), **resources: Any) -> TaskBuilder:
        """Ask for resources, given by the fields of `Resources`; `gpus` counts on each node."""
        wanted = Resources(gpus=GpuRequest(per_node=gpus, types=gpu_types), **resources)
        return self.specified(resources=wanted).having(request=wanted)

    def made_from(self, source: str, output: str = "items") -> TaskBuilder:
        """Make it a template, expanded by an output of `source`."""
        return self.specified(expansion=Expansion(source=source, output=output)).needing(source)

    def child_of(self, template: str) -> TaskBuilder:
        return self.specified(group=template).having(parent=task_id(template, self.pipeline))

    def in_gang(self, name: str, minimum: int = 0) -> TaskBuilder:
        return self.specified(gang=Gang(name=name, minimum=minimum))

    def having(self, **changes: Any) -> TaskBuilder:
        """Change any field of the task that no other method names."""
        return replace(self, changes={**self.changes, **changes})

    def ready(self) -> TaskBuilder:
        return replace(self, state=TaskState.READY).having(ready_at=NOW)

    def being(self, state: TaskState) -> TaskBuilder:
        return replace(self, state=state)

    def build(self) -> Task:
        ordinary = Task(
            id=self.id,
            pipeline=pipeline_id(self.pipeline),
            project=ProjectName(self.project),
            owner_uid=OWNER_UID,
            spec=self.spec,
            state=self.state,
            request=self.spec.resources,
            submitted_at=NOW,
        )
        return replace(ordinary, **self.changes)


def a_task(name: str = "train", *command: str) -> TaskBuilder:
    return TaskBuilder(spec=TaskSpec(name=name, command=command or ("true",), group=name))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineBuilder:
    name: str
    tasks: tuple[TaskBuilder, ...]
    project: str = "nlp"
    changes: dict[str, Any] = field(default_factory=dict)
    submitted_at: datetime = NOW

    @property
    def id(self) -> PipelineId:
        return pipeline_id(self.name)

    def in_project(self, name: str) -> PipelineBuilder:
        return replace(self, project=name)

    def specified(self, **changes: Any) -> PipelineBuilder:
        """Change any field of the pipeline."""
        return replace(self, changes={**self.changes, **changes})

    def submitted(self, at: datetime) -> PipelineBuilder:
        return replace(self, submitted_at=at)

    def build(self) -> Pipeline:
        specs = tuple(task.spec for task in self.tasks)
        return replace(Pipeline(name=self.name, project=ProjectName(self.project), tasks=specs), **self.changes)

    def record(self) -> PipelineRecord:
        return PipelineRecord(
            id=self.id,
            pipeline=self.build(),
            owner_uid=OWNER_UID,
            owner="ada",
            submitted_at=self.submitted_at,
            source=f"{self.name}.yaml",
        )

    def added(self) -> PipelineAdded:
        """Return the change that puts the pipeline with its tasks into the store."""
        tasks = (task.in_pipeline(self.name).in_project(self.project) for task in self.tasks)
        at = self.submitted_at
        return PipelineAdded(record=self.record(), tasks=tuple(replace(t.build(), submitted_at=at) for t in tasks))


def a_pipeline(*tasks: TaskBuilder, name: str = "study") -> PipelineBuilder:
    return PipelineBuilder(name=name, tasks=tasks or (a_task(),))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBuilder:
    task: TaskId
    number: int
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> AttemptId:
        return attempt_id(self.task, self.number)

    def having(self, **changes: Any) -> AttemptBuilder:
        """Change any field of the attempt."""
        return replace(self, changes={**self.changes, **changes})

    def on(self, backend: str, partition: str = "") -> AttemptBuilder:
        return self.having(backend=BackendName(backend), partition=partition)

    def asking(self, *, gpus: int = 0, **resources: Any) -> AttemptBuilder:
        return self.having(request=Resources(gpus=GpuRequest(per_node=gpus), **resources))

    def submitted(self, native_id: str = "1001") -> AttemptBuilder:
        known = {"native_id": NativeId(native_id), "submitted_at": NOW}
        return self.having(state=AttemptState.SUBMITTED, **known)

    def running(self, native_id: str = "1001") -> AttemptBuilder:
        return self.submitted(native_id).having(state=AttemptState.RUNNING, started_at=NOW, claimed=True)

    def ended(self, reason: EndReason = EndReason.COMPLETED, **details: Any) -> AttemptBuilder:
        return self.having(state=AttemptState.ENDED, ended_at=NOW, end=End(reason=reason, **details))

    def with_checkpoint(self, step: int, path: str = "step.ckpt") -> AttemptBuilder:
        return self.having(last_checkpoint=CheckpointRef(path=path, step=step))

    def build(self) -> Attempt:
        ordinary = Attempt(
            id=self.id,
            task=self.task,
            number=self.number,
            backend=BackendName("local"),
            partition="",
            request=Resources(),
            state=AttemptState.INTENDED,
            intended_at=NOW,
        )
        return replace(ordinary, **self.changes)


def an_attempt(task: TaskId | str = "train", number: int = 1) -> AttemptBuilder:
    """Build an attempt at a task, given by its id or its name in the pipeline `study`."""
    is_id = is_attempt_id(f"{task}.1")
    return AttemptBuilder(task=TaskId(task) if is_id else task_id(task), number=number)


def moved(task: TaskId | TaskBuilder, before: TaskState, after: TaskState, **details: Any) -> TaskMoved:
    """Return the change of a task's state, for an ordinary reason."""
    task = task if isinstance(task, str) else task.id
    details.setdefault("reason", because(ReasonCode.NEEDS_MET))
    return TaskMoved(task=task, before=before, after=after, **details)


def intended(attempt: AttemptBuilder, reserve: Charge | None = None) -> AttemptIntended:
    """Return the change that makes an attempt."""
    return AttemptIntended(attempt=attempt.build(), reserve=reserve or Charge(node_s=3600, cpu_s=3600), reason=_CHOSEN)


def submitted(attempt: AttemptBuilder, native_id: str = "1001") -> AttemptSubmitted:
    """Return the change that gives an attempt its native id."""
    return AttemptSubmitted(attempt=attempt.id, native_id=NativeId(native_id), reason=because(ReasonCode.ACCEPTED))


def ended(
    attempt: AttemptBuilder,
    before: AttemptState = AttemptState.RUNNING,
    reason: EndReason = EndReason.COMPLETED,
    spend: Charge | None = None,
) -> AttemptMoved:
    """Return the change that ends an attempt."""
    return AttemptMoved(
        attempt=attempt.id,
        before=before,
        after=AttemptState.ENDED,
        reason=because(ReasonCode.SAID_BY_JOB),
        end=End(reason=reason),
        spend=spend,
    )


_CHOSEN: Reason = because(ReasonCode.CHOSEN, rank=1)
