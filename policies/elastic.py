"""Elastic work: how many nodes of those that would do it gets, and when it is worth starting again with another number.

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

__all__ = ["has_claim", "is_settled", "pays", "sized", "sizes_above", "spare_of"]

# Each size costs a look at the nodes: of a wide range so many are tried, evenly spread.
_SIZES = 16
# Starting again must save so many times what it costs: predictions err.
_SURELY = 2.0


def sizes_above(request: Resources) -> tuple[int, ...]:
    """Return the numbers of nodes beyond those that a request names that would do as well, the largest first."""
    if request.elastic is None:
        return ()
    step, most = request.elastic.step, request.elastic.most
    first = request.nodes + step - request.nodes % step
    sizes = range(first, most + 1, step)[::-1]
    return tuple(sizes[:: ceil(len(sizes) / _SIZES) or 1])


def sized(request: Resources, nodes: int) -> Resources:
    """Return an elastic request with another number of nodes."""
    watts, gpu_watts = (ceil(watt * nodes / request.nodes) for watt in (request.watts, request.gpu_watts))
    return replace(request, nodes=nodes, watts=watts, gpu_watts=gpu_watts)


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
    """Return what elastic work holds beyond its least, of the nodes that are `wanted` as much as can be; None if nothing."""
    if row.request.elastic is None:
        return None
    spare = sorted(row.nodes, key=lambda node: node in wanted)[row.request.elastic.least :]
    return row._replace(nodes=tuple(spare)) if spare else None


def pays(row: RunningRow, size: int, rest_s: float, rules: PreemptionRules, now_s: float) -> bool:
    """Tell whether to start again on `size` nodes, for which there has been room since `row.roomy_us`.

    `rest_s` is how long the attempt still runs as it is. What stood idle must be worth a new start of all nodes, and what is
    left to do must become shorter by twice of what that takes.
    """
    lost_s = 0.0 if row.saves_on_request else now_s - max(row.saved_us, row.started_us) / 1e6
    cost_s = rules.restart_s + lost_s
    idle_s = now_s - row.roomy_us / 1e6 if row.roomy_us else 0.0
    now, more = len(row.nodes), size - len(row.nodes)
    return idle_s * more >= cost_s * size and rest_s * more / (now + more) >= _SURELY * cost_s
