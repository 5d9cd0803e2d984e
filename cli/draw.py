"""Pictures made of characters: a timeline, a bar of counts."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from elisa.model.states import TaskState
from elisa.model.text import clean
from elisa.model.units import format_duration
from elisa.report.timeline import Bar, Timeline

__all__ = ["STATE_COLOURS", "counts_text", "timeline_table"]

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
_WIDTH = 48


def counts_text(counts: Mapping[str, int]) -> Text:
    """Return `3 active, 1 failed` with each state in its colour, states without tasks left out."""
    parts = [(f"{counts[state]} {state}", colour) for state, colour in STATE_COLOURS.items() if counts.get(state)]
    return Text(", ").join(Text(words, style=colour) for words, colour in parts)


def timeline_table(line: Timeline) -> Table:
    """Return one row an attempt: `·` while it waited, `█` while it ran."""
    table = Table("task", "attempt", f"0 .. {format_duration(line.span_s)}", "ran", "end", box=None, pad_edge=False)
    for bar in line.bars:
        style = {"completed": "green", "running": "blue"}.get(bar.end, "red")
        ran = format_duration(_run_s(bar, line.span_s)) if bar.started_s is not None else "-"
        resumed = "" if bar.resumed_step is None else f" (from step {bar.resumed_step})"
        number = bar.attempt.partition(".")[2]
        table.add_row(clean(bar.task), number, Text(_strip(bar, line.span_s), style=style), ran, bar.end + resumed)
    return table


def _run_s(bar: Bar, span_s: float) -> float:
    return (span_s if bar.ended_s is None else bar.ended_s) - (bar.started_s or 0.0)


def _strip(bar: Bar, span_s: float) -> str:
    asked, started, ended = (
        _column(moment, span_s)
        for moment in (bar.asked_s, bar.started_s, span_s if bar.ended_s is None else bar.ended_s)
    )
    started = ended if bar.started_s is None else started
    run = "█" * (ended - started) or ("▏" if bar.started_s is not None else "")
    return (" " * asked + "·" * (started - asked) + run)[: _WIDTH + 1]


def _column(moment_s: float | None, span_s: float) -> int:
    return 0 if not span_s or moment_s is None else min(_WIDTH, round(moment_s / span_s * _WIDTH))
