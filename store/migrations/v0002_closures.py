"""Version 2: times in which places are closed to work, and a quick way to the attempts that ended last."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    CREATE TABLE closure (
        id TEXT NOT NULL,
        backend TEXT NOT NULL,
        nodes TEXT NOT NULL,
        starts_at BIGINT NOT NULL,
        ends_at BIGINT,
        why TEXT NOT NULL,
        added_by TEXT NOT NULL,
        is_forced INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE INDEX closure_open ON closure (id) WHERE state = 'open'
    """,
    """
    CREATE INDEX attempt_by_end ON attempt (ended_at) WHERE ended_at IS NOT NULL
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the table and the index."""
    for statement in _STATEMENTS:
        execute(statement)
