"""One pass over the queue: budgets and room taken task by task, and the first rule that refuses each of the rest.

Everything a start needs only shrinks on the way, so a refusal is final for all later tasks of the same owner and shape:
the walk costs about as much as there are starts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.affinity import Presence
from elisa.policies.backfill import Backfill, ends_of
from elisa.policies.budgets_caps import Admission
from elisa.policies.closing import Closing
from elisa.policies.refusals import FOR_WANT_OF_NODES, Refusals, Why
from elisa.policies.reservations import QueueLimits
from elisa.policies.room import Room
from elisa.policies.room_nodes import Bounds
from elisa.policies.snapshot import Ints, Snapshot
from elisa.policies.starts import Means, Start
from elisa.policies.walk_joining import Joining
from elisa.policies.walk_keeping import Keeping, with_start
from elisa.policies.walk_widening import Widening
from elisa.policies.ways import Ways

__all__ = ["Walk"]

_CHUNK = 4096


class Walk:
    """One pass over the order. The rows `ahead` have come of age: what is kept for them nobody takes that comes later."""

    def __init__(self, snapshot: Snapshot, ahead: frozenset[int] = frozenset()) -> None:
        self.snapshot = snapshot
        self.closing = Closing(snapshot.site.closures, snapshot.now_s)
        self.refusals = Refusals()
        self.starts: list[Start] = []
        company = snapshot.outlook.company
        ends_s = ends_of(snapshot) if company.neighbours else {}
        self.presence = Presence(snapshot.shapes, snapshot.pools, company, snapshot.now_s, ends_s)
        found = Ways(snapshot, self.closing, self.presence)
        self.ways, self.ways_of, self.counted = found.all, found.of, found.counted
        self.refusals.of_shape.update(found.refusals)
        self._is_open = np.array([len(ways) > 0 for ways in self.ways_of], dtype=np.bool_)
        self.admission = Admission(snapshot.caps, [(way.request, way.gpu_type) for way in self.ways])
        self.future = Backfill(snapshot, self.counted, found.claims, found.guests, self.presence)
        self.reserved = QueueLimits(snapshot, self.counted, found.claims)
        bounds = Bounds(self.future, self.closing, self.reserved, self.presence)
        self.room = Room(snapshot.pools, self.counted, snapshot.site.submits_per_tick, bounds)
        self._keeping = Keeping(snapshot, self.ways_of, self.room, self.future)
        self._is_refused = self._refused_by_caps()
        self.ahead = ahead
        self.why = Why(snapshot, self.refusals, self._is_refused, self.admission, self.room, self.ways_of)
        self._closed: tuple[set[int], set[int]] = (set(), set())
        now, later = self._closed
        self._places = ((self.room.place_now, now, True), (self.room.place_in_queue, later, False))
        self.on_trial = False
        means = Means(snapshot, self.ways, self.room, self.admission)
        self._joining = Joining(means, self.closing, self._keeping)
        self._gangs = _members(snapshot)
        self._has_gangs = bool(self._gangs)
        awaited = [gang for gang in self._gangs if snapshot.gangs[gang].is_begun]
        self._widening = Widening(means, self.starts, found.larger, self.refusals, awaited)
        self.admit_after = self._joining.admit_after

    def run(self, order: Ints) -> None:
        tasks, keeping = self.snapshot.tasks, self._keeping
        candidates = order[self._may_start()[order]]
        self.presence.is_patient = False
        keeping.renew(candidates, self.presence.followers)
        for first in range(0, len(candidates), _CHUNK):
            chunk = candidates[first : first + _CHUNK]
            chunk = chunk[self._is_open[tasks.shape[chunk]] | (keeping.is_due[chunk] & (keeping.due_left > 0))]
            columns = (chunk.tolist(), tasks.owner[chunk].tolist(), tasks.shape[chunk].tolist())
            for row, owner, shape in zip(*columns, strict=True):
                may_get_room = self._is_open[shape] or (keeping.due_left > 0 and keeping.is_due[row])
                if may_get_room and (owner, shape) not in self.refusals.of_owner:
                    if self._widening.elastic:
                        self._widening.widen(int(tasks.priority[row]))
                    self._try(row, owner, shape)
            if not (self._is_open.any() or keeping.due_left > 0):
                break
        if self.presence.followers:
            self._let_follow(candidates)
        self._widening.widen()
        self.admission.close()

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

    def _begin(self, start: Start) -> None:
        """Count a task as started; an elastic one on nodes may get more of them later."""
        self._widening.note(start)
        self.starts.append(start)

    def _may_start(self) -> npt.NDArray[np.bool_]:
        """Return which tasks (by row) no rule refuses before the walk; those it does refuse get their reason."""
        tasks = self.snapshot.tasks
        may = ~self._is_refused[tasks.shape, tasks.owner]
        may[list(self.ahead)] = True
        may &= self._is_open[tasks.shape]
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
            if self._joining.is_wanted:
                self._joining.let_join(start, owner, shape)
            return
        if start is not None:
            self.refusals.of_owner[owner, shape] = start
        # Room alone would come to nothing, if others then held what may be used at once.
        if row in self.ahead and (start is not None or row in self.refusals.of_row):
            self._save_for([row])

    def _save_for(self, rows: Sequence[int]) -> None:
        """Save what tasks will use at once that go ahead of all others."""
        tasks = self.snapshot.tasks
        ways = [self.ways_of[shape] for shape in tasks.shape[rows].tolist()]
        if all(ways):
            self.admission.save_for([(int(tasks.owner[row]), way.start) for row, way in zip(rows, ways, strict=True)])

    def _place(self, row: int, owner: int, shape: int) -> Start | Reason | None:
        """Take budget and room for one task: free nodes if any way has them, else a place in a queue.

        Returns the cap that refuses it, or None when there is no room by any way; a shape without room is closed.
        """
        cap: Reason | None = None
        has_own_room = self._keeping.open_own(row, shape)
        self.presence.is_patient = not has_own_room
        for place, closed_ways, is_now in self._places:
            if self._joining.is_wanted and not self.on_trial:
                joined = self._joining.join(row, owner, shape, beside=is_now)
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

    def _keep_room(self, row: int, shape: int) -> None:
        """Reserve the earliest start for a task without room, as far as the site's depth goes; else close its shape."""
        promise = self._keeping.reserve([self.ways_of[shape]], row)
        if promise is None:
            self._is_open[shape] = False
        else:
            self.refusals.of_row[row] = with_start(self.room.refusal(self.ways_of[shape].start), promise)

    def _try_gang(self, gang: int) -> None:
        """Start as many members as must start together, and all others that fit; or none, as if none had been tried."""
        if gang not in self._gangs:
            return
        rows, wanted = self._gangs.pop(gang), self.snapshot.gangs[gang]
        if self.presence.followers:
            rows = sorted(rows, key=lambda row: int(self.snapshot.tasks.shape[row]) in self.presence.followers)
        needed = wanted.needed
        starts: list[Start] = []
        refusal: Reason | None = None
        self.on_trial = True
        self.room.nodes.gather(
            sum(self.snapshot.shapes[shape].request.nodes for shape in self.snapshot.tasks.shape[rows].tolist())
        )
        for row in rows if len(rows) >= needed else ():
            start = self._place_member(row)
            if isinstance(start, Start):
                starts.append(start)
            else:
                refusal = refusal or start
        self.on_trial = False
        self.room.nodes.gather(0)
        if refusal is not None or len(starts) < needed:
            self.refusals.of_gang[gang] = refusal or because(ReasonCode.GANG_INCOMPLETE, ready=len(rows), needed=needed)
        if len(starts) >= needed:
            for start in starts:
                self._begin(start)
            return
        self._undo(starts)
        lacks = None if refusal is None else refusal.code
        is_kept = lacks in FOR_WANT_OF_NODES and self._keep_room_together(gang, rows)
        if (is_kept or lacks is ReasonCode.CONCURRENCY_CAP) and not self.ahead.isdisjoint(rows):
            self._save_for(rows[:needed])

    def _keep_room_together(self, gang: int, rows: Sequence[int]) -> bool:
        """Keep room for all of a gang, if that can be foreseen; tell whether there is any."""
        shapes = self.snapshot.tasks.shape[rows].tolist()
        ways = [self.ways_of[shape] for shape in shapes]
        promise = self._keeping.reserve(ways, rows[0]) if all(ways) and self._is_foreseen(shapes) else None
        if promise is not None:
            self.refusals.of_gang[gang] = with_start(self.refusals.of_gang[gang], promise)
        return promise is not None

    def _is_foreseen(self, shapes: Sequence[int]) -> bool:
        """Tell whether members that fit together at a later moment will then be placed so: with ties, only if all are alike.

        Else where the first of them goes may leave no room for another that is tied to it.
        """
        if not any(map(self.presence.is_held, shapes)):
            return True
        return len(set(shapes)) == 1 and self.presence.followers.isdisjoint(shapes)

    def _place_member(self, row: int) -> Start | Reason:
        tasks = self.snapshot.tasks
        owner, shape = int(tasks.owner[row]), int(tasks.shape[row])
        start = self._place(row, owner, shape) if self.ways_of[shape] else self.refusals.of_shape[shape]
        return start or self.room.refusal(self.ways_of[shape].start)

    def _undo(self, starts: Sequence[Start]) -> None:
        for start in reversed(starts):
            self.room.give_back(start.taken)
            self.admission.take(int(self.snapshot.tasks.owner[start.row]), start.taken.way, -1)


def _members(snapshot: Snapshot) -> dict[int, list[int]]:
    rows = np.flatnonzero(snapshot.tasks.gang >= 0)
    members: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        members[int(snapshot.tasks.gang[row])].append(row)
    return members
