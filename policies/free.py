"""What is left on each node of a cluster while a plan takes of it, and what of that one request lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import MPS, Resources, meets
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import NodeColumns, Pool

__all__ = ["Free", "Part"]


class Part(NamedTuple):
    """What a node must have left for its part of a request: three columns, and the least of each."""

    cpus: Sequence[int]
    least_cpus: int
    gpus: Sequence[int]
    least_gpus: int
    memory: Sequence[int]
    least_memory: int

    def fits(self, node: int) -> bool:
        """Tell whether one node still has enough."""
        return (
            self.cpus[node] >= self.least_cpus
            and self.gpus[node] >= self.least_gpus
            and self.memory[node] >= self.least_memory
        )


class Free:
    """What is free on each node of one cluster, as plain lists: they are read one number at a time."""

    def __init__(self, nodes: NodeColumns, licences: Mapping[str, int]) -> None:
        self.cpus: list[int] = nodes.free_cpus.tolist()
        self.memory: list[int] = nodes.free_memory_mib.tolist()
        self.gpus: dict[str, list[int]] = dict(zip(nodes.gpu_types, nodes.free_gpus.tolist(), strict=True))
        self.is_whole: list[bool] = (
            (nodes.free_cpus >= nodes.cpus) & (nodes.free_gpus >= nodes.gpus).all(axis=0)
        ).tolist()
        self.licences = dict(licences)
        self._whole = nodes

    def part(self, request: Resources, gpu_type: str) -> Part:
        """Return what a node must have left; for an exclusive request all of its cores and GPUs."""
        cpus, least_cpus = (self.is_whole, True) if request.exclusive else (self.cpus, request.cpus_per_node)
        gpus = self.gpus[gpu_type] if request.gpus.per_node else self.cpus
        return Part(cpus, least_cpus, gpus, request.gpus.per_node, self.memory, request.memory_mib_per_node)

    def has_licences(self, request: Resources) -> bool:
        return not request.licences or all(self.licences.get(name, 0) >= count for name, count in request.licences)

    def take(self, request: Resources, gpu_type: str, nodes: Sequence[int], sign: int) -> None:
        """Take the request's parts from `nodes`, or with `sign` -1 give them back."""
        cpus, memory, gpus = request.cpus_per_node, request.memory_mib_per_node, request.gpus.per_node
        for node in nodes:
            self.cpus[node] -= sign * (int(self._whole.cpus[node]) if request.exclusive else cpus)
            self.memory[node] -= sign * memory
            if gpus:
                self.gpus[gpu_type][node] -= sign * gpus
            self.is_whole[node] = sign < 0 and self._is_whole(node)
        for name, count in request.licences if nodes else ():
            self.licences[name] = self.licences.get(name, 0) - sign * count

    def _is_whole(self, node: int) -> bool:
        return bool(self.cpus[node] >= self._whole.cpus[node]) and all(
            row[node] >= self._whole.gpus[kind, node] for kind, row in enumerate(self.gpus.values())
        )

    def has_room(self, request: Resources, gpu_type: str, pool: Pool) -> bool:
        """Tell whether the request would find free nodes, were none kept for others."""
        fits = self.part(request, gpu_type).fits
        members = fitting_nodes(request, gpu_type, pool, free=True).tolist()
        return self.has_licences(request) and sum(1 for node in members if fits(node)) >= request.nodes

    def refusal(self, request: Resources, gpu_type: str, pool: Pool, names: Mapping[str, str | int | float]) -> Reason:
        """Return which resource is short on the pool's nodes that are up."""
        members = [node for node in pool.members.tolist() if pool.nodes.is_up[node]]
        wanted: list[tuple[str, int, Sequence[int]]] = [
            ("cpus a node", request.cpus_per_node, self.cpus),
            ("memory MiB a node", request.memory_mib_per_node, self.memory),
        ]
        if request.gpus.per_node:
            what = "percents of a gpu a node" if meets(gpu_type, MPS) else f"{gpu_type} gpus a node"
            wanted.insert(0, (what, request.gpus.per_node, self.gpus[gpu_type]))
        for resource, asked, column in wanted:
            most = max((column[node] for node in members), default=0)
            if asked > most:
                return because(ReasonCode.NO_ROOM, resource=resource, asked=asked, free=most, **names)
        for name, count in request.licences:
            if self.licences.get(name, 0) < count:
                return because(ReasonCode.NO_ROOM, resource=name, asked=count, free=self.licences.get(name, 0), **names)
        fits = self.part(request, gpu_type).fits
        free_nodes = sum(1 for node in members if fits(node))
        return because(ReasonCode.NO_ROOM, resource="nodes", asked=request.nodes, free=free_nodes, **names)
