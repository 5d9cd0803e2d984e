"""How states look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from elisa.model.states import TaskState

__all__ = ["STATE_COLOURS", "counts_text"]

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


def counts_text(counts: Mapping[str, int]) -> Text:
    """Return `3 active, 1 failed` with each state in its colour, states without tasks left out."""
    parts = [(f"{counts[state]} {state}", colour) for state, colour in STATE_COLOURS.items() if counts.get(state)]
    return Text(", ").join(Text(words, style=colour) for words, colour in parts)
