from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.codec import decode, encode
from elisa.model.ids import ProjectName
from elisa.model.pipeline import JSONScalar, Need, NeedKind, Output, Pipeline, PythonCall, ResultOf, TaskSpec
from elisa.model.resources import GpuRequest, Resources

Name = NewType("Name", str)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    name: Name
    colour: Colour = Colour.RED
    at: datetime | None = None
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    pair: tuple[str, float] = ("", 0.0)
    scalar: JSONScalar = None
    table: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


FULL = Everything(
    name=Name("x"),
    at=datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC),
    inner=Inner(size=2),
    many=(Inner(), Inner(size=3)),
    pair=("a", 2.5),
    scalar=True,
    table={"loss": 0.5},
)


def test_fields_that_equal_their_default_are_left_out() -> None:
    assert encode(Everything(name=Name("x"))) == {"name": "x"}


def test_all_kinds_of_fields_come_back() -> None:
    assert decode(Everything, json.loads(json.dumps(encode(FULL)))) == FULL


class Row(NamedTuple):
    name: str
    size: int = 1
    colour: Colour = Colour.RED


def test_last_fields_of_a_row_that_has_defaults_may_be_missing() -> None:
    assert decode(Row, ["x", 2]) == Row("x", 2)
    for wrong in ([], "x", ["x", 2, "red", 4]):
        with pytest.raises(ValueError, match=r"."):
            decode(Row, wrong)


def test_moments_are_stored_in_utc() -> None:
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    assert encode(there) == "2026-01-01T10:00:00+00:00"


def test_true_stays_true_and_one_stays_one() -> None:
    for value in (True, 1, 1.0, "1", None):
        spec = decode(Everything, encode(Everything(name=Name("x"), scalar=value)))
        assert (spec.scalar, type(spec.scalar)) == (value, type(value))


@pytest.mark.parametrize(
    "data",
    [
        None, [], "x", {}, {"name": 1}, {"name": "x", "nome": 2}, {"name": "x", "colour": "blue"},
        {"name": "x", "inner": []}, {"name": "x", "inner": {"size": "2"}}, {"name": "x", "inner": {"size": True}},
        {"name": "x", "many": {}}, {"name": "x", "pair": ["a"]}, {"name": "x", "pair": ["a", "b"]},
        {"name": "x", "at": "tomorrow"}, {"name": "x", "scalar": []}, {"name": "x", "table": {"a": "b"}},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(data: Any) -> None:
    with pytest.raises(ValueError):
        decode(Everything, data)


texts = st.text(max_size=8)
scalars: st.SearchStrategy[JSONScalar] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), texts
)
calls = st.builds(
    PythonCall,
    file=texts,
    function=texts,
    arguments=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    results=st.lists(
        st.tuples(texts, st.builds(ResultOf, tasks=st.lists(texts).map(tuple), many=st.booleans())), max_size=2
    ).map(tuple),
)
needs = st.builds(
    Need,
    tasks=st.lists(texts, max_size=3).map(tuple),
    kind=st.sampled_from(NeedKind),
    at_least=st.none() | st.integers(1),
)
specs = st.builds(
    TaskSpec,
    name=texts,
    command=st.lists(texts, max_size=3).map(tuple),
    call=st.none() | calls,
    needs=st.lists(needs, max_size=2).map(tuple),
    parameters=st.lists(st.tuples(texts, scalars), max_size=2).map(tuple),
    resources=st.builds(Resources, nodes=st.integers(1), gpus=st.builds(GpuRequest, types=st.lists(texts).map(tuple))),
    outputs=st.lists(st.builds(Output, name=texts, path=texts), max_size=2).map(tuple),
)
pipelines = st.builds(
    Pipeline,
    name=texts,
    project=texts.map(ProjectName),
    tasks=st.lists(specs, max_size=3).map(tuple),
    deadline=st.none() | st.datetimes(timezones=st.just(UTC)),
    importance=st.floats(allow_nan=False),
)


@given(pipelines)
def test_every_pipeline_comes_back_from_its_json(pipeline: Pipeline) -> None:
    text = json.dumps(encode(pipeline))

    again = decode(Pipeline, json.loads(text))

    assert again == pipeline
    assert json.dumps(encode(again)) == text
