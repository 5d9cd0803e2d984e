"""The two state machines: what a user wants of a task, and what a resource manager did with an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = [
    "ATTEMPT_MOVES",
    "FINAL_ATTEMPT_STATES",
    "FINAL_TASK_STATES",
    "INFRASTRUCTURE_ENDS",
    "LIVE_ATTEMPT_STATES",
    "TASK_MOVES",
    "AttemptState",
    "EndReason",
    "TaskState",
]


class TaskState(StrEnum):
    """Where a task stands in its owner's eyes."""

    WAITING = "waiting"  # for tasks it needs, or for its retry's time
    READY = "ready"  # could be submitted now
    ACTIVE = "active"  # has a live attempt
    HELD = "held"  # it waits until a person lets it go on
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # its `when` was false, or what it needs will never come


class AttemptState(StrEnum):
    """What the resource manager did with one attempt."""

    INTENDED = "intended"  # written down; the submission may or may not have happened
    SUBMITTED = "submitted"  # accepted: the native id is known
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # neither the resource manager nor the job itself can say what became of it


class EndReason(StrEnum):
    """Why an attempt ended: the truth that recovery reads."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node_failure"
    OUT_OF_MEMORY = "out_of_memory"
    BOOT_FAILURE = "boot_failure"
    CANCELLED = "cancelled"
    REJECTED = "rejected"  # the resource manager refused the request
    INVALID_DATA = "invalid_data"  # an input or output does not have its declared format
    NOT_BEGUN = "not_begun"  # the native job that it shared was over before its turn
    BAD_GPU = "bad_gpu"  # it was given a GPU on which work breaks, and left without having begun
    LOST = "lost"


TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset(
        {
            TaskState.READY,
            TaskState.ACTIVE,  # queued behind what it needs
            TaskState.HELD,
            TaskState.CANCELLED,
            TaskState.SKIPPED,
            TaskState.FAILED,
            TaskState.SUCCEEDED,
        }
    ),
    TaskState.READY: frozenset(
        {TaskState.ACTIVE, TaskState.WAITING, TaskState.HELD, TaskState.CANCELLED, TaskState.SKIPPED, TaskState.FAILED}
    ),
    TaskState.ACTIVE: frozenset(
        {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.READY, TaskState.WAITING, TaskState.HELD}
    ),
    TaskState.HELD: frozenset({TaskState.WAITING, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.WAITING}),  # `elisa retry`
    TaskState.CANCELLED: frozenset({TaskState.WAITING}),
    TaskState.SKIPPED: frozenset({TaskState.WAITING}),
}

# Late news cannot move an attempt back: queued after running is a requeue, which is a new incarnation of the same attempt.
ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.INTENDED: frozenset(
        {AttemptState.SUBMITTED, AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.ENDED, AttemptState.LOST}
    ),
    AttemptState.SUBMITTED: frozenset(
        {AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.ENDED, AttemptState.LOST}
    ),
    AttemptState.QUEUED: frozenset({AttemptState.RUNNING, AttemptState.ENDED, AttemptState.LOST}),
    AttemptState.RUNNING: frozenset({AttemptState.QUEUED, AttemptState.ENDED, AttemptState.LOST}),
    AttemptState.ENDED: frozenset(),
    AttemptState.LOST: frozenset(),
}

FINAL_TASK_STATES = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
FINAL_ATTEMPT_STATES = frozenset({AttemptState.ENDED, AttemptState.LOST})
LIVE_ATTEMPT_STATES = frozenset(AttemptState) - FINAL_ATTEMPT_STATES

# Ends that are nobody's fault in the task: they never use up its retries.
INFRASTRUCTURE_ENDS = frozenset(
    {EndReason.PREEMPTED, EndReason.NODE_FAILURE, EndReason.BOOT_FAILURE, EndReason.BAD_GPU, EndReason.LOST}
)
