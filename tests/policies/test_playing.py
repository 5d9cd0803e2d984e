"""Work played through: what begins when, beside what, and why some of it never would."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, RunningRow, UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.model.site import Cap, Closure, Metered, ProjectPolicy, SitePolicy
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan, plan
from elisa.policies.playing import Course, Played, play
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_request, after
from tests.policies.test_elastic import elastic, machine, whole

HOUR = 3600


def plan_of(inputs: PlanInputs) -> Plan:
    return plan(inputs.snapshot())


def at_once(done: Collection[TaskId]) -> bool:
    return True


def behind(*names: str) -> Callable[[Collection[TaskId]], bool]:
    return lambda done: {TaskId(name) for name in names} <= set(done)


def played(ready: Ready, count: int = 2, *, needs: dict[str, Any] | None = None, **given: Any) -> Played:
    known = {TaskId(row["task"]): at_once for row in ready.rows if str(row["task"]).startswith("t")}
    lasts = given.pop("lasts_s", {})
    defaults: dict[str, Any] = {
        "ready": ready.columns(),
        "usage": ProjectUsage(),
        "clusters": (machine(count),),
        "live": (),
        "site": SitePolicy(),
        "now": NOW,
        "queueing": (HERE,),
    }
    inputs = PlanInputs(**{**defaults, **given})
    return play(inputs, known | {TaskId(name): need for name, need in (needs or {}).items()}, lasts, plan_of)


def course(begins_s: float, lasts_s: float = HOUR, nodes: int = 1) -> Course:
    return Course(after(begins_s), after(begins_s + lasts_s), nodes)


def capped(limit: int, resource: Metered = Metered.NODE_S) -> SitePolicy:
    return SitePolicy(
        projects=(ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=resource, limit=limit),)),)
    )


def test_tasks_begin_as_others_end_and_as_what_they_need_is_done() -> None:
    ready = Ready().add("t1", whole(2)).add("t2", whole()).add("t3", whole())

    found = played(ready, needs={"t3": behind("t2")}, lasts_s={TaskId("t2"): 600})

    assert found.courses == {"t1": course(600 + HOUR, nodes=2), "t2": course(0, 600), "t3": course(600)}
    assert (found.never, found.until, found.is_cut) == ({}, after(600 + 2 * HOUR), False)


def test_a_shorter_run_gives_budget_back_and_a_budget_that_is_used_up_ends_it() -> None:
    ready = Ready().add("t1", whole()).add("t2", whole())

    def of(limit: int) -> Played:
        return played(ready, 1, site=capped(limit), lasts_s={TaskId("t1"): 600, TaskId("t2"): 600})

    assert of(HOUR + 600).courses.keys() == {"t1", "t2"}
    assert of(HOUR + 599).courses.keys() == {"t1"}
    assert of(HOUR + 599).never["t2"] is not None
    assert of(HOUR + 599).never[TaskId("t2")].code is ReasonCode.BUDGET_EXHAUSTED  # type: ignore[union-attr]


def test_who_waits_for_one_that_never_begins_has_no_reason_of_its_own() -> None:
    found = played(Ready().add("t1", whole(9)).add("t2", whole()), needs={"t2": behind("t1")})

    assert (found.courses, found.never[TaskId("t2")]) == ({}, None)


def row(**fields: Any) -> RunningRow:
    known: dict[str, Any] = {
        "attempt": "x1.1", "task": "x1", "project": "vision", "owner_uid": 1000, "backend": HERE,
        "nodes": ("n00",), "request": whole(), "priority": 2, "started_us": round(after(-600).timestamp() * 1e6),
    }  # fmt: skip
    return RunningRow(**{**known, **fields})


def test_what_runs_gives_nodes_and_budget_back_when_its_time_is_over() -> None:
    usage = ProjectUsage(
        rows=[UsageRow("vision", 1000, "", Charge(node_s=HOUR, cpu_s=8 * HOUR), Charge(), jobs=1, nodes=1)]
    )
    busy = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])

    found = played(
        Ready().add("t1", whole()),
        clusters=(busy,),
        running=(row(),),
        usage=usage,
        site=capped(1, Metered.NODES),
        ends={"x1.1": after(1200).timestamp()},
    )

    assert found.courses == {"t1": course(1200)}


def test_what_waits_in_a_queue_begins_in_the_order_and_is_not_paid_twice() -> None:
    usage = ProjectUsage(
        rows=[UsageRow("vision", 1000, "", Charge(node_s=HOUR, cpu_s=8 * HOUR), Charge(), jobs=1, nodes=1)]
    )
    waiting = row(nodes=(), started_us=0, is_queued=True)

    found = played(
        Ready().add("x1", whole(), age_s=9000).add("t1", whole()),
        1,
        running=(waiting,),
        usage=usage,
        site=capped(2 * HOUR),
    )

    assert found.courses == {"t1": course(HOUR)}


def test_what_others_hold_they_hold_for_a_day() -> None:
    busy = a_cluster(a_node("n00", free_cpus=0, gpus={"a100": 2}, free_gpus=()), partitions=["main"])

    found = played(Ready().add("t1", a_request(1, cpus_per_task=8)), clusters=(busy,))

    assert found.courses == {"t1": course(24 * HOUR)}


def test_where_no_node_is_known_budgets_alone_decide() -> None:
    ready = Ready().add("t1", whole(3)).add("t2", whole(3))

    found = played(ready, clusters=(replace(a_cluster(partitions=["main"]), nodes=()),), site=capped(3, Metered.NODES))

    assert found.courses == {"t1": course(0, nodes=3), "t2": course(HOUR, nodes=3)}


def test_a_place_that_opens_again_is_waited_for() -> None:
    closed = Closure(backend=HERE, starts_at=NOW, ends_at=after(3 * 24 * HOUR))

    found = played(Ready().add("t1", whole()), site=SitePolicy(closures=(closed,)))

    assert found.courses[TaskId("t1")].begins_at == datetime(2026, 3, 5, tzinfo=UTC)


def test_a_place_that_stays_closed_ends_it() -> None:
    closed = Closure(backend=HERE, starts_at=NOW, ends_at=NOW + timedelta(days=900))

    assert played(Ready().add("t1", whole()), site=SitePolicy(closures=(closed,))).courses == {}


def test_elastic_work_goes_as_fast_as_it_is_large() -> None:
    found = played(Ready().add("t1", elastic(2, 8)), 8, lasts_s={TaskId("t1"): 2000})

    assert found.courses == {"t1": course(0, 500, nodes=8)}


tasks = st.lists(
    st.tuples(st.sampled_from([whole(), whole(2), a_request(cpus_per_task=3), elastic(1, 3)]), st.integers(0, 4)),
    min_size=1,
    max_size=8,
)


@given(tasks=tasks, nodes=st.integers(1, 3), limit=st.integers(1, 4))
def test_never_does_more_run_at_once_than_there_is_room_and_leave_for(
    tasks: list[tuple[Resources, int]], nodes: int, limit: int
) -> None:
    ready = Ready()
    for number, (request, rank) in enumerate(tasks):
        ready.add(f"t{number}", request, priority=rank)

    found = played(ready, nodes, site=capped(limit, Metered.NODES))

    for begin in {one.begins_at for one in found.courses.values()}:
        now = [task for task, one in found.courses.items() if one.begins_at <= begin < one.ends_at]
        assert sum(found.courses[task].nodes for task in now) <= limit
        assert sum(found.courses[t].nodes * tasks[int(t[1:])][0].cpus_per_node for t in now) <= 8 * nodes
    could = {f"t{number}" for number, (request, _) in enumerate(tasks) if request.nodes <= min(nodes, limit)}
    assert set(found.courses) == could
