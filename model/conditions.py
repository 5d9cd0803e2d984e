"""`when` conditions: comparisons over the states and metrics of the tasks before, and nothing else.

max(evaluate.accuracy) > 0.9 and prepare.state == "succeeded"
tasks["train-big"].loss < tasks["train-small"]["val/loss"]
count(train.accuracy > 0.8) >= 2
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, cast

from .condition_grammar import COMPARISONS, Condition, ConditionError, parse, reference_of
from .states import TaskState

__all__ = ["Condition", "ConditionError", "Facts", "Lookup", "Undecidable", "evaluate", "parse"]

_NUMBER_FOLDS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "min": min,
    "mean": lambda values: sum(values) / len(values),
}
_TRUTH_FOLDS: Mapping[str, Callable[[Sequence[bool]], float | bool]] = {"any": any, "all": all, "count": sum}
_OPERATORS: Sequence[Callable[[Any, Any], bool]] = (
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
)  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = dict(zip(COMPARISONS, _OPERATORS, strict=True))


class Facts(Protocol):
    """What a condition may know of one task."""

    @property
    def name(self) -> str:
        """The task's name in its pipeline."""
        ...

    @property
    def state(self) -> TaskState:
        """Its state."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """The newest value of each metric it reported."""
        ...


Lookup = Callable[[str], Sequence[Facts]]
"""Give the tasks that a name stands for: one task, or all instances of a matrix or template, in a fixed order."""


@dataclass(frozen=True, slots=True)
class Undecidable:
    """The condition has no value: each of `missing` is a `task.metric` nobody reported, or a name that is not there."""

    missing: tuple[str, ...]


def evaluate(condition: Condition, lookup: Lookup) -> bool | Undecidable:
    """Return whether the condition holds, or what is missing to tell.

    `and` and `or` need only the side that decides. Inside max, min, mean, count, any and all, tasks that did not succeed
    and lack the metric are left out; if one that succeeded lacks it, or none is left, there is no answer.
    """
    return _truth(condition.tree, _Lone(lookup))


class _Lone:
    """Finds the one task that a name stands for."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup

    def __call__(self, name: str) -> Facts | Undecidable:
        found = self.lookup(name)
        return found[0] if len(found) == 1 else Undecidable((name,))


_Find = Callable[[str], "Facts | Undecidable"]
_Value = float | bool | str | Undecidable


def _truth(node: ast.expr, find: _Find) -> bool | Undecidable:
    match node:
        case ast.BoolOp(op=op, values=values):
            return _connect(values, find, decisive=isinstance(op, ast.Or))
        case ast.UnaryOp(operand=operand):
            inner = _truth(operand, find)
            return inner if isinstance(inner, Undecidable) else not inner
        case ast.Compare(left=left, ops=ops, comparators=rights):
            return _compare([left, *rights], ops, find)
        case _:
            return cast("bool | Undecidable", _value(node, find))


def _connect(values: Sequence[ast.expr], find: _Find, *, decisive: bool) -> bool | Undecidable:
    missing: list[str] = []
    for value in values:
        truth = _truth(value, find)
        if isinstance(truth, Undecidable):
            missing += truth.missing
        elif truth is decisive:
            return decisive
    return Undecidable(tuple(dict.fromkeys(missing))) if missing else not decisive


def _compare(sides: Sequence[ast.expr], ops: Sequence[ast.cmpop], find: _Find) -> bool | Undecidable:
    values = [_value(side, find) for side in sides]
    missing = [name for value in values if isinstance(value, Undecidable) for name in value.missing]
    if missing:
        return Undecidable(tuple(dict.fromkeys(missing)))
    return all(_COMPARE[type(op)](*pair) for op, pair in zip(ops, pairwise(values), strict=True))


def _value(node: ast.expr, find: _Find) -> _Value:
    match node:
        case ast.Constant(value=value):
            return cast("float | bool | str", value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return -cast("float", value)
        case ast.UnaryOp(op=ast.UAdd(), operand=ast.Constant(value=value)):
            return cast("float", value)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _folded(name, arguments, cast("_Lone", find).lookup)
        case _:
            return _referred(node, find)


def _referred(node: ast.expr, find: _Find) -> _Value:
    name, what = reference_of(node)
    task = find(name)
    if isinstance(task, Undecidable):
        return task
    if what == "state":
        return task.state.value
    value = task.metrics.get(what)
    return Undecidable((f"{task.name}.{what}",)) if value is None else value


def _folded(name: str, arguments: Sequence[ast.expr], lookup: Lookup) -> _Value:
    values: list[float | bool] = []
    for argument in arguments:
        missing = _gather(argument, name in _TRUTH_FOLDS, lookup, values)
        if missing is not None:
            return missing
    if name in _TRUTH_FOLDS:
        return _TRUTH_FOLDS[name](cast("list[bool]", values))
    return _NUMBER_FOLDS[name](values)


def _gather(argument: ast.expr, truths: bool, lookup: Lookup, values: list[float | bool]) -> Undecidable | None:  # noqa: FBT001
    about = _name_in(argument)
    if about is None:
        values.append(cast("float | bool", _value(argument, _Lone(lookup))))
        return None
    missing: list[str] = []
    before = len(values)
    for task in lookup(about):
        value = (_truth if truths else _value)(argument, lambda _name, task=task: task)  # type: ignore[misc]
        if not isinstance(value, Undecidable):
            values.append(cast("float | bool", value))
        elif task.state is TaskState.SUCCEEDED:
            return value
        else:
            missing += value.missing
    return Undecidable(tuple(missing) or (about,)) if len(values) == before else None


def _name_in(node: ast.expr) -> str | None:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)):
            return reference_of(inner)[0]
    return None
