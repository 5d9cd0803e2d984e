"""Names of things. An id is short enough for every resource manager's job name and safe in a path and on a command line."""

from __future__ import annotations

import re
from typing import NewType

from .ports import RandomSource

__all__ = [
    "AttemptId",
    "BackendName",
    "ClosureId",
    "NativeId",
    "PipelineId",
    "ProjectName",
    "RuleId",
    "TaskId",
    "attempt_id",
    "attempt_number",
    "is_attempt_id",
    "new_closure_id",
    "new_pipeline_id",
    "new_rule_id",
    "new_task_id",
    "task_of",
]

ProjectName = NewType("ProjectName", str)
PipelineId = NewType("PipelineId", str)
TaskId = NewType("TaskId", str)
AttemptId = NewType("AttemptId", str)
NativeId = NewType("NativeId", str)
BackendName = NewType("BackendName", str)
ClosureId = NewType("ClosureId", str)
RuleId = NewType("RuleId", str)

# Crockford's base 32 in lower case: no i, l, o, u, so that an id can be read aloud. 9 characters hold 45 bits.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 9
# "t" + 9 + "." + up to 4 digits = 15 characters, the shortest limit on a job name (PBS before 2020).
_ATTEMPT = re.compile(r"(t[0-9a-hjkmnp-tv-z]{9})\.([1-9][0-9]{0,3})")


def _new(prefix: str, random: RandomSource) -> str:
    number = random.bits(5 * _LENGTH)
    return prefix + "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(_LENGTH))


def new_pipeline_id(random: RandomSource) -> PipelineId:
    """Return a fresh pipeline id such as `p7k2m9qx4t`."""
    return PipelineId(_new("p", random))


def new_task_id(random: RandomSource) -> TaskId:
    """Return a fresh task id such as `t7k2m9qx4t`."""
    return TaskId(_new("t", random))


def new_closure_id(random: RandomSource) -> ClosureId:
    """Return a fresh id of a closure, such as `c7k2m9qx4t`."""
    return ClosureId(_new("c", random))


def new_rule_id(random: RandomSource) -> RuleId:
    """Return a fresh id of a grant or a loan, such as `r7k2m9qx4t`."""
    return RuleId(_new("r", random))


def attempt_id(task: TaskId, number: int) -> AttemptId:
    """Return the id of the `number`-th attempt (from 1) at `task`, such as `t7k2m9qx4t.3`; at most 15 characters."""
    return AttemptId(f"{task}.{number}")


def is_attempt_id(text: str) -> bool:
    """Tell whether `text` has the form of an attempt id: nothing else may be trusted in a job's name."""
    return _ATTEMPT.fullmatch(text) is not None


def task_of(attempt: AttemptId) -> TaskId:
    """Return the task an attempt belongs to."""
    return TaskId(attempt.partition(".")[0])


def attempt_number(attempt: AttemptId) -> int:
    """Return which attempt at its task this is, from 1."""
    return int(attempt.partition(".")[2])
