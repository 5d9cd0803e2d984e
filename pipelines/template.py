"""`${name}` in a document: parameters are filled in before anything is read, a few tokens are left for the job's start.

Only names that were declared are known; nothing is ever evaluated. `$${` stands for a plain `${`. A value that is one
token alone takes over the parameter's type, so that `nodes: ${nodes}` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from elisa.pipelines.nodes import Entry, ListNode, MapNode, Mark, Node, Scalar
from elisa.pipelines.problems import Problems, nearest

__all__ = ["RUNTIME_TOKENS", "TOKEN", "Filling", "fill"]

TOKEN = re.compile(r"\$?\$\{([^{}]*)\}")
RUNTIME_TOKENS = ("task_dir", "pipeline_dir", "checkpoint_dir")
_ITEM = re.compile(r"item(\.[A-Za-z_]\w*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What tokens may be used. `runtime` and `item` tell whether folders and the item of a list are known there."""

    values: Mapping[str, Node]
    runtime: bool = False
    item: bool = False

    def keeps(self, name: str) -> bool:
        """Tell whether the token is one for later."""
        if name in RUNTIME_TOKENS or name.startswith("dir."):
            return self.runtime
        return self.item and _ITEM.fullmatch(name) is not None

    def known(self) -> tuple[str, ...]:
        """Return the names a misspelt one is compared with."""
        later = (*RUNTIME_TOKENS, "dir.TASK") if self.runtime else ()
        return (*self.values, *later, *(("item",) if self.item else ()))


def fill(node: Node, filling: Filling, problems: Problems) -> Node:
    """Return `node` with its tokens filled in; the very same object where there is none to fill."""
    if isinstance(node, Scalar):
        return _filled(node, filling, problems) if "${" in node.text else node
    if isinstance(node, ListNode):
        items = tuple(fill(item, filling, problems) for item in node.items)
        return node if _same(items, node.items) else ListNode(mark=node.mark, items=items)
    values = tuple(fill(value, filling, problems) for _, value in node.entries)
    if _same(values, tuple(value for _, value in node.entries)):
        return node
    entries = tuple(Entry(key, value) for (key, _), value in zip(node.entries, values, strict=True))
    return MapNode(mark=node.mark, entries=entries)


def _same(new: tuple[Node, ...], old: tuple[Node, ...]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))


def _filled(node: Scalar, filling: Filling, problems: Problems) -> Node:
    whole = TOKEN.fullmatch(node.text)
    if whole and not node.text.startswith("$$") and whole[1] in filling.values:
        return _moved(filling.values[whole[1]], node.mark)
    faults = list(_faults(node.text, filling))
    for what, token, hint in faults:
        problems.add(node.mark, what, token, hint)
    text = TOKEN.sub(lambda match: _replacement(match, filling), node.text)
    if text == node.text and not faults:
        return node
    return Scalar(mark=node.mark, text=text, value=text, broken=bool(faults))


def _moved(value: Node, mark: Mark) -> Node:
    if isinstance(value, Scalar):
        return Scalar(mark=mark, text=value.text, value=value.value)
    return value


def _replacement(match: re.Match[str], filling: Filling) -> str:
    if match[0].startswith("$$"):
        return match[0][1:]
    value = filling.values.get(match[1])
    return value.text if isinstance(value, Scalar) else match[0]


def _faults(text: str, filling: Filling) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with each token, the token, and a hint."""
    for match in TOKEN.finditer(text):
        name, is_escaped = match[1], match[0].startswith("$$")
        if is_escaped:
            if filling.keeps(name):
                yield f"`${{{name}}}` cannot stand for itself here", match[0], "bring it in as a parameter"
        elif isinstance(filling.values.get(name), ListNode):
            yield f"`{name}` is a list: it cannot stand inside a text", match[0], ""
        elif name not in filling.values and not filling.keeps(name):
            yield f"`${{{name}}}` is not known here", match[0], _hint(name, filling)


def _hint(name: str, filling: Filling) -> str:
    if name in RUNTIME_TOKENS or name.startswith("dir."):
        return "folders are known only in command, environment, workdir and outputs"
    if _ITEM.fullmatch(name):
        return "there is an item only in command, call, environment, workdir and outputs of a task with `foreach`"
    close = nearest(name, filling.known())
    return f"{close}{'; ' if close else ''}for a shell's own variable write $NAME or $${{NAME}}"
