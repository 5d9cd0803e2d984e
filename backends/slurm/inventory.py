"""scontrol: nodes, partitions and licences, what is free of them and what is out of order.

https://slurm.schedmd.com/scontrol.html, `show node`, `show partition` and `show licenses`, one record a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, tzinfo
from types import MappingProxyType

from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import parse_time
from elisa.model.native import NodeState, NodeView, PartitionView
from elisa.model.resources import is_shared

__all__ = [
    "is_off",
    "licences_argv",
    "node_state",
    "nodes_argv",
    "parse_licences",
    "parse_nodes",
    "parse_partitions",
    "parse_reservations",
    "partitions_argv",
    "reservations_argv",
]

# Values with blanks in them (OS, Reason) are cut short: none of those is read.
_PAIR = re.compile(r"(?:^|\s)([A-Za-z_]+)=(\S*)")
_GRES = re.compile(r"\b(gpu|shard|mps)(?::([A-Za-z][A-Za-z0-9_.-]*))?:(\d+)")
_SHARES_USED = re.compile(r"\b(shard|mps)(?::([A-Za-z][A-Za-z0-9_.-]*))?:(\d+)(?:\(([^)]*)\))?")
_CLOCK = re.compile(r"^(?:(\d+)-)?(\d+):(\d+):(\d+)$")
_MARKS = "*~#!%$@^-"
_DOWN = {"DOWN", "ERROR", "FAIL", "FAILING", "NOT_RESPONDING", "POWERED_DOWN*", "INVALID_REG", "UNKNOWN_REG"}
_DRAINED = {"DRAIN", "DRAINED", "DRAINING", "MAINT", "MAINTENANCE", "REBOOT_ISSUED", "BLOCKED"}
_UP = {"IDLE", "ALLOCATED", "MIXED", "PLANNED", "COMPLETING", "RESERVED", "ALLOC", "COMP", "MIX"}


def nodes_argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about all nodes, with what is in use of their GPUs."""
    return (*_argv(scontrol, options), "--detail", "show", "node")


def partitions_argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about all partitions."""
    return (*_argv(scontrol, options), "show", "partition")


def licences_argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about all licences."""
    return (*_argv(scontrol, options), "show", "licenses")


def reservations_argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about all reservations."""
    return (*_argv(scontrol, options), "show", "reservation")


def _argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    return (scontrol, *((f"--cluster={options.cluster}",) if options.cluster else ()), "--oneliner")


def parse_nodes(text: str, zone: tzinfo | None = UTC) -> tuple[NodeView, ...]:
    """Return the nodes that exist; future ones are left out. Times are those of a `zone`, or None for this process's."""
    records = (_pairs(line) for line in text.split("\n"))
    return tuple(_node(record, zone) for record in records if "NodeName" in record and "FUTURE" not in record["State"])


def _pairs(line: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, value in _PAIR.findall(line):
        pairs.setdefault(name, "" if value in {"(null)", "N/A", "n/a"} else value)
    return pairs


def _node(record: Mapping[str, str], zone: tzinfo | None) -> NodeView:
    cpus = _number(record.get("CPUEfctv") or record.get("CPUTot"))
    memory_mib = _number(record.get("RealMemory"))
    gpus, used = _gpus(record.get("Gres", "")), _used(record)
    return NodeView(
        name=record["NodeName"],
        cpus=cpus,
        memory_mib=memory_mib,
        free_cpus=max(0, cpus - _number(record.get("CPUAlloc"))),
        free_memory_mib=max(0, memory_mib - _number(record.get("AllocMem"))),
        gpus=tuple(gpus.items()),
        free_gpus=tuple((kind, max(0, count - used.get(kind, 0))) for kind, count in gpus.items()),
        features=tuple(filter(None, record.get("ActiveFeatures", "").split(","))),
        partitions=tuple(filter(None, record.get("Partitions", "").split(","))),
        state=node_state(record.get("State", "")),
        booted_at=parse_time(record.get("BootTime", ""), zone),
        is_off=is_off(record.get("State", "")),
    )


def _number(text: str | None) -> int:
    digits = re.match(r"\d+", text or "")
    return int(digits[0]) if digits else 0


def _gpus(gres: str) -> dict[str, int]:
    """Return GPUs by type in `gpu:a100:4(S:0-1),gpu:2`; the type of the second is the empty text.

    Shards, `shard:a100:16`, are counted together, as a type of their own, and so are the percents of MPS, `mps:a100:400`.
    """
    counts: dict[str, int] = {}
    for name, kind, count in _GRES.findall(re.sub(r"\([^)]*\)", "", gres)):
        key = name if is_shared(name) else kind
        counts[key] = counts.get(key, 0) + int(count)
    return counts


def _used(record: Mapping[str, str]) -> dict[str, int]:
    """Return what is in use. A whole GPU that a job has takes its shards with it; one of which shards are used is not whole."""
    gpus, used = _gpus(record.get("Gres", "")), _gpus(record.get("GresUsed", ""))
    whole = {kind: count for kind, count in gpus.items() if not is_shared(kind)}
    taken = sum(used.get(kind, 0) for kind in whole)
    for share in filter(is_shared, gpus):
        per_gpu = max(1, gpus[share] // max(1, sum(whole.values())))
        broken = _broken(record.get("GresUsed", ""), share, whole, per_gpu)
        used |= {kind: used.get(kind, 0) + broken[kind] for kind in whole}
        used[share] = used.get(share, 0) + taken * per_gpu
    return used


def _broken(gres_used: str, share: str, whole: Mapping[str, int], per_gpu: int) -> Counter[str]:
    """Return how many GPUs of each type have shares of one kind in use.

    22.05 says `shard:a100:2(IDX:0-1)`, with the places of the GPUs and their number, newer releases `shard:a100:5(4/4,1/4)`
    with what is used of each. Where neither is said, and of which type neither, any of them may be: none is promised.
    """
    type_of = [kind for kind, count in whole.items() for _ in range(count)]
    broken: Counter[str] = Counter()
    for name, kind, count, details in _SHARES_USED.findall(gres_used):
        if name != share:
            continue
        uses = [int(part) for part in re.findall(r"(\d+)/", details)]
        places = [place for place, use in enumerate(uses) if use] if uses else _places(details)
        if kind in whole and (places or details):
            broken[kind] += len(places)
        elif details:
            broken.update(type_of[place] for place in places if place < len(type_of))
        else:
            least = -(-int(count) // per_gpu)
            broken.update(dict.fromkeys([kind] if kind in whole else whole, least))
    return broken


def _places(details: str) -> list[int]:
    """Return the numbers in `IDX:0-1,3`; none in `IDX:N/A`."""
    spans = re.findall(r"(\d+)(?:-(\d+))?", details.removeprefix("IDX:"))
    return [place for first, last in spans for place in range(int(first), int(last or first) + 1)]


def node_state(text: str) -> NodeState:
    """Read `MIXED+DRAIN`, `IDLE*` and the like: a star means that the node does not answer."""
    words = {word.rstrip(_MARKS) for word in text.split("+")}
    if "*" in text or words & _DOWN:
        return NodeState.DOWN
    if words & _DRAINED:
        return NodeState.DRAINED
    return NodeState.UP if words & _UP else NodeState.UNKNOWN


def is_off(text: str) -> bool:
    """Tell whether Slurm has switched a node off: `IDLE+CLOUD+POWERED_DOWN`, not what is only asked for or under way."""
    return "POWERED_DOWN" in (word.rstrip(_MARKS) for word in text.split("+"))


def parse_partitions(text: str) -> tuple[PartitionView, ...]:
    """Return the partitions with their limits."""
    records = (_pairs(line) for line in text.split("\n"))
    return tuple(_partition(record) for record in records if "PartitionName" in record)


def _partition(record: Mapping[str, str]) -> PartitionView:
    return PartitionView(
        name=record["PartitionName"],
        is_default=record.get("Default") == "YES",
        is_up=record.get("State") == "UP",
        max_walltime_s=_seconds(record.get("MaxTime", "")),
        max_nodes=_number(record.get("MaxNodes")),
        priority=_number(record.get("PriorityTier")),
        preemptible=record.get("PreemptMode", "OFF") not in {"OFF", ""},
    )


def _seconds(text: str) -> int:
    """Return the seconds of `1-00:00:00`; 0, which is no limit, for UNLIMITED."""
    clock = _CLOCK.match(text)
    if clock is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_licences(text: str) -> Mapping[str, int]:
    """Return how many of each licence are free."""
    records = (_pairs(line) for line in text.split("\n"))
    return MappingProxyType({r["LicenseName"]: _number(r.get("Free")) for r in records if "LicenseName" in r})


def parse_reservations(text: str, user: str) -> Mapping[str, bool]:
    """Return the reservations by name, and whether `user` may run in each now as far as its list of users tells.

    One for accounts or groups lists no users: then Slurm has the last word.
    """
    records = (_pairs(line) for line in text.split("\n"))
    return MappingProxyType({r["ReservationName"]: _is_open(r, user) for r in records if "ReservationName" in r})


def _is_open(record: Mapping[str, str], user: str) -> bool:
    listed = [one for one in record.get("Users", "").split(",") if one not in {"", "(null)"}]
    # A list with a minus in front names those who may not.
    is_denial = bool(listed) and listed[0].startswith("-")
    is_named = user in [one.removeprefix("-") for one in listed]
    return record.get("State") == "ACTIVE" and (not listed or is_named != is_denial)
