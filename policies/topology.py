"""Nodes that hang on few switches, for work that talks over the network.

Greedy: of the leaf switches that hold all of it the one with the fewest nodes left, so that large groups stay whole; else
the one with most, and so on. That takes the least number of switches there is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

__all__ = ["least_switches", "on_few_switches", "switch_mates"]

_NOWHERE = -1


def least_switches(switches: Sequence[int], count: int) -> int:
    """Return on how many switches `count` nodes are spread at the least, given the switch of each; 0 if they are too few.

    A node of which none is known (-1) counts as one on a switch by itself.
    """
    sizes = Counter(switch for switch in switches if switch != _NOWHERE)
    left, used = count, 0
    for size in sorted([*sizes.values(), *[1] * switches.count(_NOWHERE)], reverse=True):
        if left <= 0:
            break
        left -= size
        used += 1
    return used if left <= 0 else 0


def on_few_switches(
    nodes: Sequence[int],
    switch_of: Sequence[int],
    count: int,
    *,
    most: int = 0,
    favoured: Collection[int] = (),
    in_all: int = 0,
) -> tuple[int, ...] | None:
    """Return `count` of the nodes on as few switches as there can be; None if they are too few, or on more than `most`.

    `favoured` switches come first, and are not counted: others of the same gang are there. With those that are to follow
    they will be `in_all`. Within a switch nodes keep the order given.
    """
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for node in nodes:
        switch = switch_of[node]
        groups[switch if switch != _NOWHERE else -2 - node].append(node)
    chosen: list[int] = []
    used = 0
    left = sorted(groups, key=lambda switch: nodes.index(groups[switch][0]))
    while left and len(chosen) < count:
        wanted = max(count, in_all) - len(chosen)
        best = min(left, key=lambda switch: _rank(switch in favoured, len(groups[switch]), wanted))
        left.remove(best)
        chosen += groups[best][: count - len(chosen)]
        used += best not in favoured
    return tuple(chosen) if len(chosen) == count and used <= (most or used) else None


def switch_mates(switch_of: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
    """Return for each node of which the switch is known all nodes that hang on it."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for node, switch in enumerate(switch_of):
        if switch != _NOWHERE:
            groups[switch].append(node)
    return {node: mates for mates in map(tuple, groups.values()) for node in mates}


def _rank(is_favoured: bool, size: int, wanted: int) -> tuple[bool, bool, int]:  # noqa: FBT001 - the first key of an order
    holds_all = size >= wanted
    return not is_favoured, not holds_all, size if holds_all else -size
