"""What pyslurm says of jobs, in the words of the command-line tools.

The attributes are those of pyslurm 22.5 to 25.11, https://pyslurm.github.io: `Job`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

from elisa.backends.slurm.states import Record

__all__ = ["LibraryJob", "records_of"]

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


class LibraryJob(Protocol):
    """What is read of a `pyslurm.Job`. Times are seconds since the epoch, or None."""

    id: int
    name: str | None
    user_id: int | None
    state: str
    state_reason: str | None
    exit_code: int | None
    exit_code_signal: int | None
    requeue_count: int | None
    submit_time: int | None
    start_time: int | None
    end_time: int | None
    allocated_nodes: str | None
    heterogeneous_id: int | None
    heterogeneous_offset: int | None
    array_id: int | None
    array_task_id: int | None
    array_tasks_waiting: str | None


def records_of(job: LibraryJob) -> Iterator[Record]:
    """Yield the records that `squeue --array` would show for a job: one for each element that waits in an array."""
    signal = job.exit_code_signal or None
    for number in _numbers(job):
        yield Record(
            job=number,
            name=job.name or "",
            state=job.state,
            exit_code=None if signal else job.exit_code,
            signal=signal,
            restarts=job.requeue_count or 0,
            reason=(job.state_reason or "").replace(" ", "_"),
            nodes=job.allocated_nodes or "",
            submitted_at=_time(job.submit_time),
            started_at=_time(job.start_time),
            ended_at=_time(job.end_time),
        )


def _numbers(job: LibraryJob) -> Iterator[str]:
    if job.heterogeneous_id:
        yield f"{job.heterogeneous_id}+{job.heterogeneous_offset or 0}"
    elif not job.array_id:
        yield str(job.id)
    elif not job.array_tasks_waiting:
        # pyslurm gives None for the element 0, too
        yield f"{job.array_id}_{job.array_task_id or 0}"
    else:
        for first, last, step in _RANGE.findall(job.array_tasks_waiting):
            yield from (f"{job.array_id}_{n}" for n in range(int(first), int(last or first) + 1, int(step or 1)))


def _time(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
