"""How a site's Slurm is spoken to: read from its configuration, checked, with a default for everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from elisa.model.errors import UsageError

__all__ = ["Accounting", "GpuStyle", "MemoryStyle", "Pyslurm", "SlurmOptions"]


class Accounting(StrEnum):
    """Whether sacct is asked about jobs that squeue knows no more."""

    AUTO = "auto"  # yes, until Slurm says that accounting is disabled
    YES = "yes"
    NO = "no"


class GpuStyle(StrEnum):
    """How GPUs are asked for; the name is sbatch's option."""

    GRES = "gres"
    GPUS_PER_NODE = "gpus-per-node"
    GPUS_PER_TASK = "gpus-per-task"  # where a node's GPUs can be shared out evenly, else as gpus-per-node


class MemoryStyle(StrEnum):
    """Whether memory is asked for by node (`--mem`) or by core (`--mem-per-cpu`)."""

    NODE = "node"
    CPU = "cpu"


class Pyslurm(StrEnum):
    """Whether libslurm is used through pyslurm where that can be imported."""

    AUTO = "auto"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """One Slurm cluster.

    `path` is the folder of Slurm's programs, `conf` the file for SLURM_CONF, `cluster` a name for `--clusters`; empty
    leaves each to the machine. `signal` is what a job gets `signal_lead_s` before its time limit. `extras` are options
    of sbatch that tasks may pass beside the usual ones. A class of priority lower means `nice_step` more of `--nice`.
    `array_size` is how many jobs one array holds at most, no more than Slurm's MaxArraySize; below 2 there are none.
    `submits_at_once` is how many sbatch run side by side.
    """

    path: str = ""
    conf: str = ""
    cluster: str = ""
    submit_timeout_s: float = 30.0
    query_timeout_s: float = 60.0
    accounting: Accounting = Accounting.AUTO
    history_days: int = 14
    signal: str = "USR2"
    gpu_style: GpuStyle = GpuStyle.GRES
    memory_style: MemoryStyle = MemoryStyle.NODE
    nice_step: int = 10
    array_size: int = 1000
    submits_at_once: int = 4
    extras: tuple[str, ...] = ()
    pyslurm: Pyslurm = Pyslurm.AUTO

    @classmethod
    def read(cls, options: Mapping[str, object]) -> SlurmOptions:
        """Return the options in a configuration's mapping. Raises UsageError for what is unknown or of a wrong kind."""
        unknown = sorted(set(options) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise UsageError(f"the slurm backend has no option `{unknown[0]}`", hint=f"its options are {known}")
        return cls(**{name: _checked(name, value, getattr(_DEFAULTS, name)) for name, value in options.items()})


_DEFAULTS = SlurmOptions()


def _checked(name: str, value: object, default: object) -> Any:  # noqa: ANN401 - the kind of default, whatever it is
    """Return `value` in the kind of `default`. Raises UsageError if it is of another."""
    match default, value:
        case StrEnum(), str() if value in {str(member) for member in type(default)}:
            return type(default)(value)
        case Accounting(), bool():  # YAML reads a bare yes or no as a truth value
            return Accounting.YES if value else Accounting.NO
        case Pyslurm(), False:
            return Pyslurm.NO
        case str(), str() if not isinstance(default, StrEnum):
            return value
        case int(), int() if not isinstance(value, bool) and value >= 0:
            return value
        case float(), int() | float() if not isinstance(value, bool) and value > 0:
            return float(value)
        case tuple(), list() | tuple() if all(isinstance(item, str) for item in value):
            return tuple(value)
        case _:
            words = f"the slurm backend's option `{name}` can't be {value!r}"
            raise UsageError(words, why=f"its default is {default!r}")
