"""What was read from a document, before any name in it is looked up."""

from __future__ import annotations

from dataclasses import dataclass, field

from elisa.model.pipeline import (
    CheckpointPolicy,
    Gang,
    NeedKind,
    OnUnmet,
    Output,
    PriorityClass,
    Promise,
    RetryPolicy,
    SitePlacement,
)
from elisa.model.resources import Resources
from elisa.pipelines.nodes import MapNode, Mark

__all__ = ["Argument", "DocumentDraft", "ForeachDraft", "NeedDraft", "TaskDraft"]


_NOWHERE = Mark("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedDraft:
    """A need as written: names not yet looked up. `kind` None follows from `output` and `step`."""

    tasks: tuple[str, ...]
    kind: NeedKind | None = None
    at_least: int | None = None
    output: str = ""
    step: int | None = None
    match: tuple[str, ...] = ()
    timeout_s: int | None = None
    on_unmet: OnUnmet = OnUnmet.SKIP
    mark: Mark = _NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument of a call: JSON, or the results of tasks."""

    json: str = ""
    result_of: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    mark: Mark = _NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeachDraft:
    task: str
    output: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """One task, or one instance of a matrix, as written: everything read, nothing looked up."""

    command: str | tuple[str, ...] = ()
    shell: bool = False
    call: str = ""
    args: tuple[tuple[str, Argument], ...] = ()
    workdir: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    pass_environment: tuple[str, ...] = ()
    needs: tuple[NeedDraft, ...] = ()
    when: str = ""
    foreach: ForeachDraft | None = None
    resources: Resources = Resources()
    gang: Gang | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    checkpoint: CheckpointPolicy | None = None
    preemptible: bool = True
    chain: bool = True
    fuse: bool = True
    expected_s: int | None = None
    priority: PriorityClass | None = None
    importance: float = 0.0
    promise: Promise | None = None
    placement: SitePlacement = field(default_factory=SitePlacement)
    outputs: tuple[Output, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDraft:
    """A document with its tasks still unread."""

    name: str
    tasks: MapNode
    project: str = "default"
    deadline: str = ""
    importance: float = 0.0
    priority: PriorityClass = PriorityClass.NORMAL
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    defaults: MapNode | None = None
