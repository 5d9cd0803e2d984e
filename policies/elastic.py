"""Elastic work: how many nodes or GPUs of those that would do it gets, and when it is worth to start again with others.

It starts with the least. What that leaves idle, once everybody of its class and of better ones was tried, is its own, too, and
it gives this back as soon as one of those lacks it. Both ways lead through a save and a new attempt, so both need a reason
that holds: it gives way to each task once at most, and grows only when what it lost by waiting is what starting again costs
(the rule of ski rental: Karlin, Manasse, Rudolph, Sleator, *Competitive snoopy caching*, Algorithmica 3, 1988).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import ceil

from elisa.model.columns import RunningRow
from elisa.model.resources import Resources
from elisa.model.site import PreemptionRules
from elisa.policies.preemption import Standing

__all__ = ["has_claim", "is_settled", "pays", "size_of", "sized", "sizes_above", "spare_of"]

# Each size costs a look at the nodes: of a wide range so many are tried, evenly spread.
_SIZES = 16
# Starting again must save so many times what it costs: predictions err.
_SURELY = 2.0


def sizes_above(request: Resources) -> tuple[int, ...]:
    """Return the sizes beyond that of a request that would do as well, the largest first."""
    if request.elastic is None:
        return ()
    step, most = request.elastic.step, request.elastic.most
    first = request.size + step - request.size % step
    sizes = range(first, most + 1, step)[::-1]
    return tuple(sizes[:: ceil(len(sizes) / _SIZES) or 1])


def sized(request: Resources, size: int) -> Resources:
    """Return an elastic request with another number of nodes, or of GPUs on each: of all else it asks for as much as before."""
    watts, gpu_watts = (ceil(watt * size / request.size) for watt in (request.watts, request.gpu_watts))
    if request.bounds.of_gpus:
        return replace(request, gpus=replace(request.gpus, per_node=size), gpu_watts=gpu_watts)
    return replace(request, nodes=size, watts=watts, gpu_watts=gpu_watts)


def size_of(row: RunningRow) -> int:
    """Return the size that an attempt has."""
    return row.request.size if row.request.bounds.of_gpus else len(row.nodes)


def has_claim(one: Standing, other: Standing) -> bool:
    """Tell whether a task of the first standing may have what elastic work of the second holds beyond its least."""
    if one.is_idle_only != other.is_idle_only:
        return other.is_idle_only
    return one.rank <= other.rank


def is_settled(row: RunningRow, rules: PreemptionRules, now_s: float) -> bool:
    """Tell whether an attempt is elastic work that saves, and has run long enough to be asked to change its size."""
    is_there = bool(row.nodes) and not (row.is_queued or row.is_leaving or row.is_protected)
    return row.may_resize and is_there and now_s - row.started_us / 1e6 >= rules.minimum_run_s


def spare_of(row: RunningRow, wanted: Collection[str]) -> RunningRow | None:
    """Return what elastic work holds beyond its least, of the nodes that are `wanted` as much as can be; None if nothing.

    Of GPUs it gives back some on each of its nodes, and neither cores nor memory.
    """
    if row.request.elastic is None:
        return None
    if row.request.elastic.of_gpus:
        gpus = replace(row.request.gpus, per_node=row.request.size - row.request.elastic.least)
        part = replace(row.request, tasks_per_node=0, memory_mib_per_node=0, gpus=gpus)
        return row._replace(request=part) if gpus.per_node else None
    spare = sorted(row.nodes, key=lambda node: node in wanted)[row.request.elastic.least :]
    return row._replace(nodes=tuple(spare)) if spare else None


def pays(row: RunningRow, size: int, rest_s: float, rules: PreemptionRules, now_s: float) -> bool:
    """Tell whether to start again with another `size`, for which there has been room since `row.roomy_us`.

    `rest_s` is how long the attempt still runs as it is. What stood idle must be worth a new start of all, and what is
    left to do must become shorter by twice of what that takes.
    """
    lost_s = 0.0 if row.saves_on_request else now_s - max(row.saved_us, row.started_us) / 1e6
    cost_s = rules.restart_s + lost_s
    idle_s = now_s - row.roomy_us / 1e6 if row.roomy_us else 0.0
    now, more = size_of(row), size - size_of(row)
    return idle_s * more >= cost_s * size and rest_s * more / (now + more) >= _SURELY * cost_s
