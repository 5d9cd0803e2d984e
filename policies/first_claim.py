"""Room for a task that could have it made if nobody behind it began on what is free.

A plan lets those behind a blocked task begin where they are over before its turn by walltimes. But where others can be asked
to leave, its turn is sooner: with what is free at this moment their nodes may be enough. Then they are asked, and the plan is
made again with them on their way out.
"""

from __future__ import annotations

from dataclasses import replace

from elisa.model.decisions import Preempt
from elisa.policies.makeroom import first_blocked, make_room_for
from elisa.policies.order import Ranking
from elisa.policies.snapshot import Snapshot
from elisa.policies.walk import Walk

__all__ = ["claimed_first", "with_leaving"]


def claimed_first(snapshot: Snapshot, ranked: Ranking, walk: Walk) -> tuple[Preempt, ...]:
    """Return whom to ask to leave for the first task that waits for room, where only starts behind it stand in the way.

    Nobody where room can be made for it beside these, or not even without them; elastic work that would shrink is left alone.
    """
    row = first_blocked(ranked.order, walk) if snapshot.running and snapshot.site.preemption.enabled else None
    if row is None:
        return ()
    ahead = set(ranked.order[: int((ranked.order == row).argmax())].tolist())
    if all(start.row in ahead or not start.taken.nodes for start in walk.starts):
        return ()
    if make_room_for(row, snapshot, ranked.order, walk):
        return ()
    alone = Walk(snapshot, ranked.ahead)
    alone.run(ranked.order[: len(ahead) + 1])
    asked = make_room_for(row, snapshot, ranked.order, alone)
    stops = tuple(one for one in asked if isinstance(one, Preempt))
    return stops if len(stops) == len(asked) else ()


def with_leaving(snapshot: Snapshot, asked: tuple[Preempt, ...]) -> Snapshot:
    """Return a snapshot in which those that are asked are on their way out."""
    names = {one.attempt for one in asked}
    return replace(
        snapshot,
        live=tuple(replace(one, cancel_sent=True) if one.id in names else one for one in snapshot.live),
        running=tuple(row._replace(is_leaving=True) if row.attempt in names else row for row in snapshot.running),
    )
