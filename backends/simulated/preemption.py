"""Who has to leave so that a job of a higher partition can start."""

from __future__ import annotations

from collections.abc import Iterable

from elisa.backends.simulated.job import Shape, SimJob, Stage
from elisa.backends.simulated.room import Place, Room

__all__ = ["choose_victims"]


def choose_victims(room: Room, shape: Shape, jobs: Iterable[SimJob], preemptible: frozenset[str]) -> list[SimJob]:
    """Return the running jobs of `preemptible` partitions to tell to leave, the youngest first, as few as it takes.

    None if not even all of them were enough, or if those that are leaving already will be.
    """
    leaving: list[SimJob] = []
    running: list[SimJob] = []
    for job in jobs:
        if job.stage is Stage.STOPPING:
            leaving.append(job)
        elif job.stage is Stage.RUNNING and job.shape.partition in preemptible:
            running.append(job)
    running.sort(key=lambda job: (-job.started_us, -job.order))
    taken, is_enough = _take_away(room, shape, [*leaving, *running])
    return taken[len(leaving) :] if is_enough else []


def _take_away(room: Room, shape: Shape, jobs: list[SimJob]) -> tuple[list[SimJob], bool]:
    """Take jobs away, in thought, until the shape fits; return those and whether it does."""
    taken: list[SimJob] = []
    is_enough = False
    for job in jobs:
        room.take(job.shape, Place(job.nodes, job.gpu_type), -1)
        taken.append(job)
        is_enough = room.find(shape) is not None
        if is_enough:
            break
    for job in taken:
        room.take(job.shape, Place(job.nodes, job.gpu_type))
    return taken, is_enough
