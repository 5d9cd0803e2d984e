"""How PBS's programs print attributes as text: long values are folded, at commas where there are any."""

from __future__ import annotations

from collections.abc import Iterable

LINE_LIMIT = 79
_TAB = 8

Pairs = Iterable[tuple[str, str]]


def render_record(head: str, pairs: Pairs) -> str:
    """Return one record of `qstat -f`, with the empty line behind it."""
    return "".join((head, "\n", *(render_attribute(name, value) for name, value in pairs), "\n"))


def render_attribute(name: str, value: str) -> str:
    """Return one attribute, folded so that no line is longer than the limit."""
    column = len(name) + 7
    text = f"    {name} = "
    for index, piece in enumerate(value.split(",")):
        if index:
            text += ","
            column += 1
        if column + len(piece) < LINE_LIMIT:
            text += piece
            column += len(piece)
            continue
        if index:
            text += "\n\t"
            column = _TAB + 1
        for letter in piece:
            text += letter
            column += 1
            if column >= LINE_LIMIT:
                text += "\n\t"
                column = _TAB
    return text + "\n"


def render_node(name: str, pairs: Pairs) -> str:
    """Return one node as `pbsnodes -a` prints it: nothing is folded."""
    return "".join((name, "\n", *(f"     {key} = {value}\n" for key, value in pairs), "\n"))
