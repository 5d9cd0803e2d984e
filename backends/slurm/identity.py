"""The native id of a Slurm job: its number and the attempt it was tagged with, such as `12345.t7k2m9qx4t.1`.

Numbers alone are no identity: they wrap around, and begin anew when a controller loses its state. A job is only believed to
be ours if it carries the attempt's tag too.
"""

from __future__ import annotations

from elisa.model.ids import AttemptId, NativeId, is_attempt_id

__all__ = ["attempt_of_tag", "native_id_of", "split_native_id", "tag_prefix"]


def native_id_of(job: str, attempt: AttemptId) -> NativeId:
    """Return the native id of job number `job`."""
    return NativeId(f"{job}.{attempt}")


def split_native_id(native_id: NativeId) -> tuple[str, AttemptId] | None:
    """Return the job number and the attempt; None for a text that this backend never gave out."""
    job, _, attempt = native_id.partition(".")
    return (job, AttemptId(attempt)) if job.isdecimal() and job.isascii() and is_attempt_id(attempt) else None


def tag_prefix(instance: str) -> str:
    """Return what the names of all jobs of one state folder begin with."""
    return f"el.{instance}."


def attempt_of_tag(instance: str, name: str) -> AttemptId | None:
    """Return the attempt that a job's name stands for; None if it is not a name of ours."""
    prefix = tag_prefix(instance)
    rest = name.removeprefix(prefix)
    return AttemptId(rest) if name.startswith(prefix) and is_attempt_id(rest) else None
