"""Version 5: on whose rights the class of a task rests."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    ALTER TABLE task ADD COLUMN ranked_by BIGINT
    """,
    """
    CREATE INDEX task_ranked ON task (id) WHERE ranked_by IS NOT NULL
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the column and a quick way to the few tasks that have it."""
    for statement in _STATEMENTS:
        execute(statement)
