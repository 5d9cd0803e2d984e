"""What jobs say of themselves, as read from the spool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .ids import AttemptId

__all__ = ["EventKind", "RuntimeEvent"]


class EventKind(StrEnum):
    """The events an agent or a program writes. The keys named are those of `RuntimeEvent.data`."""

    CLAIMED = "claimed"  # host, pid, native_id
    REFUSED = "refused"  # why: another job holds the claim, or a newer attempt exists; the program was not started
    STARTED = "started"  # host, pid, resumed_step (or null), gpus
    HEARTBEAT = "heartbeat"  # cpu_s, max_memory_mib, memory_mib, gpu_s, max_gpu_memory_mib, gpu_j, processes
    CHECKPOINT = "checkpoint"  # path, step, size_bytes, seconds
    QUARANTINED = "quarantined"  # path, why: a checkpoint that failed verification
    PROGRESS = "progress"  # step, total (or null)
    METRIC = "metric"  # name, value, step (or null)
    OUTPUT = "output"  # name, path, ok, why
    OVER_LIMIT = "over_limit"  # resource (memory, walltime, output), limit, seen
    STOPPING = "stopping"  # signal, why
    EXITED = "exited"  # exit_code (or null), signal (or null), why, run_s, gpus, and the last heartbeat's keys


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """One event. (attempt, incarnation, rank, seq) is unique; a gap in `seq` means nothing."""

    attempt: AttemptId
    incarnation: int
    rank: int
    seq: int
    at: datetime
    kind: EventKind
    data: Mapping[str, str | int | float | bool | None]
