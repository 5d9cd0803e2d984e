"""The declared `parameters` of a document, with what the command line set instead."""

from __future__ import annotations

from collections.abc import Mapping

from elisa.model.errors import SpecError
from elisa.pipelines.kinds import BAD, wanted
from elisa.pipelines.nodes import INVISIBLE, ListNode, MapNode, Mark, Node, Scalar, from_value
from elisa.pipelines.problems import Problems, nearest
from elisa.pipelines.strict_yaml import load, value_of
from elisa.pipelines.template import RUNTIME_TOKENS
from elisa.pipelines.words import IDENTIFIER

__all__ = ["COMMAND_LINE", "parameters_of"]

COMMAND_LINE = "--set"
_RESERVED = {*RUNTIME_TOKENS, "item"}


def parameters_of(document: MapNode, overrides: Mapping[str, str], problems: Problems) -> Mapping[str, Node]:
    """Return every parameter's value, each override read as the type of the declared default."""
    declared = _declared(document, problems)
    for name, text in overrides.items():
        mark = Mark(COMMAND_LINE, 0)
        if name not in declared:
            hint = nearest(name, declared) or "declare it under `parameters` with its default"
            problems.add(mark, f"the pipeline has no parameter `{name}`", f"{name}={text}", hint)
            continue
        value = None if INVISIBLE.search(text) else _override(declared[name], text, mark)
        if value is None:
            what = f"`{name}` wants {_sort(declared[name])}"
            problems.add(mark, what, f"{name}={text}", f"its default is {_shown(declared[name])}")
        else:
            declared[name] = value
    return declared


def _declared(document: MapNode, problems: Problems) -> dict[str, Node]:
    node = document.get("parameters")
    if node is None:
        return {}
    if not isinstance(node, MapNode):
        with problems.about("parameters"):
            wanted(node, problems, "a map from names to values")
        return {}
    found: dict[str, Node] = {}
    for key, value in node.entries:
        with problems.about("parameters"):
            name = IDENTIFIER.read(Scalar(mark=key.mark, text=key.text, value=key.text), problems)
        if name is BAD:
            continue
        if key.text in _RESERVED:
            problems.add(key.mark, f"`{key.text}` has a meaning of its own", key.text, "choose another name")
        elif _is_value(value):
            found[key.text] = value
        else:
            with problems.about(key.text):
                wanted(value, problems, "a plain value or a list of them")
    return found


def _is_value(node: Node) -> bool:
    if isinstance(node, ListNode):
        return all(isinstance(item, Scalar) for item in node.items)
    return isinstance(node, Scalar)


def _override(default: Node, text: str, mark: Mark) -> Node | None:
    if isinstance(default, ListNode):
        return _override_list(text, mark)
    assert isinstance(default, Scalar)
    if isinstance(default.value, str):
        return Scalar(mark=mark, text=text, value=text)
    value = value_of(text)
    fits = default.value is None or type(value) is type(default.value)
    if isinstance(default.value, float) and type(value) is int:
        value, fits = float(value), True
    return Scalar(mark=mark, text=text, value=value) if fits else None


def _override_list(text: str, mark: Mark) -> Node | None:
    try:
        node = load(text, COMMAND_LINE)
    except SpecError:
        return None
    if not isinstance(node, ListNode) or not _is_value(node):
        return None
    return from_value([item.value for item in node.items if isinstance(item, Scalar)], mark)


def _sort(node: Node) -> str:
    if not isinstance(node, Scalar):
        return "a list, such as [1, 2]"
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(type(node.value), "a text")


def _shown(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else "a list"
