"""How many tasks fit at once on clusters of which everything is free: what a gang can hope for at the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from elisa.model.columns import ProjectUsage, ReadyColumns, Shape
from elisa.model.decisions import Submit
from elisa.model.native import ClusterView, NodeState, NodeView
from elisa.model.pipeline import TaskSpec
from elisa.model.site import FusionRules, SitePolicy
from elisa.policies.plan import plan
from elisa.policies.snapshot import Snapshot

__all__ = ["together"]


def together(members: Sequence[TaskSpec], clusters: Sequence[ClusterView], site: SitePolicy, now: datetime) -> int:
    """Return how many of the tasks would start at one moment, placed in their order, were all nodes up and empty.

    Neither budgets nor licences count, which change sooner than nodes.
    """
    rules = SitePolicy(
        taints=site.taints,
        data=site.data,
        submits_per_tick=len(members),
        backfill_depth=0,
        fusion=FusionRules(enabled=False),
    )
    empty = [replace(view, nodes=tuple(map(_emptied, view.nodes))) for view in clusters]
    made = plan(Snapshot.build(_columns(members), ProjectUsage(), empty, (), rules, now))
    return sum(isinstance(decision, Submit) for decision in made.decisions)


def _emptied(node: NodeView) -> NodeView:
    return replace(node, free_cpus=node.cpus, free_memory_mib=node.memory_mib, free_gpus=node.gpus, state=NodeState.UP)


def _columns(members: Sequence[TaskSpec]) -> ReadyColumns:
    count = len(members)
    shapes = [Shape(replace(spec.resources, licences=()), spec.placement) for spec in members]
    numbers = {shape: number for number, shape in enumerate(dict.fromkeys(shapes))}
    return ReadyColumns(
        task=[f"{number:06d}" for number in range(count)],
        owner=[0] * count,
        owners=[("", 0)],
        priority=[0] * count,
        importance=[0.0] * count,
        submitted_us=list(range(count)),
        ready_us=list(range(count)),
        deadline_us=[0] * count,
        shape=[numbers[shape] for shape in shapes],
        shapes=list(numbers),
    )
