"""Words by which notes in the audit are found again."""

from __future__ import annotations

__all__ = ["DEADLINE_LOST", "DEADLINE_REGAINED", "ROOM_GONE", "ROOM_TO_GROW"]

DEADLINE_LOST, DEADLINE_REGAINED = "deadline_lost", "deadline_regained"
"""What is noted of a pipeline once its deadline cannot be met any more, and once it can again."""
ROOM_TO_GROW, ROOM_GONE = "room_to_grow", "room_gone"
"""What is noted of an attempt at elastic work once it could run on more nodes, and once it cannot any more."""
