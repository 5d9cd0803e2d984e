"""The native id of a Slurm job: its number and the attempt it was tagged with, such as `12345.t7k2m9qx4t.1`.

Numbers alone are no identity: they wrap around, and begin anew when a controller loses its state. A job is only believed to
be ours if its name carries the right tag too. All elements of a job array have one name, that of their first attempt; their
ids end in it: `12345_7.t7k2m9qx4t.1+t0000000a1.1`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from elisa.model.ids import AttemptId, NativeId, is_attempt_id

__all__ = ["JobKey", "array_tag", "component_of", "is_number", "native_id_of", "split_native_id", "tag_of_name"]

_NUMBER = re.compile(r"[1-9][0-9]*(?:_[0-9]+)?")
# the components of a heterogeneous job are numbered from 0, and the first is the job itself: `12+0`, `12+1`
_COMPONENT = re.compile(r"([1-9][0-9]*)\+([0-9]+)")


class JobKey(NamedTuple):
    """What tells a job from all others: its number, such as `12` or `12_3`, and the attempt in its name."""

    number: str
    tag: AttemptId


def is_number(text: str) -> bool:
    """Tell whether `text` is the number of a job or of one element of an array."""
    return _NUMBER.fullmatch(text) is not None


def component_of(text: str) -> tuple[str, int]:
    """Return the number of a job, and which component of a heterogeneous one it is: 0 for the first and for all others."""
    found = _COMPONENT.fullmatch(text)
    return (found[1], int(found[2])) if found else (text, 0)


def native_id_of(key: JobKey, attempt: AttemptId) -> NativeId:
    """Return the native id of the job that `key` names and that runs `attempt`."""
    return NativeId(f"{key.number}.{attempt}" if key.tag == attempt else f"{key.number}.{attempt}+{key.tag}")


def split_native_id(native_id: NativeId) -> tuple[JobKey, AttemptId] | None:
    """Return the job and its attempt; None for a text that this backend never gave out."""
    number, _, rest = native_id.partition(".")
    attempt, _, tag = rest.partition("+")
    tag = tag or attempt
    if not (is_number(number) and is_attempt_id(attempt) and is_attempt_id(tag)):
        return None
    return JobKey(number, AttemptId(tag)), AttemptId(attempt)


def array_tag(instance: str, first: AttemptId, count: int) -> str:
    """Return the name of an array of `count` jobs."""
    return f"el.{instance}.{first}+{count}"


def tag_of_name(instance: str, name: str) -> AttemptId | None:
    """Return the attempt that a job's name carries; None if it is not a name of ours."""
    prefix = f"el.{instance}."
    attempt, plus, count = name.removeprefix(prefix).partition("+")
    is_ours = name.startswith(prefix) and is_attempt_id(attempt) and (count.isdecimal() or not plus)
    return AttemptId(attempt) if is_ours else None
