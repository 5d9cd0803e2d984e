"""Everything that may happen to the state. One call of `store.writer.apply` commits a tuple of these, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .charge import Charge
from .closures import Closure
from .ids import AttemptId, ClosureId, NativeId, PipelineId, RuleId, TaskId
from .pipeline import PriorityClass
from .reasons import Fact, Reason
from .resources import Resources
from .rules import Rule
from .states import AttemptState, TaskState
from .task import Attempt, CheckpointRef, End, PipelineRecord, Task, Usage

__all__ = [
    "AttemptContinued",
    "AttemptIntended",
    "AttemptMoved",
    "AttemptNoted",
    "AttemptSubmitted",
    "CancelRequested",
    "CancelSent",
    "Change",
    "Charge",
    "CheckpointSeen",
    "ClosureAdded",
    "ClosureLifted",
    "CursorMoved",
    "HoldRequested",
    "MetricSeen",
    "Noted",
    "OutputSeen",
    "PassedOver",
    "PipelineAdded",
    "PipelineRanked",
    "ResumeChosen",
    "RuleDropped",
    "RuleSet",
    "TaskMoved",
    "TaskRanked",
    "TasksAdded",
    "UsageSeen",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineAdded:
    """A pipeline with all its tasks, and the ids of the tasks that each need of a task stands for."""

    record: PipelineRecord
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksAdded:
    """Tasks made from a template while the pipeline runs."""

    template: TaskId
    tasks: tuple[Task, ...]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMoved:
    """A task changes state; refused as stale if it is not in `before`.

    `request`, `not_before` and `resume_from` describe the next attempt. A move from active to a state that is not final
    stores `resume_from` as given; elsewhere None leaves it, as it always leaves `request`. `counts_as_failure` uses up
    one retry; `resets_failures` forgets them (`elisa retry`). A move to a final state clears a wish to cancel. One that
    `keeps_age` has waited since it was ready before, for nothing of it ran.
    """

    task: TaskId
    before: TaskState
    after: TaskState
    reason: Reason
    request: Resources | None = None
    not_before: datetime | None = None
    resume_from: CheckpointRef | None = None
    counts_as_failure: bool = False
    resets_failures: bool = False
    keeps_age: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeChosen:
    """Where the next attempt at a task begins, without a change of its state; refused as stale if it is not in `before`."""

    task: TaskId
    before: TaskState
    checkpoint: CheckpointRef
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRanked:
    """A person changes how urgent a task is; refused as stale if it is not in `before`. None leaves its class.

    `importance` is the task's own, `together` with its pipeline's. With `uid`, the class counts as far as that user's rights
    go, instead of the owner's.
    """

    task: TaskId
    before: TaskState
    priority: PriorityClass | None
    importance: float
    together: float
    by: str
    uid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRanked:
    """A person changes how urgent a pipeline is, for tasks that it is to have yet, and when it is due."""

    pipeline: PipelineId
    priority: PriorityClass
    importance: float
    deadline: datetime | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptIntended:
    """Before anything is submitted: the task goes from ready to active, the attempt exists, its budget is reserved.

    A task whose attempt is to be queued behind others goes from waiting to active; refused as stale if one of those is
    not live any more. An attempt that `continues` another leaves its task active, as that one's.
    """

    attempt: Attempt
    reserve: Charge
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptContinued:
    """An attempt that was queued ahead becomes its task's own, in the transaction in which `after`, before it, ends.

    It begins at `resume_from`. Refused as stale if it does not continue `after`, or that one is live.
    """

    attempt: AttemptId
    after: AttemptId
    reason: Reason
    resume_from: CheckpointRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSubmitted:
    """The resource manager accepted it (or it was found by its tag)."""

    attempt: AttemptId
    native_id: NativeId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptMoved:
    """An attempt changes state; refused as stale if it is not in `before`.

    A final state carries `end` and `spend`; the writer books `reserve = spend + refund`. `incarnation` rises with a
    requeue, which forgets the job's own word (`Attempt.end`) and sets the counters to 0. Times that are given are stored.
    """

    attempt: AttemptId
    before: AttemptState
    after: AttemptState
    reason: Reason
    end: End | None = None
    spend: Charge | None = None
    incarnation: int | None = None
    nodes: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNoted:
    """Book-keeping that is no change of state and is not audited; None leaves a value.

    `end` is the job's own word about its end, kept in `Attempt.end` of a live attempt until the manager's word is in.
    """

    attempt: AttemptId
    absences: int | None = None
    quiet_ticks: int | None = None
    claimed: bool | None = None
    native_detail: str | None = None
    end: End | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSeen:
    """An attempt announced a checkpoint."""

    attempt: AttemptId
    checkpoint: CheckpointRef


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeen:
    """A task reported a number; the newest value of a name counts."""

    attempt: AttemptId
    name: str
    value: float
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSeen:
    """What an attempt used so far."""

    attempt: AttemptId
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wishes a task cancelled; the next tick does it."""

    task: TaskId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequested:
    """Somebody wishes an active task held, or with `wanted` False no longer: its native job, which waits, is to go."""

    task: TaskId
    by: str
    wanted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSent:
    """The resource manager is about to be asked to stop an attempt: written before the call, so that none is asked twice."""

    attempt: AttemptId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Why a ready or waiting task was not chosen; stored only when it differs from what was stored."""

    task: TaskId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSeen:
    """An attempt checked one of the task's declared outputs; `why` says what is wrong with it if it is not `ok`."""

    attempt: AttemptId
    name: str
    path: str
    ok: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorMoved:
    """How far an event file has been read, committed together with what was read from it.

    `seq` is the highest sequence number read from it. With `before` (the offset from which it was read; 0 for a file
    that is new or has another inode) the change is refused as stale if somebody else has read on in the meantime, so
    that no event counts twice even when two ticks run at once.
    """

    file: str
    inode: int
    offset: int
    seq: int = -1
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureAdded:
    """Nodes of a backend are to be empty for a time. Its `id` is new."""

    closure: Closure


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureLifted:
    """A closure holds no longer; refused as stale if it does not hold now."""

    closure: ClosureId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """A rule holds from now on, in place of the one with its id."""

    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDropped:
    """A rule holds no longer; refused as stale if it does not hold now."""

    rule: RuleId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something for the audit alone: a bad event, an alarm, a fence. `subject` is an id or a backend's name."""

    subject: str
    what: str
    facts: Mapping[str, Fact]


Change = (
    PipelineAdded
    | TasksAdded
    | TaskMoved
    | ResumeChosen
    | TaskRanked
    | PipelineRanked
    | AttemptIntended
    | AttemptContinued
    | AttemptSubmitted
    | AttemptMoved
    | AttemptNoted
    | CheckpointSeen
    | MetricSeen
    | UsageSeen
    | OutputSeen
    | CancelRequested
    | HoldRequested
    | CancelSent
    | PassedOver
    | CursorMoved
    | ClosureAdded
    | ClosureLifted
    | RuleSet
    | RuleDropped
    | Noted
)
