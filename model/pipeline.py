"""A pipeline as its author wrote it: the one form that YAML and Python both become."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .affinity import Affinity
from .ids import ProjectName
from .resources import Resources
from .states import EndReason

__all__ = [
    "Backoff",
    "CheckpointPolicy",
    "Expansion",
    "Gang",
    "Grow",
    "JSONScalar",
    "Need",
    "NeedKind",
    "OnUnmet",
    "Output",
    "Pipeline",
    "PriorityClass",
    "Promise",
    "PythonCall",
    "RestartWhen",
    "ResultOf",
    "RetryPolicy",
    "SitePlacement",
    "TaskSpec",
]

JSONScalar = str | int | float | bool | None


class NeedKind(StrEnum):
    """What a task waits for in another: its success, its end whatever it be, a checkpoint, or a piece of data."""

    SUCCESS = "success"
    COMPLETION = "completion"
    CHECKPOINT = "checkpoint"
    DATA = "data"


class OnUnmet(StrEnum):
    """What becomes of a task whose need can no longer be met."""

    SKIP = "skip"
    FAIL = "fail"
    WAIT = "wait"  # until somebody retries what it needs
    RUN = "run"  # go on without (with a timeout: run with what is there)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Other tasks of the pipeline, by name, that must have come so far before this one starts.

    `at_least` None means all of `tasks`; 1 is `any`. `step` is for CHECKPOINT (the least step), `output` for DATA.
    After `timeout_s` (from the pipeline's submission) the need counts as unmet and `on_unmet` decides.
    """

    tasks: tuple[str, ...]
    kind: NeedKind = NeedKind.SUCCESS
    at_least: int | None = None
    output: str = ""
    step: int = 0
    timeout_s: int | None = None
    on_unmet: OnUnmet = OnUnmet.SKIP


class PriorityClass(StrEnum):
    """Coarse order between tasks, before any factor is weighed."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    SCAVENGER = "scavenger"


class RestartWhen(StrEnum):
    """Whether an attempt that ended is followed by another."""

    NEVER = "never"
    ON_FAILURE = "on_failure"
    ALWAYS = "always"  # even after success, until the limit: for services


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Wait before the n-th retry: `initial_s * factor**(n-1)`, at most `maximum_s`, spread by `jitter` (0.1 is ±10 %)."""

    initial_s: float = 30.0
    factor: float = 2.0
    maximum_s: float = 3600.0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grow:
    """How the request grows after out_of_memory or timeout; factors of 1 leave it as it is. Maxima 0: no bound."""

    memory_factor: float = 1.5
    walltime_factor: float = 1.5
    memory_maximum_mib: int = 0
    walltime_maximum_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, after which ends and how soon a task is tried again.

    `limit` counts the retries that are the task's own fault; preemption, node failure and the like never use it up.
    Empty `on` means every end but completed, cancelled, rejected and invalid_data.
    """

    limit: int = 2
    restart: RestartWhen = RestartWhen.ON_FAILURE
    on: tuple[EndReason, ...] = ()
    backoff: Backoff = Backoff()
    grow: Grow = Grow()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """How a task saves its work.

    `interval_s` None lets elisa choose. `pattern` and `complete_when` are for programs that write their own restart
    files. `signal` asks the program to save; `lead_s` None is learnt from past saves.
    """

    interval_s: float | None = None
    keep: int = 2
    pattern: str = ""
    complete_when: str = ""
    signal: str = "USR2"
    lead_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file the task leaves, and the format it must have before anybody reads it. `path` is relative to the task's folder."""

    name: str
    path: str
    format: str = "any"
    columns: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """Tasks that start together or not at all: all members carry the same `name`; `minimum` of them suffice (0: all)."""

    name: str
    minimum: int = 0
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How a metric tells what a task's results are hoped to be worth: from 0 at `worst` to 1 at `best`, whichever is larger."""

    metric: str
    worst: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """This task is a template: one task is made of it for each item of the JSON list in `output` of task `source`."""

    source: str
    output: str
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOf:
    """Stands in a call's arguments for what another task's function returned (a list, for a matrix or an expansion)."""

    tasks: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonCall:
    """Run `function` of the Python file `file` with keyword arguments; what it returns becomes a file.

    `arguments` holds JSON texts, so that a pipeline is the same value whatever wrote it.
    """

    file: str
    function: str
    arguments: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, ResultOf], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlacement:
    """Where the author wants the task, in the resource manager's own names; empty leaves it to elisa.

    Of the task's jobs that are submitted together, as one array, at most `at_once` run at a time (0: all).
    `affinity` is about the nodes of other tasks, or their switches.
    """

    backend: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    extras: tuple[tuple[str, str], ...] = ()
    at_once: int = 0
    affinity: tuple[Affinity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task: what to run, what for, after what, and with which means.

    Just one of `command` and `call` is given (a template of an expansion has either too). With `shell` the command is one
    string for `/bin/sh -c`. `environment` is set; of the submitter's own environment only `pass_environment` is kept.
    `${task_dir}`, `${pipeline_dir}`, `${checkpoint_dir}`, `${dir.NAME}` in command, environment, workdir and output
    paths are filled in when the task is released; all other parameters already are. Without `chain` its job is never
    queued before its needs are met. `expected_s` is how long it usually runs. Without `fuse` it has a native job to itself.
    """

    name: str
    command: tuple[str, ...] = ()
    shell: bool = False
    call: PythonCall | None = None
    workdir: str = ""  # relative to the pipeline's folder; empty is that folder
    environment: tuple[tuple[str, str], ...] = ()
    pass_environment: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    when: str = ""
    parameters: tuple[tuple[str, JSONScalar], ...] = ()  # the matrix values of this instance
    group: str = ""  # the name the author wrote, shared by all instances of a matrix
    expansion: Expansion | None = None
    resources: Resources = Resources()
    gang: Gang | None = None
    retry: RetryPolicy = RetryPolicy()
    checkpoint: CheckpointPolicy | None = None
    preemptible: bool = True
    chain: bool = True
    fuse: bool = True
    expected_s: int | None = None
    priority: PriorityClass = PriorityClass.NORMAL
    importance: float = 0.0
    promise: Promise | None = None
    placement: SitePlacement = SitePlacement()
    outputs: tuple[Output, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()  # JSON texts

    @property
    def brief_s(self) -> int:
        """How long its author lets expect it to run, if it may share a native job with others; 0: it may not.

        What saves is not brief, a service has no end, and who says beside whom it runs has a node of its own choice.
        """
        is_plain = (
            self.checkpoint is None and self.gang is None and self.expansion is None and not self.placement.affinity
        )
        may_share = self.fuse and is_plain and self.retry.restart is not RestartWhen.ALWAYS
        is_whole = self.resources.exclusive or self.resources.elastic is not None
        if not may_share or self.resources.nodes > 1 or is_whole:
            return 0
        return self.resources.walltime_s if self.expected_s is None else self.expected_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A whole pipeline, matrix already multiplied out, in the order its author wrote it; names are unique."""

    name: str
    project: ProjectName
    tasks: tuple[TaskSpec, ...]
    folder: str = ""  # absolute; relative paths are relative to it
    deadline: datetime | None = None
    importance: float = 0.0
    priority: PriorityClass = PriorityClass.NORMAL
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = field(default=())
