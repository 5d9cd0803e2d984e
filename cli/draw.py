"""How states look on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.table import Table
from rich.text import Text

from elisa.model.states import TaskState

__all__ = ["STATE_COLOURS", "counts_text", "table_of"]

STATE_COLOURS: Mapping[str, str] = {
    TaskState.WAITING.value: "dim",
    TaskState.READY.value: "cyan",
    TaskState.ACTIVE.value: "blue",
    TaskState.HELD.value: "magenta",
    TaskState.SUCCEEDED.value: "green",
    TaskState.FAILED.value: "red",
    TaskState.CANCELLED.value: "yellow",
    TaskState.SKIPPED.value: "dim",
}


def table_of(*columns: str, whole: Collection[str] = ()) -> Table:
    """Return an empty table. On a narrow screen the columns in `whole`, such as ids, are folded last; nothing is cut off."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in whole, overflow="fold", min_width=len(column))
    return table


def counts_text(counts: Mapping[str, int]) -> Text:
    """Return `3 active, 1 failed` with each state in its colour, states without tasks left out."""
    parts = [(f"{counts[state]} {state}", colour) for state, colour in STATE_COLOURS.items() if counts.get(state)]
    return Text(", ").join(Text(words, style=colour) for words, colour in parts)
