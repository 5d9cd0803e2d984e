"""What is drawn without rich looks as rich would draw it, and whatever must be folded is left to rich."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elisa.cli import plain
from elisa.cli.grid import Grid, Words, counts_words
from elisa.cli.output import show
from elisa.cli.plain import plain_lines
from elisa.cli.screen import print_things

ASCII = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=12).map(str.strip)
CODES = re.compile(r"\x1b\[\d+m")


class Terminal(io.StringIO):
    """A terminal as wide as COLUMNS says."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def a_grid(rows: list[tuple[str, str]]) -> Grid:
    grid = Grid("task", "note", whole=("task",))
    for one, other in rows:
        grid.add_row(one, (Words(other, "red"), Words(" end", "dim")))
    return grid


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(ASCII, ASCII), max_size=4), line=ASCII)
def test_in_a_pipe_both_ways_give_the_same(
    capsys: pytest.CaptureFixture[str], rows: list[tuple[str, str]], line: str
) -> None:
    things = (a_grid(rows), "", Words(line, "dim"), line)
    print_things(*things)
    by_rich = capsys.readouterr().out

    show(*things)

    assert capsys.readouterr().out == by_rich
    assert plain_lines(things) == by_rich.split("\n")[:-1]


def test_on_a_terminal_both_ways_give_the_same_but_for_blanks_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    things = (a_grid([("t1", "note"), ("t22", "")]), Words("more", "dim"), "plain")
    drawn = []
    for way in (print_things, show):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", "40")
        way(*things)
        drawn.append(terminal.getvalue())

    bare = [[line.rstrip() for line in CODES.sub("", text).split("\n")] for text in drawn]
    assert bare[0] == bare[1] == ["task  note", "t1    note end", "t22    end", "more", "plain", ""]
    assert "\x1b[31mnote\x1b[0m\x1b[2m end\x1b[0m" in drawn[1]
    assert "\x1b[2mmore\x1b[0m\n" in drawn[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("COLUMNS", "9"), ("COLUMNS", "wide"), ("NO_COLOR", "1"), ("FORCE_COLOR", "1"), ("TERM", "dumb")],
)
def test_what_must_be_folded_or_painted_in_another_way_is_left_to_rich(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv(name, value)

    assert plain_lines((a_grid([("t1", "note")]),)) is None


def test_a_terminal_is_asked_how_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Terminal):
        def fileno(self) -> int:
            return 9

    monkeypatch.setattr(sys, "stdout", Wide())
    monkeypatch.setattr(plain.os, "get_terminal_size", {9: plain.os.terminal_size((5, 24))}.__getitem__)

    assert plain_lines(("12345",)) == ["12345"]
    assert plain_lines(("123456",)) is None


def test_letters_beyond_ascii_and_other_things_are_left_to_rich(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_lines(("ä",)) is None
    assert plain_lines((object(),)) is None

    show(a_grid([("äö", "火")]))

    assert capsys.readouterr().out == "task  note\näö    火 end\n"


def test_counts_are_told_with_each_state_in_its_colour() -> None:
    assert counts_words({"failed": 1, "active": 3, "ready": 0}) == [
        Words("3 active", "blue"),
        Words(", "),
        Words("1 failed", "red"),
    ]
    assert counts_words({}) == []
