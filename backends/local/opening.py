"""Open the local backend from a site's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.slots import LocalSlots, detect_slots
from elisa.backends.promises import read_promised
from elisa.backends.runner import Runner, SubprocessRunner
from elisa.model.errors import UsageError
from elisa.model.ports import Clock, CrashPoint, no_crash
from elisa.model.units import parse_memory_mib

__all__ = ["open_local", "read_slots"]


def open_local(
    name: str,
    options: Mapping[str, object],
    *,
    home: Path,
    instance: str,
    clock: Clock,
    crash: CrashPoint = no_crash,
) -> LocalBackend:
    """Return the backend that a configuration describes. Raises UsageError for options that can't be."""
    return LocalBackend(home, instance, read_slots(options), clock, crash, name=name)


def read_slots(options: Mapping[str, object], runner: Runner | None = None) -> LocalSlots:
    """Return what jobs may use: as configured, and as detected where nothing is said.

    `cpus`: a count; `memory`: such as 16GiB; `gpus`: a list with the type of each, or a mapping from type to count;
    `gpu_memory`: of each; `gpu_parts`: a mapping from the index of a GPU to how many jobs share it; `gpu_mps`: a list of the
    indices of those that are shared by percents; `overcommit`: a mapping from `cpus` and `memory` to how often they are
    promised.
    """
    unknown = sorted(set(options) - set(_SETTERS))
    if unknown:
        raise UsageError(
            f"the local backend has no option `{unknown[0]}`", hint=f"its options are {', '.join(_SETTERS)}"
        )
    slots = detect_slots(runner or SubprocessRunner(), look_for_gpus="gpus" not in options)
    try:
        for key, value in options.items():
            slots = _SETTERS[key](slots, value)
    except ValueError as err:
        raise UsageError("the local backend is configured wrongly", str(err)) from err
    return slots


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"`{value}` is no count")
    return value


def _memory(value: object) -> int:
    return parse_memory_mib(str(value))


def _gpus(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return tuple(str(kind) for kind, count in value.items() for _ in range(_count(count)))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(str(kind) for kind in value)
    raise ValueError(f"`{value}` is neither a list of GPU types nor a mapping from type to count")


def _index(key: object) -> int:
    text = str(key)  # keys of a YAML file are texts
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"`{text}` is no index of a GPU")
    return int(text)


def _parts(value: object) -> tuple[int, ...]:
    if not isinstance(value, Mapping):
        raise ValueError(f"`{value}` is no mapping from a GPU's index to how many jobs share it")
    parts = {_index(gpu): max(1, _count(count)) for gpu, count in value.items()}
    return tuple(parts.get(gpu, 1) for gpu in range(max(parts, default=-1) + 1))


def _indices(value: object) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"`{value}` is no list of indices of GPUs")
    return tuple(_index(gpu) for gpu in value)


_SETTERS: Mapping[str, Callable[[LocalSlots, object], LocalSlots]] = {
    "cpus": lambda slots, value: replace(slots, cpus=_count(value)),
    "memory": lambda slots, value: replace(slots, memory_mib=_memory(value)),
    "gpus": lambda slots, value: replace(slots, gpus=_gpus(value)),
    "gpu_memory": lambda slots, value: replace(slots, gpu_memory_mib=_memory(value)),
    "gpu_parts": lambda slots, value: replace(slots, parts=_parts(value)),
    "gpu_mps": lambda slots, value: replace(slots, mps=_indices(value)),
    "overcommit": lambda slots, value: replace(slots, promised=read_promised(value)),
}
