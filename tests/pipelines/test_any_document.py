"""Whatever a document holds, it loads or its author is told why: no other error ever comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.model.codec import decode, encode
from elisa.model.errors import SpecError
from elisa.model.pipeline import Pipeline
from elisa.pipelines.assemble import Origin, assemble
from elisa.pipelines.expand import instances
from elisa.pipelines.nodes import Mark, from_value
from elisa.pipelines.problems import render
from elisa.pipelines.schema import json_schema
from tests.pipelines.documents import NOW

ORIGIN = Origin(file="p.yaml", folder=Path(__file__).parent / "bad", now=NOW)
SCHEMA = jsonschema.Draft202012Validator(json_schema())

TASKS = ["a", "b", "c"]
WORDS = [
    *TASKS, "x", "1h", "16GiB", "2", "${p}", "${i}", "${item}", "${item.k}", "${task_dir}/x", "${dir.a}", "${dir.b}/y", "$${x}",
    "a.loss < 1", "max(b.loss) > 0", 'c.state == "failed"', "functions.py:train", "functions.py:evaluate", "success", "data",
    "checkpoint", "completion", "skip", "run", "high", "json", "csv", "../x", "", "+3d", "2026-12-24T18:00Z", "i", "k",
]  # fmt: skip
scalars = st.sampled_from(WORDS) | st.integers(-2, 9) | st.floats(-1, 3) | st.booleans() | st.none()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=5,
)


def rarely_wrong(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 39).flatmap(lambda number: anything if number == 39 else right)


def some_of(most: int = 4, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Give maps with some of the fields, now and then with a wrong value."""
    return st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: rarely_wrong(fields[name]) for name in names})
    )


count = st.integers(1, 3)
factor = st.floats(1, 3)
flag = st.booleans()
time = st.sampled_from(["1h", "90s", "2d"])
size = st.sampled_from(["1GiB", "512M"])
word = st.sampled_from(["x", "long"])
ends = st.sampled_from(["failed", "timeout"])


def a_task(before: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Give tasks that speak of the ones in `before`."""
    reference = st.sampled_from(before)
    references = reference | st.lists(reference, min_size=1, max_size=2, unique=True)
    need = st.one_of(
        reference,
        st.builds(
            lambda name, extra: {"task": name, **extra},
            references,
            some_of(
                2,
                kind=st.sampled_from(["success", "completion"]),
                at_least=st.just(1),
                match=st.just("i"),
                timeout=time,
                on_unmet=st.sampled_from(["skip", "fail", "run"]),
            ),
        ),
        st.builds(lambda names: {"any": names}, references),
        st.builds(lambda name: {"task": name, "output": "o"}, reference),
        st.builds(lambda name: {"task": name, "step": 3}, reference),
    )
    program = st.one_of(
        st.builds(lambda words: {"command": words}, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)),
        st.just({"command": "run ${p} $HOME", "shell": True}),
        st.builds(lambda value: {"call": "functions.py:train", "args": {"seed": value}}, anything),
        st.builds(lambda name: {"call": "functions.py:evaluate", "args": {"model": {"result_of": name}}}, references),
    )
    backoff = some_of(initial=st.just("1s"), factor=factor, maximum=st.just("3h"), jitter=st.floats(0, 1))
    grow = some_of(memory=factor, walltime=factor, memory_maximum=st.just("9TiB"), walltime_maximum=st.just("9d"))
    options = some_of(
        6,
        needs=need | st.lists(need, max_size=2),
        when=st.sampled_from(["a.loss < 1", "max(b.loss) > 0", "c.state == 'failed'", "any(a.x > 0) or mean(c.y) < 1"]),
        matrix=st.dictionaries(st.just("i"), st.lists(scalars, min_size=1, max_size=3, unique_by=repr), min_size=1),
        foreach=st.builds(lambda name: {"task": name, "output": "o"}, reference)
        | reference.map(lambda name: {"task": name}),
        environment=st.dictionaries(
            st.sampled_from(["A", "B"]), st.sampled_from(["x", "${task_dir}", "${p}"]), max_size=2
        ),
        pass_environment=st.just(["HOME"]),
        resources=some_of(
            cpus=count, nodes=count, walltime=time, memory=size, gpus=count, features=word, exclusive=flag
        ),
        retry=st.integers(0, 3) | some_of(limit=count, on=ends, backoff=backoff, grow=grow),
        checkpoint=flag | some_of(interval=st.just("10s"), keep=count, pattern=word, signal=st.just("USR1"), lead=time),
        gang=st.just("g"),
        placement=some_of(backend=word, partition=word, account=word, extras=st.just({"a": "b"})),
        outputs=st.just({"o": "o.json"}) | st.just({"o": {"path": "${pipeline_dir}/o", "format": "json"}}),
        priority=st.sampled_from(["high", "low"]),
        importance=factor,
        preemptible=flag,
        chain=flag,
        fuse=flag,
        expected=time,
        labels=st.just({"a": 1}),
        metadata=st.dictionaries(word, anything, max_size=2),
        workdir=word,
    )
    return st.builds(lambda one, other: {**one, **other}, program, options)


first = st.builds(
    lambda runs, more: {**runs, **more, "checkpoint": True, "outputs": {"o": "o.json"}},
    st.sampled_from([{"command": ["x"]}, {"call": "functions.py:train", "args": {"seed": 1}}]),
    st.sampled_from([{}, {"matrix": {"i": [1, 2]}}]),
)
tasks = st.one_of(
    st.fixed_dictionaries({"a": first, "b": a_task(["a"])}, optional={"c": a_task(["a", "b"])}),
    st.fixed_dictionaries({name: a_task(TASKS) for name in TASKS}),
)
documents = st.fixed_dictionaries(
    {"name": st.just("p"), "parameters": st.just({"p": 2}), "tasks": tasks},
    optional={
        "defaults": some_of(2, retry=st.integers(0, 3), resources=some_of(cpus=count), labels=st.just({"b": 2})),
        "project": word,
        "deadline": st.sampled_from(["+3d", "2026-12-24T18:00Z"]),
        "priority": st.sampled_from(["high", "low"]),
        "importance": factor,
        "metadata": st.dictionaries(word, anything, max_size=2),
    },
)


def outcome(document: object) -> Pipeline | SpecError:
    try:
        return assemble(from_value(document, Mark("p.yaml", 1)), ORIGIN, {})
    except SpecError as err:
        return err


@settings(max_examples=400)
@given(documents)
def test_a_document_loads_or_its_author_is_told_why(document: dict[str, Any]) -> None:
    found = outcome(document)

    if isinstance(found, SpecError):
        assert render(found.problems).strip()
        return
    names = [task.name for task in found.tasks]
    assert len(set(names)) == len(names)
    assert {name for task in found.tasks for need in task.needs for name in need.tasks} <= set(names)
    assert all(bool(task.command) != bool(task.call) for task in found.tasks)
    assert decode(Pipeline, encode(found)) == found
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


@settings(max_examples=100)
@given(documents)
def test_reading_twice_says_the_same(document: dict[str, Any]) -> None:
    one, other = outcome(document), outcome(document)

    if isinstance(one, SpecError) and isinstance(other, SpecError):
        assert one.problems == other.problems
    else:
        assert one == other


@settings(max_examples=200)
@given(documents, st.lists(anything, max_size=3))
def test_a_template_makes_tasks_or_says_why_not(document: dict[str, Any], items: list[object]) -> None:
    found = outcome(document)
    if isinstance(found, SpecError):
        return

    for template in [task for task in found.tasks if task.expansion]:
        try:
            made = instances(template, items)
        except ValueError as err:
            assert str(err)  # noqa: PT017 - some lists fit, some do not
        else:
            assert len(made) == len(items)
