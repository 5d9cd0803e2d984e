from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.pipeline import Expansion, Need, Output, PythonCall, TaskSpec
from elisa.pipelines.expand import instances

TEMPLATE = TaskSpec(
    name="each",
    command=("process", "${item}", "--to=${task_dir}/${item}.csv"),
    needs=(Need(tasks=("list",)),),
    environment=(("SHARD", "${item}"),),
    outputs=(Output(name="table", path="${item}.csv"),),
    group="each",
    expansion=Expansion(source="list", output="shards", limit=4),
)
CALL = TaskSpec(
    name="each",
    call=PythonCall(file="f.py", function="f", arguments=(("n", "3"), ("shard", '"${item}"'), ("text", '"a ${item}"'))),
    expansion=Expansion(source="list", output=""),
)
RECORDS = TaskSpec(
    name="each",
    command=("x", "${item.name}", "${item.year}"),
    expansion=Expansion(source="list", output="shards"),
)


def test_one_task_is_made_of_each_item() -> None:
    first, second = instances(TEMPLATE, ["a", "b"])

    assert first == TaskSpec(
        name="each-item=a",
        command=("process", "a", "--to=${task_dir}/a.csv"),
        needs=(Need(tasks=("list",)),),
        environment=(("SHARD", "a"),),
        outputs=(Output(name="table", path="a.csv"),),
        group="each",
        parameters=(("item", "a"),),
    )
    assert second.name == "each-item=b"


def test_an_empty_list_makes_no_task() -> None:
    assert instances(TEMPLATE, []) == ()


def test_plain_values_of_a_record_become_parameters() -> None:
    (task,) = instances(RECORDS, [{"name": "de", "year": 1999, "deep": {"ignored": True}}])

    assert task.name == "each-name=de-year=1999"
    assert task.command == ("x", "de", "1999")
    assert task.parameters == (("name", "de"), ("year", 1999))


def test_an_instance_of_a_matrix_keeps_its_own_values() -> None:
    template = replace(RECORDS, name="each-year=1", parameters=(("year", 1),), group="each")

    (task,) = instances(template, [{"name": "de", "year": 1999}])

    assert (task.parameters, task.group) == ((("year", 1), ("name", "de")), "each")


@pytest.mark.parametrize("item", ["a", 3, 2.5, True, None, {"k": [1]}, [1, "x"]])
def test_a_call_gets_the_item_itself(item: object) -> None:
    template = replace(CALL, call=replace(CALL.call, arguments=(("shard", '"${item}"'),)))  # type: ignore[type-var]

    (task,) = instances(template, [item])

    assert task.call is not None
    assert json.loads(dict(task.call.arguments)["shard"]) == item


def test_items_are_filled_in_deep_inside_arguments() -> None:
    argument = '{"list":["${item.a}",{"b":"<${item.b}>"},7]}'
    template = replace(CALL, call=replace(CALL.call, arguments=(("x", argument),)))  # type: ignore[type-var]

    (task,) = instances(template, [{"a": [1, 2], "b": 5}])

    assert task.call is not None
    assert dict(task.call.arguments) == {"x": '{"list":[[1,2],{"b":"<5>"},7]}'}


def test_equal_items_make_different_tasks() -> None:
    assert [task.name for task in instances(TEMPLATE, ["a", "a", "a"])] == [
        "each-item=a",
        "each-item=a-index=1",
        "each-item=a-index=2",
    ]


def test_lists_in_a_list_are_counted() -> None:
    assert [task.name for task in instances(replace(CALL, call=None, command=("x",)), [[1], [2]])] == [
        "each-index=0",
        "each-index=1",
    ]


@pytest.mark.parametrize(
    ("template", "items", "words"),
    [
        (TaskSpec(name="a"), [], "`a` is no template"),
        (TEMPLATE, {"a": 1}, "expected a JSON list, not dict"),
        (TEMPLATE, None, "expected a JSON list, not NoneType"),
        (TEMPLATE, "abc", "expected a JSON list, not str"),
        (TEMPLATE, [1, 2, 3, 4, 5], "5 items; the limit is 4"),
        (TEMPLATE, [{"a": 1}], r"item 0 has no plain value for `\$\{item\}`"),
        (TEMPLATE, [[1]], "item 0 has no plain value"),
        (RECORDS, ["a"], r"item 0 has no plain value for `\$\{item.name\}`"),
        (RECORDS, [{"name": "x", "year": 1}, {"name": "x"}], r"item 1 has no plain value for `\$\{item.year\}`"),
        (RECORDS, [{"name": [1], "year": 1}], "item 0 has no plain value"),
        (TEMPLATE, ["a\x00b"], "item 0 has a character that cannot"),
        (TEMPLATE, ["a\x1b[2J"], "item 0 has a character that cannot"),
        (TEMPLATE, ["x" * 5000], "over 4096 characters"),
        (TEMPLATE, ["../../etc/passwd"], "leads output"),
        (TEMPLATE, ["/etc/passwd"], "leads output"),
        (RECORDS, [{"two words": 1}], "a key that is no name"),
        (replace(CALL, call=replace(CALL.call, arguments=(("x", '"${item.a}"'),))), [{}], "item 0 has no `a`"),  # type: ignore[type-var]
        (CALL, [[1]], "item 0 has no plain value"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_in_words(template: TaskSpec, items: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        instances(template, items)


items = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.from_regex("[a-z]{1,3}", fullmatch=True), inner),
    max_leaves=6,
)


@given(st.lists(items, max_size=6))
def test_names_are_unique_whatever_the_list_holds(found: list[object]) -> None:
    template = TaskSpec(name="each", command=("x",), expansion=Expansion(source="list", output="o"))

    try:
        made = instances(template, found)
    except ValueError:
        return

    assert len({task.name for task in made}) == len(made) == len(found)
    assert all(task.expansion is None for task in made)
