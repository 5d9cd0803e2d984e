"""What a plan decides. The engine carries decisions out one at a time, each written down first."""

from __future__ import annotations

from dataclasses import dataclass

from .ids import AttemptId, BackendName, TaskId
from .reasons import Reason

__all__ = ["Cancel", "Decision", "Park", "Preempt", "Resize", "Submit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Start a new attempt at a ready task. `rank` counts from 1 over the whole plan.

    With a `leader` it shares the native job of that task's attempt, and needs no submission of its own.
    """

    task: TaskId
    backend: BackendName
    partition: str
    rank: int
    reason: Reason
    leader: TaskId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a live attempt for good: its task was cancelled, or it must not run."""

    attempt: AttemptId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempt:
    """Ask a live attempt to save and leave, in favour of `beneficiary`; its task becomes ready again."""

    attempt: AttemptId
    beneficiary: TaskId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Ask a live attempt to save and leave because its project holds more than it may have; its task waits for room."""

    attempt: AttemptId
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Ask elastic work to save and leave, so that it starts again: on `size` nodes, or fewer, in favour of `beneficiary`."""

    attempt: AttemptId
    size: int
    reason: Reason
    beneficiary: TaskId | None = None


Decision = Submit | Cancel | Preempt | Park | Resize
