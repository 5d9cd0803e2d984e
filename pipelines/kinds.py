"""What one value may be: each kind reads a node, reports what is wrong with it, and describes itself as JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from elisa.model.units import parse_duration_s, parse_memory_mib
from elisa.pipelines.nodes import ListNode, MapNode, Node, Scalar, plain
from elisa.pipelines.problems import Problems, nearest

__all__ = [
    "BAD",
    "Boolean",
    "Choice",
    "Integer",
    "JsonText",
    "Kind",
    "Number",
    "Quantity",
    "Schema",
    "Text",
    "Value",
    "duration",
    "memory",
    "wanted",
]


class _Bad(Enum):
    BAD = "what could not be read; the problem is already reported"


BAD: Final = _Bad.BAD

Schema = Mapping[str, Any]
Value = Any
"""What a kind reads: its type is known to the kind alone; records hand it to a typed dataclass."""
# Until parameters are filled in, a number or a choice may be written as `${name}`.
_TEMPLATE: Schema = {"type": "string", "pattern": r"\$\{"}


class Kind(Protocol):
    """Something a field may hold."""

    def read(self, node: Node, problems: Problems) -> Value:
        """Return the value, or BAD after reporting why there is none."""
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of what `read` accepts."""
        ...


def wanted(node: Node, problems: Problems, what: str, hint: str = "") -> _Bad:
    """Report that `node` is not what the key it stands under wants, and return BAD."""
    if isinstance(node, Scalar) and node.broken:
        return BAD
    text = node.text if isinstance(node, Scalar) else json.dumps(plain(node), ensure_ascii=False)
    subject = f"`{problems.subject}`" if problems.subject else "the pipeline"
    problems.add(node.mark, f"{subject} wants {what}{_but_is(node)}", text, hint)
    return BAD


def _but_is(node: Node) -> str:
    if isinstance(node, MapNode):
        return ", not a map" if node.entries else ", not an empty map"
    if isinstance(node, ListNode):
        return ", not a list" if node.items else ", not an empty list"
    if node.value is None:
        return ", not nothing"
    return "" if node.text else ", not an empty text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text; a number and a truth value are taken as they were written.

    `pattern` must match all of it, and `words` say what that means.
    """

    words: str = "a text"
    pattern: str = ""
    longest: int = 4096
    empty: bool = False

    def read(self, node: Node, problems: Problems) -> str | _Bad:
        if not isinstance(node, Scalar) or node.value is None:
            hint = f'put quotes around it: "{node.text}"' if isinstance(node, Scalar) and node.text else ""
            return wanted(node, problems, self.words, hint)
        if node.broken or (not node.text and not self.empty):
            return wanted(node, problems, self.words)
        if len(node.text) > self.longest:
            return wanted(node, problems, self.words, f"{len(node.text)} characters; {self.longest} is the most")
        if self.pattern and not re.fullmatch(self.pattern, node.text):
            return wanted(node, problems, self.words)
        return node.text

    def schema(self) -> Schema:
        limits: dict[str, Any] = {"type": ["string", "number", "boolean"], "maxLength": self.longest}
        if not self.empty:
            limits["minLength"] = 1
        if not self.pattern:
            return limits
        return {"anyOf": [limits | {"pattern": f"^(?:{self.pattern})$"}, _TEMPLATE]}


_TRUTH = {"true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean:
    def read(self, node: Node, problems: Problems) -> bool | _Bad:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        is_meant = isinstance(node, Scalar) and node.text.lower() in _TRUTH
        return wanted(node, problems, "true or false", "write it in small letters, without quotes" if is_meant else "")

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "boolean"}, _TEMPLATE]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    least: int = 0
    most: int = 10**9

    def read(self, node: Node, problems: Problems) -> int | _Bad:
        if not isinstance(node, Scalar) or not isinstance(node.value, int) or isinstance(node.value, bool):
            return wanted(node, problems, "a whole number", _number_hint(node))
        if not self.least <= node.value <= self.most:
            return wanted(node, problems, f"a whole number from {self.least} to {self.most}")
        return node.value

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": self.least, "maximum": self.most}, _TEMPLATE]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    least: float = 0.0
    most: float = 1e9

    def read(self, node: Node, problems: Problems) -> float | _Bad:
        if not isinstance(node, Scalar) or not isinstance(node.value, (int, float)) or isinstance(node.value, bool):
            return wanted(node, problems, "a number", _number_hint(node))
        if not self.least <= node.value <= self.most:
            return wanted(node, problems, f"a number from {self.least:g} to {self.most:g}")
        return float(node.value)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "number", "minimum": self.least, "maximum": self.most}, _TEMPLATE]}


def _number_hint(node: Node) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, str) and re.fullmatch(r"[-+]?[\d_.]+", node.text):
        return "write it in plain decimal digits, without quotes, leading zeros or separators"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with a unit, read by `parse`, which raises ValueError with words. It must not come out below `least`."""

    words: str
    example: str
    parse: Callable[[str], int]
    least: int = 1

    def read(self, node: Node, problems: Problems) -> int | _Bad:
        if (
            not isinstance(node, Scalar)
            or not isinstance(node.value, (str, int, float))
            or isinstance(node.value, bool)
        ):
            return wanted(node, problems, self.words, f"write it like {self.example}")
        try:
            amount = self.parse(node.text)
        except (ValueError, OverflowError):
            return wanted(node, problems, self.words, f"write it like {self.example}")
        if amount < self.least:
            return wanted(node, problems, f"{self.words} of at least {self.least}")
        return amount

    def schema(self) -> Schema:
        return {"type": "string", "description": f"{self.words}, like {self.example}"}


def duration(least_s: int = 1) -> Quantity:
    """Return the kind for times such as `2h30m`, in seconds."""
    return Quantity(
        words="a duration", example="90s, 45m, 2h30m, 3d or 3-12:00:00", parse=parse_duration_s, least=least_s
    )


def memory() -> Quantity:
    """Return the kind for sizes such as `16GiB`, in mebibytes."""
    return Quantity(words="an amount of memory", example="512MiB, 16GiB or 2TiB", parse=parse_memory_mib)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One word of a few; given as an enum, its member comes out."""

    values: type[Enum] | tuple[str, ...]

    def _known(self) -> dict[str, Any]:
        if isinstance(self.values, tuple):
            return {word: word for word in self.values}
        return {str(member.value): member for member in self.values}

    def read(self, node: Node, problems: Problems) -> Value:
        known = self._known()
        if isinstance(node, Scalar) and node.text in known:
            return known[node.text]
        hint = nearest(node.text, known) if isinstance(node, Scalar) else ""
        return wanted(node, problems, f"one of {', '.join(known)}", hint if hint.startswith("did") else "")

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": list(self._known())}, _TEMPLATE]}


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonText:
    """Any value; it comes out as canonical JSON."""

    def read(self, node: Node, problems: Problems) -> str:  # noqa: ARG002 - every value is good
        return json.dumps(plain(node), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)

    def schema(self) -> Schema:
        return {}
