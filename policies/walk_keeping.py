"""Room kept for tasks that cannot start yet: as far as the site's depth goes, and beyond it for some that have a deadline."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from elisa.model.ids import TaskId
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.policies.backfill import Backfill, Promise
from elisa.policies.room import Room
from elisa.policies.snapshot import Ints, Snapshot

__all__ = ["Keeping", "with_start"]


class Keeping:
    """What one walk keeps; `due_left` counts those with a deadline (`is_due`, by row) for whom room can be kept still."""

    def __init__(self, snapshot: Snapshot, ways_of: Sequence[range], room: Room, future: Backfill) -> None:
        self._snapshot = snapshot
        self._ways_of = ways_of
        self._room = room
        self._future = future
        self._left = snapshot.site.backfill_depth
        self.due_left = snapshot.site.backfill_due
        self.is_due = np.isfinite(snapshot.tasks.deadline_s)
        self._kept: dict[int, int] = {}

    @property
    def has_kept(self) -> bool:
        """Whether room is kept for anybody, or was looked for in vain beyond the depth."""
        site = self._snapshot.site
        return (self._left, self.due_left) != (site.backfill_depth, site.backfill_due)

    def renew(self, candidates: Ints, followers: Collection[int]) -> None:
        """Keep what was promised before, as long as nobody ranks above it who was not there when it was promised.

        Who must be beside others, one of `followers`, was there perhaps, and could be promised nothing while it waited.
        """
        promised = self._snapshot.promised
        for row in candidates.tolist() if promised else ():
            task = TaskId(self._snapshot.tasks.ids[row])
            kept, shape = promised.get(task), int(self._snapshot.tasks.shape[row])
            if kept is None and shape in followers:
                continue
            if kept is None or not (self._left > 0 or self._is_due_left(row)):
                return
            way = self._future.renew(self._ways_of[shape], kept, task)
            if way is None:
                return
            self._kept[row] = way
            self._count_kept(1)

    def open_own(self, row: int, shape: int) -> bool:
        """Give up the room that was kept for a task, so that it can start there or sooner; tell whether there was any."""
        way = self._kept.pop(row, None) if self._kept else None
        if way is None:
            return False
        task = TaskId(self._snapshot.tasks.ids[row])
        self._future.give_up(way, self._snapshot.promised[task], task)
        self._room.nodes.look_again(self._ways_of[shape])
        self._count_kept(-1)
        return True

    def reserve(self, choices: Sequence[Sequence[int]], row: int) -> Promise | None:
        """Keep room for a task, or the gang whose first it is: as far as the depth goes, or beyond it if it is due."""
        is_within = self._left > 0
        if not (is_within or self._is_due_left(row)):
            return None
        promise = self._room.reserve(choices, self._snapshot.tasks.ids[row])
        # Beyond the depth every look counts, found or not: a plan may hold a hundred thousand tasks that are due.
        self._count_kept(int(promise is not None or not is_within))
        return promise

    def _is_due_left(self, row: int) -> bool:
        return self.due_left > 0 and bool(self.is_due[row])

    def _count_kept(self, count: int) -> None:
        """Count room that is kept; what goes beyond the depth is taken from what is there for deadlines."""
        within = min(count, self._left) if count > 0 else count
        self._left -= within
        self.due_left -= count - within


def with_start(reason: Reason, promise: Promise) -> Reason:
    """Return a refusal that tells, too, when and where room is kept."""
    facts = {**reason.facts, "starts_at": promise.starts_at}
    if reason.code is ReasonCode.AFFINITY:
        facts["others_on"] = facts["nodes"]
    return because(reason.code, **(facts | {"nodes": ",".join(promise.nodes)} if promise.nodes else facts))
