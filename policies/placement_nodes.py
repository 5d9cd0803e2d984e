"""Which nodes of a pool hold one node's part of a request: now, or if they were empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from elisa.model.resources import Resources, is_shared, meets
from elisa.policies.locality import part_held, required_here
from elisa.policies.placement_pools import NodeColumns, Pool
from elisa.policies.topology import least_switches

__all__ = [
    "acceptable",
    "are_enough",
    "fitting_nodes",
    "is_local",
    "largest_size",
    "most_on",
    "switches_of",
    "tainted",
    "too_small",
    "types_that_fit",
    "without_data",
]

_Ints = npt.NDArray[np.int64]


def fitting_nodes(request: Resources, gpu_type: str, pool: Pool, *, free: bool) -> _Ints:
    """Return the pool's nodes, as indices into its `nodes`, that can hold one node's part of the request.

    With `free`, only what is free on nodes that are up counts, and the node comes first that holds most of what the request
    reads, of equals the tightest, so that whole nodes stay whole for larger requests; else the nodes are taken as empty and up.
    """
    nodes = pool.nodes
    cpus, memory = (nodes.free_cpus, nodes.free_memory_mib) if free else (nodes.cpus, nodes.memory_mib)
    fits = (cpus >= request.cpus_per_node) & (memory >= request.memory_mib_per_node)
    if request.nodelist:
        fits &= np.array([name in request.nodelist for name in nodes.names], dtype=np.bool_)
    if request.data:
        fits &= required_here(request, pool.data, len(nodes.names))
    for feature in request.features:
        fits &= nodes.features.get(feature, False)
    for taint, has_it in nodes.taints.items():
        if taint not in request.tolerations:
            fits &= ~has_it
    if free:
        fits &= nodes.is_up
        if request.exclusive:
            fits &= (nodes.free_cpus == nodes.cpus) & (nodes.free_gpus == nodes.gpus).all(axis=0)
    if request.gpus.per_node:
        gpus = (nodes.free_gpus if free else nodes.gpus)[nodes.gpu_types.index(gpu_type)]
        fits &= gpus >= request.gpus.per_node
        if request.gpus.memory_mib:
            # Most resource managers do not say how much memory a GPU has: 0 is unknown, and no ground to refuse.
            fits &= (nodes.gpu_memory_mib >= request.gpus.memory_mib) | (nodes.gpu_memory_mib == 0)
    members = _nearest_first(request, pool) if free else pool.members
    return members[fits[members]]


def _nearest_first(request: Resources, pool: Pool) -> _Ints:
    if not is_local(request, pool):
        return pool.tightest
    parts = part_held(request, pool.data, len(pool.nodes.names))[pool.tightest]
    return pool.tightest[np.argsort(-parts, kind="stable")]


def is_local(request: Resources, pool: Pool) -> bool:
    """Tell whether some nodes of a pool hold more of what a request reads than others."""
    if not request.data or not pool.members.size:
        return False
    parts = part_held(request, pool.data, len(pool.nodes.names))[pool.members]
    return bool(parts.min() < parts.max())


def types_that_fit(request: Resources, pool: Pool) -> list[tuple[int, str]]:
    """Return the types of GPU with which enough nodes could hold the request if they were empty, ranked by its wishes."""
    if not pool.members.size:
        kinds = request.gpus.types or ("",)
        return list(enumerate(kinds)) if pool.keeps_queue else []
    return [
        (rank, gpu_type)
        for rank, gpu_type in acceptable(request, pool.nodes)
        if are_enough(fitting_nodes(request, gpu_type, pool, free=False), request, pool)
    ]


def largest_size(request: Resources, pool: Pool, gpu_type: str) -> int:
    """Return the largest size of elastic work for which a pool could have room: nodes, or GPUs on each."""
    if request.bounds.of_gpus:
        of_type = pool.nodes.gpus[pool.nodes.gpu_types.index(gpu_type)] if gpu_type in pool.nodes.gpu_types else None
        return 0 if of_type is None else int(of_type[pool.members].max(initial=0))
    return min(pool.members.size, pool.partition.max_nodes or pool.members.size)


def acceptable(request: Resources, nodes: NodeColumns) -> list[tuple[int, str]]:
    if not request.gpus.per_node:
        return [(0, "")]
    if not request.gpus.types:
        return [(0, gpu_type) for gpu_type in nodes.gpu_types if not is_shared(gpu_type)]
    wishes = enumerate(request.gpus.types)
    return [(rank, gpu_type) for rank, wish in wishes for gpu_type in nodes.gpu_types if meets(gpu_type, wish)]


def are_enough(nodes: _Ints, request: Resources, pool: Pool) -> bool:
    """Tell whether these nodes are as many as a request needs, on as few switches as it asks for where they are known."""
    if nodes.size < request.nodes or not (request.switches and pool.nodes.switches):
        return int(nodes.size) >= request.nodes
    return 0 < switches_of(nodes, request, pool) <= request.switches


def switches_of(nodes: _Ints, request: Resources, pool: Pool) -> int:
    """Return on how many switches a request is spread at the least on some of these nodes; 0 if they are too few."""
    return least_switches([pool.nodes.switches[node] for node in nodes.tolist()], request.nodes)


def most_on(some: Iterable[int], switches: int, nodes: NodeColumns) -> int:
    """Return how many of some nodes hang on so many switches at the most; one whose switch is not known is on its own."""
    sizes = Counter(nodes.switches[node] if nodes.switches[node] >= 0 else f"of {node}" for node in some)
    return sum(sorted(sizes.values(), reverse=True)[:switches])


def tainted(request: Resources, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes whose taints a request does not tolerate."""
    masks = [mask for taint, mask in pool.nodes.taints.items() if taint not in request.tolerations]
    return frozenset(pool.nodes.names[node] for mask in masks for node in np.flatnonzero(mask).tolist())


def too_small(request: Resources, gpu_type: str, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes that could hold a request but for GPUs that are left out."""
    if pool.whole is None or not request.gpus.per_node:
        return frozenset()
    able, whole = (fitting_nodes(request, gpu_type, one, free=False).tolist() for one in (pool, pool.whole))
    return frozenset(pool.nodes.names[node] for node in set(whole).difference(able))


def without_data(request: Resources, pool: Pool) -> frozenset[str]:
    """Return the names of the nodes that lack data which a request cannot do without."""
    lacking = ~required_here(request, pool.data, len(pool.nodes.names)) if request.data else ()
    return frozenset(pool.nodes.names[node] for node in np.flatnonzero(lacking).tolist())
