"""Version 8: attempts that are queued ahead, behind the present one at the same task."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    ALTER TABLE attempt ADD COLUMN continues TEXT
    """,
    """
    DROP INDEX one_live_attempt_a_task
    """,
    """
    CREATE UNIQUE INDEX one_live_attempt_a_task ON attempt (task)
    WHERE state NOT IN ('ended', 'lost') AND continues IS NULL
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the column, and let the one live attempt of a task have others queued behind it."""
    for statement in _STATEMENTS:
        execute(statement)
