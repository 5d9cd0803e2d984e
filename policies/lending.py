"""Lent room given back: whoever uses it saves and leaves as soon as work of its holder lacks room.

A guest is asked in the tick that finds the holder's work ready, so that this starts in the tick after the guest has left.
Nothing is lent anew meanwhile, and nobody else gets what the guest leaves: it is kept for the holder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from elisa.model.decisions import Preempt
from elisa.model.ids import AttemptId, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Reservation
from elisa.policies.claims import guests_of
from elisa.policies.makeroom import BLOCKED
from elisa.policies.makeroom_nodes import ground_of
from elisa.policies.preemption import Ground, Standing, Victim, cost_of
from elisa.policies.preemption_ties import clear_cheapest, site_of
from elisa.policies.profile import need_of
from elisa.policies.reservations import asked_of
from elisa.policies.snapshot import Ints, Snapshot
from elisa.policies.walk import Walk

__all__ = ["to_give_back"]

# Who is a guest stands behind everybody: what it costs is compared, its class is not.
_GUEST = Standing(is_idle_only=True, rank=0)


def to_give_back(
    snapshot: Snapshot, order: Ints, walk: Walk, but_not: Collection[AttemptId] = ()
) -> tuple[Preempt, ...]:
    """Return which guests are asked to leave for the holders' tasks that did not start for want of room."""
    lent = [one for one in snapshot.site.reservations if one.is_lent and one.starts_at.timestamp() <= snapshot.now_s]
    if not lent or not snapshot.running:
        return ()
    return tuple(_Return(snapshot, walk, lent, but_not).all(order))


class _Return:
    """Serves the holders' tasks one after another, as far as their reservations go."""

    def __init__(
        self, snapshot: Snapshot, walk: Walk, lent: Sequence[Reservation], but_not: Collection[AttemptId]
    ) -> None:
        self._snapshot = snapshot
        self._walk = walk
        self._left = {one: one.amount - _used(one, snapshot, walk) for one in lent}
        guests = guests_of(snapshot.running, snapshot.site.reservations)
        self._victims = {
            id_: Victim(row=row, standing=_GUEST, cost=cost_of(row, snapshot.site, snapshot.now_s))
            for id_, row in guests.items()
            if not row.is_leaving and id_ not in but_not
        }
        self._grounds: dict[int, Ground] = {}

    def all(self, order: Ints) -> Iterator[Preempt]:
        """Yield who is asked, for the tasks in their order."""
        tasks = self._snapshot.tasks
        started = {start.row for start in self._walk.starts}
        claiming = [bool(shape.claims) and not shape.is_guest for shape in self._snapshot.shapes]
        for row in order[[claiming[shape] for shape in tasks.shape[order].tolist()]].tolist():
            if not any(left > 0 for left in self._left.values()):
                return
            if row not in started and self._walk.why.refusal(row).code in BLOCKED:
                yield from self._serve(row)

    def _serve(self, row: int) -> Iterator[Preempt]:
        """Clear the first way for one task that its reservation covers."""
        owner, shape = int(self._snapshot.tasks.owner[row]), int(self._snapshot.tasks.shape[row])
        for way in self._walk.ways_of[shape]:
            one = self._covering(way, self._snapshot.shapes[shape].claims)
            if one is None or self._walk.admission.refusing_row(owner, way) is not None:
                continue
            victims = self._clear(row, way)
            if victims is not None:
                self._walk.admission.take(owner, way)
                self._left[one] -= self._asked(way, one)
                yield from (self._ask(victim, one, TaskId(self._snapshot.tasks.ids[row])) for victim in victims)
                return

    def _asked(self, way: int, one: Reservation) -> int:
        request, _, gpu_type, _ = self._walk.ways[way]
        return asked_of(request, one, gpu_type)

    def _covering(self, way: int, claims: Collection[str]) -> Reservation | None:
        backend = self._snapshot.pools[self._walk.ways[way].pool].backend
        return next(
            (
                one
                for one, left in self._left.items()
                if one.id in claims and one.backend == backend and 0 < self._asked(way, one) <= left
            ),
            None,
        )

    def _clear(self, row: int, way: int) -> tuple[Victim, ...] | None:
        """Return who has to leave so that there is room by this way, nobody if those who leave already are enough."""
        counted, presence = self._walk.counted[way], self._walk.presence
        pool = self._snapshot.pools[counted.pool]
        tie = (presence.tied[way], self._snapshot.tasks.ids[row]) if way in presence.tied else None
        site = site_of(counted, pool, presence, tie, self._walk.future.reserved_nodes(way))
        if id(pool.nodes) not in self._grounds:
            leaving = [one for one in self._snapshot.running if one.is_leaving and one.backend == pool.backend]
            self._grounds[id(pool.nodes)] = ground_of(self._walk, pool, leaving)
        eligible = [victim for victim in self._victims.values() if victim.row.backend == pool.backend]
        need = need_of(counted.request, counted.gpu_type, pool.nodes)
        cleared = clear_cheapest(self._grounds[id(pool.nodes)], need, site, eligible)
        return None if cleared is None else cleared.victims

    def _ask(self, victim: Victim, one: Reservation, task: TaskId) -> Preempt:
        attempt = AttemptId(victim.row.attempt)
        del self._victims[attempt]
        facts = {"task": task, "project": one.project, "backend": one.backend, "what": one.what, "reservation": one.id}
        return Preempt(attempt=attempt, beneficiary=task, reason=because(ReasonCode.LENT_BACK, **facts))


def _used(one: Reservation, snapshot: Snapshot, walk: Walk) -> int:
    """Return what a holder has of the thing reserved, with what this plan starts."""
    rows = [row for row in snapshot.running if row.backend == one.backend and one.is_for(row.project, row.owner_uid)]
    used = sum(asked_of(row.request, one) for row in rows)
    shapes, tasks = snapshot.shapes, snapshot.tasks
    for start in walk.starts:
        shape = shapes[int(tasks.shape[start.row])]
        is_theirs = one.id in shape.claims and not shape.is_guest
        if is_theirs and snapshot.pools[start.way.pool].backend == one.backend:
            used += asked_of(start.way.request, one, start.way.gpu_type)
    return used
