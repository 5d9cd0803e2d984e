"""How a site's PBS is spoken to: read from its configuration, checked, with a default for everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from elisa.model.errors import UsageError

__all__ = ["Charge", "Dialect", "History", "PbsOptions"]


class Dialect(StrEnum):
    """Whose PBS it is: they differ in qsub's options and in what `-x` means to qstat."""

    AUTO = "auto"  # as `qstat --version` tells
    OPENPBS = "openpbs"  # and PBS Pro
    TORQUE = "torque"


class History(StrEnum):
    """Whether the server remembers finished jobs (its attribute `job_history_enable`)."""

    AUTO = "auto"  # yes, until the server says no
    YES = "yes"
    NO = "no"


class Charge(StrEnum):
    """The option of qsub that takes a task's account."""

    ACCOUNT = "account"  # -A
    PROJECT = "project"  # -P


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsOptions:
    """One PBS complex.

    `path` is the folder of PBS's programs, `conf` the file for PBS_CONF_FILE, `server` the server's host; empty leaves each
    to the machine. `umask`, in octal, is that of the jobs; empty: that of whoever submits. `gpu` is the resource that counts
    GPUs, `gpu_type` the one that names their type, `mps` the one that counts percents of them and `switch` the one that names a
    node's switch, if the site has them.
    `name_limit` is the longest job name taken: 15 on releases before 2013 and on old Torque. A class of priority lower means
    `priority_step` less of `-p`. `array_size` is how many jobs go into one array at most, no more than the server's
    `max_array_size`; below 2: no arrays.
    """

    path: str = ""
    conf: str = ""
    server: str = ""
    dialect: Dialect = Dialect.AUTO
    submit_timeout_s: float = 60.0
    query_timeout_s: float = 60.0
    history: History = History.AUTO
    charge: Charge = Charge.ACCOUNT
    umask: str = ""
    gpu: str = "ngpus"
    gpu_type: str = ""
    mps: str = ""
    switch: str = ""
    name_limit: int = 230
    priority_step: int = 10
    array_size: int = 1000

    @classmethod
    def read(cls, options: Mapping[str, object]) -> PbsOptions:
        """Return the options in a configuration's mapping. Raises UsageError for what is unknown or of a wrong kind."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(f"the pbs backend has no option `{name}`", hint=f"its options are {', '.join(known)}")
        return cls(**{name: _checked(name, value, getattr(_DEFAULTS, name)) for name, value in options.items()})


_DEFAULTS = PbsOptions()


def _checked(name: str, value: object, default: object) -> Any:  # noqa: ANN401 - the kind of default, whatever it is
    """Return `value` in the kind of `default`. Raises UsageError if it is of another."""
    match default, value:
        case StrEnum(), str() if value in {str(member) for member in type(default)}:
            return type(default)(value)
        case History(), bool():  # YAML reads a bare yes or no as a truth value
            return History.YES if value else History.NO
        case str(), str() if not isinstance(default, StrEnum):
            return value
        case int(), int() if not isinstance(value, bool) and value >= 0:
            return value
        case float(), int() | float() if not isinstance(value, bool) and value > 0:
            return float(value)
        case _:
            words = f"the pbs backend's option `{name}` can't be {value!r}"
            raise UsageError(words, why=f"its default is {str(default)!r}")
