"""Version 3: what people set of the site's rules by command."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    CREATE TABLE rule (
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        project TEXT NOT NULL,
        body TEXT NOT NULL,
        set_by TEXT NOT NULL,
        set_at BIGINT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE INDEX rule_set ON rule (id) WHERE state = 'set'
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Add the table."""
    for statement in _STATEMENTS:
        execute(statement)
