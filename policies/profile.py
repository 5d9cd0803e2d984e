"""What will be free on each node, and when: the ground on which room is kept for work that cannot start yet.

Reservations after Lifka's EASY (JSSPP 1995: the first blocked job gets one) and conservative backfilling (Mu'alem and
Feitelson, IEEE TPDS 12, 2001: every blocked job gets one), carried over to several resources and single nodes: a job may
start now only if, for as long as it asks to run, it takes nothing that is reserved.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.resources import Resources
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import NodeColumns, Pool

__all__ = ["Asked", "Hold", "Need", "Profile", "Slot", "free_on", "members_that_fit", "need_of"]

# More moments than this are merged into later ones: what is promised may then be later than it could be, never earlier.
_MOMENTS = 128

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class Need(NamedTuple):
    """What one job takes of each node it runs on: `amounts` has a row for each resource and a column for each node.

    The resources are cores, memory, and the cluster's types of GPU; they differ between nodes for a job that takes whole ones.
    """

    amounts: _Ints
    nodes: int
    duration_s: float


class Hold(NamedTuple):
    """A job that holds its need on `nodes` until `end_s`; of nodes that are not known nothing comes back."""

    need: Need
    nodes: tuple[int, ...]
    end_s: float


class Asked(NamedTuple):
    """What one job that is to start later takes, and the nodes that could ever give it.

    `allows` tells for these whether it may begin there at a moment. `choose` takes of nodes with room as many as it needs,
    or None if no such choice will do; without it any will do. `enter` lets those who are to start with it know on which nodes
    it would be from a moment on, or with -1 that it would not.
    """

    need: Need
    members: _Ints
    allows: Callable[[float], _Bools] | None = None
    choose: Callable[[list[int]], Sequence[int] | None] | None = None
    enter: Callable[[float, Sequence[int], int], None] | None = None

    def chosen(self, nodes: list[int]) -> Sequence[int] | None:
        """Return nodes for it out of those with room."""
        if self.choose is not None:
            return self.choose(nodes)
        return nodes[: self.need.nodes] if len(nodes) >= self.need.nodes else None


def need_of(request: Resources, gpu_type: str, nodes: NodeColumns) -> Need:
    """Return what a request takes of the nodes of a cluster; an exclusive one takes all cores and GPUs of each."""
    amounts = np.zeros((2 + len(nodes.gpu_types), 1), dtype=np.int64)
    amounts[0] = request.cpus_per_node
    amounts[1] = request.memory_mib_per_node
    if request.gpus.per_node and gpu_type in nodes.gpu_types:
        amounts[2 + nodes.gpu_types.index(gpu_type)] = request.gpus.per_node
    # One column for all nodes, as `np.broadcast_to` gives it, in a tenth of the time.
    on_each: _Ints = np.ndarray((len(amounts), len(nodes.names)), np.int64, amounts, strides=(amounts.itemsize, 0))
    if request.exclusive:
        on_each = np.vstack([nodes.cpus, on_each[1], nodes.gpus])
    return Need(on_each, request.nodes, float(request.walltime_s))


def free_on(nodes: NodeColumns) -> _Ints:
    """Return what is free on each node now, with the rows of `Need.amounts`."""
    return np.vstack([nodes.free_cpus, nodes.free_memory_mib, nodes.free_gpus])


class Slot(NamedTuple):
    """A moment, and for each of several jobs the nodes on which it could start then."""

    start_s: float
    nodes: tuple[list[int], ...]


class Profile:
    """What is free on every node of a cluster from `now_s` on: a table of nodes, resources and moments."""

    def __init__(
        self,
        nodes: NodeColumns,
        holds: Iterable[Hold],
        now_s: float,
        moments: Iterable[float] = (),
        exact: Iterable[float] = (),
    ) -> None:
        """Begin with what is free now and what `holds` give back; `moments` are further times that will matter.

        Those of `exact` are never merged into others.
        """
        holds = tuple(holds)
        ends = [max(hold.end_s, now_s) for hold in holds]
        times = _thinned(sorted({now_s, *ends, *(moment for moment in moments if moment > now_s)}))
        self._times = sorted({*times, *(moment for moment in exact if moment > now_s)})
        self._free = np.repeat(free_on(nodes).T[:, :, None], len(self._times), axis=2)
        self._due: dict[int, list[tuple[Need, int]]] = defaultdict(list)
        for hold, end_s in zip(holds, ends, strict=True):
            self._add(hold.need, hold.nodes, slice(self._moment(end_s), None), 1)

    def _moment(self, at_s: float) -> int:
        """Return the first moment that is not before `at_s`; the number of moments if there is none."""
        return bisect_left(self._times, at_s)

    def _add(self, need: Need, nodes: Sequence[int], window: slice, sign: int) -> None:
        for node in nodes:
            free = self._free[node, :, window]
            free += sign * need.amounts[:, node, None]

    def fits_now(self, need: Need, node: int) -> bool:
        """Tell whether a node holds the need from now on for all its duration."""
        self._settle((node,))
        window = self._free[node, :, self._from(0, need)]
        return not np.count_nonzero(window < need.amounts[:, node, None])

    def _from(self, moment: int, need: Need) -> slice:
        """Return the moments at which a job that starts at `moment` runs."""
        return slice(moment, max(moment + 1, self._moment(self._times[moment] + need.duration_s)))

    def _fits(self, need: Need, members: _Ints, window: slice) -> _Bools:
        """Return which members hold the need at every moment of the window."""
        fits: _Bools = np.logical_and.reduce(self._table(need, members, window), axis=1)
        return fits

    def _table(self, need: Need, members: _Ints, window: slice = slice(None)) -> _Bools:
        """Return, for each member and moment, whether the need fits."""
        free = self._free[members, :, window]
        fits: _Bools = np.logical_and.reduce(free >= need.amounts.T[members, :, None], axis=1)
        return fits

    def take_now(self, need: Need, nodes: Sequence[int], sign: int = 1) -> None:
        """Take the need from now on for its duration; with `sign` -1 give it back.

        It is written down, and worked in when somebody asks about the node: most are never asked about.
        """
        due = (need, -sign)
        for node in nodes:
            self._due[node].append(due)

    def _settle(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            for need, sign in self._due.pop(node, ()):
                self._add(need, (node,), self._from(0, need), sign)

    def close(self, nodes: Sequence[int], start_s: float, end_s: float) -> None:
        """Let nobody use `nodes` from `start_s` until `end_s`."""
        self._free[list(nodes), 0, self.window(start_s, end_s)] = -1

    def window(self, start_s: float, end_s: float) -> slice:
        """Return the moments from `start_s`, or the last before it, until before `end_s`."""
        return slice(max(0, bisect_right(self._times, start_s) - 1), self._moment(end_s))

    def free(self, window: slice) -> _Ints:
        """Return what is free at the moments of a window, by node and resource."""
        return self._free[:, :, window]

    def held(self, holds: Iterable[Hold]) -> _Ints:
        """Return what holds take, by node, resource and moment."""
        held = np.zeros_like(self._free)
        for hold in holds:
            for node in hold.nodes:
                held[node, :, : self._moment(hold.end_s)] += hold.need.amounts[:, node, None]
        return held

    @property
    def times_s(self) -> Sequence[float]:
        """The moments of the table."""
        return self._times

    def give(self, node: int, amounts: _Ints, times_s: npt.NDArray[np.float64]) -> None:
        """Give back amounts on a node, by resource and by moments that were those of this table at first."""
        self._free[node] += amounts[:, np.searchsorted(times_s, self._times, side="right") - 1]

    def remove(self, amounts: _Ints, window: slice) -> None:
        """Take amounts, by node, resource and moment of a window, for good."""
        self._free[:, :, window] -= amounts

    def find(self, jobs: Sequence[Asked]) -> Slot | None:
        """Return the first moment at which jobs can start together, each on some of its members; None if never."""
        self._settle(tuple(self._due))
        tables = [self._lasting(one.need, one.members) for one in jobs]
        possible = np.logical_and.reduce(
            [table.sum(axis=0) >= one.need.nodes for table, one in zip(tables, jobs, strict=True)]
        )
        for moment in np.flatnonzero(possible).tolist():
            nodes = self._place_all(moment, jobs)
            if nodes is not None:
                return Slot(self._times[moment], tuple(nodes))
        return None

    def can_keep(self, asked: Asked, slot: Slot) -> bool:
        """Tell whether one job could start in just this slot."""
        (nodes,) = slot.nodes
        if len(nodes) != asked.need.nodes:
            return False
        self._settle(tuple(self._due))
        self._split(slot.start_s)
        return set(nodes).issubset(self._open(asked, self._moment(slot.start_s)))

    def keep(self, needs: Sequence[Need], slot: Slot) -> None:
        """Keep a slot for jobs, in the order in which it was found for them."""
        self._settle(tuple(self._due))
        self._split(slot.start_s)
        for need, nodes in zip(needs, slot.nodes, strict=True):
            self._split(slot.start_s + need.duration_s)
            self._add(need, nodes, self._from(self._moment(slot.start_s), need), -1)

    def give_up(self, needs: Sequence[Need], slot: Slot) -> None:
        """Undo `keep`."""
        for need, nodes in zip(needs, slot.nodes, strict=True):
            self._add(need, nodes, self._from(self._moment(slot.start_s), need), 1)

    def _split(self, at_s: float) -> None:
        """Make a moment of `at_s`, so that what ends then gives back its room then."""
        place = self._moment(at_s)
        if place == len(self._times) or self._times[place] != at_s:
            self._times.insert(place, at_s)
            self._free = np.insert(self._free, place, self._free[:, :, place - 1], axis=2)

    def _lasting(self, need: Need, members: _Ints) -> _Bools:
        """Return, for each member and moment, whether the need fits from then on for all its duration."""
        table = self._table(need, members)
        misses = np.hstack([np.zeros((len(members), 1), dtype=np.int64), np.cumsum(~table, axis=1)])
        ends = [self._from(moment, need).stop for moment in range(len(self._times))]
        lasting: _Bools = misses[:, ends] == misses[:, :-1]
        return lasting

    def _open(self, asked: Asked, moment: int) -> list[int]:
        """Return the nodes on which one job could begin at a moment and run for all its duration."""
        fits = self._fits(asked.need, asked.members, self._from(moment, asked.need))
        if asked.allows is not None:
            fits &= asked.allows(self._times[moment])
        nodes: list[int] = asked.members[fits].tolist()
        return nodes

    def _place_all(self, moment: int, jobs: Sequence[Asked]) -> list[list[int]] | None:
        """Return nodes for each job from `moment` on, or None; the table is left as it was."""
        placed: list[list[int]] = []
        for one in jobs:
            nodes = one.chosen(self._open(one, moment))
            if nodes is None:
                break
            self._try(moment, one, nodes, 1)
            placed.append(list(nodes))
        for one, nodes in zip(jobs, placed, strict=False):
            self._try(moment, one, nodes, -1)
        return placed if len(placed) == len(jobs) else None

    def _try(self, moment: int, one: Asked, nodes: Sequence[int], sign: int) -> None:
        """Put one job on nodes from a moment on; with `sign` -1 take it off them again."""
        self._add(one.need, nodes, self._from(moment, one.need), -sign)
        if one.enter is not None:
            one.enter(self._times[moment], nodes, sign)


def _thinned(times: Sequence[float]) -> list[float]:
    """Keep at most so many moments, always the first and the last: what ends between two counts as ending at the later."""
    if len(times) <= _MOMENTS:
        return list(times)
    keep = dict.fromkeys(np.linspace(0, len(times) - 1, _MOMENTS).astype(int).tolist())
    return [times[place] for place in keep]


def members_that_fit(request: Resources, gpu_type: str, pool: Pool) -> _Ints:
    """Return the pool's nodes that are up and could hold the request if they were empty, in the order of their names."""
    fitting = fitting_nodes(request, gpu_type, pool, free=False)
    return fitting[pool.nodes.is_up[fitting]]
