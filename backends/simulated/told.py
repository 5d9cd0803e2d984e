"""What the author of a task tells a simulated cluster: the keys of its metadata that begin with `sim_`, each with its value.

sim_duration   seconds, "2h", or a distribution: the work, at a node's speed 1
sim_nodes      on how many nodes it takes so long; on others in proportion (otherwise on any number)
sim_gpus       the same, for the GPUs of a node
sim_steps      into how many steps the work is divided (otherwise a step is a second)
sim_save       how long a save takes: seconds, or "10m"
sim_memory     MiB or "20GiB" at its peak: more than was asked for is an end by out_of_memory
sim_metrics    {name: value}, {name: [at the beginning, at the end]} or {name: distribution}
sim_fail       {exit_code or signal, at: fraction of the work, times: attempts that fail, probability}
sim_outputs    {output: what its file holds, as JSON}
sim_result     what its function returns
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from elisa.backends.simulated.dice import Distribution, parse_distribution
from elisa.model.units import parse_duration_s, parse_memory_mib

__all__ = ["Fails", "Metric", "Told", "check_told", "read_told"]

Metric = Distribution | tuple[float, float]
"""What a metric is drawn from; or its value at the beginning and at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """How and when attempts fail: the first `times` of them, each with this probability, at a part of the work."""

    exit_code: int = 1
    signal: int | None = None
    at: float = 0.5
    times: int = 1
    probability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that may be told; 0 or None is what was not."""

    duration: Distribution | None = None
    nodes: float = 0.0
    gpus: float = 0.0
    steps: int = 0
    save_s: float = 0.0
    memory_mib: int = 0
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    fails: Fails | None = None
    outputs: Mapping[str, object] = field(default_factory=dict)
    result: object = None


def read_told(metadata: Mapping[str, str]) -> Told:
    """Return what metadata, each value as JSON, tell. Raises ValueError that names the key that cannot be understood."""
    values: dict[str, Any] = {}
    for key, text in metadata.items():
        if key in _READERS:
            name, read = _READERS[key]
            try:
                values[name] = read(json.loads(text))
            except (ValueError, TypeError) as err:
                raise ValueError(f"`{key}: {text}`: {err}") from err
    return Told(**values)


def check_told(metadata: Mapping[str, str], outputs: Collection[str]) -> None:
    """Raise ValueError for what cannot be read, a key that means nothing, or an output that the task does not declare."""
    told = read_told(metadata)
    for key in metadata:
        if key.startswith("sim_") and key not in _READERS:
            near = difflib.get_close_matches(key, _READERS, n=1)
            raise ValueError(f"`{key}` means nothing" + (f": did you mean `{near[0]}`?" if near else ""))
    for name in told.outputs:
        if name not in outputs:
            raise ValueError(f"`sim_outputs` fills `{name}`, which is none of the task's outputs")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError("it must be a number from 0 on")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("it must be a whole number from 0 on")
    return value


def _seconds(value: object) -> float:
    return float(parse_duration_s(value)) if isinstance(value, str) else _number(value)


def _memory_mib(value: object) -> int:
    return parse_memory_mib(value) if isinstance(value, str) else _count(value)


def _distribution(value: object) -> Distribution | None:
    return None if value is None else parse_distribution(value)


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("it needs keys and values")
    return value


def _metrics(value: object) -> Mapping[str, Metric]:
    return {name: _metric(one) for name, one in _mapping(value).items()}


def _metric(value: object) -> Metric:
    if isinstance(value, list) and len(value) == 2:
        return float(value[0]), float(value[1])
    return parse_distribution(value)


def _fails(value: object) -> Fails | None:
    given = dict(_mapping(value))
    unknown = given.keys() - _FAIL.keys()
    if unknown:
        raise ValueError(f"`{min(unknown)}` means nothing: known are {', '.join(_FAIL)}")
    return Fails(**{name: _FAIL[name](item) for name, item in given.items()}) if given else None


def _probability(value: object) -> float:
    number = _number(value)
    if number > 1:
        raise ValueError("it must be a number from 0 to 1")
    return number


def _signal(value: object) -> int | None:
    return _count(value) or None


_FAIL: Mapping[str, Callable[[object], Any]] = {
    "exit_code": _count,
    "signal": _signal,
    "at": _number,
    "times": _count,
    "probability": _probability,
}
_READERS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "sim_duration": ("duration", _distribution),
    "sim_nodes": ("nodes", _number),
    "sim_gpus": ("gpus", _number),
    "sim_steps": ("steps", _count),
    "sim_save": ("save_s", _seconds),
    "sim_memory": ("memory_mib", _memory_mib),
    "sim_metrics": ("metrics", _metrics),
    "sim_fail": ("fails", _fails),
    "sim_outputs": ("outputs", _mapping),
    "sim_result": ("result", lambda value: value),
}
