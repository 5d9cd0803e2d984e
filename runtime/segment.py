"""One attempt goes on where the one before it had to leave: what that leaves behind, and what its agent looks for.

In `claims/<task>/`, `<attempt>.goes_on` says that its walltime ran out over new progress, and from where to go on: it is
written before the claim is released, and by a tick after a preemption. `<attempt>.recalled` keeps an attempt that was
queued ahead from ever beginning.
"""

from __future__ import annotations

import os

from elisa.runtime.durable import leave_mark, publish_file
from elisa.runtime.eventfile import read_records
from elisa.runtime.job import Job
from elisa.runtime.lean import dump_json, load_json
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Callable

__all__ = ["Saved", "has_steps_left", "is_recalled", "newest_saved", "recall", "say_goes_on", "wait_for_predecessor"]

# A folder's contents may be this old where it is looked at (acdirmax, nfs(5)); jobs follow each other faster than that.
_CACHED_S = 60
_LOOK_S = 1.0


class Saved(NamedTuple):
    """A checkpoint that the next attempt begins from."""

    path: str
    step: int


def newest_saved(job: Job) -> Saved | None:
    """Return the checkpoint with the most work that this attempt told of, if it is beyond the one that it began from."""
    told = [record.data for record in read_records(job.event_dir, job.key) if record.kind == "checkpoint"]
    found = [Saved(str(data["path"]), int(str(data["step"]))) for data in told if data.get("path") and "step" in data]
    newest = max(found, key=lambda one: one.step, default=None)
    began_at = -1 if job.resume_step is None else job.resume_step
    return newest if newest is not None and newest.step > began_at else None


def has_steps_left(job: Job) -> bool:
    """Tell whether the program's own count says that steps are missing. Raises OSError."""
    step, total = 0, 0
    told = sorted(read_records(job.event_dir, job.key), key=lambda one: (one.incarnation, one.rank, one.seq))
    for record in told:
        if record.kind == "progress":
            step, total = int(record.data.get("step") or 0), int(record.data.get("total") or 0)
        elif record.kind == "checkpoint":
            step = max(step, int(record.data.get("step") or 0))
    return step < total


def say_goes_on(job: Job, saved: Saved) -> None:
    """Leave word that the next attempt may begin as soon as the claim is released. Raises OSError."""
    publish_file(_mark(job, job.attempt), dump_json({"attempt": job.attempt, **saved._asdict()}).encode())


def wait_for_predecessor(job: Job, sleep: Callable[[float], None]) -> Saved | None:
    """Return where the attempt that `job` continues left off; None if it left nothing to go on with, or does not leave.

    The resource manager has said that it is over, or it has forgotten it: its word may be hidden by a cache for a while.
    """
    for _ in range(_CACHED_S):
        os.listdir(job.claim_dir)  # NFS asks the server anew when a folder is opened
        is_over = os.path.lexists(_recall_mark(job, job.continues)) or _has_released(job)
        saved = _read_mark(job)
        if saved is not None or is_over:
            return saved
        sleep(_LOOK_S)
    return _read_mark(job)


def is_recalled(job: Job) -> bool:
    """Tell whether this attempt is never to begin."""
    return os.path.lexists(_recall_mark(job, job.attempt))


def recall(job: Job) -> None:
    """Say that this attempt will never begin, to those that are queued behind it. Raises OSError."""
    leave_mark(_recall_mark(job, job.attempt))


def _recall_mark(job: Job, attempt: str) -> str:
    return os.path.join(job.claim_dir, f"{attempt}.recalled")


def _mark(job: Job, attempt: str) -> str:
    return os.path.join(job.claim_dir, f"{attempt}.goes_on")


def _read_mark(job: Job) -> Saved | None:
    try:
        content = load_json(_mark(job, job.continues))
        is_its_own = content["attempt"] == job.continues
        return Saved(str(content["path"]), int(content["step"])) if is_its_own else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _has_released(job: Job) -> bool:
    """Tell whether the last incarnation of the attempt before has said that nothing of it runs any more."""
    last = os.path.join(job.claim_dir, job.continues)
    incarnation = 1
    while os.path.lexists(os.path.join(job.claim_dir, f"{job.continues}.r{incarnation}")):
        last = os.path.join(job.claim_dir, f"{job.continues}.r{incarnation}")
        incarnation += 1
    return os.path.exists(last + ".released")
