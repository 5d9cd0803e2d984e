"""Whether a request fits a cluster at all, whatever runs there now."""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.native import NodeView
from elisa.model.resources import Resources

__all__ = ["why_never"]


def why_never(asked: Resources, nodes: Sequence[NodeView]) -> str:
    """Return why a request can never run on these nodes, be they up or down; empty if it can."""
    fitting = sum(_fits(asked, node) for node in nodes)
    if fitting >= asked.nodes:
        return ""
    wants = {"cores": asked.cpus_per_node, "MiB": asked.memory_mib_per_node, "GPUs": asked.gpus.per_node}
    each = ", ".join(f"{count} {word}" for word, count in wants.items() if count)
    return f"it asks for nodes with {each}: {asked.nodes} of them; of {len(nodes)} nodes {fitting} have that"


def _fits(asked: Resources, node: NodeView) -> bool:
    if not node.cpus:  # never been up: nobody knows what it has
        return True
    has_memory = not node.memory_mib or asked.memory_mib_per_node <= node.memory_mib
    return asked.cpus_per_node <= node.cpus and has_memory and asked.gpus.per_node <= _gpus(asked, node)


def _gpus(asked: Resources, node: NodeView) -> int:
    return max((count for kind, count in node.gpus if not asked.gpus.types or kind in asked.gpus.types), default=0)
