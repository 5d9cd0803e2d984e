"""One pass over the queue: budgets and room taken task by task, and the first rule that refuses each of the rest.

Everything a start needs only shrinks on the way, so a refusal is final for all later tasks of the same owner and shape:
the walk costs about as much as there are starts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elisa.model.ids import TaskId
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import MPS, meets
from elisa.policies.affinity import Presence
from elisa.policies.ageing import aged
from elisa.policies.backfill import Backfill, Promise, ends_of
from elisa.policies.budgets_caps import Admission
from elisa.policies.closing import Closing
from elisa.policies.fusion import Filling, Pot
from elisa.policies.placement_pools import Way
from elisa.policies.refusals import Refusals, Why
from elisa.policies.reservations import QueueLimits
from elisa.policies.room import Bounds, Room, Taken
from elisa.policies.snapshot import Ints, Snapshot
from elisa.policies.ways import Ways

__all__ = ["Start", "Walk"]

_CHUNK = 4096
_FOR_WANT_OF_NODES = frozenset({ReasonCode.NO_ROOM, ReasonCode.RESERVED_FOR_HIGHER, ReasonCode.HELD_FOR})


class Start(NamedTuple):
    """Room and budget taken for one task (a row of the snapshot).

    One that joins the native job of another, in row `host`, takes budget only.
    """

    row: int
    taken: Taken
    way: Way
    host: int = -1


class Walk:
    """One pass over the order."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.closing = Closing(snapshot.site.closures, snapshot.now_s)
        self.refusals = Refusals()
        self.starts: list[Start] = []
        company = snapshot.outlook.company
        ends_s = ends_of(snapshot) if company.neighbours else {}
        self.presence = Presence(snapshot.shapes, snapshot.pools, company, snapshot.now_s, ends_s)
        found = Ways(snapshot, self.closing, self.presence)
        self.ways, self.ways_of, self._larger, self.counted = found.all, found.of, found.larger, found.counted
        self.refusals.of_shape.update(found.refusals)
        self._is_open = np.array([len(ways) > 0 for ways in self.ways_of], dtype=np.bool_)
        self._elastic: list[tuple[int, int]] = []
        self._full: set[int] = set()
        self.admission = Admission(snapshot.caps, [(way.request, way.gpu_type) for way in self.ways])
        self.future = Backfill(snapshot, self.counted, found.claims, found.guests, self.presence)
        self.reserved = QueueLimits(snapshot, self.counted, found.claims)
        bounds = Bounds(self.future, self.closing, self.reserved, self.presence)
        self.room = Room(snapshot.pools, self.counted, snapshot.site.submits_per_tick, bounds)
        self._reservations_left = snapshot.site.backfill_depth
        self._due_left = snapshot.site.backfill_due
        self._is_due = np.isfinite(snapshot.tasks.deadline_s)
        self._kept: dict[int, int] = {}
        self._is_refused = self._refused_by_caps()
        self._is_aged = aged(snapshot)
        self.why = Why(snapshot, self.refusals, self._is_refused, self.admission, self.room, self.ways_of)
        self._closed: tuple[set[int], set[int]] = (set(), set())
        now, later = self._closed
        self._places = ((self.room.place_now, now, True), (self.room.place_in_queue, later, False))
        self.on_trial = False
        self._filling = Filling(snapshot.site.fusion)
        self._gangs = _members(snapshot)
        self._has_gangs = bool(self._gangs)
        self._awaited = [gang for gang in self._gangs if snapshot.gangs[gang].is_begun]
        self._has_brief = self._filling.is_brief(float(snapshot.tasks.brief_s.min(initial=inf)))

    def run(self, order: Ints) -> None:
        tasks = self.snapshot.tasks
        candidates = order[self._may_start()[order]]
        self._renew_promises(candidates)
        for first in range(0, len(candidates), _CHUNK):
            chunk = candidates[first : first + _CHUNK]
            chunk = chunk[self._is_open[tasks.shape[chunk]] | (self._is_due[chunk] & (self._due_left > 0))]
            columns = (chunk.tolist(), tasks.owner[chunk].tolist(), tasks.shape[chunk].tolist())
            for row, owner, shape in zip(*columns, strict=True):
                may_get_room = self._is_open[shape] or (self._due_left > 0 and self._is_due[row])
                if may_get_room and (owner, shape) not in self.refusals.of_owner:
                    if self._elastic:
                        self._widen(int(tasks.priority[row]))
                    self._try(row, owner, shape)
            if not (self._is_open.any() or self._due_left > 0):
                break
        if self.presence.followers:
            self._let_follow(candidates)
        self._widen()

    def _let_follow(self, candidates: Ints) -> None:
        """Try those once more that must be beside others, as long as more of these were placed since they were tried."""
        tasks, before = self.snapshot.tasks, -1
        while before < len(self.starts):
            before = len(self.starts)
            started = {start.row for start in self.starts}
            for row in candidates[np.isin(tasks.shape[candidates], list(self.presence.followers))].tolist():
                owner, shape = int(tasks.owner[row]), int(tasks.shape[row])
                is_served = row in started or row in self.refusals.of_row
                if not is_served and tasks.gang[row] < 0 and (owner, shape) not in self.refusals.of_owner:
                    self._open_again(shape)
                    self._try(row, owner, shape)

    def _open_again(self, shape: int) -> None:
        self.refusals.of_shape.pop(shape, None)
        for closed in self._closed:
            closed.difference_update(self.ways_of[shape])

    def _widen(self, rank: int | None = None) -> None:
        """Give elastic starts of classes better than `rank` what room and budget all of their class have left.

        As long as a gang of whatever class waits with some members on nodes for others, they get nothing more.
        """
        if self._awaited and (rank is not None or self._lacks_nodes(self._awaited)):
            return
        due = [(own, place) for own, place in self._elastic if rank is None or own < rank]
        self._elastic = [one for one in self._elastic if one not in due]
        for own, place in due:
            most = self._most_for(self.starts[place], own)
            for way in self._larger[self.starts[place].taken.way]:
                if self.ways[way].request.size <= most and way not in self._full and self._exchange(place, way):
                    break

    def _lacks_nodes(self, gangs: Collection[int]) -> bool:
        refusals = (self.refusals.of_gang[gang] for gang in gangs if gang in self.refusals.of_gang)
        return any(one.code in _FOR_WANT_OF_NODES for one in refusals)

    def _most_for(self, start: Start, rank: int) -> float:
        """Return how much an elastic start may have, so that jobs of its class in the same queues get theirs first.

        Which of them could use the GPUs of which node is not known: as long as one waits, it gets no more of these.
        """
        pool = self.snapshot.pools[start.way.pool]
        if not pool.keeps_queue:
            return np.inf
        jobs = self.snapshot.queued_jobs()
        waiting = sum(job.request.node_count for job, own in jobs if job.backend == pool.backend and own <= rank)
        for other in self.starts:
            is_there = self.snapshot.pools[other.way.pool].backend == pool.backend and not other.taken.nodes
            if is_there and other.host < 0 and self.snapshot.tasks.priority[other.row] <= rank:
                waiting += other.way.request.node_count
        if not waiting:
            return np.inf
        has_nodes = not start.way.request.bounds.of_gpus
        return start.way.request.size + (self.room.count(start.taken.way) - waiting if has_nodes else 0)

    def _exchange(self, place: int, way: int) -> bool:
        """Start one of the starts by a larger way; tell whether room and budget allow it."""
        start = self.starts[place]
        owner = int(self.snapshot.tasks.owner[start.row])
        self.admission.take(owner, start.taken.way, -1)
        taken: Taken | None = None
        if self.admission.refusing_row(owner, way) is None:
            taken = self.room.exchange(start.taken, way)
            # Whoever holds GPUs of another node may have room there yet.
            if taken is None and self.ways[way].request.nodes > start.way.request.nodes:
                self._full.add(way)
        self.admission.take(owner, start.taken.way if taken is None else way)
        if taken is not None:
            self.starts[place] = Start(start.row, taken, self.ways[way])
        return taken is not None

    def _begin(self, start: Start) -> None:
        """Count a task as started; an elastic one on nodes may get more of them later."""
        if start.taken.nodes and start.taken.way in self._larger:
            self._elastic.append((int(self.snapshot.tasks.priority[start.row]), len(self.starts)))
        self.starts.append(start)

    def _renew_promises(self, candidates: Ints) -> None:
        """Keep what was promised before, as long as nobody ranks above it who was not there when it was promised.

        Who must be beside others was there perhaps, and could be promised nothing while it waited for these.
        """
        promised = self.snapshot.promised
        self.presence.is_patient = False
        for row in candidates.tolist() if promised else ():
            task = TaskId(self.snapshot.tasks.ids[row])
            kept, shape = promised.get(task), int(self.snapshot.tasks.shape[row])
            if kept is None and shape in self.presence.followers:
                continue
            if kept is None or not (self._reservations_left > 0 or self._may_be_kept_room(row)):
                return
            way = self.future.renew(self.ways_of[shape], kept, task)
            if way is None:
                return
            self._kept[row] = way
            self._count_kept(1)

    def _may_start(self) -> npt.NDArray[np.bool_]:
        """Return which tasks (by row) no rule refuses before the walk; those it does refuse get their reason."""
        tasks = self.snapshot.tasks
        may = self._is_open[tasks.shape] & (~self._is_refused[tasks.shape, tasks.owner] | self._is_aged)
        return may & self._own() if self.snapshot.uid is not None else may

    def _own(self) -> npt.NDArray[np.bool_]:
        uid = self.snapshot.tasks.uid
        own: npt.NDArray[np.bool_] = uid == self.snapshot.uid
        # Not np.unique: it imports numpy.ma when it is first called, which idle ticks need not.
        for owner in sorted(set(uid[~own].tolist())):
            self.refusals.of_user[owner] = because(ReasonCode.OTHER_OWNER, owner=owner)
        return own

    def _refused_by_caps(self) -> npt.NDArray[np.bool_]:
        """Return, by shape and owner, whether a hard cap refuses every way before anything starts."""
        by_way = self.admission.refused_at_start()
        refused = np.zeros((len(self.snapshot.shapes), len(self.snapshot.owners)), dtype=np.bool_)
        for shape, ways in enumerate(self.ways_of):
            if ways:
                refused[shape] = by_way[ways.start] if len(ways) == 1 else by_way[ways.start : ways.stop].all(axis=0)
        return refused

    def _try(self, row: int, owner: int, shape: int) -> None:
        gang = int(self.snapshot.tasks.gang[row]) if self._has_gangs else -1
        if gang >= 0:
            self._try_gang(gang)
            return
        start = self._place(row, owner, shape)
        if isinstance(start, Start):
            self._begin(start)
            if self._has_brief:
                self._let_join(start, owner, shape)
        elif start is not None:
            self.refusals.of_owner[owner, shape] = start
            if self._is_aged[row]:
                self.admission.save_for(owner, self.ways_of[shape].start)

    def _let_join(self, start: Start, owner: int, shape: int) -> None:
        """Let short tasks of the same owner that ask for the same thing follow a short one in its native job."""
        brief_s = float(self.snapshot.tasks.brief_s[start.row])
        is_plain = not start.way.request.components
        if start.host < 0 and is_plain and self._filling.is_brief(brief_s):
            way, nodes, _ = start.taken
            self._filling.begin((owner, shape), Pot(host=start.row, way=way, nodes=nodes, brief_s=[brief_s]))

    def _join(self, row: int, owner: int, shape: int, *, beside: bool) -> Start | None:
        """Put a short task into a native job that this plan starts for others like it; None if none can take it.

        `beside` them, which takes as much room again on their node, or else after them, in the emptiest.
        """
        brief_s = float(self.snapshot.tasks.brief_s[row])
        if not self._filling.is_brief(brief_s):
            return None
        find = self._filling.widest if beside else self._filling.choose
        pot = find((owner, shape), brief_s)
        if pot is None or self.admission.refusing_row(owner, pot.way) is not None:
            return None
        if not self._may_last(pot.way, pot.job_s(self.ways[pot.way].request.walltime_s, brief_s)):
            return None
        # What runs side by side in a job would have all percents of it that are one's own.
        if beside and (meets(self.ways[pot.way].gpu_type, MPS) or not self.room.widen(pot.way, pot.nodes)):
            return None
        self.admission.take(owner, pot.way)
        pot.brief_s.append(brief_s)
        pot.lanes += beside
        return Start(row, Taken(pot.way, pot.nodes if beside else ()), self.ways[pot.way], pot.host)

    def admit_after(self, start: Start, job_s: int) -> bool:
        """Take budget for one more task that asks for what a start does, in its native job; False if it can't be so long."""
        owner, way = int(self.snapshot.tasks.owner[start.row]), start.taken.way
        if self.admission.refusing_row(owner, way) is not None or not self._may_last(way, job_s):
            return False
        self.admission.take(owner, way)
        return True

    def _may_last(self, way: int, job_s: int) -> bool:
        """Tell whether a native job may be so long: for its partition, for closed times, and for room that is kept."""
        pool = self.snapshot.pools[self.ways[way].pool]
        walltime_s = self.ways[way].request.walltime_s
        if 0 < pool.partition.max_walltime_s < job_s:
            return False
        if self.closing.ahead(pool.backend, job_s) != self.closing.ahead(pool.backend, walltime_s):
            return False
        site, now_s = self.snapshot.site, self.snapshot.now_s
        reserved = [one for one in site.reservations if one.backend == pool.backend]
        if any(one.overlaps(now_s + walltime_s, now_s + job_s) for one in reserved):
            return False
        return pool.keeps_queue or (self._reservations_left, self._due_left) == (site.backfill_depth, site.backfill_due)

    def _place(self, row: int, owner: int, shape: int) -> Start | Reason | None:
        """Take budget and room for one task: free nodes if any way has them, else a place in a queue.

        Returns the cap that refuses it, or None when there is no room by any way; a shape without room is closed.
        """
        cap: Reason | None = None
        has_own_room = bool(self._kept) and self._open_own_room(row, shape)
        self.presence.is_patient = not has_own_room
        for place, closed_ways, is_now in self._places:
            if self._has_brief and not self.on_trial:
                joined = self._join(row, owner, shape, beside=is_now)
                if joined is not None:
                    return joined
            closed = set() if has_own_room else closed_ways
            for way in self.ways_of[shape]:
                if way in closed:
                    continue
                refusing = self.admission.refusing_row(owner, way)
                if refusing is not None:
                    cap = cap or self.admission.refusal(refusing, way)
                    continue
                taken = place(way)
                if taken is not None:
                    self.admission.take(owner, way)
                    return Start(row, taken, self.ways[way])
                if not self.on_trial:
                    closed.add(way)
        if cap is None and not self.on_trial:
            self._keep_room(row, shape)
        return cap

    def _open_own_room(self, row: int, shape: int) -> bool:
        """Give up the room that was kept for a task, so that it can start there or sooner; tell whether there was any."""
        way = self._kept.pop(row, None)
        if way is None:
            return False
        task = TaskId(self.snapshot.tasks.ids[row])
        self.future.give_up(way, self.snapshot.promised[task], task)
        self.room.look_again(self.ways_of[shape])
        self._count_kept(-1)
        return True

    def _keep_room(self, row: int, shape: int) -> None:
        """Reserve the earliest start for a task without room, as far as the site's depth goes; else close its shape."""
        promise = self._reserve([self.ways_of[shape]], row)
        if promise is None:
            self._is_open[shape] = False
        else:
            self.refusals.of_row[row] = _with_start(self.room.refusal(self.ways_of[shape].start), promise)

    def _reserve(self, choices: Sequence[Sequence[int]], row: int) -> Promise | None:
        """Keep room for a task, or the gang whose first it is: as far as the depth goes, or beyond it if it is due."""
        is_within = self._reservations_left > 0
        if not (is_within or self._may_be_kept_room(row)):
            return None
        promise = self.room.reserve(choices, self.snapshot.tasks.ids[row])
        # Beyond the depth every look counts, found or not: a plan may hold a hundred thousand tasks that are due.
        self._count_kept(int(promise is not None or not is_within))
        return promise

    def _may_be_kept_room(self, row: int) -> bool:
        return self._due_left > 0 and bool(self._is_due[row])

    def _count_kept(self, count: int) -> None:
        """Count room that is kept; what goes beyond the depth is taken from what is there for deadlines."""
        within = min(count, self._reservations_left) if count > 0 else count
        self._reservations_left -= within
        self._due_left -= count - within

    def _try_gang(self, gang: int) -> None:
        """Start as many members as must start together, and all others that fit; or none, as if none had been tried."""
        if gang not in self._gangs:
            return
        rows, wanted = self._gangs.pop(gang), self.snapshot.gangs[gang]
        if self.presence.followers:
            rows = sorted(rows, key=lambda row: int(self.snapshot.tasks.shape[row]) in self.presence.followers)
        needed = max(1, (wanted.minimum or wanted.size + wanted.live) - wanted.live)
        starts: list[Start] = []
        refusal: Reason | None = None
        self.on_trial = True
        self.room.gather(
            sum(self.snapshot.shapes[shape].request.nodes for shape in self.snapshot.tasks.shape[rows].tolist())
        )
        for row in rows if len(rows) >= needed else ():
            start = self._place_member(row)
            if isinstance(start, Start):
                starts.append(start)
            else:
                refusal = refusal or start
        self.on_trial = False
        self.room.gather(0)
        if refusal is not None or len(starts) < needed:
            self.refusals.of_gang[gang] = refusal or because(ReasonCode.GANG_INCOMPLETE, ready=len(rows), needed=needed)
        if len(starts) >= needed:
            for start in starts:
                self._begin(start)
            return
        self._undo(starts)
        if refusal is not None and refusal.code in _FOR_WANT_OF_NODES:
            self._keep_room_together(gang, rows)

    def _keep_room_together(self, gang: int, rows: Sequence[int]) -> None:
        shapes = self.snapshot.tasks.shape[rows].tolist()
        ways = [self.ways_of[shape] for shape in shapes]
        # Where its members will be decides where the others of them may be: nobody works that out ahead of time.
        is_foreseen = all(ways) and not any(map(self.presence.is_held, shapes))
        promise = self._reserve(ways, rows[0]) if is_foreseen else None
        if promise is not None:
            self.refusals.of_gang[gang] = _with_start(self.refusals.of_gang[gang], promise)

    def _place_member(self, row: int) -> Start | Reason:
        tasks = self.snapshot.tasks
        owner, shape = int(tasks.owner[row]), int(tasks.shape[row])
        start = self._place(row, owner, shape) if self.ways_of[shape] else self.refusals.of_shape[shape]
        return start or self.room.refusal(self.ways_of[shape].start)

    def _undo(self, starts: Sequence[Start]) -> None:
        for start in reversed(starts):
            self.room.give_back(start.taken)
            self.admission.take(int(self.snapshot.tasks.owner[start.row]), start.taken.way, -1)


def _with_start(reason: Reason, promise: Promise) -> Reason:
    facts = {**reason.facts, "starts_at": promise.starts_at}
    if reason.code is ReasonCode.AFFINITY:
        facts["others_on"] = facts["nodes"]
    return because(reason.code, **(facts | {"nodes": ",".join(promise.nodes)} if promise.nodes else facts))


def _members(snapshot: Snapshot) -> dict[int, list[int]]:
    rows = np.flatnonzero(snapshot.tasks.gang >= 0)
    members: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        members[int(snapshot.tasks.gang[row])].append(row)
    return members
