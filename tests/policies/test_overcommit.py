"""Nodes that promise more than they have: guaranteed work never shares, and best effort leaves when memory gets short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.promises import promised_of
from elisa.model.columns import Outlook, RunningRow
from elisa.model.decisions import Park
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import FusionRules, ProjectPolicy, ServiceClass, SitePolicy
from elisa.model.task import Attempt
from elisa.model.units import format_memory
from elisa.policies.claims import claiming
from elisa.policies.overcommit import PLAIN, footprint, ratio_of
from elisa.policies.plan import Plan
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, a_request, after, an_attempt, started

PROJECTS = {"sure": ServiceClass.GUARANTEED, "burst": ServiceClass.BURSTABLE, "spare": ServiceClass.BEST_EFFORT}
SITE = SitePolicy(
    projects=tuple(ProjectPolicy(name=ProjectName(name), service=service) for name, service in PROJECTS.items()),
    fusion=FusionRules(enabled=False),
)
MIB = 1024


def twice(cpus: int = 8, memory_mib: int = 8 * MIB, held: Sequence[Resources] = (), **fields: Any) -> NodeView:
    """A node that promises twice what it has, and one and a half times its memory, of which `held` is asked for."""
    promised = {"cpus": 2 * cpus, "memory_mib": memory_mib * 3 // 2}
    free_cpus = promised["cpus"] - sum(one.cpus_per_node for one in held)
    free_memory = promised["memory_mib"] - sum(one.memory_mib_per_node for one in held)
    free = {"free_cpus": free_cpus, "free_memory_mib": free_memory}
    return replace(a_node("n1", **promised), promised=(200, 150), **{**free, **fields})


def asks(cpus: int, memory_mib: int = 0, walltime_s: int = 600) -> Resources:
    return a_request(cpus_per_task=cpus, memory_mib_per_node=memory_mib, walltime_s=walltime_s)


def running(id_: str, request: Resources, project: str, **fields: Any) -> tuple[Attempt, RunningRow]:
    attempt = an_attempt(f"{id_}.1", nodes="n1", request=request, started_at=after(-60))
    started_us = int((NOW.timestamp() - 60) * 1e6)
    row = RunningRow(attempt.id, id_, project, 1000, HERE, ("n1",), request, 2, started_us)
    return attempt, row._replace(**fields)


def plan_of(ready: Ready, node: NodeView, *pairs: tuple[Attempt, RunningRow], site: SitePolicy = SITE) -> Plan:
    live = {"live": [attempt for attempt, _ in pairs], "running": [row for _, row in pairs]}
    return a_plan(ready, a_cluster(node), site=site, **live)


def queue(*tasks: tuple[str, str, int]) -> Ready:
    """Tasks by id, project and cores, in their order."""
    ready = Ready()
    for number, (id_, project, cpus) in enumerate(tasks):
        ready.add(id_, asks(cpus), project=project, importance=-number)
    return ready


def test_work_that_is_not_guaranteed_shares_what_a_node_promises() -> None:
    made = plan_of(queue(("t1", "burst", 8), ("t2", "burst", 8), ("t3", "burst", 1)), twice())

    assert started(made) == ["t1", "t2"]
    assert started(plan_of(queue(("t1", "burst", 8), ("t2", "burst", 1)), a_node("n1", cpus=8))) == ["t1"]
    mixed = a_cluster(twice(), a_node("n2", cpus=1))
    assert started(a_plan(queue(("t1", "sure", 8), ("t2", "burst", 1)), mixed, site=SITE)) == ["t1", "t2"]


def test_guaranteed_work_takes_the_whole_of_what_others_could_be_promised() -> None:
    made = plan_of(queue(("t1", "sure", 4), ("t2", "sure", 4), ("t3", "burst", 1)), twice())

    assert started(made) == ["t1", "t2"]
    half = plan_of(queue(("t1", "sure", 4), ("t2", "burst", 8), ("t3", "burst", 1)), twice())
    assert started(half) == ["t1", "t2"]


def test_guaranteed_work_that_runs_keeps_its_whole_part() -> None:
    own = running("t0", asks(4), "sure")
    node = twice(held=[asks(4)])

    more = queue(("t1", "burst", 8), ("t2", "burst", 4))

    assert started(plan_of(more, node, own)) == ["t1"]
    assert started(plan_of(more, node, (own[0], own[1]._replace(nodes=())))) == ["t1"]
    assert started(plan_of(more, node, (own[0], own[1]._replace(backend="there")))) == ["t1", "t2"]


def test_memory_has_a_ratio_of_its_own() -> None:
    ready = Ready().add("t1", asks(1, 8 * MIB), project="burst").add("t2", asks(1, 4 * MIB), project="burst")
    ready.add("t3", asks(1, 1), project="burst", importance=-1)

    assert started(plan_of(ready, twice())) == ["t2", "t1"] or started(plan_of(ready, twice())) == ["t1", "t2"]
    sure = Ready().add("t1", asks(1, 8 * MIB), project="sure").add("t2", asks(1, 1), project="burst", importance=-1)
    assert started(plan_of(sure, twice())) == ["t1"]


@pytest.mark.parametrize(("request_", "largest"), [(asks(9), 8), (asks(1, 8 * MIB + 1), format_memory(8 * MIB))])
def test_one_job_gets_no_more_than_there_is(request_: Resources, largest: int | str) -> None:
    made = plan_of(Ready().add("t1", request_, project="burst"), twice())

    reason = made.reason(TaskId("t1"))
    assert reason.code is ReasonCode.NEVER_FITS
    assert reason.facts["largest"] == largest


def test_what_waits_is_promised_the_moment_at_which_guaranteed_work_gives_its_whole_part_back() -> None:
    own = running("t0", asks(8, walltime_s=660), "sure")

    made = plan_of(queue(("t1", "sure", 8)), twice(held=[asks(8)]), own)

    assert made.reason(TaskId("t1")).facts["starts_at"] == after(600).isoformat(timespec="seconds")


def test_a_footprint_is_never_too_small() -> None:
    small = footprint(a_request(tasks_per_node=3, cpus_per_task=1, memory_mib_per_node=5), (200, 150))

    assert (small.cpus_per_node, small.memory_mib_per_node) == (6, 8)
    assert ratio_of(()) == PLAIN


def test_where_nothing_is_promised_twice_shapes_are_left_as_they_are() -> None:
    columns = queue(("t1", "sure", 1)).columns()

    assert claiming(columns, Outlook(), ()) == (columns, Outlook())
    split, _ = claiming(columns, Outlook(speeds={(0, "a100"): 0.5}), (), {"sure"})
    assert [shape.is_firm for shape in split.shapes] == [False, True]


def leaving(short_mib: int, *pairs: tuple[Attempt, RunningRow]) -> list[str]:
    made = plan_of(Ready(), twice(short_mib=short_mib), *pairs)
    return [one.attempt for one in made.decisions if isinstance(one, Park)]


def test_best_effort_work_leaves_first_when_memory_is_short_then_burstable_and_guaranteed_never() -> None:
    sure, burst = running("t1", asks(1, 4000), "sure"), running("t2", asks(1, 2000), "burst")
    spare, low = running("t3", asks(1, 1000), "spare"), running("t4", asks(1, 1000), "spare", priority=4)

    assert leaving(1, sure, burst, spare, low) == ["t4.1"]
    assert leaving(1500, sure, burst, spare, low) == ["t4.1", "t3.1"]
    assert leaving(9000, sure, burst, spare, low) == ["t4.1", "t3.1", "t2.1"]
    assert leaving(0, sure, burst, spare, low) == []
    assert leaving(100, sure) == []


def test_who_leaves_already_counts_and_who_may_not_be_stopped_stays() -> None:
    gone = running("t1", asks(1, 1000), "spare", is_leaving=True)
    firm = running("t2", asks(1, 1000), "spare", is_preemptible=False)
    burst = running("t3", asks(1, 1000), "burst")

    assert leaving(800, gone, firm, burst) == []
    assert leaving(1200, gone, firm, burst) == ["t3.1"]


def test_one_that_asked_for_no_memory_leaves_alone() -> None:
    silent, other = running("t1", asks(1), "spare", priority=4), running("t2", asks(1, 1000), "spare")

    assert leaving(5000, silent, other) == ["t1.1"]
    assert leaving(5000, (silent[0], silent[1]._replace(is_leaving=True)), other) == []


def test_the_reason_tells_the_node_and_what_is_missing() -> None:
    made = plan_of(Ready(), twice(short_mib=300), running("t1", asks(1, 1000), "spare"))

    (park,) = made.decisions
    assert park.reason == because(ReasonCode.PRESSED, backend="here", node="n1", short_mib=300, service="best_effort")


@given(
    cpus=st.integers(1, 8),
    tasks=st.lists(st.tuples(st.sampled_from(sorted(PROJECTS)), st.integers(1, 8)), max_size=10),
    before=st.lists(st.tuples(st.sampled_from(sorted(PROJECTS)), st.integers(1, 4)), max_size=4),
    percent=st.integers(100, 400),
)
def test_others_are_never_promised_more_than_the_ratio_of_what_guaranteed_work_leaves(
    cpus: int, tasks: list[tuple[str, int]], before: list[tuple[str, int]], percent: int
) -> None:
    total, _ = promised_of(cpus, 0, (percent, 100))

    def split(pairs: list[tuple[str, int]]) -> tuple[list[int], int]:
        return [count for project, count in pairs if project == "sure"], sum(n for name, n in pairs if name != "sure")

    def rest(pairs: list[tuple[str, int]]) -> int:
        firm, others = split(pairs)
        return total - sum(-(-percent * count // 100) for count in firm) - others

    while before and rest(before) < 0:
        before = before[1:]
    held = [asks(count) for _, count in before]
    node = replace(
        a_node("n1", cpus=total), free_cpus=total - sum(one.cpus_per_node for one in held), promised=(percent, 100)
    )
    pairs = [running(f"old{n}", asks(count), project) for n, (project, count) in enumerate(before)]

    ready = queue(*((f"t{n}", project, count) for n, (project, count) in enumerate(tasks)))
    made = plan_of(ready, node, *pairs, site=replace(SITE, backfill_depth=0))

    now = [tasks[int(task[1:])] for task in started(made)]
    firm, others = split([*before, *now])
    assert rest([*before, *now]) >= 0
    assert sum(firm) <= cpus
    assert others <= -(-percent * (cpus - sum(firm)) // 100)
    # Nobody waits for want of what is there.
    waiting = [task for n, task in enumerate(tasks) if f"t{n}" not in started(made) and task[1] <= cpus]
    assert all(rest([*before, *now, one]) < 0 for one in waiting)


@pytest.mark.parametrize(("cpus", "percent"), [(5, 150), (3, 101), (7, 133)])
def test_all_of_a_node_can_be_guaranteed_and_asked_for_by_one_whatever_the_ratio(cpus: int, percent: int) -> None:
    total, _ = promised_of(cpus, 0, (percent, 100))
    node = replace(a_node("n1", cpus=total), promised=(percent, 100))

    for project in PROJECTS:
        assert started(plan_of(queue(("t1", project, cpus)), node)) == ["t1"]
        more = plan_of(queue(("t1", project, cpus + 1)), node).reason(TaskId("t1"))
        assert (more.code, more.facts["largest"]) == (ReasonCode.NEVER_FITS, cpus)
    ones = queue(*((f"t{number}", "sure", 1) for number in range(cpus + 1)))
    assert len(started(plan_of(ones, node))) <= cpus
