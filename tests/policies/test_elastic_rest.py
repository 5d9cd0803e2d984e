"""The sizes of elastic work come to rest, whether it has more nodes or fewer, or more GPUs of a node."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.model.resources import Resources
from tests.policies.elastic_life import Job, Life
from tests.policies.test_elastic import NORMAL, WORST, elastic, whole
from tests.policies.test_elastic_gpus import fixed, gpus
from tests.policies.test_resizing import HIGH

NODES = [whole(), whole(3), whole(6), elastic(1, 4), elastic(2, 8), elastic(3, 12), elastic(2, 6, step=2)]
GPUS = [fixed(1), fixed(3), fixed(8), gpus(1, 4), gpus(2, 8), gpus(2, 6, step=2), gpus(3, 8)]


def arrivals(requests: list[Resources]) -> st.SearchStrategy[list[tuple[int, Resources, int, int]]]:
    one = st.tuples(
        st.integers(0, 60),
        st.sampled_from(requests),
        st.sampled_from([HIGH, NORMAL, WORST]),
        st.sampled_from([10, 30, 10_000]),
    )
    return st.lists(one, min_size=1, max_size=6)


@st.composite
def loads(draw: st.DrawFn) -> tuple[Life, list[tuple[int, Resources, int, int]]]:
    of_gpus = draw(st.booleans())
    nodes = draw(st.integers(1, 3) if of_gpus else st.integers(4, 12))
    return Life(nodes, of_gpus), draw(arrivals(GPUS if of_gpus else NODES))


@pytest.mark.slow
@settings(max_examples=30)
@given(load=loads())
def test_sizes_stay_within_bounds_and_come_to_rest_once_nobody_comes_or_goes(
    load: tuple[Life, list[tuple[int, Resources, int, int]]],
) -> None:
    life, coming = load
    quiet = 60 + 40 * len(coming)
    jobs: dict[str, Job] = {}
    for minute in range(quiet + 45):
        for number, (at, request, rank, lasts) in enumerate(coming):
            if at == minute:
                jobs[f"j{number}"] = life.jobs[f"j{number}"] = Job(request, rank, lasts)
        life.tick()

    for job in jobs.values():
        bounds = job.request.bounds
        if life.of_gpus is bounds.of_gpus:
            assert all(bounds.least <= size <= bounds.most and size % bounds.step == 0 for size in job.sizes)
        assert len(job.gave_way_to) == len(set(job.gave_way_to))
    assert [one for one in life.resized if one[0] >= quiet] == []


@pytest.mark.slow
@settings(max_examples=30)
@given(
    least=st.integers(1, 3),
    most=st.integers(4, 12),
    asked=st.integers(1, 6),
    came=st.integers(0, 40),
    of_gpus=st.booleans(),
)
def test_whoever_fits_beside_the_least_is_let_in_soon_and_the_rest_grows_back(
    least: int, most: int, asked: int, came: int, *, of_gpus: bool
) -> None:
    room = 8 if of_gpus else least + 6
    life = Life(1 if of_gpus else room, of_gpus)
    life.jobs["e1"] = job = Job(gpus(least, min(most, 8)) if of_gpus else elastic(least, most))
    asked = min(asked, room - least)
    for minute in range(90):
        if minute == came:
            life.jobs["t1"] = Job(fixed(asked) if of_gpus else whole(asked), lasts=20)
        life.tick()
        if minute == came + 13:
            assert "t1" not in life.jobs or life.jobs["t1"].nodes

    assert job.sizes[-1] == min(most, room)
    assert len(life.resized) <= 2
