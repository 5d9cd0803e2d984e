"""Reserved room on backends where elisa places jobs itself: on which nodes it lies, and what that leaves to others.

An advance reservation in the sense of Maui (Jackson, Snell, Clement, JSSPP 2001), with moldable nodes: it is worked out anew
for each plan, on the nodes where its holder already runs, then on those that are free for all of its time. As much is kept
as can be; nobody who was not let in before comes in its way, so that what was free for it once stays so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.site import Metered, Reservation
from elisa.policies.claims import Claims
from elisa.policies.placement_pools import NodeColumns
from elisa.policies.profile import Hold, Need, Profile

__all__ = ["Held", "Inside", "held_rooms"]

_Ints = npt.NDArray[np.int64]
_MANY = np.iinfo(np.int64).max


class Held(NamedTuple):
    """What is kept for a reservation beyond what its holder has: nodes by resources by the moments of `window`."""

    reservation: Reservation
    amounts: _Ints
    window: slice
    nodes: frozenset[int]


class Inside:
    """What a plan starts in room that is reserved for it: so much of that has come to its use, and is kept no longer.

    `times_s` are the moments of the rooms. What may use several reservations fills them in their order, each only once.
    """

    def __init__(self, rooms: Sequence[Held], times_s: Sequence[float]) -> None:
        self.times_s = np.array(times_s)
        self._rooms = rooms
        self._started: dict[int, dict[Claims, _Ints]] = {}

    def take(self, need: Need, node: int, claims: Claims, sign: int) -> Sequence[tuple[Reservation, _Ints]]:
        """Note a start on a node, or with `sign` -1 that it was undone; return what is kept less for each reservation."""
        before = self._used(node)
        lasts = self.times_s < self.times_s[0] + need.duration_s
        started = self._started.setdefault(node, {})
        started[claims] = started.get(claims, 0) + sign * need.amounts[:, node, None] * lasts
        after = self._used(node)
        return [(room.reservation, after[place] - before[place]) for place, room in enumerate(self._rooms)]

    def _used(self, node: int) -> Sequence[_Ints]:
        """Return what is used of each room on a node, by resource and moment."""
        used = [np.zeros((room.amounts.shape[1], len(self.times_s)), dtype=np.int64) for room in self._rooms]
        for claims, amounts in sorted(self._started.get(node, {}).items()):
            rest = amounts.copy()
            for room, part in zip(self._rooms, used, strict=True):
                if room.reservation.id in claims:
                    more = np.minimum(room.amounts[node] - part[:, room.window], rest[:, room.window])
                    part[:, room.window] += more
                    rest[:, room.window] -= more
        return used


def held_rooms(
    reservations: Sequence[Reservation],
    profile: Profile,
    own: Mapping[Reservation, Sequence[Hold]],
    nodes: NodeColumns,
    guests: Sequence[Hold] = (),
) -> tuple[Held, ...]:
    """Return what is kept for each reservation, in their order; it is taken from `profile`.

    `own` is what the holder of each has, `guests` have what they give back to the holder of a lent one. What counts towards
    one reservation counts towards no other.
    """
    lent = profile.held(guests)
    counted: dict[tuple[str, tuple[int, ...]], _Ints] = {}
    rooms = []
    for one in reservations:
        used = counted.setdefault((one.project, one.users), profile.held(own[one]))
        rooms.append(_hold(one, profile, [used, lent] if one.is_lent else [used], nodes))
    return tuple(rooms)


def _hold(reservation: Reservation, profile: Profile, used: Sequence[_Ints], nodes: NodeColumns) -> Held:
    """Return what is kept beyond what is `used`: by its holder, and by guests."""
    window = profile.window(reservation.starts_at.timestamp(), reservation.ends_at.timestamp())
    unit = _unit(reservation, nodes)
    own, there = used[0][:, :, window], sum(part[:, :, window] for part in used)
    whole = _whole_units(profile.free(window) + there, unit)
    order = _order(whole, own[:, _counted(reservation, nodes), 0], nodes)
    counts = _shared_out(reservation.amount, whole[:, 0], order)
    # What others still have when it begins is kept from when they leave.
    counts += _shared_out(reservation.amount - int(counts.sum()), whole[:, -1] - counts, order)
    kept = np.minimum(counts[:, None], whole)[:, None, :] * unit.T[:, :, None]
    amounts = np.maximum(0, kept - there)
    profile.remove(amounts, window)
    for part in used:
        counted = np.minimum(part[:, :, window], kept)
        part[:, :, window] -= counted
        kept = kept - counted
    return Held(reservation, amounts, window, frozenset(np.flatnonzero(counts).tolist()))


def _counted(reservation: Reservation, nodes: NodeColumns) -> int:
    """Return the row of `Need.amounts` that tells how much its holder has on a node."""
    is_known = reservation.resource is Metered.GPUS and reservation.gpu_type in nodes.gpu_types
    return 2 + nodes.gpu_types.index(reservation.gpu_type) if is_known else 0


def _unit(reservation: Reservation, nodes: NodeColumns) -> _Ints:
    """Return what one of the thing reserved takes of each node, with the rows of `Need.amounts`; 0 where there is none.

    A GPU comes with its part of the node's cores and memory, a core with its part of the memory: else it were of no use.
    """
    whole = np.vstack([nodes.cpus, nodes.memory_mib, nodes.gpus])
    count, unit = nodes.is_up.astype(np.int64), np.zeros_like(whole)
    match reservation.resource:
        case Metered.GPUS if reservation.gpu_type in nodes.gpu_types:
            count = nodes.gpus[nodes.gpu_types.index(reservation.gpu_type)]
            unit[:2] = whole[:2] // np.maximum(count, 1)
            unit[2 + nodes.gpu_types.index(reservation.gpu_type)] = 1
        case Metered.GPUS:
            count = np.zeros_like(nodes.cpus)
        case Metered.CPUS:
            count = nodes.cpus
            unit[0], unit[1] = 1, nodes.memory_mib // np.maximum(count, 1)
        case _:
            unit = whole
    unit[:, (count == 0) | ~nodes.is_up] = 0
    return unit


def _whole_units(room: _Ints, unit: _Ints) -> _Ints:
    """Return how often the unit fits on each node from each moment on, of a table of nodes, resources and moments."""
    each = np.maximum(0, room) // np.maximum(unit.T, 1)[:, :, None]
    at_once: _Ints = np.where(unit.T[:, :, None] > 0, each, _MANY).min(axis=1)
    lasting: _Ints = np.minimum.accumulate(at_once[:, ::-1], axis=1)[:, ::-1]
    lasting[unit.sum(axis=0) == 0] = 0
    return lasting


def _order(whole: _Ints, own: _Ints, nodes: NodeColumns) -> _Ints:
    """Return the nodes: first those where its holder runs, then those that hold most of it, marked ones last."""
    marked = np.zeros(len(own), dtype=np.bool_)
    for has_it in nodes.taints.values():
        marked |= has_it
    order: _Ints = np.lexsort((np.arange(len(own)), -whole[:, -1], -whole[:, 0], -own, marked))
    return order


def _shared_out(amount: int, most: _Ints, order: _Ints) -> _Ints:
    """Return how much of an amount each node gets that has so much at most."""
    counts: _Ints = np.zeros_like(most)
    before = np.cumsum(most[order]) - most[order]
    counts[order] = np.clip(amount - before, 0, most[order])
    return counts
