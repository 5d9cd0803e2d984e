"""Short tasks that join the native jobs of others like them, as far as budgets, closed times and kept room allow."""

from __future__ import annotations

from math import inf

from elisa.model.resources import MPS, meets
from elisa.policies.closing import Closing
from elisa.policies.fusion import Filling, Pot
from elisa.policies.room import Taken
from elisa.policies.starts import Means, Start
from elisa.policies.walk_keeping import Keeping

__all__ = ["Joining"]


class Joining:
    """The native jobs of one walk, while they are filled."""

    def __init__(self, means: Means, closing: Closing, keeping: Keeping) -> None:
        self._snapshot, self._ways, self._room, self._admission = means
        self._closing = closing
        self._keeping = keeping
        self._filling = Filling(self._snapshot.site.fusion)
        self.is_wanted = self._filling.is_brief(float(self._snapshot.tasks.brief_s.min(initial=inf)))
        """Whether any task is short enough to share a job."""

    def let_join(self, start: Start, owner: int, shape: int) -> None:
        """Let short tasks of the same owner that ask for the same thing follow a short one in its native job."""
        brief_s = float(self._snapshot.tasks.brief_s[start.row])
        is_plain = not start.way.request.components
        if start.host < 0 and is_plain and self._filling.is_brief(brief_s):
            way, nodes, _ = start.taken
            self._filling.begin((owner, shape), Pot(host=start.row, way=way, nodes=nodes, brief_s=[brief_s]))

    def join(self, row: int, owner: int, shape: int, *, beside: bool) -> Start | None:
        """Put a short task into a native job that this plan starts for others like it; None if none can take it.

        `beside` them, which takes as much room again on their node, or else after them, in the emptiest.
        """
        brief_s = float(self._snapshot.tasks.brief_s[row])
        if not self._filling.is_brief(brief_s):
            return None
        find = self._filling.widest if beside else self._filling.choose
        pot = find((owner, shape), brief_s)
        if pot is None or self._admission.refusing_row(owner, pot.way) is not None:
            return None
        if not self._may_last(pot.way, pot.job_s(self._ways[pot.way].request.walltime_s, brief_s)):
            return None
        # What runs side by side in a job would have all percents of it that are one's own.
        if beside and (meets(self._ways[pot.way].gpu_type, MPS) or not self._room.widen(pot.way, pot.nodes)):
            return None
        self._admission.take(owner, pot.way)
        pot.brief_s.append(brief_s)
        pot.lanes += beside
        return Start(row, Taken(pot.way, pot.nodes if beside else ()), self._ways[pot.way], pot.host)

    def admit_after(self, start: Start, job_s: int) -> bool:
        """Take budget for one more task that asks for what a start does, in its native job; False if it can't be so long."""
        owner, way = int(self._snapshot.tasks.owner[start.row]), start.taken.way
        if self._admission.refusing_row(owner, way) is not None or not self._may_last(way, job_s):
            return False
        self._admission.take(owner, way)
        return True

    def _may_last(self, way: int, job_s: int) -> bool:
        """Tell whether a native job may be so long: for its partition, for closed times, and for room that is kept."""
        pool = self._snapshot.pools[self._ways[way].pool]
        walltime_s = self._ways[way].request.walltime_s
        if 0 < pool.partition.max_walltime_s < job_s:
            return False
        if self._closing.ahead(pool.backend, job_s) != self._closing.ahead(pool.backend, walltime_s):
            return False
        site, now_s = self._snapshot.site, self._snapshot.now_s
        reserved = [one for one in site.reservations if one.backend == pool.backend]
        if any(one.overlaps(now_s + walltime_s, now_s + job_s) for one in reserved):
            return False
        return pool.keeps_queue or not self._keeping.has_kept
