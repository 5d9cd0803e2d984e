"""Errors that are expected, each with what happened, why, and what to do about it.

ElisaError                  exit 1
├── UsageError              exit 2   the command line or a name in it is wrong
├── SpecError               exit 2   a pipeline or configuration file is wrong; carries every problem found
├── PolicyError             exit 5   a budget, a right or a rule refuses
├── BackendError            exit 4
│   ├── Rejected            exit 1   the resource manager read the request and said no
│   ├── Unavailable         exit 4   it did not answer, or asks us to come back later: nothing was submitted
│   │   └── AtLimit         exit 4   it answered that this is more than it takes now: less may be taken
│   └── SubmitUncertain     exit 4   it may or may not have accepted the job
└── StoreError              exit 1
    ├── StoreBusy           exit 75  somebody else holds the lock
    ├── StoreDamaged        exit 1   the database file is not sound: nothing may be submitted from it
    ├── StoreTooNew         exit 1   written by a newer elisa
    └── StaleChange         exit 75  the state moved under our feet: read again and decide again
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

__all__ = [
    "AtLimit",
    "BackendError",
    "ElisaError",
    "ExitCode",
    "PolicyError",
    "Problem",
    "Rejected",
    "SpecError",
    "StaleChange",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreTooNew",
    "StoreTooOld",
    "SubmitUncertain",
    "Unavailable",
    "UsageError",
]


class ExitCode(IntEnum):
    """What a command's exit status says, the same for every command."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    UNFINISHED = 3
    UNREACHABLE = 4
    REFUSED = 5
    TRY_AGAIN = 75


class ElisaError(Exception):
    """An expected error: printed in three lines, without a traceback."""

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(ElisaError):
    """The command line is wrong, or names something that is not there."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a file, where it stands and how to mend it. `line` counts from 1; 0 is the whole file."""

    file: str
    line: int
    what: str
    text: str = ""
    hint: str = ""


class SpecError(ElisaError):
    """A pipeline or configuration file cannot be used; `problems` holds all that was found, in file order."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.what}{more}", f"{first.file}:{first.line} {first.text}".rstrip(), first.hint)
        self.problems = problems


class PolicyError(ElisaError):
    """A budget, a right or a rule of the site refuses the request."""

    exit_code = ExitCode.REFUSED


class BackendError(ElisaError):
    """A resource manager refused, or could not be asked."""

    exit_code = ExitCode.UNREACHABLE


class Rejected(BackendError):
    """The resource manager understood the request and refused it for good; nothing runs."""

    exit_code = ExitCode.ERROR


class Unavailable(BackendError):
    """The resource manager certainly accepted nothing: it is down, or at one of its limits. Try again later."""


class AtLimit(Unavailable):
    """The resource manager answered: so many jobs are more than it takes now. Fewer of them it may take."""


class SubmitUncertain(BackendError):
    """The answer was lost: the job may run. Only `Backend.find` and the job's own claim can tell."""


class StoreError(ElisaError):
    """The state folder or its database cannot be used."""


class StoreBusy(StoreError):
    """Another process holds the database or the tick lock longer than we may wait."""

    exit_code = ExitCode.TRY_AGAIN


class StoreDamaged(StoreError):
    """The database is not sound; nothing is submitted until it is rebuilt."""


class StoreTooNew(StoreError):
    """The database was written by a newer elisa than this one."""


class StoreTooOld(StoreError):
    """The database was written by an older elisa; opening it for changes brings it up to date."""


class StaleChange(StoreError):
    """A change assumed a state that is no longer true; its whole transaction was rolled back."""

    exit_code = ExitCode.TRY_AGAIN
