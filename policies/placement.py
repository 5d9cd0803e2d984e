"""Where a request may ever run: hard filters over partitions and their nodes, as if these were empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

from elisa.model.affinity import Over
from elisa.model.columns import Shape
from elisa.model.ids import BackendName
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.units import format_duration, format_memory
from elisa.policies.locality import missing_data
from elisa.policies.overcommit import PLAIN
from elisa.policies.placement_nodes import types_that_fit
from elisa.policies.placement_pools import Option, Pool
from elisa.policies.placement_words import lacks_gpus, no_pool, too_large

__all__ = ["Options", "options_of"]


class Options(NamedTuple):
    """The ways to run a shape, best first; without any, `refusal` says why."""

    ways: tuple[Option, ...]
    refusal: Reason | None = None


def options_of(shape: Shape, pools: Sequence[Pool], unreachable: Mapping[BackendName, str]) -> Options:
    """Return the ways to run a shape on empty pools, in the order of its wishes and then of `pools`.

    Without any way, the refusal names the last filter that one of the pools failed: the one it came nearest by.
    """
    wanted = [number for number, pool in enumerate(pools) if _is_wanted(shape, pool)]
    if not wanted:
        return Options((), no_pool(shape, unreachable))
    refusals: list[tuple[int, Reason]] = []
    ways: list[tuple[int, Option]] = []
    for number in wanted:
        refusal = (
            _limit(shape.request, pools[number])
            or (_of_components(shape.request, pools[number]) if shape.request.components else None)
            or _of_affinity(shape, pools[number])
            or _of_data(shape.request, pools[number])
        )
        if refusal is not None:
            refusals.append((0, refusal))
            continue
        fits = types_that_fit(shape.request, pools[number])
        ways.extend((rank, Option(number, gpu_type)) for rank, gpu_type in fits)
        if not fits:
            refusals.append((1, lacks_gpus(shape.request, pools[number]) or too_large(shape.request, pools[number])))
    if not ways:
        return Options((), max(refusals, key=lambda pair: pair[0])[1])
    return Options(tuple([option for _, option in sorted(ways, key=itemgetter(0))]))


def _is_wanted(shape: Shape, pool: Pool) -> bool:
    backend, partition = shape.placement.backend, shape.placement.partition
    return (not backend or backend == pool.backend) and (not partition or partition == pool.partition.name)


def _limit(request: Resources, pool: Pool) -> Reason | None:
    """Return which of the partition's own limits refuses the request."""
    partition = pool.partition
    names = {"backend": pool.backend, "partition": partition.name}
    if not partition.is_up:
        return because(ReasonCode.NO_ROOM, resource="partition", asked="up", free="down", **names)
    if 0 < partition.max_walltime_s < request.walltime_s:
        return because(
            ReasonCode.NEVER_FITS,
            resource="walltime",
            asked=format_duration(request.walltime_s),
            largest=format_duration(partition.max_walltime_s),
            **names,
        )
    if 0 < partition.max_nodes < request.nodes:
        return because(
            ReasonCode.NEVER_FITS, resource="nodes", asked=request.nodes, largest=partition.max_nodes, **names
        )
    return _beyond_what_is_there(request, pool) if pool.promised != PLAIN else None


def _beyond_what_is_there(request: Resources, pool: Pool) -> Reason | None:
    """Return why one job asks for more than a node really has, however much all together are promised."""
    cpus, memory_mib = (
        int(column[pool.members].max(initial=0)) * 100 // percent
        for column, percent in zip((pool.nodes.cpus, pool.nodes.memory_mib), pool.promised, strict=True)
    )
    names = {"backend": pool.backend, "partition": pool.partition.name}
    if request.cpus_per_node > cpus:
        return because(
            ReasonCode.NEVER_FITS, resource="cpus a node", asked=request.cpus_per_node, largest=cpus, **names
        )
    if request.memory_mib_per_node > memory_mib:
        asked, largest = format_memory(request.memory_mib_per_node), format_memory(memory_mib)
        return because(ReasonCode.NEVER_FITS, resource="memory a node", asked=asked, largest=largest, **names)
    return None


def _of_components(request: Resources, pool: Pool) -> Reason | None:
    """Return why one of the further parts of a heterogeneous job could not run in the pool even if it were empty."""
    parts = [replace(part.alone(request.walltime_s), tolerations=request.tolerations) for part in request.components]
    return next((too_large(part, pool) for part in parts if not types_that_fit(part, pool)), None)


def _of_affinity(shape: Shape, pool: Pool) -> Reason | None:
    """Return why nobody can be placed beside or apart from others in a pool none of whose nodes, or switches, is known."""
    must = [wish.over for wish in shape.placement.affinity if not wish.weight]
    if not must:
        return None
    members, switches = pool.members.tolist(), pool.nodes.switches
    is_blind = Over.SWITCH in must and not (switches and any(switches[node] >= 0 for node in members))
    if members and not is_blind:
        return None
    what = "node on a known switch" if members else "node with a name"
    names = {"backend": pool.backend, "partition": pool.partition.name}
    return because(ReasonCode.NEVER_FITS, resource=what, asked="a", largest="none", **names)


def _of_data(request: Resources, pool: Pool) -> Reason | None:
    """Return which data that a request cannot do without is not in a pool, or not where its manager can keep it to."""
    wholly = not pool.members.size or (pool.keeps_queue and not pool.excludes)
    missing = missing_data(request, pool.data, wholly=wholly) if request.data else ""
    if not missing:
        return None
    names = {"backend": pool.backend, "partition": pool.partition.name}
    return because(ReasonCode.NEVER_FITS, resource=f"node with the data {missing}", asked="a", largest="none", **names)
