"""How much of a queueing backend is left to others beside what is reserved there.

On backends whose room elisa counts, `policies/heldroom.py` keeps it node by node. Where a resource manager places jobs, no
more of elisa's jobs of others are handed over than leave as much as was reserved; those that wait are taken back in time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from elisa.model.decisions import Park
from elisa.model.ids import AttemptId, BackendName
from elisa.model.native import ClusterView
from elisa.model.reasons import Reason
from elisa.model.resources import Resources
from elisa.model.site import Metered, Reservation
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.claims import Claims, held_for
from elisa.policies.placement_pools import NodeColumns, Pool, Way, node_columns
from elisa.policies.snapshot import Snapshot

__all__ = ["QueueLimits", "asked_of", "capacity_of", "to_take_back"]


class QueueLimits:
    """How much of the backends with queues of their own is left to work that may not use what is reserved there.

    Whose jobs are not known counts as others. What a reservation of the resource manager's own stands for, that keeps.
    """

    def __init__(self, snapshot: Snapshot, ways: Sequence[Way], claims: Sequence[Claims]) -> None:
        self._now_s = snapshot.now_s
        self._pools = snapshot.pools
        self._ways = ways
        self._claims = claims
        total = _capacities(snapshot.pools) if snapshot.site.reservations else {}
        self._kept = [one for one in snapshot.site.reservations if one.backend in total and not one.native]
        self._left = [
            _capacity(total[one.backend], one)
            - one.amount
            - sum(asked_of(attempt.request, one) for attempt in _others_in(snapshot, one))
            for one in self._kept
        ]
        self._asks: dict[int, Sequence[tuple[int, int]]] = {}

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing at all is reserved there."""
        return not self._left

    def refusing(self, way: int) -> Reservation | None:
        """Return the first reservation that leaves too little for one more job by this way."""
        if not self._left:
            return None
        return next((self._kept[place] for place, asked in self._asks_of(way) if asked > self._left[place]), None)

    def take(self, way: int, sign: int = 1) -> None:
        """Count one more job by this way; with `sign` -1 one less."""
        for place, asked in self._asks_of(way) if self._left else ():
            self._left[place] -= sign * asked

    def refusal(self, reservation: Reservation, way: int) -> Reason:
        """Return why a reservation keeps a job from starting by this way."""
        request, number, *_ = self._ways[way]
        return held_for(reservation, self._pools[number].partition.name, request.walltime_s, self._now_s)

    def _asks_of(self, way: int) -> Sequence[tuple[int, int]]:
        """Return what one job by this way takes of what each reservation leaves to others."""
        if way not in self._asks:
            request, number, gpu_type, _ = self._ways[way]
            backend, end_s = self._pools[number].backend, self._now_s + request.walltime_s
            asks = [
                (place, asked_of(request, one, gpu_type))
                for place, one in enumerate(self._kept)
                if one.backend == backend and one.id not in self._claims[way] and one.overlaps(self._now_s, end_s)
            ]
            self._asks[way] = [(place, asked) for place, asked in asks if asked]
        return self._asks[way]

    @property
    def overdrawn(self) -> Sequence[tuple[Reservation, int]]:
        """The reservations of which others' jobs may take something, and how much."""
        return [(one, -left) for one, left in zip(self._kept, self._left, strict=True) if left < 0]


def _others_in(snapshot: Snapshot, reservation: Reservation) -> Sequence[Attempt]:
    """Return the live attempts of others on its backend that may run into a reservation.

    One that waits may begin at any time: it counts as soon as it could run into it from now.
    """
    owner = {row.attempt: (row.project, row.owner_uid) for row in snapshot.running}
    return [
        one
        for one in snapshot.live
        if one.backend == reservation.backend
        and reservation.overlaps(snapshot.now_s, _end_s(one, snapshot.now_s))
        and not reservation.is_for(*owner.get(one.id, ("", -1)))
    ]


def _end_s(attempt: Attempt, now_s: float) -> float:
    """Return when an attempt is over at the latest: one that waits, if it began now."""
    is_running = attempt.state is AttemptState.RUNNING
    began_s = attempt.started_at.timestamp() if is_running and attempt.started_at is not None else now_s
    return max(now_s + 1, began_s + attempt.request.walltime_s)


def to_take_back(snapshot: Snapshot, limits: QueueLimits, but_not: Collection[AttemptId] = ()) -> tuple[Park, ...]:
    """Return which waiting jobs of others are taken back from native queues, the last first, for they may run into one."""
    overdrawn = limits.overdrawn
    if not overdrawn:
        return ()
    queued = {row.attempt for row in snapshot.running if row.is_queued and not row.is_leaving}.difference(but_not)
    parks: dict[str, Park] = {}
    for reservation, missing in overdrawn:
        waiting = [one for one in _others_in(snapshot, reservation) if one.id in queued]
        for one in _last_of(waiting, reservation, missing):
            reason = held_for(reservation, one.partition, one.request.walltime_s, snapshot.now_s)
            parks.setdefault(one.id, Park(attempt=one.id, reason=reason))
    return tuple(parks.values())


def _last_of(waiting: Sequence[Attempt], reservation: Reservation, missing: int) -> Iterator[Attempt]:
    """Yield as many of the attempts as give back what is missing, the last that was submitted first."""
    for one in sorted(waiting, key=lambda one: (one.submitted_at or one.intended_at, one.id), reverse=True):
        asked = asked_of(one.request, reservation)
        if missing <= 0:
            return
        missing -= asked
        if asked:
            yield one


def _capacities(pools: Sequence[Pool]) -> Mapping[BackendName, NodeColumns]:
    """Return the nodes of each backend with a queue, where they are known."""
    return {pool.backend: pool.nodes for pool in pools if pool.keeps_queue and pool.nodes.names}


def capacity_of(view: ClusterView, reservation: Reservation) -> int:
    """Return how much of the thing that is reserved a cluster has on nodes that are up."""
    return _capacity(node_columns(view.nodes), reservation)


def _capacity(nodes: NodeColumns, reservation: Reservation) -> int:
    up = nodes.is_up
    match reservation.resource:
        case Metered.GPUS if reservation.gpu_type in nodes.gpu_types:
            return int(nodes.gpus[nodes.gpu_types.index(reservation.gpu_type)][up].sum())
        case Metered.GPUS:
            return 0
        case Metered.CPUS:
            return int(nodes.cpus[up].sum())
        case _:
            return int(up.sum())


def asked_of(request: Resources, reservation: Reservation, gpu_type: str = "") -> int:
    """Return what a request takes of the thing that is reserved; its first type of GPU counts unless one is given."""
    match reservation.resource:
        case Metered.GPUS:
            kind = gpu_type or next(iter(request.gpus.types), reservation.gpu_type)
            return request.gpu_count if kind == reservation.gpu_type else 0
        case Metered.CPUS:
            return request.cpus
        case _:
            return request.node_count
