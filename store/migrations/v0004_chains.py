"""Version 4: attempts that were queued behind others, and tasks whose queued job is to be held."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    ALTER TABLE attempt ADD COLUMN behind TEXT NOT NULL DEFAULT '[]'
    """,
    """
    ALTER TABLE task ADD COLUMN hold_requested INTEGER NOT NULL DEFAULT 0
    """,
    """
    CREATE INDEX task_to_hold ON task (id) WHERE hold_requested = 1
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the columns and the index."""
    for statement in _STATEMENTS:
        execute(statement)
