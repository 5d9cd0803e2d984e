"""Who could have room made at once does not wait for those behind that would fit meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.columns import RunningRow
from elisa.model.decisions import Preempt
from elisa.model.ids import TaskId
from elisa.model.native import NodeView
from elisa.model.resources import Elastic, Resources
from elisa.model.site import PreemptionRules, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, after, an_attempt, started

EIGHT = a_request(cpus_per_task=8, walltime_s=36000)
HELD = (("n1", "t8"), ("n2", "t9"))


def wide(nodes: int) -> Resources:
    return Resources(nodes=nodes, cpus_per_task=8, walltime_s=3600)


def live(node: str, task: str) -> Attempt:
    return an_attempt(f"{task}.1", nodes=node, started_at=after(-7200), request=EIGHT, state=AttemptState.RUNNING)


def row(node: str, task: str, **fields: Any) -> RunningRow:
    started_us = round(after(-7200).timestamp() * 1e6)
    one = RunningRow(f"{task}.1", task, "vision", 1000, HERE, (node,), EIGHT, 3, started_us)
    return one._replace(is_preemptible=True, **fields)


def planned(nodes: int, *, enabled: bool = True, **fields: Any) -> Plan:
    """Two of four nodes are held by work of class low; first comes a wide task, behind it two short ones."""
    ready = Ready().add("t1", wide(nodes), priority=1)
    ready.add("t2", a_request(cpus_per_task=8, walltime_s=1200)).add("t3", a_request(cpus_per_task=8, walltime_s=1200))
    full = [a_node(name, cpus=8, free_cpus=0) for name, _ in HELD]
    return plan_of(ready, *full, a_node("n3", cpus=8), a_node("n4", cpus=8), enabled=enabled, **fields)


def plan_of(ready: Ready, *nodes: NodeView, enabled: bool = True, **fields: Any) -> Plan:
    return a_plan(
        ready,
        a_cluster(*nodes),
        live=[live(*one) for one in HELD],
        running=[row(*one, **fields) for one in HELD],
        site=SitePolicy(preemption=PreemptionRules(enabled=enabled)),
    )


def asked(made: Plan) -> dict[str, str]:
    return {one.attempt: str(one.beneficiary) for one in made.decisions if isinstance(one, Preempt)}


def test_those_behind_wait_where_others_leave_for_who_is_in_front() -> None:
    made = planned(4)

    assert asked(made) == {"t8.1": "t1", "t9.1": "t1"}
    assert started(made) == []
    assert made.reason(TaskId("t2")).facts["task"] == "t1"


def test_with_nobody_behind_they_are_asked_as_well() -> None:
    full = [a_node(name, cpus=8, free_cpus=0) for name, _ in HELD]

    made = plan_of(Ready().add("t1", wide(3), priority=1), *full, a_node("n3", cpus=8))

    assert asked(made) == {"t8.1": "t1", "t9.1": "t1"}


def test_as_few_leave_as_are_needed_with_what_is_free() -> None:
    assert len(asked(planned(3))) == 1


def test_where_those_behind_are_not_in_the_way_they_begin() -> None:
    ready = Ready().add("t1", wide(1), priority=1).add("t2", a_request(cpus_per_task=4, walltime_s=1200))
    full = [a_node(name, cpus=8, free_cpus=0) for name, _ in HELD]

    made = plan_of(ready, *full, a_node("n3", cpus=4))

    assert (len(asked(made)), started(made)) == (1, ["t2"])


@pytest.mark.parametrize(
    ("nodes", "fields"), [(4, {"enabled": False}), (4, {"is_protected": True}), (4, {"times_preempted": 9}), (5, {})]
)
def test_where_nobody_can_be_asked_those_behind_begin(nodes: int, fields: dict[str, Any]) -> None:
    made = planned(nodes, **fields)

    assert (asked(made), started(made)) == ({}, ["t2", "t3"])


def test_elastic_work_is_not_asked_to_stop_where_it_would_shrink() -> None:
    request = Resources(nodes=2, cpus_per_task=8, walltime_s=36000, elastic=Elastic(least=1, most=2))
    held = row("n1", "t8", may_resize=True, times_preempted=9)._replace(request=request, nodes=("n1", "n2"))
    ready = Ready().add("t1", wide(2), priority=1).add("t2", a_request(cpus_per_task=8, walltime_s=1200))
    nodes = [a_node("n1", cpus=8, free_cpus=0), a_node("n2", cpus=8, free_cpus=0), a_node("n3", cpus=8)]

    made = a_plan(
        ready,
        a_cluster(*nodes),
        live=[replace(live("n[1-2]", "t8"), request=request)],
        running=[held],
        site=SitePolicy(preemption=PreemptionRules(enabled=True)),
    )

    assert (asked(made), started(made)) == ({}, ["t2"])
