"""Whether a resource manager's word about nodes proves that nothing runs any more of what ran there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from elisa.model.native import NodeView

__all__ = ["are_proven_dead"]

# Both times are of the node's own clock, but that of the boot is worked out anew each time, from how long it has been up.
_DOUBT = timedelta(seconds=5)


def are_proven_dead(places: Sequence[str], began_at: datetime, nodes: Mapping[str, NodeView]) -> bool:
    """Tell whether every one of these nodes was switched off, or has booted since `began_at`.

    A node that is only down proves nothing: it may be cut off from its manager, and work on.
    """
    return bool(places) and all(_is_proven_dead(nodes.get(name), began_at) for name in places)


def _is_proven_dead(node: NodeView | None, began_at: datetime) -> bool:
    if node is None:
        return False
    return node.is_off or (node.booted_at is not None and node.booted_at > began_at + _DOUBT)
