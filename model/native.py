"""What passes between the engine and a resource manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from .ids import AttemptId, BackendName, NativeId
from .resources import Resources
from .states import EndReason

__all__ = [
    "Answered",
    "CancelOutcome",
    "Capabilities",
    "ClusterView",
    "Found",
    "Gone",
    "JobRequest",
    "NativeState",
    "NodeState",
    "NodeView",
    "Observation",
    "PartitionView",
    "Poll",
    "Seen",
    "Unreachable",
]


class NativeState(StrEnum):
    """A native job's state, as far as the resource manager's words are understood."""

    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"  # a code nobody knows: kept in `Seen.raw`, changes nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A native job that the resource manager described. `detail` is its pending reason or words about its end.

    `given_at` is since when it has all that it needs to run, so that its agent should soon give a sign; None where it waits,
    is suspended or ends, and where that is not known.

    With `is_managers_doing` its manager, or whoever administers it, cancelled it after it was given nodes. With
    `is_unexplained` it was cancelled when it had nodes and its program had not begun, and nobody can tell by whom.
    """

    native_id: NativeId
    state: NativeState
    end_reason: EndReason | None = None
    is_managers_doing: bool = False
    is_unexplained: bool = False
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""
    nodes: str = ""
    restarts: int = 0
    queued_at: datetime | None = None
    given_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A complete and successful answer did not contain this job. Gone is not finished."""

    native_id: NativeId


Observation = Seen | Gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The resource manager answered, completely, about every id asked for."""

    observations: Mapping[NativeId, Observation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """No usable answer: nothing may be concluded about any job. `what` says why, in one line."""

    what: str


Poll = Answered | Unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search by tag brought: every native id that carries it. Not `complete`: absence proves nothing."""

    ids: Mapping[AttemptId, tuple[NativeId, ...]]
    complete: bool


class CancelOutcome(StrEnum):
    """What became of a request to stop a native job."""

    ASKED = "asked"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One native job to be: an agent started for one attempt.

    `argv` is run as it is, never by a shell. `environment` is all that the job gets beside the resource manager's own
    variables. `after` are native ids whose success must come first, `after_any` those whose end must, whatever it is
    (only where `Capabilities.dependencies`).
    `priority` orders elisa's own jobs within the native queue, higher first. Of an array's jobs at most `at_once` run
    together (0: all).
    """

    attempt: AttemptId
    argv: tuple[str, ...]
    workdir: str
    stdout: str
    stderr: str
    resources: Resources
    environment: tuple[tuple[str, str], ...] = ()
    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    extras: tuple[tuple[str, str], ...] = ()
    signal_lead_s: int = 0
    grace_s: float = 30.0
    priority: int = 0
    after: tuple[NativeId, ...] = ()
    after_any: tuple[NativeId, ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    at_once: int = 0
    predicted_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do. `queues`: it keeps a queue of its own, so that more may be submitted than fits now.

    `arrays` is how many jobs that ask for the same thing it takes by one call; 0: it has no arrays.

    `reorders`: jobs that wait there can be given other places. `excludes`: a job can be kept off nodes. `chain_ahead` is
    how many stages of a pipeline are best queued behind a job that has not ended, unless the site says otherwise (only
    with `dependencies`). `submits_at_once` is how many submissions may run side by side. `overcommits`: its nodes promise
    more than they have.
    """

    queues: bool
    dependencies: bool = False
    arrays: int = 0
    hold: bool = False
    requeue: bool = False
    accounting: bool = False
    signals: bool = True
    max_name_length: int = 64
    reorders: bool = False
    excludes: bool = True
    chain_ahead: int = 0
    submits_at_once: int = 1
    overcommits: bool = False


class NodeState(StrEnum):
    """Whether a node takes new jobs."""

    UP = "up"
    DRAINED = "drained"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node. `gpus` and `free_gpus` count by type, such as `(("a100", 4),)`.

    `booted_at` is None where the resource manager does not tell; `is_off`: it says that the node has no power.
    `switch` is its leaf switch, if that is known. One that promises more than it has counts cores and memory as `promised`,
    in percent of what is there; `short_mib` of memory are missing there now, as was measured.
    """

    name: str
    cpus: int
    memory_mib: int
    free_cpus: int
    free_memory_mib: int
    gpus: tuple[tuple[str, int], ...] = ()
    free_gpus: tuple[tuple[str, int], ...] = ()
    gpu_memory_mib: int = 0
    features: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    state: NodeState = NodeState.UP
    booted_at: datetime | None = None
    is_off: bool = False
    switch: str = ""
    promised: tuple[int, int] = (100, 100)
    short_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionView:
    """One partition or queue. A limit of 0 is no limit."""

    name: str
    is_default: bool = False
    is_up: bool = True
    max_walltime_s: int = 0
    max_nodes: int = 0
    priority: int = 0
    preemptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What a resource manager has and what of it is free, now."""

    backend: BackendName
    nodes: tuple[NodeView, ...]
    partitions: tuple[PartitionView, ...]
    licences: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    seen_at: datetime | None = None
