"""A `matrix` multiplied out: the combinations of its axes, less `exclude`, and then `include`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from elisa.model.pipeline import JSONScalar
from elisa.pipelines.kinds import BAD, wanted
from elisa.pipelines.nodes import ListNode, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems, nearest
from elisa.pipelines.words import IDENTIFIER

__all__ = ["MAX_TASKS", "Combination", "combinations"]

MAX_TASKS = 100_000

Combination = Mapping[str, Scalar]
_Key = tuple[tuple[str, JSONScalar, str], ...]


def combinations(node: Node, taken: Mapping[str, Node], problems: Problems) -> tuple[Combination, ...]:
    """Return the instances that a matrix describes, in the order written; the last axis changes fastest.

    `taken` are the parameters' names, which an axis may not have.
    """
    if not isinstance(node, MapNode):
        wanted(node, problems, "a map from names to lists of values")
        return ()
    axes = _axes(node, taken, problems)
    if prod(len(values) for values in axes.values()) > MAX_TASKS:
        problems.add(node.mark, f"a matrix of more than {MAX_TASKS} tasks", hint="split the pipeline")
        return ()
    made = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = _without(made, node.get("exclude"), axes, problems)
    found = kept + _included(node.get("include"), axes, problems)
    _report_repeated(found, problems)
    if not found and not problems:
        problems.add(node.mark, "a matrix without any combination", hint="give it an axis, such as `seed: [1, 2, 3]`")
    return tuple(found)


def _axes(node: MapNode, taken: Mapping[str, Node], problems: Problems) -> dict[str, tuple[Scalar, ...]]:
    axes: dict[str, tuple[Scalar, ...]] = {}
    for key, value in node.entries:
        if key.text in {"include", "exclude"}:
            continue
        if IDENTIFIER.read(Scalar(mark=key.mark, text=key.text, value=key.text), problems) is BAD:
            continue
        if key.text in taken or key.text == "item":
            what = "has a meaning of its own" if key.text == "item" else "is a parameter already"
            problems.add(key.mark, f"`{key.text}` {what}", key.text, "choose another name for the axis")
        with problems.about(key.text):
            values = _values(value, problems)
        if values:
            axes[key.text] = values
    return axes


def _values(node: Node, problems: Problems) -> tuple[Scalar, ...]:
    if not isinstance(node, ListNode) or not node.items:
        wanted(node, problems, "a list of values")
        return ()
    scalars = [item for item in node.items if isinstance(item, Scalar)]
    for item in node.items:
        if not isinstance(item, Scalar):
            wanted(item, problems, "a plain value")
    return tuple(scalars)


def _rows(node: Node | None, name: str, problems: Problems) -> Sequence[MapNode]:
    if node is None:
        return ()
    with problems.about(name):
        if not isinstance(node, ListNode):
            wanted(node, problems, "a list")
            return ()
        for item in node.items:
            if not isinstance(item, MapNode):
                wanted(item, problems, "a map from axes to values")
    return [item for item in node.items if isinstance(item, MapNode)]


def _cells(row: MapNode, axes: Mapping[str, object], problems: Problems) -> dict[str, Scalar]:
    cells = {}
    for key, value in row.entries:
        if axes and key.text not in axes:
            problems.add(key.mark, f"the matrix has no axis `{key.text}`", key.text, nearest(key.text, list(axes)))
        elif isinstance(value, Scalar):
            cells[key.text] = value
        else:
            with problems.about(key.text):
                wanted(value, problems, "a plain value")
    return cells


def _without(
    made: list[dict[str, Scalar]], node: Node | None, axes: Mapping[str, object], problems: Problems
) -> list[dict[str, Scalar]]:
    for row in _rows(node, "exclude", problems):
        cells = _cells(row, axes, problems)
        if not cells:
            continue
        kept = [one for one in made if not _matches(one, cells)]
        if len(kept) == len(made):
            problems.add(row.mark, "`exclude` matches no combination", hint="remove it, or mend its values")
        made = kept
    return made


def _matches(one: Mapping[str, Scalar], cells: Mapping[str, Scalar]) -> bool:
    return all(name in one and _identity(one[name]) == _identity(value) for name, value in cells.items())


def _included(node: Node | None, axes: Mapping[str, object], problems: Problems) -> list[dict[str, Scalar]]:
    found: list[dict[str, Scalar]] = []
    names = set(axes)
    for row in _rows(node, "include", problems):
        cells = _cells(row, axes, problems)
        names = names or set(cells)
        if set(cells) == names:
            found.append({name: cells[name] for name in (axes or cells)})
        elif names - set(cells):
            lacking = min(names - set(cells))
            problems.add(row.mark, f"`include` lacks a value for `{lacking}`", hint="give one for every axis")
        else:
            problems.add(row.mark, "`include` has other names than the ones before", hint="use the same in all")
    return found


def _identity(value: Scalar) -> tuple[JSONScalar, str]:
    # True == 1 == 1.0 in Python, and three values for an author.
    return value.value, type(value.value).__name__


def _report_repeated(found: Sequence[Combination], problems: Problems) -> None:
    seen: set[_Key] = set()
    for one in found:
        key: _Key = tuple((name, *_identity(value)) for name, value in one.items())
        if key in seen:
            text = ", ".join(f"{name}: {value.text}" for name, value in one.items())
            mark = next(iter(one.values())).mark
            problems.add(mark, "the same combination twice", text, "remove one of them")
        seen.add(key)
