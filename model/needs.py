"""What a task waits for, looked up: the tasks behind each need and how far they have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .ids import TaskId
from .pipeline import Need
from .states import TaskState

__all__ = ["ResolvedNeed", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One task that others need, as far as it matters to them.

    `outputs` tells for each output that was checked whether it has its declared format; one that is absent was not seen
    yet. `checkpoint_step` is that of its newest checkpoint, None before the first. `group` is `TaskSpec.group`: `when`
    conditions may name the whole group.
    """

    id: TaskId
    name: str
    state: TaskState
    checkpoint_step: int | None = None
    outputs: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNeed:
    """A need with every task it stands for: for a template, the tasks made from it."""

    need: Need
    targets: tuple[Target, ...]
