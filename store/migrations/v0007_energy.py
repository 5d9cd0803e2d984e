"""Version 7: energy in the ledger, beside all that is counted by the hour."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_COLUMNS = (
    ("ledger", "watt_s"),
    ("account", "reserved_watt_s"),
    ("account", "spent_watt_s"),
    ("daily_use", "watt_s"),
    ("attempt", "held_watt_s"),
)


def run(execute: Callable[[str], object]) -> None:
    """Add the columns: what was booked before drew nothing that anybody knew of."""
    for table, column in _COLUMNS:
        execute(f"ALTER TABLE {table} ADD COLUMN {column} BIGINT NOT NULL DEFAULT 0")
