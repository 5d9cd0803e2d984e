"""Version 6: attempts that share a native job, and tasks that may."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    ALTER TABLE attempt ADD COLUMN leader TEXT
    """,
    """
    ALTER TABLE task ADD COLUMN brief_s BIGINT NOT NULL DEFAULT 0
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the columns."""
    for statement in _STATEMENTS:
        execute(statement)
