"""The timeline of a pipeline, drawn with characters."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from elisa.model.text import clean
from elisa.model.units import format_duration
from elisa.report.timeline import Bar, Timeline

__all__ = ["timeline_table"]


class _Marks(NamedTuple):
    waited: str
    ran: str
    ran_briefly: str


_DRAWN = _Marks("·", "█", "▏")
_PLAIN = _Marks(".", "#", "|")
_NARROWEST, _WIDEST = 16, 60
# What the names, tries, times and ends beside the bars usually take.
_OTHER_COLUMNS = 56


def timeline_table(line: Timeline, screen_width: int, *, ascii_only: bool = False) -> Table:
    """Return one row an attempt: `·` while it waited, `█` while it ran, in letters that every terminal knows if need be."""
    width = max(_NARROWEST, min(_WIDEST, screen_width - _OTHER_COLUMNS))
    marks = _PLAIN if ascii_only else _DRAWN
    table = Table("task", "try", box=None, pad_edge=False)
    table.add_column(f"0 .. {format_duration(line.span_s)}", min_width=width, no_wrap=True)
    table.add_column("ran")
    table.add_column("end")
    for bar in line.bars:
        style = {"completed": "green", "running": "blue"}.get(bar.end, "red")
        ran = format_duration(_run_s(bar, line.span_s)) if bar.started_s is not None else "-"
        resumed = "" if bar.resumed_step is None else f" (from step {bar.resumed_step})"
        number = bar.attempt.partition(".")[2]
        table.add_row(
            clean(bar.task), number, Text(_strip(bar, line.span_s, width, marks), style=style), ran, bar.end + resumed
        )
    return table


def _run_s(bar: Bar, span_s: float) -> float:
    return (span_s if bar.ended_s is None else bar.ended_s) - (bar.started_s or 0.0)


def _strip(bar: Bar, span_s: float, width: int, marks: _Marks) -> str:
    ended_s = span_s if bar.ended_s is None else bar.ended_s
    started_s = ended_s if bar.started_s is None else bar.started_s
    asked, started, ended = (_column(moment, span_s, width) for moment in (bar.asked_s, started_s, ended_s))
    if bar.started_s is None:
        return " " * asked + marks.waited * (ended - asked)
    # Whatever ran is seen to have run, be it only for a moment at the very end.
    started = min(started, width - 1)
    run = marks.ran * (ended - started) or marks.ran_briefly
    return " " * min(asked, started) + marks.waited * (started - asked) + run


def _column(moment_s: float, span_s: float, width: int) -> int:
    return min(width, round(moment_s / span_s * width)) if span_s else 0
