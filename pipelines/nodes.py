"""A document as a tree of values that each know their file and line: what YAML and the decorators both produce."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from elisa.model.pipeline import JSONScalar

__all__ = ["INVISIBLE", "Entry", "ListNode", "MapNode", "Mark", "Node", "Scalar", "at", "from_value", "plain", "walk"]


# Tab and line feed aside, nothing that a terminal or an editor would act on; line breaks that only YAML 1.1 knows.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


class Mark(NamedTuple):
    """A place in a file. `line` counts from 1; 0 is the file as a whole."""

    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value; `text` is as the author wrote it. What is wrong with a `broken` one was told already."""

    mark: Mark
    text: str
    value: JSONScalar
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    mark: Mark
    items: tuple[Node, ...]


class Entry(NamedTuple):
    """A key and its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """Keys, all different, in the order they were written."""

    mark: Mark
    entries: tuple[Entry, ...]

    def find(self, name: str) -> Entry | None:
        """Return the entry with this key."""
        return next((entry for entry in self.entries if entry.key.text == name), None)

    def get(self, name: str) -> Node | None:
        """Return the value under this key."""
        entry = self.find(name)
        return entry.value if entry else None


Node = Scalar | ListNode | MapNode


def plain(node: Node) -> object:
    """Return the node as dicts, lists and scalars."""
    if isinstance(node, MapNode):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value


def from_value(value: object, mark: Mark, *, depth: int = 50) -> Node:
    """Return a tree, all of it at one place, for mappings, sequences and scalars. Nodes within stay as they are.

    Raises TypeError for anything else, for characters that cannot be seen, and for more than `depth` levels.
    """
    if depth < 0:
        raise TypeError("nested too deeply")
    if isinstance(value, (Scalar, ListNode, MapNode)):
        return value
    if value is None or isinstance(value, (str, int, float, bool)):
        return _scalar(value, mark)
    if isinstance(value, Mapping):
        return MapNode(mark=mark, entries=tuple(_entry(key, item, mark, depth) for key, item in value.items()))
    if isinstance(value, Sequence):
        return ListNode(mark=mark, items=tuple(from_value(item, mark, depth=depth - 1) for item in value))
    raise TypeError(f"a {type(value).__name__} cannot stand in a pipeline")


def _entry(key: object, value: object, mark: Mark, depth: int) -> Entry:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} cannot be a key")
    return Entry(_scalar(key, mark), from_value(value, mark, depth=depth - 1))


def _scalar(value: JSONScalar, mark: Mark) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} cannot stand in a pipeline")
    if isinstance(value, str) and INVISIBLE.search(value):
        raise TypeError("a character that cannot be seen")
    return Scalar(mark=mark, text=_text(value), value=value)


def _text(value: JSONScalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def walk(node: Node) -> Iterator[Scalar]:
    """Yield every value (not key) below and including `node`, in order."""
    if isinstance(node, MapNode):
        for entry in node.entries:
            yield from walk(entry.value)
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from walk(item)
    else:
        yield node


def at(node: Node, path: Sequence[str | int]) -> Mark:
    """Return where the value at `path` stands; of a path that leads nowhere, its last part that exists."""
    for step in path:
        inner: Node | None = None
        if isinstance(node, MapNode):
            inner = node.get(str(step))
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            inner = node.items[step]
        if inner is None:
            break
        node = inner
    return node.mark
