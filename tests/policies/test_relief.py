"""What would let a refused task pass: each answer is tried on a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from elisa.model.charge import Charge
from elisa.model.columns import PastUse, ProjectUsage, RunningRow, UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Cap, Grant, Loan, Metered, ProjectPolicy, SitePolicy
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import plan
from elisa.policies.relief import Relief, relief_of
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_request, after, started

A, B, C = ProjectName("a"), ProjectName("b"), ProjectName("c")
DAY_S, HOUR_S = 86400, 3600


def a_project(name: ProjectName, *caps: Cap, **fields: Any) -> ProjectPolicy:
    return ProjectPolicy(name=name, caps=caps, **fields)


def cpu_s(limit: int) -> Cap:
    return Cap(resource=Metered.CPU_S, limit=limit)


def some_inputs(*projects: ProjectPolicy, loans: tuple[Loan, ...] = (), **fields: Any) -> PlanInputs:
    """One task of project a, which asks for two core hours."""
    ready = Ready().add("t1", a_request(cpus_per_task=2, walltime_s=HOUR_S), project="a")
    site = SitePolicy(projects=projects, loans=loans)
    defaults = {"usage": ProjectUsage(), "clusters": (a_cluster(),), "live": (), "now": NOW}
    return PlanInputs(ready=ready.columns(), site=site, **{**defaults, **fields})


def refused(inputs: PlanInputs) -> Relief:
    found = relief_of(inputs, plan(inputs.snapshot()).reason(TaskId("t1")), HOUR_S)
    assert found is not None
    return found


def starts_at(inputs: PlanInputs, moment: datetime) -> bool:
    return started(plan(replace(inputs, now=moment).snapshot())) == ["t1"]


def test_a_shorter_walltime_and_a_project_that_could_lend_are_named() -> None:
    rich = a_project(B, cpu_s(5 * HOUR_S), may_lend=True)
    poor = a_project(C, cpu_s(HOUR_S // 2), may_lend=True)
    inputs = some_inputs(a_project(A, cpu_s(HOUR_S)), rich, poor, replace(rich, name=ProjectName("d"), may_lend=False))

    found = refused(inputs)

    assert found == Relief(resource=Metered.CPU_S, gpu_type="", short=HOUR_S, lenders=(B,), walltime_s=HOUR_S // 2)
    loan = Loan(lender=B, borrower=A, resource=Metered.CPU_S, amount=found.short, starts_at=NOW, due_at=after(DAY_S))
    assert starts_at(replace(inputs, site=replace(inputs.site, loans=(loan,))), NOW)


def test_a_grant_to_come_is_named_with_its_day() -> None:
    grant = Grant(resource=Metered.CPU_S, amount=9 * HOUR_S, starts_at=after(DAY_S), ends_at=after(9 * DAY_S))
    inputs = some_inputs(a_project(A, grants=(grant,)))

    found = refused(inputs)

    assert found.at == after(DAY_S)
    assert starts_at(inputs, after(DAY_S))
    assert found.walltime_s == 0


def test_a_loan_that_comes_back_is_named_with_its_day() -> None:
    loan = Loan(
        lender=A, borrower=B, resource=Metered.CPU_S, amount=9 * HOUR_S, starts_at=after(-9), due_at=after(DAY_S)
    )
    inputs = some_inputs(a_project(A, cpu_s(9 * HOUR_S), may_lend=True), a_project(B, cpu_s(1)), loans=(loan,))

    assert refused(inputs).at == after(DAY_S)
    assert starts_at(inputs, after(DAY_S))


def test_a_grant_that_is_too_small_is_no_help() -> None:
    grants = [
        Grant(resource=Metered.CPU_S, amount=amount, starts_at=after(day * DAY_S), ends_at=after((day + 1) * DAY_S))
        for day, amount in ((0, 60), (1, 60), (2, 9 * HOUR_S))
    ]

    assert refused(some_inputs(a_project(A, grants=tuple(grants)))).at == after(2 * DAY_S)


def running(name: str, cpus: int, left_s: int, **fields: Any) -> RunningRow:
    request = a_request(cpus_per_task=cpus, walltime_s=HOUR_S)
    started_us = int((NOW.timestamp() - HOUR_S + left_s) * 1e6)
    row = RunningRow(f"{name}.1", name, "a", 1000, HERE, ("n1",), request, 2, started_us)
    return row._replace(**fields)


def test_for_what_is_held_at_once_the_end_of_what_runs_is_named() -> None:
    usage = ProjectUsage(rows=[UsageRow("a", 1000, "", Charge(), Charge(), jobs=3, cpus=6)])
    cores = a_project(A, Cap(resource=Metered.CPUS, limit=6))
    jobs = [running("x", 1, 600), running("y", 1, 1200), running("z", 4, 60, project="b")]

    found = refused(some_inputs(cores, usage=usage, running=(*jobs, running("q", 4, 30, is_queued=True))))

    assert (found.short, found.ends_at, found.walltime_s) == (2, after(1200), 0)
    assert refused(some_inputs(cores, usage=usage, running=jobs[:1])).ends_at is None


def test_what_the_same_plan_starts_ends_too() -> None:
    inputs = some_inputs(a_project(A, Cap(resource=Metered.CPUS, limit=3)), a_project(B))
    ready = Ready().add("t0", a_request(walltime_s=600), project="a", age_s=90)
    ready.add("t1", a_request(cpus_per_task=3, walltime_s=HOUR_S), project="a")
    ready.add("t2", a_request(walltime_s=60), project="b", age_s=90)
    made = plan(replace(inputs, ready=ready.columns(), site=replace(inputs.site, order=("age",))).snapshot())

    found = relief_of(inputs, made.reason(TaskId("t1")), HOUR_S, made.beginnings)

    assert started(made) == ["t0", "t2"]
    assert found is not None
    assert (found.short, found.ends_at) == (1, after(600))


def test_a_members_own_limit_is_nothing_that_others_could_lend() -> None:
    own = a_project(A, user_caps=(cpu_s(HOUR_S),))
    rich = a_project(B, cpu_s(9 * HOUR_S), may_lend=True)
    past = [PastUse("a", 1000, 5.0, Charge(cpu_s=1))]
    usage = ProjectUsage(rows=[UsageRow("a", 1000, "", Charge(), Charge(cpu_s=1))], past=past)

    found = refused(some_inputs(own, rich, usage=usage))

    assert (found.lenders, found.short) == ((), HOUR_S + 1)


@pytest.mark.parametrize("code", [ReasonCode.NO_ROOM, ReasonCode.WINDOW_FULL, ReasonCode.CHOSEN])
def test_against_other_refusals_no_budget_helps(code: ReasonCode) -> None:
    assert relief_of(some_inputs(), because(code), HOUR_S) is None


def test_another_project_may_lend_what_is_held_at_once() -> None:
    usage = ProjectUsage(rows=[UsageRow("a", 1000, "", Charge(), Charge(), jobs=1, cpus=6)])
    cores = a_project(A, Cap(resource=Metered.CPUS, limit=6))
    rich = a_project(B, Cap(resource=Metered.CPUS, limit=2), may_lend=True)

    assert refused(some_inputs(cores, rich, usage=usage)).lenders == (B,)


def test_what_the_whole_site_may_hold_is_lent_by_nobody() -> None:
    rich = a_project(B, cpu_s(5 * HOUR_S), may_lend=True)
    inputs = some_inputs(a_project(A), rich)

    found = refused(replace(inputs, site=replace(inputs.site, caps=(Cap(resource=Metered.CPUS, limit=1),))))

    assert found == Relief(resource=Metered.CPUS, gpu_type="", short=1)


@pytest.mark.parametrize(("limit", "first_s"), [(4, 1), (9, 5)], ids=["before anything starts", "while others start"])
def test_what_the_same_plan_starts_is_paid_first(limit: int, first_s: int) -> None:
    rich = a_project(B, cpu_s(9), may_lend=True)
    ready = Ready().add("t0", a_request(walltime_s=first_s), project="a", age_s=90)
    ready.add("t1", a_request(walltime_s=5), project="a", age_s=60).add("t2", a_request(walltime_s=2), project="a")
    ready.add("t3", a_request(walltime_s=4), project="b")
    inputs = replace(some_inputs(a_project(A, cpu_s(limit)), rich), ready=ready.columns())
    made = plan(replace(inputs, site=replace(inputs.site, order=("age",))).snapshot())

    found = relief_of(inputs, made.reason(TaskId("t1")), 5, made.beginnings)

    left = limit - first_s - 2
    assert started(made) == ["t0", "t2", "t3"]
    assert found == Relief(
        resource=Metered.CPU_S, gpu_type="", short=5 - left, lenders=(B,) if 5 - left <= 5 else (), walltime_s=left
    )


def test_who_is_refused_from_the_start_is_told_what_is_left_when_the_others_have_started() -> None:
    ready = Ready().add("t0", a_request(walltime_s=3), project="a").add("t1", a_request(walltime_s=9), project="a")
    inputs = replace(some_inputs(a_project(A, cpu_s(8))), ready=ready.columns())

    facts = plan(inputs.snapshot()).reason(TaskId("t1")).facts

    assert (facts["left"], facts["cap"], facts["asked"]) == (5, 8, 9)
