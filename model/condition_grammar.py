"""What a `when` condition may say: Python's expressions, read by Python's parser and walked over a whitelist.

The text is never compiled or executed.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from itertools import pairwise
from typing import NoReturn, cast

from .states import TaskState

__all__ = ["COMPARISONS", "NUMBER_FOLDS", "TRUTH_FOLDS", "Condition", "ConditionError", "parse", "reference_of"]

NUMBER_FOLDS = ("max", "min", "mean")
TRUTH_FOLDS = ("any", "all", "count")
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

# A condition is one thought: longer or deeper ones are generated or hostile.
_MAX_LENGTH = 2000
_MAX_DEPTH = 20


class ConditionError(ValueError):
    """A condition that means nothing. `column` counts from 1; `hint` may be empty."""

    def __init__(self, what: str, column: int, hint: str = "") -> None:
        super().__init__(f"{what} (column {column})")
        self.what = what
        self.column = column
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition that means something. `names` are the tasks it speaks of, `lone` those that must be one task only."""

    text: str
    names: tuple[str, ...]
    lone: tuple[tuple[str, int], ...]  # with the column where each stands
    tree: ast.expr


class _Sort(Enum):
    TRUTH = "true or false"
    NUMBER = "a number"
    TEXT = "a text"
    STATE = "a state"


def parse(text: str) -> Condition:
    """Return what `text` says.

    Raises ConditionError, with the column, for anything but comparisons, `and`, `or`, `not`, numbers, strings,
    `task.metric`, `task.state` and `max`, `min`, `mean`, `count`, `any`, `all`.
    """
    tree = _tree(text)
    reader = _Reader()
    if reader.sort_of(tree) is not _Sort.TRUTH:
        _refuse(tree, "a condition must come out as true or false", "compare it: `train.accuracy > 0.9`")
    return Condition(text=text, names=tuple(dict.fromkeys(reader.names)), lone=tuple(reader.lone), tree=tree)


def _tree(text: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise ConditionError(f"a condition of {len(text)} characters; {_MAX_LENGTH} is the most", 1)
    try:
        tree = ast.parse(text.strip().replace("\n", " "), mode="eval").body
    except SyntaxError as err:
        raise ConditionError("not understood", max(1, min(err.offset or len(text), len(text.strip()) + 1))) from err
    except (ValueError, MemoryError, RecursionError) as err:  # pragma: no cover - which one, if any, depends on Python
        raise ConditionError("not understood: nested too deeply, or with a NUL in it", 1) from err
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ConditionError(f"not understood: nested more than {_MAX_DEPTH} deep", 1)
    return tree


def _refuse(node: ast.expr, what: str, hint: str = "") -> NoReturn:
    raise ConditionError(what, node.col_offset + 1, hint)


class _Reader:
    """Gives every expression a sort, or refuses it; gathers the tasks it speaks of on the way."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.lone: list[tuple[str, int]] = []
        self._folded: list[str] | None = None

    def sort_of(self, node: ast.expr) -> _Sort:
        match node:
            case ast.BoolOp(values=values):
                return self._truths(values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._truths([operand])
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=value)) if _is_number(value):
                return _Sort.NUMBER
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops)
            case ast.Constant(value=value):
                return _sort_of_constant(node, value)
            case ast.Call(func=ast.Name(id=name)):
                return self._fold(node, name)
            case ast.Attribute() | ast.Subscript():
                return self._reference(node)
            case _:
                return _refuse(node, f"`{ast.unparse(node)}` has no place in a condition", _hint_for(node))

    def _truths(self, values: Sequence[ast.expr]) -> _Sort:
        for value in values:
            if self.sort_of(value) is not _Sort.TRUTH:
                _refuse(value, f"`{ast.unparse(value)}` is neither true nor false", "compare it with something")
        return _Sort.TRUTH

    def _comparison(self, sides: Sequence[ast.expr], ops: Sequence[ast.cmpop]) -> _Sort:
        sorts = [self.sort_of(side) for side in sides]
        for op, (left, right), pair in zip(ops, pairwise(sides), pairwise(sorts), strict=True):
            _check_pair(op, left, right, pair)
        return _Sort.TRUTH

    def _fold(self, node: ast.Call, name: str) -> _Sort:
        if name not in NUMBER_FOLDS and name not in TRUTH_FOLDS:
            known = [*NUMBER_FOLDS, *TRUTH_FOLDS]
            _refuse(node, f"no function `{name}`", _nearest(name, known) or f"there are {', '.join(known)}")
        if self._folded is not None:
            _refuse(node, f"`{name}` inside another of its kind")
        if not node.args or node.keywords:
            _refuse(node, f"`{name}` wants one thing or more: `{name}(train.accuracy)`")
        for argument in node.args:
            self._fold_argument(name, argument)
        return _Sort.TRUTH if name in {"any", "all"} else _Sort.NUMBER

    def _fold_argument(self, name: str, argument: ast.expr) -> None:
        self._folded = []
        sort = self.sort_of(argument)
        about, self._folded = set(self._folded), None
        wanted = _Sort.NUMBER if name in NUMBER_FOLDS else _Sort.TRUTH
        if sort is not wanted:
            _refuse(argument, f"`{name}` wants {wanted.value}, and `{ast.unparse(argument)}` is {sort.value}")
        if len(about) > 1:
            _refuse(argument, f"one argument of `{name}` speaks of several tasks: {', '.join(sorted(about))}")

    def _reference(self, node: ast.expr) -> _Sort:
        name, what = reference_of(node)
        self.names.append(name)
        if self._folded is None:
            self.lone.append((name, node.col_offset + 1))
        else:
            self._folded.append(name)
        return _Sort.STATE if what == "state" else _Sort.NUMBER


def reference_of(node: ast.expr) -> tuple[str, str]:
    """Return the task and the metric (or `state`) that an expression names."""
    match node:
        case ast.Attribute(value=owner, attr=what) | ast.Subscript(value=owner, slice=ast.Constant(value=str(what))):
            return _task_name(owner), what
        case _:
            return _refuse(
                node, f"`{ast.unparse(node)}` names no metric", 'write `train.accuracy` or `train["val/accuracy"]`'
            )


def _task_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) if name != "tasks":
            return name
        case ast.Subscript(value=ast.Name(id="tasks"), slice=ast.Constant(value=str(name))):
            return name
        case _:
            return _refuse(
                node, f"`{ast.unparse(node)}` names no task", 'write `train.accuracy` or `tasks["a-b"].accuracy`'
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _sort_of_constant(node: ast.expr, value: object) -> _Sort:
    if isinstance(value, bool):
        return _Sort.TRUTH
    if _is_number(value):
        return _Sort.NUMBER
    if isinstance(value, str):
        return _Sort.TEXT
    return _refuse(node, f"`{ast.unparse(node)}` has no place in a condition")


def _check_pair(op: ast.cmpop, left: ast.expr, right: ast.expr, pair: tuple[_Sort, _Sort]) -> None:
    if type(op) not in COMPARISONS:
        _refuse(right, "only ==, !=, <, <=, > and >= compare")
    if pair == (_Sort.STATE, _Sort.TEXT):
        _check_state(op, right)
    elif pair == (_Sort.TEXT, _Sort.STATE):
        _check_state(op, left)
    elif pair != (_Sort.NUMBER, _Sort.NUMBER) and not _compares_states(op, pair):
        one, other = pair
        _refuse(left, f"`{ast.unparse(left)}` is {one.value} and `{ast.unparse(right)}` is {other.value}")


def _compares_states(op: ast.cmpop, pair: tuple[_Sort, _Sort]) -> bool:
    return pair == (_Sort.STATE, _Sort.STATE) and isinstance(op, (ast.Eq, ast.NotEq))


def _check_state(op: ast.cmpop, node: ast.expr) -> None:
    if not isinstance(op, (ast.Eq, ast.NotEq)):
        _refuse(node, "a state is compared with == or != only")
    word = str(cast("ast.Constant", node).value)
    states = [state.value for state in TaskState]
    if word not in states:
        _refuse(node, f'there is no state "{word}"', _nearest(word, states) or f"states are {', '.join(states)}")


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def _hint_for(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"say what of it: `{node.id}.state` or `{node.id}.accuracy`"
    if isinstance(node, ast.BinOp):
        return 'a task with a dash in its name is written `tasks["a-b"].accuracy`; there is no arithmetic'
    return ""
