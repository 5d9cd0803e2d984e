"""A pipeline, a task and an attempt as they live in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from .ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId
from .pipeline import Pipeline, TaskSpec
from .resources import Resources
from .states import AttemptState, EndReason, TaskState

__all__ = [
    "NOT_SUBMITTED",
    "Attempt",
    "CheckpointRef",
    "End",
    "PipelineRecord",
    "Task",
    "Usage",
    "Verdict",
    "had_its_turn",
    "in_front",
    "own_attempts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRef:
    """A checkpoint that an attempt announced. `seconds` is how long the save took.

    `chosen_for` is the number of the attempt for which a person chose it, 0 if nobody did: what was saved by earlier
    attempts after it counts no more.
    """

    path: str
    step: int
    size_bytes: int = 0
    seconds: float = 0.0
    saved_at: datetime | None = None
    chosen_for: int = 0


# How the detail of an end begins that was none: the attempt was taken back, for its manager certainly took nothing.
NOT_SUBMITTED = "not submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an attempt ended. `detail` is one sentence for a person; `step` the last step it reported.

    `gpus` names the GPUs that it had, as its node counts them, with commas between; "" if it had none or did not say.
    """

    reason: EndReason
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""
    step: int | None = None
    gpus: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an attempt used so far, over its whole process tree; `gpu_j` is the energy that its GPUs were measured to draw."""

    cpu_s: float = 0.0
    max_memory_mib: int = 0
    gpu_s: float = 0.0
    max_gpu_memory_mib: int = 0
    gpu_j: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecord:
    """A submitted pipeline. `source` is the file it came from."""

    id: PipelineId
    pipeline: Pipeline
    owner_uid: int
    owner: str
    submitted_at: datetime
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as the store holds it.

    `failures` counts the ends that used up a retry; `attempts` all of them. `request` is what the next attempt asks
    for: the spec's resources, grown after out_of_memory or timeout. `parent` is the template that an expanded task was
    made from. `not_before` holds a retry back. `cancel_requested` is a wish that the next tick carries out, and so is
    `hold_requested`, of a task whose native job waits in a queue.
    """

    id: TaskId
    pipeline: PipelineId
    project: ProjectName
    owner_uid: int
    spec: TaskSpec
    state: TaskState
    request: Resources
    submitted_at: datetime
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    not_before: datetime | None = None
    parent: TaskId | None = None
    attempts: int = 0
    failures: int = 0
    cancel_requested: bool = False
    hold_requested: bool = False
    resume_from: CheckpointRef | None = None
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a task.

    `incarnation` counts restarts under the same native id (a requeue by the resource manager). `absences` counts
    complete listings in which its native job was not seen, `quiet_ticks` the ticks since the job last said something.
    `behind` are the attempts whose success its native job waits for: it was queued before its task's needs were met.
    `continues` is the attempt at the same task whose end its native job waits for, to go on from what that saved: until
    that end is known it is not the task's own attempt, and if it is not wanted then, it never becomes that.
    `inherits` is the one of those in front whose place under what may be used at once it will take over: until that ends it
    holds none itself. `leader` is set where its native job is shared: the first of the attempts that run in it, by whose
    name it is known.
    """

    id: AttemptId
    task: TaskId
    number: int
    backend: BackendName
    partition: str
    request: Resources
    state: AttemptState
    intended_at: datetime
    behind: tuple[AttemptId, ...] = ()
    continues: AttemptId | None = None
    inherits: AttemptId | None = None
    leader: AttemptId | None = None
    native_id: NativeId | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    incarnation: int = 0
    absences: int = 0
    quiet_ticks: int = 0
    cancel_sent: bool = False
    claimed: bool = False
    nodes: str = ""
    native_detail: str = ""  # the resource manager's latest words about it
    resume_from: CheckpointRef | None = None
    last_checkpoint: CheckpointRef | None = None
    usage: Usage = Usage()
    end: End | None = None


def own_attempts(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Return those that are, or were, their tasks' own: without what is queued ahead, or was so in vain."""
    return tuple(attempt for attempt in attempts if attempt.continues is None)


def had_its_turn(attempt: Attempt) -> bool:
    """Tell whether an ended attempt began, or was the first of its native job, and so must answer for what became of it."""
    if attempt.end is None or attempt.leader is None:
        return True
    if attempt.end.reason is EndReason.NOT_BEGUN:
        return False
    return attempt.leader == attempt.id or attempt.claimed or attempt.state is not AttemptState.LOST


def in_front(attempt: Attempt) -> tuple[AttemptId, ...]:
    """Return the attempts whose ends an attempt's native job waits for, whatever kind of end."""
    return attempt.behind if attempt.continues is None else (*attempt.behind, attempt.continues)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a task was last passed over, as the last plan that looked at it said."""

    task: TaskId
    code: str
    facts: Mapping[str, str | int | float]
    since: datetime
