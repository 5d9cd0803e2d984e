"""What running programs leave of the memory of simulated nodes that promise more than they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from elisa.backends.promises import judge
from elisa.backends.simulated.job import SimJob
from elisa.backends.simulated.room import Node
from elisa.model.native import NodeState, NodeView

__all__ = ["under_pressure"]


def under_pressure(nodes: Sequence[Node], views: Sequence[NodeView], jobs: Iterable[SimJob]) -> tuple[NodeView, ...]:
    """Return how nodes look with what their programs leave: short of memory, or closed to more of them."""
    used: Counter[int] = Counter()
    for job in jobs:
        if job.is_up:
            used.update(dict.fromkeys(job.nodes, job.used_mib))
    return tuple(_pressed(node, view, used[node.index]) for node, view in zip(nodes, views, strict=True))


def _pressed(node: Node, view: NodeView, used_mib: int) -> NodeView:
    left = judge(node.kind.memory_mib, node.kind.memory_mib - used_mib)
    if view.promised == (100, 100) or view.state is not NodeState.UP or left.is_enough:
        return view
    return replace(view, short_mib=left.short_mib, state=NodeState.DRAINED)
