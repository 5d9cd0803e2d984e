from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.errors import Problem
from elisa.model.pipeline import JSONScalar
from elisa.model.text import clean
from elisa.pipelines.naming import instance_name
from tests.pipelines.documents import problems_of, read, read_tasks

SWEEP = """\
    name: sweep
    parameters: {epochs: 20, rate: 0.5, mode: fast, deep: false, seeds: [1, 2], nothing: null}
    tasks:
      a:
        command: [x, "${epochs}", "${rate}", "${mode}", "${deep}", "s${seed}", "<${nothing}>"]
        matrix: {seed: "${seeds}"}
        resources: {nodes: "${epochs}"}
        preemptible: ${deep}
"""


def test_the_last_axis_changes_fastest() -> None:
    tasks = read_tasks("a: {command: [x, '${i}${j}'], matrix: {i: [1, 2], j: [p, q]}}")

    assert [task.command[1] for task in tasks.values()] == ["1p", "1q", "2p", "2q"]
    assert list(tasks) == ["a-i=1-j=p", "a-i=1-j=q", "a-i=2-j=p", "a-i=2-j=q"]


def test_instances_know_their_values_and_their_group() -> None:
    (task,) = read_tasks("a: {command: [x], matrix: {seed: [1], rate: [0.5], deep: [true], name: [b c]}}").values()

    assert task.name.startswith("a-seed=1-rate=0.5-deep=true-name=b_c-")
    assert task.parameters == (("seed", 1), ("rate", 0.5), ("deep", True), ("name", "b c"))
    assert task.group == "a"


def test_exclude_takes_combinations_out_and_include_puts_them_in() -> None:
    tasks = read_tasks("""\
        a:
          command: [x]
          matrix:
            i: [1, 2, 3]
            j: [1, 2]
            exclude: [{i: 2}, {i: 3, j: 1}]
            include: [{j: 9, i: 9}]
    """)

    assert list(tasks) == ["a-i=1-j=1", "a-i=1-j=2", "a-i=3-j=2", "a-i=9-j=9"]


def test_a_matrix_may_be_a_plain_list_of_combinations() -> None:
    tasks = read_tasks("a: {command: [x, '${i}${j}'], matrix: {include: [{i: 1, j: 2}, {i: 3, j: 4}]}}")

    assert [task.command[1] for task in tasks.values()] == ["12", "34"]


def test_one_and_true_and_their_texts_are_different_values() -> None:
    assert list(read_tasks("a: {command: [x], matrix: {i: [1, 1.0, true, two]}}")) == [
        "a-i=1",
        "a-i=1.0",
        "a-i=true",
        "a-i=two",
    ]


def test_a_parameter_alone_keeps_its_type_and_inside_text_is_text() -> None:
    pipeline = read(SWEEP)

    assert [task.command for task in pipeline.tasks] == [
        ("x", "20", "0.5", "fast", "false", "s1", "<null>"),
        ("x", "20", "0.5", "fast", "false", "s2", "<null>"),
    ]
    assert pipeline.tasks[0].resources.nodes == 20
    assert pipeline.tasks[0].preemptible is False


@pytest.mark.parametrize(
    ("overrides", "words", "seeds"),
    [
        ({"epochs": "3"}, ("3", "0.5", "fast", "false"), 2),
        ({"rate": "1"}, ("20", "1", "fast", "false"), 2),
        ({"mode": "12"}, ("20", "0.5", "12", "false"), 2),
        ({"deep": "true"}, ("20", "0.5", "fast", "true"), 2),
        ({"seeds": "[7]"}, ("20", "0.5", "fast", "false"), 1),
    ],
)
def test_a_parameter_is_set_from_outside(overrides: Mapping[str, str], words: tuple[str, ...], seeds: int) -> None:
    pipeline = read(SWEEP, overrides)

    assert pipeline.tasks[0].command[1:5] == words
    assert len(pipeline.tasks) == seeds


@pytest.mark.parametrize(
    ("overrides", "what", "hint"),
    [
        ({"epoch": "3"}, "the pipeline has no parameter `epoch`", "did you mean `epochs`?"),
        ({"epochs": "many"}, "`epochs` wants a whole number", "its default is 20"),
        ({"epochs": "1.5"}, "`epochs` wants a whole number", "its default is 20"),
        ({"rate": "fast"}, "`rate` wants a number", "its default is 0.5"),
        ({"deep": "yes"}, "`deep` wants true or false", "its default is false"),
        ({"seeds": "1, 2"}, "`seeds` wants a list, such as [1, 2]", "its default is a list"),
        ({"seeds": "[[1]]"}, "`seeds` wants a list, such as [1, 2]", "its default is a list"),
        ({"mode": "\x1b[2J"}, "`mode` wants a text", "its default is fast"),
        ({"seeds": "[1"}, "`seeds` wants a list, such as [1, 2]", "its default is a list"),
    ],
)
def test_what_does_not_fit_a_parameter_is_refused(overrides: Mapping[str, str], what: str, hint: str) -> None:
    ((name, text),) = overrides.items()

    problems = problems_of(SWEEP, overrides)

    assert problems == (Problem(file="--set", line=0, what=what, text=clean(f"{name}={text}"), hint=hint),)


def test_a_parameter_without_a_type_takes_any() -> None:
    text = "name: x\nparameters: {p: null}\ntasks:\n  a: {command: [x, '<${p}>']}\n"

    assert read(text, {"p": "3"}).tasks[0].command == ("x", "<3>")


def test_a_pipeline_without_parameters_takes_none() -> None:
    (problem,) = problems_of("name: x\ntasks:\n  a: {command: [x]}\n", {"p": "3"})

    assert problem.hint == "declare it under `parameters` with its default"


def test_parameters_reach_the_head_and_the_defaults_too() -> None:
    pipeline = read("""\
        name: study-${size}
        parameters: {size: 3}
        defaults: {resources: {memory: "${size}GiB"}}
        tasks:
          a: {command: [x]}
    """)

    assert (pipeline.name, pipeline.tasks[0].resources.memory_mib_per_node) == ("study-3", 3072)


def test_a_parameters_text_is_not_filled_in_again() -> None:
    text = "name: x\nparameters: {p: '${q}', q: no}\ntasks:\n  a: {command: [x, '<${p}>']}\n"

    assert read(text).tasks[0].command == ("x", "<${q}>")


names = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
values: st.SearchStrategy[JSONScalar] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=200)
)


@given(st.lists(st.tuples(names, values), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
def test_names_of_instances_are_safe_and_short(pairs: list[tuple[str, JSONScalar]]) -> None:
    name = instance_name("train", pairs)

    assert len(name) <= 130
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-=")
    assert name == instance_name("train", pairs)


@given(st.lists(st.tuples(values, values), min_size=2, max_size=2, unique_by=repr))
def test_different_values_have_different_names(rows: list[tuple[JSONScalar, JSONScalar]]) -> None:
    one, other = ([("a", first), ("b", second)] for first, second in rows)
    if [repr(value) for _, value in one] == [repr(value).strip("'") for _, value in other]:
        return

    assert instance_name("t", one) != instance_name("t", other) or _written(one) == _written(other)


def _written(pairs: list[tuple[str, JSONScalar]]) -> list[str]:
    return [value if isinstance(value, str) else {None: "null"}.get(value, str(value).lower()) for _, value in pairs]  # type: ignore[call-overload]
