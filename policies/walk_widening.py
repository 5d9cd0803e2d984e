"""Elastic tasks that start get more than their least: what others of their class leave, as far as their budgets go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from elisa.policies.refusals import FOR_WANT_OF_NODES, Refusals
from elisa.policies.room import Taken
from elisa.policies.starts import Means, Start

__all__ = ["Widening"]


class Widening:
    """The elastic starts of one walk that may get more yet; `larger` are the ways to more of each way, the largest first.

    The `awaited` are gangs some of whose members hold nodes while others are ready.
    """

    def __init__(
        self,
        means: Means,
        starts: list[Start],
        larger: Mapping[int, Sequence[int]],
        refusals: Refusals,
        awaited: Sequence[int],
    ) -> None:
        self._snapshot, self._ways, self._room, self._admission = means
        self._starts = starts
        self._larger = larger
        self._refusals = refusals
        self._awaited = awaited
        self.elastic: list[tuple[int, int]] = []
        """Those that may get more, each with the rank of its class."""
        self._full: set[int] = set()

    def note(self, start: Start) -> None:
        """Note a task that starts next, if it may get more later."""
        if start.taken.nodes and start.taken.way in self._larger:
            self.elastic.append((int(self._snapshot.tasks.priority[start.row]), len(self._starts)))

    def widen(self, rank: int | None = None) -> None:
        """Give elastic starts of classes better than `rank` what room and budget all of their class have left.

        As long as a gang of whatever class waits with some members on nodes for others, they get nothing more.
        """
        if self._awaited and (rank is not None or self._lack_nodes()):
            return
        due = [(own, place) for own, place in self.elastic if rank is None or own < rank]
        self.elastic = [one for one in self.elastic if one not in due]
        for own, place in due:
            most = self._most_for(self._starts[place], own)
            for way in self._larger[self._starts[place].taken.way]:
                if self._ways[way].request.size <= most and way not in self._full and self._exchange(place, way):
                    break

    def _lack_nodes(self) -> bool:
        refusals = (self._refusals.of_gang[gang] for gang in self._awaited if gang in self._refusals.of_gang)
        return any(one.code in FOR_WANT_OF_NODES for one in refusals)

    def _most_for(self, start: Start, rank: int) -> float:
        """Return how much an elastic start may have, so that jobs of its class in the same queues get theirs first.

        Which of them could use the GPUs of which node is not known: as long as one waits, it gets no more of these.
        """
        pool = self._snapshot.pools[start.way.pool]
        if not pool.keeps_queue:
            return inf
        jobs = self._snapshot.queued_jobs()
        waiting = sum(job.request.node_count for job, own in jobs if job.backend == pool.backend and own <= rank)
        for other in self._starts:
            is_there = self._snapshot.pools[other.way.pool].backend == pool.backend and not other.taken.nodes
            if is_there and other.host < 0 and self._snapshot.tasks.priority[other.row] <= rank:
                waiting += other.way.request.node_count
        if not waiting:
            return inf
        has_nodes = not start.way.request.bounds.of_gpus
        return start.way.request.size + (self._room.nodes.count(start.taken.way) - waiting if has_nodes else 0)

    def _exchange(self, place: int, way: int) -> bool:
        """Start one of the starts by a larger way; tell whether room and budget allow it."""
        start = self._starts[place]
        owner = int(self._snapshot.tasks.owner[start.row])
        self._admission.take(owner, start.taken.way, -1)
        taken: Taken | None = None
        if self._admission.refusing_row(owner, way) is None:
            taken = self._room.exchange(start.taken, way)
            # Whoever holds GPUs of another node may have room there yet.
            if taken is None and self._ways[way].request.nodes > start.way.request.nodes:
                self._full.add(way)
        self._admission.take(owner, start.taken.way if taken is None else way)
        if taken is not None:
            self._starts[place] = Start(start.row, taken, self._ways[way])
        return taken is not None
