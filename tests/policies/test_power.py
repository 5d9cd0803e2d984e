"""Energy: estimated before, measured where it can be, and never reserved beyond a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, ReadyColumns, UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.pipeline import SitePlacement
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, Power, ProjectPolicy, SitePolicy
from elisa.model.task import Usage
from elisa.policies.plan import plan
from elisa.policies.power import priced, spent_by
from elisa.policies.snapshot import Snapshot
from elisa.report.words import in_words
from tests.policies.build import NOW, Ready, a_cluster, a_node, a_request, an_attempt, started

POWER = Power(node=100.0, cpu=2.5, gpu=300.0, nodes=(("fat", 400.0),), gpu_types=(("a100", 350.0), ("l4", 70.0)))


def watts(request: Resources, partition: str | None = None, power: Power = POWER) -> tuple[int, int]:
    ready = Ready().add("t1", request, placement=SitePlacement(partition=partition)).columns()
    (shape,) = priced(ready, power).shapes
    return shape.request.watts, shape.request.gpu_watts


@pytest.mark.parametrize(
    ("request_", "partition", "expected"),
    [
        (a_request(cpus_per_task=3), None, (108, 0)),  # 107.5, rounded up
        (a_request(nodes=2, cpus_per_task=4), "fat", (820, 0)),
        (a_request(2, ("a100",)), None, (103, 700)),
        (a_request(2, ("l4", "a100")), None, (103, 700)),
        (a_request(1, ("h100",)), None, (103, 300)),
        (a_request(1), None, (103, 350)),
    ],
    ids=["cores", "nodes of a partition", "a type of gpu", "the hungriest of two", "a type nobody named", "any type"],
)
def test_an_estimate_adds_up_nodes_cores_and_gpus(
    request_: Resources, partition: str | None, expected: tuple[int, int]
) -> None:
    assert watts(request_, partition) == expected


def test_where_the_site_says_nothing_nothing_is_priced() -> None:
    ready = Ready().add("t1", a_request(4, ("a100",))).columns()

    assert priced(ready, Power()) is ready


def test_gpus_are_booked_as_measured_and_the_rest_as_estimated() -> None:
    request = a_request(1, ("a100",), watts=100, gpu_watts=350)
    measured = an_attempt(request=request, usage=Usage(gpu_j=5000.0))

    assert spent_by(measured, 100, 100).watt_s == 100 * 100 + 5000
    assert spent_by(measured, 50, 100).watt_s == 100 * 50 + 2500
    assert spent_by(measured, 0, 0).watt_s == 0
    assert spent_by(an_attempt(request=request), 100, 100).watt_s == 450 * 100


def test_what_runs_on_several_nodes_is_booked_as_estimated() -> None:
    request = a_request(1, ("a100",), nodes=2, watts=200, gpu_watts=700)

    assert spent_by(an_attempt(request=request, usage=Usage(gpu_j=5.0)), 10, 10).watt_s == 9000


def test_no_more_energy_is_reserved_than_is_left() -> None:
    cap = Cap(resource=Metered.WATT_S, limit=1_000_000)
    site = SitePolicy(projects=(ProjectPolicy(name=ProjectName("a"), caps=(cap,)),), power=Power(node=100.0))
    ready = Ready()
    for number in range(4):
        ready.add(f"t{number}", a_request(walltime_s=3600), project="a")
    usage = ProjectUsage(rows=[UsageRow("a", 1000, "", Charge(), Charge(watt_s=200_000))])

    made = plan(Snapshot.build(priced(ready.columns(), site.power), usage, [a_cluster()], [], site, NOW))

    assert started(made) == ["t0", "t1"]
    assert made.charge(TaskId("t0")).watt_s == 360_000
    assert made.request(TaskId("t0")).watts == 100
    facts = made.reason(TaskId("t2")).facts
    assert (facts["resource"], facts["asked"], facts["left"]) == ("watt_s", 360_000, 80_000)


def _drawing(*work: tuple[str, int]) -> ReadyColumns:
    """Return a ready task for each project and number of cores, which draw 100 W each."""
    ready = Ready()
    for number, (project, cpus) in enumerate(work):
        ready.add(f"t{number}", a_request(cpus_per_task=cpus), project=project)
    return priced(ready.columns(), Power(cpu=100.0))


def _watts(limit: int) -> tuple[Cap, ...]:
    return (Cap(resource=Metered.WATTS, limit=limit),)


def test_what_is_drawn_at_one_moment_is_bounded_by_project_by_user_and_for_all_together() -> None:
    site = SitePolicy(
        projects=(
            ProjectPolicy(name=ProjectName("a"), caps=_watts(500)),
            ProjectPolicy(name=ProjectName("b"), user_caps=_watts(300)),
        ),
        caps=_watts(1000),
        order=("age",),
    )
    ready = _drawing(("a", 4), ("a", 2), ("b", 3), ("b", 1), ("c", 3), ("c", 2))
    usage = ProjectUsage(rows=[UsageRow("d", 1000, "", Charge(), Charge(), jobs=1, watts=100)])

    made = plan(Snapshot.build(ready, usage, [a_cluster(a_node(cpus=20))], [], site, NOW))

    told = {name: made.reason(TaskId(name)) for name in ("t1", "t3")}
    assert sorted(started(made)) == ["t0", "t2", "t5"]
    assert {name: dict(reason.facts) for name, reason in told.items()} == {
        "t1": {"project": "a", "resource": "watts", "asked": 200, "cap": 500, "in_use": 400},
        "t3": {"project": "b", "resource": "watts", "asked": 100, "cap": 300, "in_use": 300, "user": 1000},
    }
    everybody = made.reason(TaskId("t4"))
    assert dict(everybody.facts) == {"project": "/", "resource": "watts", "asked": 300, "cap": 1000, "in_use": 800}
    assert in_words(everybody) == "the site uses 800 W of the 1000 it may use at once, this asks for 300"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=12),
    st.tuples(*[st.integers(0, 2000)] * 3),
)
def test_no_plan_draws_more_than_a_cap_leaves(work: list[tuple[str, int]], limits: tuple[int, int, int]) -> None:
    of_all, of_project, of_user = limits
    policies = tuple(
        ProjectPolicy(name=ProjectName(name), caps=_watts(of_project), user_caps=_watts(of_user)) for name in "ab"
    )
    site = SitePolicy(projects=policies, caps=_watts(of_all))

    made = plan(Snapshot.build(_drawing(*work), ProjectUsage(), [a_cluster(a_node(cpus=200))], [], site, NOW))

    drawn = dict.fromkeys("abc", 0)
    for task in started(made):
        drawn[work[int(task[1:])][0]] += made.request(TaskId(task)).draw_w
    assert sum(drawn.values()) <= of_all
    assert max(drawn["a"], drawn["b"]) <= min(of_project, of_user)
    for number, (project, cpus) in enumerate(work):
        room = of_all - sum(drawn.values())
        if project != "c":
            room = min(room, of_project - drawn[project], of_user - drawn[project])
        assert f"t{number}" in started(made) or cpus * 100 > room


def test_what_draws_more_than_a_soft_cap_comes_after_everybody_else() -> None:
    soft = (replace(_watts(300)[0], is_hard=False),)
    site = SitePolicy(projects=(ProjectPolicy(name=ProjectName("a"), caps=soft),))
    ready = _drawing(("a", 3), ("a", 3), ("b", 3))

    made = plan(Snapshot.build(ready, ProjectUsage(), [a_cluster(a_node(cpus=6))], [], site, NOW))
    alone = plan(Snapshot.build(_drawing(("a", 6)), ProjectUsage(), [a_cluster(a_node(cpus=6))], [], site, NOW))

    assert sorted(started(made)) == ["t0", "t2"]
    assert started(alone) == ["t0"]
