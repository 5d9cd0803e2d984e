"""Small things put together: training jobs that share one GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Share", "shared_gpus"]


class Share(NamedTuple):
    """What one job takes of a GPU it may share: thousandths of its time, and memory."""

    id: str
    thousandths: int
    memory_mib: int


def shared_gpus(jobs: Sequence[Share], gpu_memory_mib: int, at_most: int = 7) -> tuple[tuple[str, ...], ...]:
    """Return groups of jobs, each for one GPU; jobs that need more than a whole one are left out.

    First-fit decreasing (Johnson, "Near-optimal bin packing algorithms", MIT 1973) by the larger of the two parts taken.
    `at_most` is the number of clients of one GPU: seven for MIG, 48 for MPS (docs.nvidia.com/deploy/mps).
    """
    fitting = [job for job in jobs if job.thousandths <= 1000 and job.memory_mib <= gpu_memory_mib]
    groups: list[list[Share]] = []
    for job in sorted(fitting, key=lambda one: (-_part(one, gpu_memory_mib), one.id)):
        home = next((group for group in groups if _has_room(group, job, gpu_memory_mib, at_most)), None)
        if home is None:
            groups.append([job])
        else:
            home.append(job)
    return tuple(tuple(job.id for job in group) for group in groups)


def _part(job: Share, gpu_memory_mib: int) -> float:
    return max(job.thousandths / 1000, job.memory_mib / max(1, gpu_memory_mib))


def _has_room(group: Sequence[Share], job: Share, gpu_memory_mib: int, at_most: int) -> bool:
    return (
        len(group) < at_most
        and sum(one.thousandths for one in group) + job.thousandths <= 1000
        and sum(one.memory_mib for one in group) + job.memory_mib <= gpu_memory_mib
    )
