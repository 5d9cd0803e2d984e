"""What of a request no pool has: the first resource that is too small, or missing, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from elisa.model.columns import Shape
from elisa.model.ids import BackendName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.units import format_memory
from elisa.policies.badgpus import bad_words
from elisa.policies.placement_nodes import acceptable, fitting_nodes, most_on, tainted, types_that_fit
from elisa.policies.placement_pools import NodeColumns, Pool

__all__ = ["lacks_gpus", "no_pool", "switch_words", "too_large"]

_Ints = npt.NDArray[np.int64]


def no_pool(shape: Shape, unreachable: Mapping[BackendName, str]) -> Reason:
    wish = shape.placement
    silent = [name for name in unreachable if wish.backend in {"", name}]
    if silent:
        return because(ReasonCode.BACKEND_UNREACHABLE, backend=silent[0], error=unreachable[silent[0]])
    return because(ReasonCode.NO_BACKEND, wanted=f"{wish.backend or 'any'}/{wish.partition or 'any'}")


def lacks_gpus(request: Resources, pool: Pool) -> Reason | None:
    """Return that a request would fit, were it not for GPUs that are left out; None if it would not even so."""
    if pool.whole is None or not types_that_fit(request, pool.whole):
        return None
    bad, until = bad_words(pool.bad_gpus)
    largest = next(
        largest for what, _, largest in _maxima(request, pool.nodes, pool.members) if what.startswith("gpus")
    )
    return because(
        ReasonCode.GPUS_LEFT_OUT,
        asked=request.gpus.per_node,
        largest=largest,
        bad=bad,
        until=until,
        backend=pool.backend,
        partition=pool.partition.name,
    )


def too_large(request: Resources, pool: Pool) -> Reason:
    """Return the first resource of which no node, or too few nodes, of the pool have enough."""
    nodes, members = pool.nodes, pool.members
    names = {"backend": pool.backend, "partition": pool.partition.name}
    if not members.size:
        return because(ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=0, **names)
    for resource, asked, largest in _maxima(request, nodes, members):
        if resource in _OF_MEMORY and asked > largest:
            return because(
                ReasonCode.NEVER_FITS,
                resource=resource,
                asked=format_memory(asked),
                largest=format_memory(largest),
                **names,
            )
        if asked > largest:
            return because(ReasonCode.NEVER_FITS, resource=resource, asked=asked, largest=largest, **names)
    missing = [feature for feature in request.features if not _has(nodes, feature, members)]
    if missing:
        what = f"node with the feature {missing[0]}"
        return because(ReasonCode.NEVER_FITS, resource=what, asked="a", largest="none", **names)
    taints = [taint for taint in nodes.taints if taint not in request.tolerations]
    if taints and tainted(request, pool).issuperset(nodes.names[node] for node in members.tolist()):
        what = f"node without the taint {'/'.join(taints)}"
        return because(ReasonCode.NEVER_FITS, resource=what, asked="a", largest="none", **names)
    fitting = _fitting(request, pool)
    enough = max((some.size for some in fitting), default=0)
    bold = replace(request, tolerations=tuple(nodes.taints))
    if taints and enough < request.nodes <= max((some.size for some in _fitting(bold, pool)), default=0):
        what = f"nodes without the taint {'/'.join(taints)}"
        return because(ReasonCode.NEVER_FITS, resource=what, asked=request.nodes, largest=enough, **names)
    if enough >= request.nodes:
        what = switch_words(request.switches)
        largest = max(most_on(some.tolist(), request.switches, nodes) for some in fitting)
        return because(ReasonCode.NEVER_FITS, resource=what, asked=request.nodes, largest=largest, **names)
    return because(ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=enough, **names)


def _fitting(request: Resources, pool: Pool) -> list[_Ints]:
    """Return the nodes that would hold a request if they were empty, for each type of GPU that will do."""
    kinds = acceptable(request, pool.nodes)
    return [fitting_nodes(request, gpu_type, pool, free=False) for _, gpu_type in kinds]


_OF_MEMORY = frozenset({"memory a node", "memory of a GPU"})


def _maxima(request: Resources, nodes: NodeColumns, members: _Ints) -> list[tuple[str, int, int]]:
    kinds = [nodes.gpu_types.index(gpu_type) for _, gpu_type in acceptable(request, nodes) if gpu_type]
    gpus = int(nodes.gpus[kinds][:, members].max()) if kinds else 0
    wanted = "/".join(request.gpus.types) or "any"
    gpu_memory = int(nodes.gpu_memory_mib[members].max()) or request.gpus.memory_mib
    return [
        ("cpus a node", request.cpus_per_node, int(nodes.cpus[members].max())),
        ("memory a node", request.memory_mib_per_node, int(nodes.memory_mib[members].max())),
        (f"gpus a node ({wanted})", request.gpus.per_node, gpus),
        ("memory of a GPU", request.gpus.memory_mib, gpu_memory),
    ]


def _has(nodes: NodeColumns, feature: str, members: _Ints) -> bool:
    column = nodes.features.get(feature)
    return column is not None and bool(column[members].any())


def switch_words(switches: int) -> str:
    """Name what is asked for where nodes must hang on few switches."""
    return "nodes on one switch" if switches == 1 else f"nodes on {switches} switches"
