"""The native id of a PBS job: PBS's own id and the attempt it was tagged with, such as `12345.pbs01.t7k2m9qx4t.1`.

PBS's numbers wrap around at the server's `max_job_sequence_id` and begin anew when its database is lost. A job is only
believed to be ours if its name is a tag of ours, and the attempt's own tag where the attempt is known. All elements of an
array have one name, that of their first attempt; their ids end in it: `12345[7].pbs01.t7k2m9qx4t.1+t0000000a1.1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elisa.backends.protocol import tag_of
from elisa.model.ids import AttemptId, NativeId, is_attempt_id

__all__ = ["JobRef", "Names", "array_of", "element_of", "native_id_of", "number_of", "size_in", "split_native_id"]

_PBS_ID = re.compile(r"[0-9]{1,12}(\[[0-9]{1,6}\])?(\.[A-Za-z0-9][A-Za-z0-9-]*)*")
_NUMBER = re.compile(r"[0-9]+(\[[0-9]*\])?")
_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """A job as PBS knows it, and the attempt it runs; a job that only its own words named to us comes without one.

    `first` is the attempt in the name of an array whose element it is, if that is another.
    """

    pbs_id: str
    attempt: AttemptId | None
    first: AttemptId | None = None

    @property
    def number(self) -> str:
        """Its number, the part that all programs print alike."""
        return number_of(self.pbs_id)

    @property
    def is_element(self) -> bool:
        """Whether it is an element of an array."""
        return "[" in self.number


def number_of(pbs_id: str) -> str:
    """Return the number in `12345.pbs01` or `12345`, and `12345[7]` in `12345[7].pbs01`; empty for a text that is no id."""
    found = _NUMBER.match(pbs_id)
    return found[0] if found else ""


def element_of(array: str, index: int) -> str:
    """Return PBS's id of one element of an array such as `12345[].pbs01`."""
    return array.replace("[]", f"[{index}]", 1)


def array_of(pbs_id: str) -> str:
    """Return PBS's id of the array that an element belongs to; of any other job its own."""
    return _INDEX.sub("[]", pbs_id, count=1)


def size_in(name: str) -> int:
    """Return how many jobs an array has, by its name; 0 for another job's name."""
    count = name.rpartition("+")[2]
    return int(count) if "+" in name and count.isdecimal() else 0


def native_id_of(pbs_id: str, attempt: AttemptId, first: AttemptId | None = None) -> NativeId:
    """Return the native id of the job that PBS calls `pbs_id`; `first` is the attempt in the name of an array."""
    return NativeId(f"{pbs_id}.{attempt}" if first in {None, attempt} else f"{pbs_id}.{attempt}+{first}")


def split_native_id(native_id: NativeId) -> JobRef | None:
    """Return PBS's id and the attempt; None for a text that is no id of PBS."""
    own, plus, first = native_id.partition("+")
    head, _, tail = own.rpartition(".")
    pbs_id, _, task = head.rpartition(".")
    attempt = AttemptId(f"{task}.{tail}")
    if plus and not is_attempt_id(first):
        return None
    if pbs_id and is_attempt_id(attempt):
        ref = JobRef(pbs_id=pbs_id, attempt=attempt, first=AttemptId(first) if plus else None)
        return ref if _PBS_ID.fullmatch(pbs_id) else None
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

    def of_array(self, first: AttemptId, count: int) -> str:
        """Return the name of an array of `count` jobs."""
        return f"{self.of(first)}+{count}"

    def first_in(self, name: str) -> AttemptId | None:
        """Return the attempt in the name of an array; None if it is no array of ours."""
        tag, plus, count = name.partition("+")
        return self.attempt_in(tag) if plus and count.isdecimal() else None

    def attempt_in(self, name: str) -> AttemptId | None:
        """Return the attempt that a job's name stands for; None if it is not a name of ours."""
        attempt = AttemptId(name.removeprefix(tag_of(self.instance, AttemptId(""))))
        return attempt if is_attempt_id(attempt) and self.of(attempt) == name else None

    def belongs(self, name: str, ref: JobRef) -> bool:
        """Tell whether a job of this name is the one that `ref` means."""
        attempt = self.first_in(name) if ref.is_element else self.attempt_in(name)
        return attempt is not None and (ref.first or ref.attempt) in {None, attempt}
