"""The native id of a PBS job: PBS's own id and the attempt it was tagged with, such as `12345.pbs01.t7k2m9qx4t.1`.

PBS's numbers wrap around at the server's `max_job_sequence_id` and begin anew when its database is lost. A job is only
believed to be ours if its name is a tag of ours, and the attempt's own tag where the attempt is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elisa.backends.protocol import tag_of
from elisa.model.ids import AttemptId, NativeId, is_attempt_id

__all__ = ["JobRef", "Names", "native_id_of", "number_of", "split_native_id"]

_PBS_ID = re.compile(r"[0-9]{1,12}(\.[A-Za-z0-9][A-Za-z0-9-]*)*")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """A job as PBS knows it, and the attempt it runs; a job that only its own words named to us comes without one."""

    pbs_id: str
    attempt: AttemptId | None

    @property
    def number(self) -> str:
        """Its number, the part that all programs print alike."""
        return number_of(self.pbs_id)


def number_of(pbs_id: str) -> str:
    """Return the number in `12345.pbs01`, `12345[].pbs01` or `12345`; empty for a text that is no id."""
    found = _NUMBER.match(pbs_id)
    return found[0] if found else ""


def native_id_of(pbs_id: str, attempt: AttemptId) -> NativeId:
    """Return the native id of the job that PBS calls `pbs_id`."""
    return NativeId(f"{pbs_id}.{attempt}")


def split_native_id(native_id: NativeId) -> JobRef | None:
    """Return PBS's id and the attempt; None for a text that is no id of PBS."""
    head, _, tail = native_id.rpartition(".")
    pbs_id, _, task = head.rpartition(".")
    attempt = AttemptId(f"{task}.{tail}")
    if pbs_id and is_attempt_id(attempt):
        return JobRef(pbs_id=pbs_id, attempt=attempt) if _PBS_ID.fullmatch(pbs_id) else None
    return JobRef(pbs_id=native_id, attempt=None) if _PBS_ID.fullmatch(native_id) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How the jobs of one state folder are named. `limit` is the longest name that the site's PBS takes."""

    instance: str
    limit: int

    def of(self, attempt: AttemptId) -> str:
        """Return the name of an attempt's job: its tag, or the bare attempt id where the tag is too long."""
        tag = tag_of(self.instance, attempt)
        return tag if len(tag) <= self.limit else attempt

    def attempt_in(self, name: str) -> AttemptId | None:
        """Return the attempt that a job's name stands for; None if it is not a name of ours."""
        attempt = AttemptId(name.removeprefix(tag_of(self.instance, AttemptId(""))))
        return attempt if is_attempt_id(attempt) and self.of(attempt) == name else None

    def belongs(self, name: str, ref: JobRef) -> bool:
        """Tell whether a job of this name is the one that `ref` means."""
        attempt = self.attempt_in(name)
        return attempt is not None and ref.attempt in {None, attempt}
