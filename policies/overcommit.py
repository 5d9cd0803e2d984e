"""Nodes that promise more than they have: guaranteed work never shares, and best effort leaves when memory gets short.

A node of `C` cores with a ratio of `r` is counted as one of `r * C`; of these a guaranteed job of `c` cores takes `r * c`,
any other as many as it asks for. So what all others together were promised is at most `r` times what guaranteed work leaves,
and guaranteed work never more than there is: requests and limits as in Kubernetes, with memory the only pressure
that has anybody leave, for cores only slow down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from elisa.model.columns import RunningRow
from elisa.model.decisions import Park
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.native import ClusterView, NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import ServiceClass, SitePolicy

__all__ = ["PLAIN", "Ratio", "as_promised", "footprint", "is_firm", "pressed", "ratio_of"]

Ratio = tuple[int, int]
"""What is promised of cores and memory, in percent of what is there."""

PLAIN: Ratio = (100, 100)


def ratio_of(nodes: Sequence[NodeView]) -> Ratio:
    """Return what a cluster promises, at most on one node."""
    return max({node.promised for node in nodes}, default=PLAIN)


def is_firm(site: SitePolicy, project: str) -> bool:
    """Tell whether a project's work is never overcommitted."""
    return site.project(ProjectName(project)).service is ServiceClass.GUARANTEED


def footprint(request: Resources, ratio: Ratio) -> Resources:
    """Return what a firm request takes of nodes with a ratio, counted as they promise: all that others could be promised."""
    cpus, memory_mib = (
        -(-amount * percent // 100)
        for amount, percent in zip((request.cpus_per_node, request.memory_mib_per_node), ratio, strict=True)
    )
    return replace(request, tasks_per_node=1, cpus_per_task=cpus, memory_mib_per_node=memory_mib)


def as_promised(
    clusters: Sequence[ClusterView], running: Sequence[RunningRow], site: SitePolicy
) -> Sequence[ClusterView]:
    """Return the clusters with what is free as it may be promised, once running guaranteed work has its whole part."""
    if all(ratio_of(view.nodes) == PLAIN for view in clusters):
        return clusters
    firm = [row for row in running if is_firm(site, row.project)]
    return [replace(view, nodes=tuple(_less(node, view, firm) for node in view.nodes)) for view in clusters]


def _less(node: NodeView, view: ClusterView, firm: Sequence[RunningRow]) -> NodeView:
    if node.promised == PLAIN:
        return node
    # Of one that was just handed over nobody knows the node yet: it may be any.
    there = [row.request for row in firm if row.backend == view.backend and (not row.nodes or node.name in row.nodes)]
    whole = [footprint(request, node.promised) for request in there]
    cpus = sum(one.cpus_per_node for one in whole) - sum(one.cpus_per_node for one in there)
    memory_mib = sum(one.memory_mib_per_node for one in whole) - sum(one.memory_mib_per_node for one in there)
    return replace(node, free_cpus=node.free_cpus - cpus, free_memory_mib=node.free_memory_mib - memory_mib)


def pressed(
    clusters: Sequence[ClusterView],
    running: Sequence[RunningRow],
    site: SitePolicy,
    but_not: Collection[AttemptId] = (),
) -> tuple[Park, ...]:
    """Return who saves and leaves on nodes that are short of memory: best effort first, guaranteed work never.

    As many as give back by what they asked for what is missing; those that leave already count.
    """
    decisions: dict[str, Park] = {}
    for view in clusters:
        for node in view.nodes:
            if node.short_mib > 0:
                there = [row for row in running if row.backend == view.backend and node.name in row.nodes]
                for row in _leaving_first(there, site, node.short_mib, {*but_not, *map(AttemptId, decisions)}):
                    service = site.project(ProjectName(row.project)).service
                    facts: Mapping[str, str | int] = {
                        "backend": view.backend,
                        "node": node.name,
                        "short_mib": node.short_mib,
                        "service": service.value,
                    }
                    decisions[row.attempt] = Park(
                        attempt=AttemptId(row.attempt), reason=because(ReasonCode.PRESSED, **facts)
                    )
    return tuple(decisions.values())


def _leaving_first(
    there: Sequence[RunningRow], site: SitePolicy, short_mib: int, going: Collection[AttemptId]
) -> Iterator[RunningRow]:
    """Yield who has to go beside those that go already: the loosest service first, then the lowest class and the youngest.

    Of one that asked for no memory nobody knows what it has: with it the search ends until the next look.
    """
    gone = [row for row in there if row.is_leaving or AttemptId(row.attempt) in going]
    able = [row for row in there if row not in gone and row.is_preemptible and not is_firm(site, row.project)]
    left_mib = short_mib - sum(row.request.memory_mib_per_node or short_mib for row in gone)
    for row in sorted(able, key=lambda row: (-_rank(site, row), -row.priority, -row.started_us, row.attempt)):
        if left_mib <= 0:
            return
        left_mib -= row.request.memory_mib_per_node or short_mib
        yield row


_LOOSE = {ServiceClass.GUARANTEED: 0, ServiceClass.BURSTABLE: 1, ServiceClass.BEST_EFFORT: 2}


def _rank(site: SitePolicy, row: RunningRow) -> int:
    return _LOOSE[site.project(ProjectName(row.project)).service]
