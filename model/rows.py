"""Light rows that the store hands to status, reports and checks: plain values, no object behind them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from .charge import Charge
from .ids import AttemptId, BackendName, NativeId, PipelineId, ProjectName, TaskId
from .reasons import Fact
from .states import AttemptState, EndReason, TaskState

__all__ = [
    "AuditCheck",
    "AuditRow",
    "FinishedWork",
    "GangMember",
    "LedgerRow",
    "OutputRow",
    "PastRun",
    "PipelineSummary",
    "ProjectRow",
    "StepRate",
    "StoreMeta",
    "TaskRow",
    "Tried",
    "WorkName",
]


class StoreMeta(NamedTuple):
    """What the database says of itself. `host` is the only one that may write when the filesystem is shared.

    `last_tick` holds the facts of the last tick's report; `ticks` counts ticks since the store was made. `changed_at` is
    the moment of the last row of the audit.
    """

    instance: str
    schema_version: int
    host: str
    created_at: datetime
    last_tick_at: datetime | None
    ticks: int
    last_tick: Mapping[str, Fact]
    changed_at: datetime | None = None

    def present(self, now: datetime) -> datetime:
        """Return `now`; where time is simulated, which begins long before the store was made, the last moment it came to.

        That is the last tick's, and before there was one that of the last change.
        """
        at = self.last_tick_at or self.changed_at
        return at if at is not None and at < self.created_at else now


class ProjectRow(NamedTuple):
    """A project that submitted something or has a policy. `in_policy`: the site's rules name it."""

    name: ProjectName
    created_at: datetime
    in_policy: bool


class PipelineSummary(NamedTuple):
    """A pipeline and how many of its tasks are in each state; states without tasks are left out."""

    id: PipelineId
    name: str
    project: ProjectName
    owner_uid: int
    owner: str
    submitted_at: datetime
    deadline: datetime | None
    counts: Mapping[TaskState, int]


class TaskRow(NamedTuple):
    """One line of `status`: a task, its newest attempt (from `attempt` on, None before the first) and its verdict.

    `reason` is the code of why it was last passed over, "" if it was not since it last moved. `saved_step` is that of
    the newest attempt's newest checkpoint, None before the first. `behind` are the attempts that it was queued behind.
    """

    id: TaskId
    name: str
    group: str
    pipeline: PipelineId
    pipeline_name: str
    project: ProjectName
    owner_uid: int
    state: TaskState
    attempts: int
    failures: int
    cancel_requested: bool
    submitted_at: datetime
    ready_at: datetime | None
    ended_at: datetime | None
    not_before: datetime | None
    reason: str
    attempt: AttemptId | None
    attempt_state: AttemptState | None
    backend: BackendName | None
    partition: str
    native_id: NativeId | None
    native_detail: str
    started_at: datetime | None
    end_reason: str
    saved_step: int | None = None
    behind: tuple[AttemptId, ...] = ()
    hold_requested: bool = False


class AuditRow(NamedTuple):
    """One thing that happened. `hash` covers all other fields, `previous` among them."""

    seq: int
    at: datetime
    actor: str
    kind: str
    subject: str
    facts: Mapping[str, object]
    previous: str
    hash: str


class OutputRow(NamedTuple):
    """What was last found of one declared output of a task; `why` says what is wrong with it if it is not `ok`."""

    attempt: AttemptId
    path: str
    ok: bool
    why: str


class PastRun(NamedTuple):
    """An attempt that ran and is over. `save_s` is what its last checkpoint took, None if it saved nothing.

    `gpus` are those that it had on its node, by the node's own count, as far as it said.
    """

    attempt: AttemptId
    task: TaskId
    pipeline: PipelineId
    group: str
    backend: BackendName
    partition: str
    nodes: str
    node_count: int
    end: EndReason
    started_at: datetime
    ended_at: datetime
    save_s: float | None
    gpus: tuple[str, ...] = ()

    @property
    def run_s(self) -> float:
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


class GangMember(NamedTuple):
    """An active task that must start together with others: `gang` names its pipeline and its gang, as `PIPELINE/GANG`."""

    gang: str
    minimum: int = 0
    timeout_s: float | None = None


class WorkName(NamedTuple):
    """By what work is known again: the names of its project, pipeline, task and group (see `TaskSpec.group`)."""

    project: str
    pipeline: str
    task: str
    group: str


class FinishedWork(NamedTuple):
    """A run that finished its task: `work_s` adds the runs before it that it went on from (`is_resumed`)."""

    name: WorkName
    walltime_s: int
    work_s: float
    gpu_type: str = ""
    is_resumed: bool = False


class StepRate(NamedTuple):
    """How many steps a second an attempt made up to its newest checkpoint, on a type of GPU."""

    name: WorkName
    gpu_type: str
    steps_per_s: float


class Tried(NamedTuple):
    """How many attempts at some work began on a type of GPU, and how many of them are live."""

    name: WorkName
    gpu_type: str
    times: int
    live: int


class LedgerRow(NamedTuple):
    """One booking: `kind` is reserve, spend, refund or overrun. An attempt's reserve is its spend and refund together."""

    attempt: AttemptId
    incarnation: int
    kind: str
    project: ProjectName
    owner_uid: int
    at: datetime
    charge: Charge


class AuditCheck(NamedTuple):
    """The outcome of `verify_audit`: how many rows were read, and a sentence for each thing that does not fit."""

    rows: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.problems
