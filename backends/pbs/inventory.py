"""pbsnodes and qstat -Q, -B: nodes, queues and licences, what is free of them and what is out of order.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (pbsnodes, qstat, "Node States"). Several
vnodes of one host are one node: a chunk may be spread over them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from elisa.backends.pbs.attributes import Attributes, parse_mib, parse_nodes, parse_records, parse_seconds, whole
from elisa.backends.pbs.options import PbsOptions
from elisa.model.native import NodeState, NodeView, PartitionView
from elisa.model.resources import MPS

__all__ = [
    "Queue",
    "admits",
    "nodes_argv",
    "parse_cluster_nodes",
    "parse_licences",
    "parse_queues",
    "partitions_of",
    "queues_argv",
    "server_argv",
]

Queue = tuple[str, Attributes]

_AVAILABLE, _ASSIGNED, _CHUNK = "resources_available.", "resources_assigned.", "default_chunk."
# advance, standing and maintenance reservations
_RESERVATION = re.compile(r"[RSM][0-9]+")
_DOWN = {"down", "stale", "state-unknown", "unresolvable", "unknown"}
_DRAINED = {"offline", "maintenance", "provisioning", "wait-provisioning", "resv-exclusive", "initializing", "sleep"}
_UP = {"free", "job-busy", "job-exclusive", "busy", "time-shared", "reserve", "resv"}
# Nothing more fits on these, whatever of them is not assigned.
_FULL = {"job-busy", "job-exclusive", "resv-exclusive", "busy"}


def nodes_argv(pbsnodes: str) -> tuple[str, ...]:
    """Return the question about all nodes."""
    return (pbsnodes, "-a")


def queues_argv(qstat: str) -> tuple[str, ...]:
    """Return the question about all queues."""
    return (qstat, "-Q", "-f")


def server_argv(qstat: str) -> tuple[str, ...]:
    """Return the question about the server."""
    return (qstat, "-B", "-f")


def parse_cluster_nodes(text: str, queues: Sequence[Queue], options: PbsOptions) -> tuple[NodeView, ...]:
    """Return the nodes that `pbsnodes -a` printed, and which queues may use each."""
    hosts: dict[str, list[Attributes]] = {}
    for name, vnode in parse_nodes(text):
        hosts.setdefault(vnode.get("resources_available.host", name), []).append(vnode)
    return tuple(_node(host, vnodes, queues, options) for host, vnodes in hosts.items())


def _node(host: str, vnodes: Sequence[Attributes], queues: Sequence[Queue], options: PbsOptions) -> NodeView:
    working = [vnode for vnode in vnodes if not _words(vnode) & _FULL]
    gpus = _gpus(vnodes, options, _count_gpus)
    return NodeView(
        name=host,
        cpus=sum(_cpus(vnode) for vnode in vnodes),
        memory_mib=sum(_memory_mib(vnode) for vnode in vnodes),
        free_cpus=sum(max(0, _cpus(vnode) - _taken_cpus(vnode)) for vnode in working),
        free_memory_mib=sum(max(0, _memory_mib(v) - parse_mib(v.get("resources_assigned.mem"))) for v in working),
        gpus=tuple(gpus.items()),
        free_gpus=tuple((kind, _gpus(working, options, _free_gpus).get(kind, 0)) for kind in gpus),
        features=tuple(dict.fromkeys(feature for vnode in vnodes for feature in _features(vnode))),
        partitions=tuple(name for name, queue in queues if any(_serves(queue, name, vnode) for vnode in vnodes)),
        state=_state(vnodes),
        switch=vnodes[0].get(f"{_AVAILABLE}{options.switch}", "") if options.switch else "",
    )


def _cpus(vnode: Attributes) -> int:
    return whole(vnode.get("resources_available.ncpus", vnode.get("np"))) or 0


def _taken_cpus(vnode: Attributes) -> int:
    assigned = whole(vnode.get("resources_assigned.ncpus"))
    # Torque lists jobs core by core: `0/12.server, 1/12.server`, `0-3/12.server`
    return assigned if assigned is not None else sum(_span(part) for part in vnode.get("jobs", "").split(",") if part)


def _span(text: str) -> int:
    first, _, last = text.strip().partition("/")[0].partition("-")
    return int(last) - int(first) + 1 if last.isdecimal() and first.isdecimal() else 1


def _memory_mib(vnode: Attributes) -> int:
    return parse_mib(vnode.get("resources_available.mem")) or parse_mib(_torque_status(vnode).get("physmem"))


def _torque_status(vnode: Attributes) -> Mapping[str, str]:
    pairs = (part.partition("=") for part in vnode.get("status", "").split(","))
    return {name: value for name, _, value in pairs}


def _gpus(
    vnodes: Sequence[Attributes], options: PbsOptions, count: Callable[[Attributes, PbsOptions], int]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for vnode in vnodes:
        kind = vnode.get(f"{_AVAILABLE}{options.gpu_type}", "")
        if _count_gpus(vnode, options):
            counts[kind] = counts.get(kind, 0) + count(vnode, options)
    percents = replace(options, gpu=options.mps)
    if options.mps and any(_count_gpus(vnode, percents) for vnode in vnodes):
        counts[MPS] = sum(count(vnode, percents) for vnode in vnodes)
    return counts


def _count_gpus(vnode: Attributes, options: PbsOptions) -> int:
    return whole(vnode.get(f"{_AVAILABLE}{options.gpu}", vnode.get("gpus"))) or 0


def _free_gpus(vnode: Attributes, options: PbsOptions) -> int:
    return max(0, _count_gpus(vnode, options) - (whole(vnode.get(f"{_ASSIGNED}{options.gpu}")) or 0))


def _features(vnode: Attributes) -> Iterable[str]:
    """Return what a task may ask for by name: the site's truth values, Torque's properties."""
    yield from (name.removeprefix(_AVAILABLE) for name, value in vnode.items() if _is_true(name, value))
    yield from filter(None, vnode.get("properties", "").split(","))


def _is_true(name: str, value: str) -> bool:
    return name.startswith(_AVAILABLE) and value == "True"


def _serves(queue: Attributes, name: str, vnode: Attributes) -> bool:
    """Tell whether a queue's jobs may run on a vnode.

    One tied to a queue serves no other, and what a queue asks for its chunks by default must be there.
    """
    if vnode.get("queue", name) != name:
        return False
    wanted = {key.removeprefix(_CHUNK): value for key, value in queue.items() if key.startswith(_CHUNK)}
    return all(_has(vnode, resource, value) for resource, value in wanted.items() if not value[:1].isdecimal())


def _has(vnode: Attributes, resource: str, value: str) -> bool:
    return value in vnode.get(f"{_AVAILABLE}{resource}", "False").split(",")


def _words(vnode: Attributes) -> set[str]:
    return {word.strip() for word in vnode.get("state", "").split(",")}


def _state(vnodes: Sequence[Attributes]) -> NodeState:
    """Return the best state of a host's vnodes: the rest of them count as full or missing."""
    states = [_vnode_state(_words(vnode)) for vnode in vnodes]
    order = (NodeState.UP, NodeState.DRAINED, NodeState.UNKNOWN, NodeState.DOWN)
    return next(state for state in order if state in states)


def _vnode_state(words: set[str]) -> NodeState:
    if words & _DOWN:
        return NodeState.DOWN
    if words & _DRAINED:
        return NodeState.DRAINED
    return NodeState.UP if words & _UP else NodeState.UNKNOWN


def parse_queues(text: str) -> tuple[Queue, ...]:
    """Return the queues that `qstat -Q -f` printed, but those of reservations: only who names one may use it."""
    return tuple((name, queue) for name, queue in parse_records(text, "Queue: ") if not _is_reservation(name, queue))


def _is_reservation(name: str, queue: Attributes) -> bool:
    # nothing else tells (OpenPBS 23.06.06): `pbs_rsub` makes a queue of the reservation's own name, for its users alone
    return bool(_RESERVATION.fullmatch(name)) and queue.get("acl_user_enable") == "True"


def partitions_of(queues: Sequence[Queue], server: Attributes, user: str) -> tuple[PartitionView, ...]:
    """Return the queues as partitions; one that `user` may not use, or that is closed or stopped, is not up."""
    default = server.get("default_queue", "")
    return tuple(_partition(name, queue, name == default, user) for name, queue in queues)


def _partition(name: str, queue: Attributes, is_default: bool, user: str) -> PartitionView:  # noqa: FBT001 - by name above
    return PartitionView(
        name=name,
        is_default=is_default,
        is_up=queue.get("enabled") == "True" and queue.get("started") == "True" and _admits(queue, user),
        max_walltime_s=parse_seconds(queue.get("resources_max.walltime")),
        max_nodes=whole(queue.get("resources_max.nodect")) or 0,
        priority=whole(queue.get("Priority")) or 0,
    )


def _admits(queue: Attributes, user: str) -> bool:
    return queue.get("acl_user_enable") != "True" or admits(queue.get("acl_users", ""), user)


def admits(listed: str, user: str) -> bool:
    """Tell whether a list of PBS's that says who may, such as `+ada@host,-bob@*`, holds `user`."""
    users = {name.strip().partition("@")[0] for name in listed.split(",")}
    return f"-{user}" not in users and bool(users & {user, f"+{user}", "*", "+*"})


def parse_licences(server: Attributes) -> Mapping[str, int]:
    """Return how many are free of each resource that the server itself counts."""
    counted = {name.removeprefix(_AVAILABLE): whole(n) for name, n in server.items() if name.startswith(_AVAILABLE)}
    taken = {name: whole(server.get(f"{_ASSIGNED}{name}")) or 0 for name in counted}
    return MappingProxyType({name: max(0, n - taken[name]) for name, n in counted.items() if n is not None})
