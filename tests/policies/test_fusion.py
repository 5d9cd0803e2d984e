"""Short tasks that join native jobs of one plan: beside one another or in turn, as far as nodes and closed times allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.ids import TaskId
from elisa.model.resources import Resources
from elisa.model.site import Closure, FusionRules, SitePolicy
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, after, started

MINUTE = a_request(walltime_s=60)


def brief(count: int, request: Resources = MINUTE) -> Ready:
    """Return so many tasks of five seconds."""
    ready = Ready()
    for number in range(count):
        ready.add(f"t{number}", request, brief_s=5.0)
    return ready


def lanes(made: Plan) -> int:
    return made.bundle(TaskId("t0")).lanes


def planned(ready: Ready, *, cpus: int = 4, licences: int = 0, **fields: Any) -> Plan:
    cluster = replace(a_cluster(a_node(cpus=cpus)), licences={"solver": licences})
    return a_plan(ready, cluster, site=SitePolicy(fusion=FusionRules(lanes=4), **fields))


@pytest.mark.parametrize(("cpus", "wide"), [(1, 1), (3, 3), (8, 4)])
def test_as_many_run_side_by_side_in_a_job_as_its_node_has_room_for(cpus: int, wide: int) -> None:
    made = planned(brief(6), cpus=cpus)

    assert (started(made), lanes(made)) == ([f"t{number}" for number in range(6)], wide)


def test_what_asks_for_whole_nodes_has_nobody_beside_it() -> None:
    assert lanes(planned(brief(6, a_request(walltime_s=60, cpus_per_task=4)))) == 1


def test_no_more_run_side_by_side_than_there_are_licences_for() -> None:
    licensed = a_request(walltime_s=60, licences=(("solver", 1),))

    assert lanes(planned(brief(4, licensed), licences=2)) == 2


@pytest.mark.parametrize(("closes_s", "together"), [(66, 1), (10_000, 3)])
def test_a_job_does_not_become_so_long_that_it_would_run_into_a_closed_time(closes_s: int, together: int) -> None:
    closure = Closure(backend=HERE, starts_at=after(closes_s), ends_at=after(20_000))

    made = planned(brief(3), cpus=1, closures=(closure,), backfill_depth=0)

    assert len(made.bundle(TaskId("t0")).members) == together
