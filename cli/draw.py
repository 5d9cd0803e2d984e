"""How tables look on a terminal."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table

__all__ = ["table_of"]


def table_of(*columns: str, whole: Collection[str] = ()) -> Table:
    """Return an empty table. On a narrow screen the columns in `whole`, such as ids, are folded last; nothing is cut off."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in whole, overflow="fold", min_width=len(column))
    return table
