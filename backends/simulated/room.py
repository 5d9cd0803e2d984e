"""The nodes of a simulated cluster: what fits where, and what is free."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from elisa.backends.promises import promised_of
from elisa.backends.simulated.job import Shape
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.model.native import NodeState, NodeView
from elisa.model.resources import MPS, is_shared, meets

__all__ = ["Node", "Place", "Room"]


class Place(NamedTuple):
    """Where a job could run."""

    nodes: tuple[int, ...]
    gpu_type: str


class Node:
    """One node and what jobs have left of it. `down_until_us` 0: it is up."""

    __slots__ = (
        "cpus",
        "down_until_us",
        "free_cpus",
        "free_gpus",
        "free_memory_mib",
        "index",
        "jobs",
        "kind",
        "memory_mib",
        "name",
        "switch",
        "view",
    )

    def __init__(self, index: int, name: str, kind: NodeType, switch: str = "") -> None:
        self.index = index
        self.name = name
        self.kind = kind
        self.switch = switch
        self.down_until_us = 0
        self.jobs = 0
        self.cpus, self.memory_mib = promised_of(kind.cpus, kind.memory_mib, kind.promised)
        self.free_cpus, self.free_memory_mib = self.cpus, self.memory_mib
        self.free_gpus = Counter(dict(kind.gpus))
        self.view: NodeView | None = None

    def fits(self, shape: Shape, gpu_type: str) -> bool:
        """Tell whether a job of this shape finds enough that is free."""
        return (
            self.free_cpus >= shape.cpus
            and not self.down_until_us
            and self.free_memory_mib >= shape.memory_mib
            and self.free_gpus[gpu_type] >= shape.gpus
            and not (shape.exclusive and self.jobs)
        )

    def take(self, shape: Shape, gpu_type: str, sign: int) -> None:
        """Give a job what it asks for (`sign` 1), or take it back (-1)."""
        self.jobs += sign
        self.free_cpus -= sign * (self.kind.cpus if shape.exclusive else shape.cpus)
        self.free_memory_mib -= sign * shape.memory_mib
        if shape.gpus:
            self.free_gpus[gpu_type] -= sign * shape.gpus
        self.view = None

    def describe(self, partitions: tuple[str, ...]) -> NodeView:
        """Say what the resource manager says of the node."""
        self.view = self.view or NodeView(
            name=self.name,
            cpus=self.cpus,
            memory_mib=self.memory_mib,
            free_cpus=self.free_cpus,
            free_memory_mib=self.free_memory_mib,
            gpus=self.kind.gpus,
            free_gpus=tuple((kind, self.free_gpus[kind]) for kind, _ in self.kind.gpus),
            gpu_memory_mib=self.kind.gpu_memory_mib,
            features=self.kind.features,
            partitions=partitions,
            state=NodeState.DOWN if self.down_until_us else NodeState.UP,
            switch=self.switch,
            promised=self.kind.promised,
        )
        return self.view


class Room:
    """All nodes, in the order of the description, and the licences."""

    def __init__(self, spec: ClusterSpec) -> None:
        everywhere = tuple(partition.name for partition in spec.partitions)
        kinds = [(number, kind) for kind in spec.nodes for number in range(1, kind.count + 1)]
        self.nodes = tuple(
            Node(index, f"{kind.name}{number:04d}", kind, _switch(kind, number))
            for index, (number, kind) in enumerate(kinds)
        )
        self._partitions = {kind.name: kind.partitions or everywhere for kind in spec.nodes}
        self._members = {
            name: tuple(node for node in self.nodes if name in self._partitions[node.kind.name]) for name in everywhere
        }
        self._first_free = dict.fromkeys(everywhere, 0)
        self._possible: dict[Shape, bool] = {}
        self.licences = Counter(dict(spec.licences))

    def find(self, shape: Shape) -> Place | None:
        """Return the first place where such a job could start now."""
        if any(self.licences[name] < count for name, count in shape.licences):
            return None
        for gpu_type in self._gpu_types(shape):
            fitting = (
                node for node in self._candidates(shape.partition) if node.fits(shape, gpu_type) and _suits(node, shape)
            )
            found = _first(fitting, shape)
            if len(found) == shape.nodes:
                return Place(tuple(found), gpu_type)
        return None

    def _candidates(self, partition: str) -> Sequence[Node]:
        """Leave out the full nodes at the beginning, which are most of them on a busy cluster."""
        members, first = self._members[partition], self._first_free[partition]
        while first < len(members) and members[first].free_cpus <= 0:
            first += 1
        self._first_free[partition] = first
        return members[first:] if first else members

    def _gpu_types(self, shape: Shape) -> tuple[str, ...]:
        if not shape.gpus:
            return ("",)
        known = dict.fromkeys(name for node in self._members[shape.partition] for name, _ in node.kind.gpus)
        if not shape.gpu_types:
            return tuple(name for name in known if not is_shared(name))
        # Percents of one GPU are as good as those of another: what waits in a queue takes the first that has enough.
        wishes = [MPS if meets(wish, MPS) else wish for wish in shape.gpu_types]
        return tuple(name for wish in wishes for name in (known if wish == MPS else [wish]) if meets(name, wish))

    def could_ever(self, shape: Shape) -> bool:
        """Tell whether such a job could start on the empty cluster with every node up."""
        if shape not in self._possible:
            self._possible[shape] = self._has_enough(shape)
        return self._possible[shape]

    def _has_enough(self, shape: Shape) -> bool:
        members = [node for node in self._members[shape.partition] if _suits(node, shape)]
        return any(
            len(_first((node for node in members if _is_large_enough(node.kind, shape, gpu_type)), shape))
            == shape.nodes
            for gpu_type in self._gpu_types(shape)
        )

    def take(self, shape: Shape, place: Place, sign: int = 1) -> None:
        """Give a job its nodes and licences (`sign` 1), or take them back (-1)."""
        for index in place.nodes:
            self.nodes[index].take(shape, place.gpu_type, sign)
        for name, count in shape.licences:
            self.licences[name] -= sign * count
        if sign < 0:
            self.look_again()

    def look_again(self) -> None:
        """Forget which nodes were full."""
        self._first_free = dict.fromkeys(self._first_free, 0)

    def describe(self) -> tuple[NodeView, ...]:
        """Say what the resource manager says of every node."""
        return tuple(node.view or node.describe(self._partitions[node.kind.name]) for node in self.nodes)


def _switch(kind: NodeType, number: int) -> str:
    return f"{kind.name}-leaf{(number - 1) // kind.per_switch + 1}" if kind.per_switch else ""


def _first(fitting: Iterable[Node], shape: Shape) -> Sequence[int]:
    """Return the first nodes that are enough, all of them on as many switches as the job allows."""
    if not shape.switches:
        return [node.index for node in islice(fitting, shape.nodes)]
    groups: dict[str, list[int]] = {}
    for node in fitting:
        groups.setdefault(node.switch, []).append(node.index)
    largest = sorted(groups.values(), key=len, reverse=True)[: shape.switches]
    return [index for group in largest for index in group][: shape.nodes]


def _suits(node: Node, shape: Shape) -> bool:
    features = node.kind.features
    return (
        all(feature in features for feature in shape.features)
        and (not shape.constraint or _satisfies(features, shape.constraint))
        and shape.gpu_memory_mib <= (node.kind.gpu_memory_mib or shape.gpu_memory_mib)
        and node.name not in shape.excluded
        and (not shape.nodelist or node.name in shape.nodelist)
    )


def _satisfies(features: Sequence[str], constraint: str) -> bool:
    """Judge `a&b|c` and `a,b`: any of the alternatives, all of its features."""
    return any(
        all(name.strip() in features for name in re.split("[&,]", alternative)) for alternative in constraint.split("|")
    )


def _is_large_enough(kind: NodeType, shape: Shape, gpu_type: str) -> bool:
    return (
        kind.cpus >= shape.cpus
        and kind.memory_mib >= shape.memory_mib
        and dict(kind.gpus).get(gpu_type, 0) >= shape.gpus
    )
