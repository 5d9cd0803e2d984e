"""Room made for the front of the queue: queued jobs withdrawn, running ones asked to leave."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import inf

import numpy as np

from elisa.model.columns import RunningRow
from elisa.model.decisions import Preempt, Resize
from elisa.model.ids import TaskId
from elisa.model.reasons import ReasonCode
from elisa.policies.makeroom_nodes import Clearer
from elisa.policies.makeroom_trial import could_start
from elisa.policies.placement_pools import Pool, Way
from elisa.policies.preemption import (
    Ground,
    Standing,
    may_preempt,
)
from elisa.policies.preemption_ties import Site, site_of
from elisa.policies.snapshot import Ints, Snapshot
from elisa.policies.starts import Start
from elisa.policies.tiers import has_tiers, tiers
from elisa.policies.walk import Walk

__all__ = ["BLOCKED", "first_blocked", "make_room", "make_room_for"]

# Room is made for so many tasks of a plan at most: each costs a search over nodes, and the next tick comes soon.
_BENEFICIARIES = 32
BLOCKED = frozenset(
    {
        ReasonCode.NO_ROOM,
        ReasonCode.RESERVED_FOR_HIGHER,
        ReasonCode.WINDOW_FULL,
        ReasonCode.HELD_FOR,
        ReasonCode.AFFINITY,
    }
)


def make_room(
    snapshot: Snapshot, order: Ints, walk: Walk, served: Collection[TaskId] = ()
) -> tuple[Preempt | Resize, ...]:
    """Return whom to ask to leave, for the first tasks of the order that did not start for want of room.

    Those `served` have room made for them already.
    """
    if not snapshot.running:
        return ()
    maker = _Maker(snapshot, order, walk)
    for row in _blocked(order, walk):
        if snapshot.tasks.gang[row] >= 0:
            maker.serve_gang(int(snapshot.tasks.gang[row]))
        elif snapshot.tasks.ids[row] not in served:
            maker.serve(row)
    for starts in _together(walk) if maker.clearer.may_clear else ():
        maker.serve_started(starts)
    for queued in maker.queued()[:_BENEFICIARIES]:
        maker.serve_queued(queued)
    return tuple(maker.clearer.decisions)


def first_blocked(order: Ints, walk: Walk) -> int | None:
    """Return the first task (a row) that waits for room; None if that is a member of a gang, or there is none."""
    row = next(iter(_blocked(order, walk)), None)
    return None if row is None or walk.snapshot.tasks.gang[row] >= 0 else row


def make_room_for(row: int, snapshot: Snapshot, order: Ints, walk: Walk) -> tuple[Preempt | Resize, ...]:
    """Return whom to ask to leave for one task that is in no gang."""
    maker = _Maker(snapshot, order, walk)
    maker.serve(row)
    return tuple(maker.clearer.decisions)


def _blocked(order: Ints, walk: Walk) -> list[int]:
    started = {start.row for start in walk.starts}
    rows = [row for row in order[: 8 * _BENEFICIARIES + len(started)].tolist() if row not in started]
    blocked = [row for row in rows if walk.why.refusal(row).code in BLOCKED]
    gangs = walk.snapshot.tasks.gang
    first = {int(gangs[row]): row for row in reversed(blocked)}
    return [row for row in blocked if gangs[row] < 0 or first[int(gangs[row])] == row][:_BENEFICIARIES]


def _together(walk: Walk) -> list[list[Start]]:
    """Return the first starts of a plan, those of one gang together."""
    groups: dict[int, list[Start]] = {}
    for start in walk.starts[:_BENEFICIARIES]:
        gang = int(walk.snapshot.tasks.gang[start.row])
        groups.setdefault(gang if gang >= 0 else -2 - start.row, []).append(start)
    return list(groups.values())


class _Maker:
    """Serves one task after another, and gangs as a whole."""

    def __init__(self, snapshot: Snapshot, order: Ints, walk: Walk) -> None:
        self.clearer = Clearer(snapshot, walk)
        self._snapshot = snapshot
        self._walk = walk
        self._order = order
        self._admitted: list[tuple[int, int]] = []
        self._entered: list[tuple[int, Sequence[int], TaskId]] = []
        self._tier = tiers(snapshot, order) if has_tiers(snapshot) else np.ones(len(order), dtype=np.int64)

    def serve_gang(self, gang: int) -> None:
        """Make room for as many members of a gang as must start together, or ask nobody for any of them.

        It stands as its loosest member does: whoever gives way to one of them could never take the place of another.
        """
        tasks, wanted = self._snapshot.tasks, self._snapshot.gangs[gang]
        rows = self._order[tasks.gang[self._order] == gang].tolist()
        live = [one for one in self._snapshot.running if wanted.name and one.gang == wanted.name]
        standing = max([*map(self._standing, rows), *map(self._standing_of, live)])
        # Where others are decides where those may be who must be beside them.
        rows.sort(key=lambda row: int(tasks.shape[row]) in self._walk.presence.followers)
        servings = [partial(self._serve_member, row, self._lead(rows), standing) for row in rows]
        if self.clearer.may_clear:
            self._all_or_none(servings, wanted.needed, partial(could_start, self._walk, rows, wanted.needed))

    def _serve_member(self, row: int, lead: TaskId, standing: Standing) -> bool:
        tasks = self._snapshot.tasks
        owner, member = int(tasks.owner[row]), TaskId(tasks.ids[row])
        for way in self._walk.ways_of[int(tasks.shape[row])]:
            if self._may_take(owner, way) and self._clear_for_member(member, way, standing, lead):
                self._walk.admission.take(owner, way)
                self._admitted.append((owner, way))
                return True
        return False

    def _may_take(self, owner: int, way: int) -> bool:
        return self._walk.admission.refusing_row(owner, way) is None and self._walk.reserved.refusing(way) is None

    def _clear_for_member(self, member: TaskId, way: int, standing: Standing, lead: TaskId) -> bool:
        """Make room for one member where elisa places jobs itself; as long as its gang is served, the others know where."""
        counted, presence = self._walk.counted[way], self._walk.presence
        pool = self._snapshot.pools[counted.pool]
        if pool.keeps_queue:
            return False
        site = self._site(way, member, self._walk.future.reserved_nodes(way))
        nodes = self.clearer.clear(counted, standing, lead, site)
        if nodes and way in presence.tied:
            presence.take(presence.tied[way], pool, nodes)
            self._entered.append((way, nodes, member))
        return nodes is not None

    def _lead(self, rows: Sequence[int]) -> TaskId:
        """Return the member that stands for all of a gang."""
        return TaskId(min(self._snapshot.tasks.ids[row] for row in rows))

    def _all_or_none(
        self,
        servings: Sequence[Callable[[], bool]],
        needed: int,
        would_do: Callable[[Mapping[int, Ground]], bool] = lambda _: True,
    ) -> None:
        """Serve one after another until enough are served; if they are too few, ask nobody for any of them.

        Nor if what would then be free would not do.
        """
        mark, admitted, served = self.clearer.mark(), len(self._admitted), 0
        for place, serve in enumerate(servings):
            if served == needed or served + len(servings) - place < needed:
                break
            served += serve()
        is_enough = served == needed
        if is_enough:
            self.clearer.spare(mark)
            is_enough = not self.clearer.has_asked(mark) or would_do(self.clearer.grounds_since(mark))
        self._leave(are_served=is_enough)
        if is_enough:
            return
        for owner, way in self._admitted[admitted:]:
            self._walk.admission.take(owner, way, -1)
        del self._admitted[admitted:]
        self.clearer.undo(mark)

    def _leave(self, *, are_served: bool) -> None:
        """Let members that were served together be nowhere again; if they all were, keep others off who could not be there."""
        presence, entered = self._walk.presence, self._entered
        self._entered = []
        for way, nodes, _ in entered:
            presence.take(presence.tied[way], self._pool(way), nodes, -1)
        for way, nodes, member in entered if are_served else ():
            presence.pledge(presence.tied[way], self._pool(way), nodes, member, (self._snapshot.now_s, inf))

    def _pool(self, way: int) -> Pool:
        return self._snapshot.pools[self._walk.ways[way].pool]

    def serve(self, row: int) -> None:
        """Make room for one task by the first way that can be cleared."""
        tasks = self._snapshot.tasks
        owner, shape = int(tasks.owner[row]), int(tasks.shape[row])
        standing, beneficiary = self._standing(row), TaskId(tasks.ids[row])
        for way in self._walk.ways_of[shape]:
            if self._walk.admission.refusing_row(owner, way) is None and self._clear(beneficiary, way, standing):
                self._walk.admission.take(owner, way)
                return

    def _clear(self, beneficiary: TaskId, way: int, standing: Standing) -> bool:
        pool = self._snapshot.pools[self._walk.ways[way].pool]
        if self._walk.reserved.refusing(way) is not None:
            return False
        if pool.keeps_queue:
            withdrawn = self._walk.room.may_wait(way) and self._withdraw(beneficiary, pool, standing)
            if withdrawn and self.clearer.may_clear:
                # It will be first in the queue in a minute: whoever has to make room then is asked now.
                self._clear_site(beneficiary, way, standing, self._site(way, beneficiary))
            return withdrawn
        if not self.clearer.may_clear:
            return False
        site = self._site(way, beneficiary, self._walk.future.reserved_nodes(way))
        return self._clear_site(beneficiary, way, standing, site)

    def _site(self, way: int, task: TaskId, but_not: Collection[int] = ()) -> Site:
        """Return where room may be made for a task by one of its ways."""
        counted, presence = self._walk.counted[way], self._walk.presence
        tie = (presence.tied[way], task) if way in presence.tied else None
        return site_of(counted, self._snapshot.pools[counted.pool], presence, tie, but_not)

    def _clear_site(self, beneficiary: TaskId, way: int, standing: Standing, site: Site) -> bool:
        """Make room for a task, and keep others off its nodes who could not be there with it."""
        counted, presence = self._walk.counted[way], self._walk.presence
        nodes = self.clearer.clear(counted, standing, beneficiary, site)
        if nodes and way in presence.tied:
            pool = self._snapshot.pools[counted.pool]
            presence.pledge(presence.tied[way], pool, nodes, beneficiary, (self._snapshot.now_s, inf))
        return nodes is not None

    def serve_started(self, starts: Sequence[Start]) -> None:
        """Make room for a task or a gang that this plan sends to wait in a native queue; who got nodes needs none.

        A gang's members whose nodes others have a say in wait for their turn: who else should leave is not known.
        """
        rows = [start.row for start in starts]
        lead, standing = self._lead(rows), max(map(self._standing, rows))
        waiting = [one for one in starts if not one.taken.nodes and (len(starts) == 1 or not self._is_held(one))]
        servings = [partial(self._serve_waiting, one, lead, standing) for one in waiting]
        self._all_or_none(servings, len(waiting))

    def _is_held(self, start: Start) -> bool:
        return self._walk.presence.is_held(int(self._snapshot.tasks.shape[start.row]))

    def _serve_waiting(self, start: Start, lead: TaskId, standing: Standing) -> bool:
        pool, presence, pinned = self._snapshot.pools[start.way.pool], self._walk.presence, start.taken.pinned
        shape = presence.tied.get(start.taken.way)
        off = [node for node in pool.members.tolist() if node not in pinned] if pinned else ()
        if shape is None:
            site = site_of(start.way, pool, presence, None)
        else:
            # That it waits there itself must not count as one more that it has to be apart from.
            presence.take(shape, pool, pinned, -1)
            site = site_of(start.way, pool, presence, (shape, lead), off)
            presence.take(shape, pool, pinned)
        return self.clearer.clear(start.way, standing, lead, site) is not None

    def _standing(self, row: int) -> Standing:
        return Standing(bool(self._tier[row] == 2), int(self._snapshot.tasks.priority[row]))

    def _standing_of(self, row: RunningRow) -> Standing:
        return self.clearer.standings[row.attempt]

    def queued(self) -> list[list[RunningRow]]:
        """Return the jobs that wait in native queues, those of one gang together, the firmest standing first."""
        waiting = [row for row in self._snapshot.running if row.is_queued and not row.is_leaving]
        waiting = [row for row in waiting if row.attempt not in self.clearer.asked and self.clearer.may_clear]
        groups: dict[str, list[RunningRow]] = {}
        for row in sorted(waiting, key=lambda row: (self._standing_of(row), row.attempt)):
            groups.setdefault(row.gang or row.attempt, []).append(row)
        return list(groups.values())

    def serve_queued(self, rows: Sequence[RunningRow]) -> None:
        """Make room for a job that waits in a native queue, or for all of a gang that do."""
        gang = rows[0].gang
        members = [row for row in self._snapshot.running if gang and row.gang == gang] or [rows[0]]
        lead, standing = TaskId(min(row.task for row in members)), max(map(self._standing_of, members))
        self._all_or_none([partial(self._serve_queued, row, lead, standing) for row in rows], len(rows))

    def _serve_queued(self, row: RunningRow, beneficiary: TaskId, standing: Standing) -> bool:
        """Make room on the nodes of its own pool for a job that waits in a native queue.

        Not for one that is kept off the nodes of others, or they off its: who else should leave is not known.
        """
        if self._walk.presence.binds(row.task) and not row.request.nodelist:
            return False
        for number, pool in enumerate(self._snapshot.pools):
            if (pool.backend, pool.partition.name) == (row.backend, row.partition):
                for gpu_type in pool.nodes.gpu_types if row.request.gpus.per_node else ("",):
                    if gpu_type in (row.request.gpus.types or (gpu_type,)):
                        way = Way(row.request, number, gpu_type)
                        site = site_of(way, pool, self._walk.presence, None)
                        if self.clearer.clear(way, standing, beneficiary, site) is not None:
                            return True
        return False

    def _withdraw(self, beneficiary: TaskId, pool: Pool, standing: Standing) -> bool:
        """Give a place in a native queue to a task in front of one that waits there and has not begun."""
        waiting = [one for one in self._snapshot.running if self._may_withdraw(one, pool, standing)]
        if not waiting:
            return False
        last = max(waiting, key=lambda one: (self._standing_of(one), one.attempt))
        self.clearer.decide(beneficiary, last, {"was": "queued"})
        return True

    def _may_withdraw(self, one: RunningRow, pool: Pool, standing: Standing) -> bool:
        is_there = (one.backend, one.partition) == (pool.backend, pool.partition.name)
        if not (one.is_queued and is_there) or one.is_leaving or one.is_protected:
            return False
        if one.attempt in self.clearer.asked | self.clearer.left_alone:
            return False
        return may_preempt(standing, self._standing_of(one), self._snapshot.site.preemption)
