"""Tables and coloured words as plain values: rich draws them, and where nothing needs folding they are drawn without it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elisa.model.states import TaskState

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["STATE_COLOURS", "Grid", "Words", "counts_words"]

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
# As rich paints them: "Select Graphic Rendition" of ECMA-48.
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Words:
    """Words of one line in one colour."""

    text: str
    colour: str = ""

    def painted(self) -> str:
        """Return the words between the codes that a terminal understands."""
        return f"\x1b[{_CODES[self.colour]}m{self.text}\x1b[0m" if self.colour else self.text

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text(self.text, style=self.colour)


class Grid:
    """A table. On a narrow screen the columns in `whole`, such as ids, are folded last; nothing is cut off."""

    def __init__(self, *columns: str, whole: Collection[str] = ()) -> None:
        self._columns, self._whole = columns, whole
        self._rows: list[tuple[Sequence[Words], ...]] = []

    def add_row(self, *cells: str | Sequence[Words]) -> None:
        """Add a row of plain or coloured cells; user text in them must have passed `clean`."""
        self._rows.append(tuple((Words(cell),) if isinstance(cell, str) else cell for cell in cells))

    def lines(self, *, is_painted: bool = False) -> list[str]:
        """Return the table line by line, each as wide as it needs, without blanks at its end."""
        rows = [tuple((Words(name, "bold"),) for name in self._columns), *self._rows]
        widths = [max(map(_length, column)) for column in zip(*rows, strict=True)]
        return [
            _GAP.join(
                _drawn(cell, is_painted=is_painted) + " " * (width - _length(cell))
                for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in rows
        ]

    def __rich__(self) -> Table:
        from rich.text import Text

        from .draw import table_of

        table = table_of(*self._columns, whole=self._whole)
        for row in self._rows:
            table.add_row(*(Text("").join(word.__rich__() for word in cell) for cell in row))
        return table


def counts_words(counts: Mapping[str, int]) -> Sequence[Words]:
    """Return `3 active, 1 failed` with each state in its colour, states without tasks left out."""
    parts = [Words(f"{counts[state]} {state}", colour) for state, colour in STATE_COLOURS.items() if counts.get(state)]
    return [word for part in parts for word in (Words(", "), part)][1:]


def _length(cell: Iterable[Words]) -> int:
    return sum(len(word.text) for word in cell)


def _drawn(cell: Iterable[Words], *, is_painted: bool) -> str:
    return "".join(word.painted() if is_painted else word.text for word in cell)
