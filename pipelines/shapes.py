"""Lists, maps and records of kinds: they read what is inside them to the end, whatever is wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elisa.pipelines.kinds import BAD, Kind, Schema, Text, Value, wanted
from elisa.pipelines.nodes import ListNode, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems, nearest

__all__ = ["Either", "Field", "ListOf", "MapOf", "OneOrMany", "Record", "read_kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list of `kind`; a tuple comes out."""

    kind: Kind
    least: int = 1
    unique: bool = False

    def read(self, node: Node, problems: Problems) -> Value:
        if not isinstance(node, ListNode):
            return wanted(node, problems, "a list")
        if len(node.items) < self.least:
            return wanted(node, problems, f"a list of at least {self.least}")
        values = [self.kind.read(item, problems) for item in node.items]
        if self.unique:
            _report_twice(node, problems)
        return BAD if BAD in values else tuple(values)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.kind.schema(), "minItems": self.least}


def _report_twice(node: ListNode, problems: Problems) -> None:
    seen: set[str] = set()
    for item in node.items:
        if not isinstance(item, Scalar):
            continue
        if item.text in seen:
            problems.add(item.mark, f"`{item.text}` stands in the list twice", item.text)
        seen.add(item.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOrMany:
    """One of `kind` or a list of them; a tuple comes out either way."""

    kind: Kind

    def read(self, node: Node, problems: Problems) -> Value:
        if isinstance(node, ListNode):
            return ListOf(kind=self.kind, unique=True).read(node, problems)
        value = self.kind.read(node, problems)
        return BAD if value is BAD else (value,)

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), ListOf(kind=self.kind).schema()]}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf:
    """A map from names to `kind`; a tuple of pairs comes out, or what `pair` makes of each name and value."""

    kind: Kind
    key: Text
    pair: Callable[[str, Any], Any] | None = None
    forbidden: Callable[[str], str] = lambda _name: ""

    def read(self, node: Node, problems: Problems) -> Value:
        if not isinstance(node, MapNode):
            return wanted(node, problems, "a map")
        return tuple(
            pair for entry in node.entries if (pair := self._pair(entry.key, entry.value, problems)) is not BAD
        )

    def _pair(self, key: Scalar, value: Node, problems: Problems) -> Value:
        as_text = Scalar(mark=key.mark, text=key.text, value=key.text)
        name = self.key.read(as_text, problems)
        with problems.about(key.text):
            read = self.kind.read(value, problems)
        if name is BAD or read is BAD:
            return BAD
        why = self.forbidden(str(name))
        if why:
            problems.add(key.mark, why, key.text)
        return self.pair(str(name), read) if self.pair else (name, read)

    def schema(self) -> Schema:
        names = {"propertyNames": {"pattern": f"^(?:{self.key.pattern})$"}} if self.key.pattern else {}
        return {"type": "object", "additionalProperties": self.kind.schema(), **names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """A short form, when the node is no map, beside the long one."""

    short: Kind
    long: Kind
    widen: Callable[[Any], Any]

    def read(self, node: Node, problems: Problems) -> Value:
        if isinstance(node, MapNode):
            return self.long.read(node, problems)
        value = self.short.read(node, problems)
        return BAD if value is BAD else self.widen(value)

    def schema(self) -> Schema:
        return {"anyOf": [self.short.schema(), self.long.schema()]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a record: its kind, what it means, and the attribute it becomes (its own name if empty)."""

    kind: Kind
    about: str
    to: str = ""
    required: bool = False


ReadKind = Callable[[Kind, Node, Problems], Value]


def read_kind(kind: Kind, node: Node, problems: Problems) -> Value:
    """Read `node` afresh."""
    return kind.read(node, problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A map with known keys. `build` gets what was read by attribute name; what was not written it must have defaults for.

    `check` looks at the built value as a whole. `aliases` name keys that people try, and what they should have written.
    """

    title: str
    fields: Mapping[str, Field]
    build: Callable[..., Any]
    check: Callable[[Any, MapNode, Problems], None] | None = None
    aliases: Sequence[tuple[str, str]] = field(default=())

    def read(self, node: Node, problems: Problems, read: ReadKind = read_kind) -> Value:
        """Return what `build` makes; `read` may remember what it read before."""
        if not isinstance(node, MapNode):
            return wanted(node, problems, f"a map ({', '.join(list(self.fields)[:4])}, ...)")
        values = {}
        for key, value in node.entries:
            known = self.fields.get(key.text)
            if known is None:
                self.report_unknown(key, problems)
                continue
            with problems.about(key.text):
                found = read(known.kind, value, problems)
            if found is not BAD:
                values[known.to or key.text] = found
        return self._built(node, values, problems)

    def report_unknown(self, key: Scalar, problems: Problems) -> None:
        """Say that there is no such key, and where it belongs or which one may have been meant."""
        is_alias = key.text in dict(self.aliases)
        hint = "" if is_alias else self._inside(key.text)
        hint = hint or nearest(key.text, self.fields, aliases=self.aliases)
        problems.add(key.mark, f"{self.title} has no `{key.text}`", key.text, hint)

    def _inside(self, key: str) -> str:
        for name, known in self.fields.items():
            record = known.kind.long if isinstance(known.kind, Either) else known.kind
            if isinstance(record, Record) and (meant := key if key in record.fields else dict(record.aliases).get(key)):
                return f"write `{meant}` under `{name}`"
        return ""

    def _built(self, node: MapNode, values: Mapping[str, Any], problems: Problems) -> Value:
        missing = [name for name, known in self.fields.items() if known.required and node.find(name) is None]
        for name in missing:
            problems.add(node.mark, f"{self.title} lacks `{name}`", hint=f"`{name}`: {self.fields[name].about}")
        required = {known.to or name for name, known in self.fields.items() if known.required}
        if not required <= set(values):
            return BAD
        built = self.build(**values)
        if self.check:
            self.check(built, node, problems)
        return built

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name, known in self.fields.items() if known.required],
            "properties": {
                name: {**known.kind.schema(), "description": known.about} for name, known in self.fields.items()
            },
        }
