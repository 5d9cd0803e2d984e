"""The terminal, or the file or pipe in its place: how wide it is, and what it can show."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.console import Console, RenderableType

__all__ = ["Screen", "print_things"]

# Lines in a file or a pipe are for grep: nothing in them is folded or cut.
_UNBOUNDED = 4096


class Screen(Console):
    """The console on stdout; user text shown through it must have passed `clean`."""

    def __init__(self) -> None:
        is_folded = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(
            highlight=False, markup=False, emoji=False, soft_wrap=not is_folded, width=None if is_folded else _UNBOUNDED
        )

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the command line to end well: rich would exit with 1."""
        raise BrokenPipeError


def print_things(*things: RenderableType) -> None:
    """Print tables and lines, in a file or a pipe without blanks at the end of lines."""
    screen = Screen()
    if screen.is_terminal:
        for thing in things:
            screen.print(thing)
        return
    with screen.capture() as captured:
        for thing in things:
            screen.print(thing)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
