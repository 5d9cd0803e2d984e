"""Version 11: the watts that live attempts draw at one moment."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_COLUMNS = (("account", "watts"), ("attempt", "held_watts"))


def run(execute: Callable[[str], object]) -> None:
    """Add the columns: what is live already counts for nothing until it has ended."""
    for table, column in _COLUMNS:
        execute(f"ALTER TABLE {table} ADD COLUMN {column} BIGINT NOT NULL DEFAULT 0")
