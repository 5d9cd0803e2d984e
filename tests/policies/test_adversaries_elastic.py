"""Tenants that try to gain by what is elastic: hoards, sizes that never shrink, and storms that keep others from their work."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.engine.config import Site
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, ProjectPolicy
from tests.policies.build import a_node
from tests.policies.busy import Busy, Work
from tests.policies.elastic_life import Job, Life
from tests.policies.test_ageing import policy
from tests.policies.test_elastic import elastic, whole
from tests.policies.test_elastic_gpus import fixed, gpus
from tests.policies.test_resizing import HIGH, NORMAL

HOUR_S = 3600
DEFAULT = Site().policy()
MINIMUM_RUN = int(PreemptionRules().minimum_run_s // 60)


def one_node(*projects: ProjectPolicy) -> Busy:
    return Busy(replace(DEFAULT, projects=projects), (a_node("n1", cpus=64, gpus={"a100": 8}),), HOUR_S)


def tasks(project: str, count: int, request: Resources, steps: int, *, saves: bool = False) -> list[Work]:
    request = replace(request, walltime_s=HOUR_S * steps)
    return [
        Work(id=f"{project}-{number:03}", project=project, request=request, steps=steps, saves=saves)
        for number in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("saves", [True, False], ids=["would shrink", "never shrinks"])
def test_who_declares_all_its_work_elastic_to_have_all_there_is_is_served_no_more(*, saves: bool) -> None:
    load = one_node()
    load.submit(*tasks("honest", 100, fixed(2), 2), *tasks("greedy", 100, gpus(1, 8), 4, saves=saves))

    for _ in range(48):
        load.step()

    assert load.served["greedy"] <= 1.1 * load.served["honest"]
    assert load.served.total() >= 0.9 * 48 * 8


@pytest.mark.slow
def test_who_came_first_and_never_shrinks_keeps_others_out_no_longer_than_it_runs() -> None:
    load = one_node()
    load.submit(*tasks("greedy", 50, gpus(1, 8), 16))
    load.step()
    assert [job.request.gpus.per_node for job in load.live.values()] == [1] * 8

    load.submit(*tasks("honest", 8, fixed(1), 1))
    for _ in range(18):
        load.step()

    # It has used its share for long: all of them start when the first of it end.
    assert {load.began[f"honest-{number:03}"] for number in range(8)} == {16}


@pytest.mark.slow
def test_no_elastic_task_widens_beyond_what_its_project_may_use_at_once() -> None:
    load = one_node(policy("greedy", caps=(Cap(resource=Metered.GPUS, limit=3),)))
    load.submit(*tasks("greedy", 20, gpus(1, 8), 40, saves=True))

    for _ in range(12):
        load.step()
        assert sum(job.request.gpu_count for job in load.live.values()) <= 3
    assert load.served["greedy"] >= 3 * 10


@pytest.mark.slow
@settings(max_examples=10)
@given(
    storm=st.lists(
        st.tuples(st.integers(1, 15), st.integers(1, 15), st.sampled_from([HIGH, NORMAL]), st.booleans()),
        min_size=10,
        max_size=20,
    ),
    of_gpus=st.booleans(),
)
def test_a_storm_of_work_that_comes_and_is_cancelled_moves_elastic_work_no_more_often_than_its_minimum_run_allows(
    storm: list[tuple[int, int, int, bool]], *, of_gpus: bool
) -> None:
    life = Life(1 if of_gpus else 8, of_gpus)
    life.jobs["wide"] = wide = Job(gpus(2, 8) if of_gpus else elastic(2, 8))
    for _ in range(15):
        life.tick()

    for number, (pause, lasts, rank, is_cancelled) in enumerate(storm):
        life.jobs[f"s{number}"] = Job(fixed(1) if of_gpus else whole(), rank, lasts, project="storm")
        for _ in range(pause):
            life.tick()
        if is_cancelled:
            life.jobs.pop(f"s{number}", None)

    at = [minute for minute, task in life.resized if task == "wide"]
    assert at
    assert all(later - earlier >= MINIMUM_RUN for earlier, later in pairwise(at))
    assert min(wide.sizes) >= 2
