"""Version 10: attempts that take over what one in front of them holds at once."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    ALTER TABLE attempt ADD COLUMN inherits TEXT
    """,
    """
    CREATE UNIQUE INDEX one_heir_an_attempt ON attempt (inherits)
    WHERE inherits IS NOT NULL AND state NOT IN ('ended', 'lost')
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the column, and let each attempt have one heir at most."""
    for statement in _STATEMENTS:
        execute(statement)
