"""Energy: estimated before, measured where it can be, and never reserved beyond a budget."""

from __future__ import annotations

import pytest

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.pipeline import SitePlacement
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, Power, ProjectPolicy, SitePolicy
from elisa.model.task import Usage
from elisa.policies.plan import plan
from elisa.policies.power import priced, spent_by
from elisa.policies.snapshot import Snapshot
from tests.policies.build import NOW, Ready, a_cluster, a_request, an_attempt, started

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
