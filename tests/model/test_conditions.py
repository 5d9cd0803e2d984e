from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.conditions import ConditionError, Undecidable, evaluate, parse
from elisa.model.states import TaskState


@dataclass(frozen=True)
class FakeTask:
    name: str
    state: TaskState = TaskState.SUCCEEDED
    metrics: Mapping[str, float] = field(default_factory=dict)


WORLD: Mapping[str, Sequence[FakeTask]] = {
    "train": [FakeTask("train", metrics={"loss": 0.5, "val/loss": 0.75})],
    "train-big": [FakeTask("train-big", metrics={"loss": 0.25})],
    "failed": [FakeTask("failed", TaskState.FAILED)],
    "evaluate": [
        FakeTask("evaluate-seed=1", metrics={"accuracy": 0.8, "loss": 3}),
        FakeTask("evaluate-seed=2", metrics={"accuracy": 0.9, "loss": 1}),
        FakeTask("evaluate-seed=3", TaskState.FAILED),
    ],
    "silent": [FakeTask("silent-1", metrics={"accuracy": 0.5}), FakeTask("silent-2")],
    "nobody": [],
}


def decide(text: str) -> bool | Undecidable:
    return evaluate(parse(text), lambda name: WORLD.get(name, []))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("train.loss < 1", True, id="a metric is compared"),
        pytest.param("train.loss >= 0.5 and train.loss <= 0.5", True, id="bounds are inclusive"),
        pytest.param("0.1 < train.loss < 0.4", False, id="comparisons chain"),
        pytest.param("train.loss == 0.5", True, id="equality"),
        pytest.param("train.loss != 0.5", False, id="inequality"),
        pytest.param("train.loss > -1", True, id="negative numbers"),
        pytest.param("train.loss < +1", True, id="signed numbers"),
        pytest.param('train["val/loss"] > 0.7', True, id="metrics with odd names"),
        pytest.param('tasks["train-big"].loss < train.loss', True, id="tasks with dashes"),
        pytest.param('tasks["train-big"]["loss"] < 1', True, id="both in brackets"),
        pytest.param('train.state == "succeeded"', True, id="a state"),
        pytest.param('"failed" == failed.state', True, id="a state on the right"),
        pytest.param("train.state != failed.state", True, id="two states"),
        pytest.param("not train.loss < 1", False, id="not"),
        pytest.param("train.loss < 1 or nobody.loss < 1", True, id="or stops at what decides"),
        pytest.param("nobody.loss < 1 or train.loss < 1", True, id="or looks past what is missing"),
        pytest.param("nobody.loss < 1 and train.loss > 1", False, id="and looks past what is missing"),
        pytest.param("max(evaluate.accuracy) > 0.85", True, id="max"),
        pytest.param("min(evaluate.accuracy) > 0.85", False, id="min"),
        pytest.param("mean(evaluate.loss) == 2", True, id="mean"),
        pytest.param("count(evaluate.accuracy > 0.7) == 2", True, id="count"),
        pytest.param('count(evaluate.state == "failed") == 1', True, id="count of states"),
        pytest.param("any(evaluate.accuracy > 0.85)", True, id="any"),
        pytest.param("all(evaluate.accuracy > 0.85)", False, id="all"),
        pytest.param("any(evaluate.accuracy > 0.85 and evaluate.loss < 2)", True, id="both of the same instance"),
        pytest.param("any(evaluate.accuracy < 0.85 and evaluate.loss < 2)", False, id="not of different instances"),
        pytest.param("max(train.loss, evaluate.accuracy) == 0.9", True, id="several arguments"),
        pytest.param("min(1, train.loss) == 0.5", True, id="a number among the arguments"),
        pytest.param("any(true_is_no_name.loss > 1) or True", True, id="constants"),
        pytest.param("any(True)", True, id="a constant alone"),
        pytest.param("  train.loss\n  < 1 ", True, id="line breaks and spaces"),
    ],
)
def test_condition_is_decided(text: str, expected: bool) -> None:  # noqa: FBT001
    assert decide(text) is expected


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param("train.accuracy > 1", ("train.accuracy",), id="a metric nobody reported"),
        pytest.param("nobody.loss > 1", ("nobody",), id="a task that is not there"),
        pytest.param("evaluate.loss > 1", ("evaluate",), id="several where one is meant"),
        pytest.param("not train.accuracy > 1", ("train.accuracy",), id="not of nothing"),
        pytest.param("train.a > 1 and train.b > 1", ("train.a", "train.b"), id="all that is missing"),
        pytest.param("train.a > train.b", ("train.a", "train.b"), id="both sides"),
        pytest.param("max(silent.accuracy) > 0.1", ("silent-2.accuracy",), id="one that succeeded said nothing"),
        pytest.param("max(failed.loss) > 1", ("failed.loss",), id="none is left"),
        pytest.param("count(nobody.loss > 1) == 0", ("nobody",), id="an empty group"),
    ],
)
def test_condition_without_an_answer_says_what_is_missing(text: str, missing: tuple[str, ...]) -> None:
    assert decide(text) == Undecidable(missing)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("train.loss", 1, "must come out as true or false"),
        ("train.loss and True", 1, "is neither true nor false"),
        ("train", 1, "has no place"),
        ("1 + 1 > 2", 1, "has no place"),
        ("train.loss > 1 and a-b.loss > 1", 20, "has no place"),
        ("train.loss > 'x'", 1, "is a number and"),
        ("train.state < 'failed'", 15, "== or != only"),
        ("train.state == 'done'", 16, 'no state "done"'),
        ("'x' == 'y'", 1, "is a text and"),
        ("train.state < failed.state", 1, "is a state and"),
        ("__import__('os').system('x')", 1, "has no place"),
        ("open('/etc/passwd')", 1, "no function `open`"),
        ("max()", 1, "wants one thing or more"),
        ("max(train.loss, key=1)", 1, "wants one thing or more"),
        ("max(train.loss > 1) > 1", 5, "wants a number"),
        ("all(train.loss)", 5, "wants true or false"),
        ("max(min(train.loss)) > 1", 5, "inside another"),
        ("any(train.loss > other.loss)", 5, "several tasks: other, train"),
        ("tasks.loss > 1", 1, "names no task"),
        ("a.b.c > 1", 1, "names no task"),
        ("train[1] > 1", 1, "names no metric"),
        ("train.loss in (1, 2)", 15, "has no place"),
        ("train.loss is 1", 15, "compare"),
        ("f'{train}' == 'x'", 1, "has no place"),
        ("(lambda: 1) == 1", 2, "has no place"),
        ("train.loss > 1 if True else False", 1, "has no place"),
        ("None == 1", 1, "has no place"),
        ("b'x' == 1", 1, "has no place"),
        ("train.loss >", 12, "not understood"),
        ("", 1, "not understood"),
        ("train.loss > 1\0", 1, "not understood"),
        ("(" * 300, 201, "not understood"),
        ("-" * 900 + "1 > 0", 1, "nested more than"),
        ("not " * 400 + "True", 1, "nested more than"),
        ("train.loss > 1" + " " * 2000, 1, "2014 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse(text)

    assert words in caught.value.what
    if "not understood" not in words:  # Python's own parser decides where it gives up
        assert caught.value.column == column


def test_error_tells_its_column_in_its_text() -> None:
    assert str(ConditionError("wrong", 3)) == "wrong (column 3)"


def test_misspelt_words_come_with_the_nearest_valid_one() -> None:
    for text, hint in [("maxx(a.b) > 1", "did you mean `max`?"), ("a.state == 'faild'", "did you mean `failed`?")]:
        with pytest.raises(ConditionError) as caught:
            parse(text)
        assert caught.value.hint == hint


def test_condition_lists_its_tasks_once_and_those_that_must_be_alone() -> None:
    condition = parse("max(evaluate.accuracy) > train.loss and train.loss < 1")

    assert condition.names == ("evaluate", "train")
    assert condition.lone == (("train", 26), ("train", 41))


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = parse(text)
    except ConditionError as err:
        assert 1 <= err.column <= len(text) + 1  # noqa: PT017 - most texts are refused, some are not
    else:
        assert isinstance(evaluate(condition, lambda _name: []), (bool, Undecidable))


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(numbers, min_size=1, max_size=5), numbers)
def test_folds_agree_with_each_other(values: list[float], bound: float) -> None:
    tasks = [FakeTask(f"t{index}", metrics={"x": value}) for index, value in enumerate(values)]

    def holds(text: str) -> bool | Undecidable:
        return evaluate(parse(text.format(bound=repr(bound))), lambda _name: tasks)

    assert holds("max(t.x) > {bound}") == holds("any(t.x > {bound})") == any(value > bound for value in values)
    assert holds("min(t.x) > {bound}") == holds("all(t.x > {bound})") == all(value > bound for value in values)
    assert holds(f"count(t.x > {{bound}}) == {sum(value > bound for value in values)}")


@given(st.sampled_from(["train.loss < 1", "train.loss > 1", "train.none > 1"]), st.sampled_from(["and", "or"]))
def test_and_and_or_do_not_depend_on_the_order_of_their_sides(other: str, word: str) -> None:
    for one in ["train.loss < 1", "train.loss > 1", "nobody.none > 1"]:
        left, right = decide(f"{one} {word} {other}"), decide(f"{other} {word} {one}")
        if isinstance(left, Undecidable) and isinstance(right, Undecidable):
            assert set(left.missing) == set(right.missing)
        else:
            assert left == right
