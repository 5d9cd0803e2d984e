"""Tenants that try to get more than they are due, hour after hour, on a small machine where elisa decides alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from elisa.engine.config import Site
from elisa.model.ids import ProjectName
from elisa.model.site import CLASS_RANK, Cap, Metered, PreemptionRules, ProjectPolicy, SitePolicy
from elisa.policies.ageing import bound_s
from tests.policies.build import a_node, a_request
from tests.policies.busy import Busy, Work

HOUR_S = 3600
GPUS = 8


def machine(site: SitePolicy | None = None) -> Busy:
    """Return one node of eight GPUs, looked after once an hour; what ends early gives back what it did not use."""
    return Busy(site or SitePolicy(), (a_node("n1", cpus=64, gpus={"a100": GPUS}),), HOUR_S)


def pass_hours(load: Busy, count: int) -> None:
    for _ in range(count):
        load.step()


def work(id_: str, project: str, *, gpus: int = 1, hours: int = 1, asked_h: int = 0, **fields: Any) -> Work:
    """Return a task as its tenant means it: `hours` is what it takes, `asked_h` what it asks for."""
    request = replace(a_request(gpus, ("a100",)), walltime_s=HOUR_S * (asked_h or hours))
    return Work(id=id_, project=project, request=request, steps=hours, **fields)


def many(project: str, count: int, **fields: Any) -> list[Work]:
    return [work(f"{project}-{number:04}", project, **fields) for number in range(count)]


@pytest.mark.slow
def test_who_asks_for_more_time_than_it_needs_is_served_no_more() -> None:
    load = machine()
    load.submit(*many("honest", 200, hours=2), *many("inflated", 200, hours=2, asked_h=12))

    pass_hours(load, 24)

    assert load.served["inflated"] <= load.served["honest"]
    assert load.served.total() >= 0.9 * 24 * GPUS


@pytest.mark.slow
def test_who_splits_its_jobs_is_served_no_more() -> None:
    load = machine()
    load.submit(*many("whole", 40, gpus=4, hours=2), *many("split", 320, gpus=1, hours=1))

    pass_hours(load, 24)

    assert load.served["whole"] >= 0.9 * load.served["split"]


@pytest.mark.slow
def test_who_floods_the_queue_takes_no_more_than_its_share_from_a_project_with_little_work() -> None:
    load = machine()
    load.submit(*many("storm", 2000))
    pass_hours(load, 6)

    load.submit(*many("modest", 8))
    pass_hours(load, 2)

    assert max(load.began[one.id] for one in many("modest", 8)) <= 7


@pytest.mark.slow
def test_who_calls_its_own_work_important_is_served_no_more_under_the_rules_of_a_new_site() -> None:
    load = machine(Site().policy())
    load.submit(*many("modest", 100), *many("vain", 100, importance=1e9))

    pass_hours(load, 6)

    assert load.served["vain"] <= load.served["modest"]


@pytest.mark.slow
def test_who_writes_a_deadline_that_has_passed_into_its_pipeline_is_served_no_more() -> None:
    load = machine(Site().policy())
    load.submit(*many("modest", 100), *many("vain", 100, deadline_s=-1e6))

    pass_hours(load, 6)

    assert load.served["vain"] <= load.served["modest"]


@pytest.mark.parametrize("raised", [{"priority": CLASS_RANK["critical"]}, {"importance": 1e9}])
def test_who_raises_his_own_work_is_served_no_more(raised: dict[str, Any]) -> None:
    projects = tuple(ProjectPolicy(name=ProjectName(name), importance_limit=1) for name in ("modest", "vain"))
    load = machine(SitePolicy(projects=projects))
    fair = {"priority": 1, "importance": 1.0}
    load.submit(*many("modest", 100, **fair), *many("vain", 100, **{**fair, **raised}))

    pass_hours(load, 6)

    assert load.served["vain"] <= load.served["modest"]


@pytest.mark.slow
def test_a_large_job_is_not_starved_by_a_stream_of_small_ones_of_a_better_class() -> None:
    load = machine(SitePolicy(aged_s=2 * HOUR_S))
    load.submit(work("large", "patient", gpus=GPUS, priority=3))

    for hour in range(24):
        load.submit(*(work(f"small-{hour:02}-{n}", "stream", hours=2, priority=1) for n in range(GPUS)))
        pass_hours(load, 1)

    # Three classes stand before it, so it comes of age after eight hours; then those that run are let finish.
    assert load.began["large"] <= 8 + 2


_SIX = (Cap(resource=Metered.GPUS, limit=6),)
AGED_H = 2
OF_AGE_H = 4 * AGED_H  # a task of class low
SERVICE_H = 2 * 3  # what runs is over, and then what starts first


def of_age_before(load: Busy, hour: int) -> int:
    """Return how many others wait that came of age by then."""
    return sum(one.came + AGED_H * (one.priority + 1) <= hour for one in load.waiting.values() if one.id != "large")


def smalls(hour: int) -> list[Work]:
    lasts = [(f"small-{hour:02}-{n}", 1 + (n + hour) % 3) for n in range(GPUS)]
    return [work(name, "stream", hours=hours, priority=1) for name, hours in lasts]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "project"),
    [
        pytest.param(SitePolicy(caps=_SIX), "patient", id="all together"),
        pytest.param(
            SitePolicy(projects=(ProjectPolicy(name=ProjectName("stream"), caps=_SIX),)), "stream", id="one project"
        ),
        pytest.param(
            SitePolicy(projects=(ProjectPolicy(name=ProjectName("stream"), user_caps=_SIX),)), "stream", id="one user"
        ),
    ],
)
def test_a_large_job_is_not_starved_of_what_may_be_used_at_once(site: SitePolicy, project: str) -> None:
    """The stream's that came of age before it begin first, a few at a time, as the bound of ageing counts them."""
    load = machine(replace(site, aged_s=AGED_H * HOUR_S))
    load.submit(work("large", project, gpus=6, priority=3))

    for hour in count():
        load.submit(*smalls(hour))
        if hour == OF_AGE_H:
            bound_h = bound_s(3, AGED_H * HOUR_S, of_age_before(load, hour), SERVICE_H * HOUR_S) / HOUR_S
        load.step()
        if "large" in load.began:
            break
        assert hour < OF_AGE_H or hour < bound_h, "it starves"

    assert load.began["large"] >= OF_AGE_H


@pytest.mark.slow
def test_flipping_a_class_to_and_fro_preempts_no_more_often_than_each_victim_bears() -> None:
    rules = PreemptionRules(enabled=True, minimum_run_s=1, times=2)
    high = [ProjectPolicy(name=ProjectName(name)) for name in ("one", "other")]
    load = machine(SitePolicy(preemption=rules, projects=tuple(high)))
    load.submit(work("a", "one", gpus=GPUS, hours=100), work("b", "other", gpus=GPUS, hours=100))

    for hour in range(40):
        ranks = {"a": 1 + 2 * (hour % 2), "b": 3 - 2 * (hour % 2)}
        load.waiting = {id_: replace(one, priority=ranks[id_]) for id_, one in load.waiting.items()}
        load.live = {id_: replace(job, work=replace(job.work, priority=ranks[id_])) for id_, job in load.live.items()}
        load.step()

    assert load.left
    assert max(load.left.values()) <= rules.times
