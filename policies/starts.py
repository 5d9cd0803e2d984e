"""What a plan starts, and the means that it takes for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elisa.policies.budgets_caps import Admission
from elisa.policies.placement_pools import Way
from elisa.policies.room import Room, Taken
from elisa.policies.snapshot import Snapshot

__all__ = ["Means", "Start"]


class Start(NamedTuple):
    """Room and budget taken for one task (a row of the snapshot).

    One that joins the native job of another, in row `host`, takes budget only.
    """

    row: int
    taken: Taken
    way: Way
    host: int = -1


class Means(NamedTuple):
    """What the starts of one walk are taken from: by which ways, of which room, on which budgets."""

    snapshot: Snapshot
    ways: Sequence[Way]
    room: Room
    admission: Admission
