"""Since when running elastic work could have had more nodes: written down when it turns, so that the next plans know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elisa.model.changes import Noted
from elisa.model.columns import RunningRow
from elisa.model.notes import ROOM_GONE, ROOM_TO_GROW
from elisa.policies.plan import Plan
from elisa.store.writer import Writer

__all__ = ["note_room"]


def note_room(writer: Writer, running: Sequence[RunningRow], plan: Plan) -> None:
    """Write down who has room to grow since this plan, and who has none any more."""
    turns = tuple(_turns(running, plan))
    if turns:
        writer.apply(turns)


def _turns(running: Sequence[RunningRow], plan: Plan) -> Iterator[Noted]:
    for row in running:
        size = plan.room.get(row.attempt, 0)
        if not row.is_leaving and bool(size) != bool(row.roomy_us):
            yield Noted(
                subject=row.attempt,
                what=ROOM_TO_GROW if size else ROOM_GONE,
                facts={"size": size} if size else {},
            )
