"""The mapping of a YAML file, made into a cluster, with everything that is wrong named by its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from elisa.backends.promises import read_promised
from elisa.backends.simulated.dice import Distribution, parse_distribution
from elisa.backends.simulated.spec import AnswerFaults, ClusterSpec, FaultSpec, NodeType, PartitionSpec
from elisa.model.errors import UsageError
from elisa.model.resources import MPS, PERCENT, percent_of
from elisa.model.units import parse_duration_s, parse_memory_mib

__all__ = ["parse_cluster"]

T = TypeVar("T")
Readers = Mapping[str, tuple[str, Callable[[object, str], object]]]


def parse_cluster(options: Mapping[str, object]) -> ClusterSpec:
    """Return the cluster that the mapping of a YAML file describes; raises UsageError that says where it is wrong."""
    spec = _read(ClusterSpec, options, "", _CLUSTER)
    if spec.overcommits and spec.queue:
        raise UsageError(
            "a simulated cluster with a queue does not overcommit",
            "its queue does not know whose work shares nodes with nobody",
            "set `queue: false`",
        )
    return spec


def _read(kind: Callable[..., T], options: object, where: str, readers: Readers, **given: object) -> T:
    """Build `kind` from a mapping whose keys are `readers`', each with the field it fills and what reads it."""
    values = dict(given)
    for key, value in _mapping(options, where).items():
        if key not in readers:
            raise _unknown(where, key, readers)
        field, reader = readers[key]
        try:
            values[field] = reader(value, f"{where}{key}")
        except ValueError as err:
            raise UsageError(f"`{where}{key}` of the simulated cluster is wrong", str(err)) from err
    return kind(**values)


def _unknown(where: str, key: str, readers: Readers) -> UsageError:
    near = difflib.get_close_matches(key, readers, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(readers))}"
    return UsageError(f"`{where}{key}` means nothing to the simulated cluster", hint=hint)


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"`{where.rstrip('.')}` of the simulated cluster is wrong", "it needs keys and values")
    return {str(key): item for key, item in value.items()}


def _count(value: object, _where: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"`{value}` is no count")
    return value


def _ratio(value: object, _where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"`{value}` is no number from 0 on")
    return float(value)


def _positive(value: object, where: str) -> float:
    number = _ratio(value, where)
    if not number:
        raise ValueError("it must be greater than 0")
    return number


def _probability(value: object, where: str) -> float:
    number = _ratio(value, where)
    if number > 1:
        raise ValueError(f"`{value}` is no probability")
    return number


def _flag(value: object, _where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{value}` is neither true nor false")
    return value


def _duration_s(value: object, where: str) -> float:
    return float(parse_duration_s(value)) if isinstance(value, str) else _ratio(value, where)


def _whole_s(value: object, where: str) -> int:
    return round(_duration_s(value, where))


def _memory_mib(value: object, where: str) -> int:
    return parse_memory_mib(value) if isinstance(value, str) else _count(value, where)


def _distribution(value: object, _where: str) -> Distribution:
    return parse_distribution(value)


def _names(value: object, _where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"`{value}` is no list of names")
    return tuple(str(item) for item in value)


def _counts(value: object, where: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, _count(item, where)) for name, item in _mapping(value, where).items())


def _gpus(value: object, where: str) -> tuple[tuple[str, int], ...]:
    """Return GPUs by type; `mps: 2` are two that are given away in percents."""
    counts = _counts(value, where)
    shared = sum(count for name, count in counts if name == MPS)
    percents = ((percent_of(gpu), PERCENT) for gpu in range(shared))
    return (*((name, count) for name, count in counts if name != MPS), *percents)


def _nodes(value: object, where: str) -> tuple[NodeType, ...]:
    items = _mapping(value, where).items()
    return tuple(_read(NodeType, item, f"{where}.{name}.", _NODE, name=name) for name, item in items)


def _partitions(value: object, where: str) -> tuple[PartitionSpec, ...]:
    items = _mapping(value, where).items()
    return tuple(_read(PartitionSpec, item, f"{where}.{name}.", _PARTITION, name=name) for name, item in items)


def _faults(value: object, where: str) -> FaultSpec:
    return _read(FaultSpec, value, f"{where}.", _FAULTS)


def _answers(value: object, where: str) -> AnswerFaults:
    return _read(AnswerFaults, value, f"{where}.", _ANSWERS)


_NODE: Readers = {
    "count": ("count", _count),
    "cpus": ("cpus", _count),
    "memory": ("memory_mib", _memory_mib),
    "gpus": ("gpus", _gpus),
    "gpu_memory": ("gpu_memory_mib", _memory_mib),
    "features": ("features", _names),
    "partitions": ("partitions", _names),
    "speed": ("speed", _positive),
    "per_switch": ("per_switch", _count),
    "overcommit": ("promised", lambda value, _where: read_promised(value)),
}
_PARTITION: Readers = {
    "default": ("is_default", _flag),
    "max_walltime": ("max_walltime_s", _whole_s),
    "max_nodes": ("max_nodes", _count),
    "priority": ("priority", _count),
    "preemptible": ("preemptible", _flag),
    "max_queued": ("max_queued", _count),
    "wait": ("wait", _distribution),
}
_ANSWERS: Readers = {
    **{
        name: (name, _probability)
        for name in ("accept_lost", "accept_late", "lost", "reject", "busy", "unreachable", "partial")
    },
    "late": ("late_s", _duration_s),
}
_FAULTS: Readers = {
    "node_down_every": ("node_down_every_s", _duration_s),
    "node_down_for": ("node_down_for_s", _duration_s),
    "nodes_at_once": ("nodes_at_once", _count),
    "preempt_every": ("preempt_every_s", _duration_s),
    "outage_every": ("outage_every_s", _duration_s),
    "outage_for": ("outage_for_s", _duration_s),
    "slow": ("slow", _probability),
    "slow_factor": ("slow_factor", _positive),
    "answers": ("answers", _answers),
}
_CLUSTER: Readers = {
    "nodes": ("nodes", _nodes),
    "partitions": ("partitions", _partitions),
    "licences": ("licences", _counts),
    "duration": ("duration", _distribution),
    "faults": ("faults", _faults),
    "queue": ("queue", _flag),
    "arrays": ("arrays", _count),
    "requeue": ("requeue", _flag),
    "accounting": ("accounting", _flag),
    "purge_after": ("purge_after_s", _duration_s),
    "reuse_ids": ("reuse_ids", _count),
    "heartbeat": ("heartbeat_s", _duration_s),
    "checkpoint": ("checkpoint_s", _duration_s),
    "seed": ("seed", _count),
}
