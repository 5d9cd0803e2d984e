"""Which cores of this machine share memory, and on which of these groups a job is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["ANYWHERE", "choose_numa", "numa_nodes"]

ANYWHERE = -1
"""No group: a job that runs on all cores."""

_NODES = Path("/sys/devices/system/node")


def numa_nodes(root: Path = _NODES) -> tuple[tuple[int, ...], ...]:
    """Return the cores of each NUMA node that this process may use; none where the kernel names fewer than two."""
    own = os.sched_getaffinity(0)
    found = []
    for folder in sorted(root.glob("node[0-9]*"), key=lambda path: int(path.name.removeprefix("node"))):
        try:
            found.append(_cores((folder / "cpulist").read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    usable = tuple(tuple(core for core in cores if core in own) for cores in found)
    return usable if sum(map(bool, usable)) > 1 else ()


def _cores(text: str) -> tuple[int, ...]:
    """Return the numbers in `0-3,8-11`."""
    spans = [part.partition("-") for part in text.strip().split(",") if part]
    return tuple(core for first, _, last in spans for core in range(int(first), int(last or first) + 1))


def choose_numa(nodes: Sequence[Sequence[int]], held: Iterable[tuple[int, int]], cpus: int) -> int:
    """Return the NUMA node with most cores left that has `cpus` of them, ANYWHERE if none has; `held` are cores by node."""
    left = [len(cores) for cores in nodes]
    for node, count in held:
        if 0 <= node < len(left):
            left[node] -= count
    best = max(range(len(left)), key=lambda node: (left[node], -node), default=ANYWHERE)
    return best if best != ANYWHERE and left[best] >= cpus else ANYWHERE
