"""Version 9: hard caps on single members, whose limit depends on what they used in earlier periods."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

# The rules of the site fill it again at the next tick; until then nothing is intended.
_STATEMENTS = (
    "DROP TABLE budget",
    """
    CREATE TABLE budget (
        project TEXT NOT NULL,
        per_user INTEGER NOT NULL,
        owner_uid BIGINT NOT NULL,
        resource TEXT NOT NULL,
        gpu_type TEXT NOT NULL,
        cap BIGINT NOT NULL,
        PRIMARY KEY (project, per_user, owner_uid, resource, gpu_type)
    )
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Make the table anew."""
    for statement in _STATEMENTS:
        execute(statement)
