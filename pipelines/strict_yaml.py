"""YAML without its traps: a strict reader that keeps the line of everything and refuses what can surprise or harm.

Refused: anchors, aliases and merge keys (a few hundred bytes of them can fill the memory), tags, duplicate keys, several
documents, control characters, other encodings than UTF-8, and more than 1 MiB, 50 levels or 50,000 values. Plain words
mean what they look like: only `true`, `false`, `null` and decimal numbers are no text, so `12:30`, `0o17`, `010`, `no`,
`1_000` and `2026-11-24` stay as they are written, and a field that wants something else says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from elisa.model.pipeline import JSONScalar
from elisa.pipelines.nodes import INVISIBLE, Entry, ListNode, MapNode, Mark, Node, Scalar
from elisa.pipelines.problems import Problems

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "load", "value_of"]

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_NODES = 50_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, JSONScalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")


def load(text: bytes | str, file: str) -> Node:
    """Return the one document in `text` as a tree with lines.

    Raises SpecError with every trap found, or with the first place that is no YAML at all.
    """
    problems = Problems(file)
    decoded = _decoded(text, file, problems)
    problems.raise_any()
    node = _Builder(file, problems).build(_events(decoded, file, problems))
    problems.raise_any()
    assert node is not None
    return node


def value_of(word: str) -> JSONScalar:
    """Return what an unquoted word stands for."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word) and math.isfinite(float(word)):
        return float(word)
    return word


def _decoded(raw: bytes | str, file: str, problems: Problems) -> str:
    if len(raw) > MAX_BYTES:
        what = f"{len(raw)} bytes; {MAX_BYTES} is the most"
        problems.add(Mark(file, 0), what, hint="use `matrix` instead of many tasks")
        return ""
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
    except UnicodeDecodeError as err:
        line = err.object.count(b"\n", 0, err.start) + 1
        shown = repr(err.object[err.start : err.start + 8])
        problems.add(Mark(file, line), "not UTF-8", shown, "save the file as UTF-8")
        return ""
    if text.startswith("\ufeff"):
        problems.add(Mark(file, 1), "starts with a byte order mark", hint="save it as UTF-8 without one")
        return ""
    text = text.replace("\r\n", "\n")
    for number, row in enumerate(text.split("\n"), 1):
        if INVISIBLE.search(row):
            problems.add(Mark(file, number), "a character that cannot be seen", row.strip(), "remove it")
    return text


def _events(text: str, file: str, problems: Problems) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.YAMLError as err:
        _not_yaml(text, file, problems, err)


def _not_yaml(text: str, file: str, problems: Problems, err: yaml.YAMLError) -> None:
    # The C parser and the Python one word their complaints differently: always print the Python one's.
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as other:
        err = other
    mark = getattr(err, "problem_mark", None)
    line = mark.line + 1 if mark else 0
    lines = text.split("\n")
    shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    words = getattr(err, "problem", None) or str(err).split("\n", maxsplit=1)[0]
    problems.add(Mark(file, line), f"not YAML: {words}", shown, _yaml_hint(words))


def _yaml_hint(words: str) -> str:
    if "'\\t'" in words:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in words:
        return "put quotes around a text with `: ` in it, or mend the indentation"
    if "escape" in words or "character" in words:
        return ""
    return "mind the indentation, and close quotes and brackets"


class _Builder:
    """Makes the tree from parser events without recursion, so that no depth can exhaust the stack."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.count = 0
        self.open: list[
            tuple[yaml.Event, list[Node]]
        ] = []  # the event that opened a collection, and what it holds so far
        self.root: Node | None = None

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
                self._refuse(event, "a second document", "keep one pipeline in a file; remove the `---`")
                break
            if isinstance(event, yaml.NodeEvent) and not self._accept(event):
                break
            self._take(event)
        if self.root is None and not self.problems:
            self.problems.add(Mark(self.file, 0), "nothing in it", hint="start with `name:` and `tasks:`")
        return self.root

    def _mark(self, event: yaml.Event) -> Mark:
        return Mark(self.file, event.start_mark.line + 1 if event.start_mark else 0)

    def _refuse(self, event: yaml.Event, what: str, hint: str, text: str = "") -> None:
        self.problems.add(self._mark(event), what, text, hint)

    def _accept(self, event: yaml.NodeEvent) -> bool:
        """Tell whether reading may go on; traps that do no harm by themselves are noted and passed."""
        self.count += 1
        if self.count > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES} values", "use `matrix` instead of many tasks")
            return False
        if len(self.open) > MAX_DEPTH:
            self._refuse(event, f"nested more than {MAX_DEPTH} deep", "")
            return False
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "an alias", "write the values out, or put them under `defaults`", f"*{event.anchor}")
        elif event.anchor is not None:
            self._refuse(event, "an anchor", "write the values out, or put them under `defaults`", f"&{event.anchor}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._refuse(event, "a tag", "remove it: elisa knows what each field wants", str(tag))
        return True

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._put(self._scalar(event))
        elif isinstance(event, yaml.AliasEvent):
            self._put(Scalar(mark=self._mark(event), text=f"*{event.anchor}", value=None))
        elif isinstance(event, yaml.CollectionStartEvent):
            self.open.append((event, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            start, inside = self.open.pop()
            is_map = isinstance(start, yaml.MappingStartEvent)
            self._put(self._map(start, inside) if is_map else ListNode(mark=self._mark(start), items=tuple(inside)))

    def _put(self, node: Node) -> None:
        if self.open:
            self.open[-1][1].append(node)
        else:
            self.root = node

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text = event.value
        mark = self._mark(event)
        if INVISIBLE.search(text):  # from an escape such as "\e" in double quotes
            self._refuse(event, "a character that cannot be seen", "remove it", text)
        return Scalar(mark=mark, text=text, value=value_of(text) if event.implicit[0] else text)

    def _map(self, start: yaml.Event, inside: list[Node]) -> MapNode:
        entries: dict[str, Entry] = {}
        for key, value in zip(inside[::2], inside[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.add(key.mark, "a list or map as a key", hint="a key is one word")
            elif key.text == "<<":
                self.problems.add(key.mark, "a merge key", "<<", "write the values out, or put them under `defaults`")
            elif key.text in entries:
                first = entries[key.text].key.mark.line
                self.problems.add(key.mark, f"`{key.text}` stands here again", key.text, f"first on line {first}")
            else:
                entries[key.text] = Entry(key, value)
        return MapNode(mark=self._mark(start), entries=tuple(entries.values()))
