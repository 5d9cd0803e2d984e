"""The bars of a timeline: what waited and what ran, and never nothing where something ran."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from elisa.cli.timeline_table import timeline_table
from elisa.model.ids import AttemptId
from elisa.report.timeline import Bar, Timeline

# Screens of this width leave 20 columns for the bars.
WIDTH = 76


def bars_of(*bars: Bar, ascii_only: bool = False) -> list[str]:
    line = Timeline(origin=datetime(2026, 1, 1, tzinfo=UTC), span_s=100.0, bars=bars)
    table = timeline_table(line, WIDTH, ascii_only=ascii_only)
    return [str(cell) for cell in table.columns[2].cells]


def a_bar(asked_s: float, started_s: float | None, ended_s: float | None, end: str = "completed") -> Bar:
    return Bar(
        task="train",
        attempt=AttemptId("t1.1"),
        asked_s=asked_s,
        started_s=started_s,
        ended_s=ended_s,
        end=end,
        resumed_step=None,
    )


@pytest.mark.parametrize(
    ("bar", "drawn"),
    [
        pytest.param(a_bar(0, 25, 75), "·····██████████", id="waited, then ran"),
        pytest.param(a_bar(50, 50, 100), "          ██████████", id="ran to the end"),
        pytest.param(a_bar(50, 50, None, "running"), "          ██████████", id="runs still"),
        pytest.param(a_bar(98, 99.5, 99.9), "                   █", id="ran for a moment at the very end"),
        pytest.param(a_bar(10, 10, 10.1), "  ▏", id="ran for a moment"),
        pytest.param(a_bar(0, None, 50, "cancelled"), "··········", id="never ran"),
        pytest.param(a_bar(50, None, None, "queued"), "          ··········", id="waits still"),
    ],
)
def test_a_bar_shows_when_an_attempt_waited_and_when_it_ran(bar: Bar, drawn: str) -> None:
    assert bars_of(bar) == [drawn]


def test_a_screen_that_knows_few_letters_gets_plain_ones() -> None:
    assert bars_of(a_bar(0, 25, 75), a_bar(10, 10, 10.1), ascii_only=True) == [".....##########", "  |"]
