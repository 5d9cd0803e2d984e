"""The jobs that could start now, in the order in which a cluster looks at them."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from elisa.backends.simulated.job import Shape, SimJob, Stage

__all__ = ["Queue"]

_Key = tuple[int, int, int]


class Queue:
    """Queued jobs by shape: where the first of a shape does not fit, none behind it does, so one look is enough."""

    def __init__(self, partition_priority: Callable[[str], int]) -> None:
        self._partition_priority = partition_priority
        self._groups: dict[Shape, list[tuple[_Key, SimJob]]] = {}

    def add(self, job: SimJob) -> None:
        """Put a job in its place: by its partition's priority, its own, and its age."""
        key = (-self._partition_priority(job.shape.partition), -job.priority, job.order)
        heapq.heappush(self._groups.setdefault(job.shape, []), (key, job))

    def remove(self, job: SimJob) -> None:
        """Take a job out before its turn."""
        left = [entry for entry in self._groups.get(job.shape, []) if entry[1] is not job]
        heapq.heapify(left)
        self._groups[job.shape] = left

    def serve(self, start: Callable[[SimJob], bool]) -> None:
        """Offer every job its start, the first of each shape first; `start` tells whether it did.

        Smaller jobs may pass larger ones that do not fit (backfill without reservations).
        """
        heads = [(key, shape) for shape in list(self._groups) if (key := self._head(shape)) is not None]
        heapq.heapify(heads)
        while heads:
            _, shape = heapq.heappop(heads)
            if start(self._groups[shape][0][1]):
                heapq.heappop(self._groups[shape])
                following = self._head(shape)
                if following is not None:
                    heapq.heappush(heads, (following, shape))

    def _head(self, shape: Shape) -> _Key | None:
        """Return the key of the first job of a shape that is still queued."""
        group = self._groups[shape]
        while group and group[0][1].stage is not Stage.QUEUED:
            heapq.heappop(group)
        if group:
            return group[0][0]
        del self._groups[shape]
        return None
