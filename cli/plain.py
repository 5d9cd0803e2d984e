"""What is printed without rich: loading that takes a third of the time of a command that only looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .grid import Grid, Words

__all__ = ["plain_lines"]

# Who says more about terminals and colours than whether there is one is served by rich, which knows all of these.
_RICH_KNOWS = frozenset({"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"})
_COLOURLESS = frozenset({"", "dumb", "unknown"})


class _Sheet(NamedTuple):
    """What is written on: its width, None for a file or a pipe, in which nothing is folded."""

    width: int | None
    is_painted: bool


def plain_lines(things: Sequence[object]) -> list[str] | None:
    """Return the lines that print some things; None if that takes rich: other things, folding, letters beyond ASCII."""
    sheet = _sheet()
    if sheet is None or not all(isinstance(one, str | Words | Grid) for one in things):
        return None
    lines = [line for one in things for line in _lines(one)]
    fits = all(line.isascii() and (sheet.width is None or len(line) <= sheet.width) for line in lines)
    if not fits:
        return None
    return [line for one in things for line in _lines(one, is_painted=True)] if sheet.is_painted else lines


def _sheet() -> _Sheet | None:
    if not _RICH_KNOWS.isdisjoint(os.environ):
        return None
    is_terminal, columns = sys.stdout.isatty(), os.environ.get("COLUMNS")
    if columns is None and not is_terminal:
        return _Sheet(None, is_painted=False)
    if is_terminal and ("NO_COLOR" in os.environ or os.environ.get("TERM", "") in _COLOURLESS):
        return None
    if columns is None:
        return _Sheet(os.get_terminal_size(sys.stdout.fileno()).columns, is_painted=True)
    return _Sheet(int(columns), is_terminal) if columns.isdecimal() else None


def _lines(thing: object, *, is_painted: bool = False) -> Iterator[str]:
    if isinstance(thing, Grid):
        yield from thing.lines(is_painted=is_painted)
    elif isinstance(thing, Words):
        yield thing.painted() if is_painted else thing.text.rstrip()
    else:
        yield from (line.rstrip() for line in str(thing).split("\n"))
