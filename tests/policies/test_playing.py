"""Work played through: what begins when, beside what, and why some of it never would."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Bond, Circle, Company, Neighbour, Tie
from elisa.model.charge import Charge
from elisa.model.columns import GangRow, Outlook, ProjectUsage, RunningRow, UsageRow
from elisa.model.ids import BackendName, ProjectName, RuleId, TaskId
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.model.site import BackfillTimes, Cap, Closure, Metered, ProjectPolicy, Reservation, SitePolicy
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan, plan
from elisa.policies.played import Course, Played, Work
from elisa.policies.playing import play
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
    lasts, gang_of = given.pop("lasts_s", {}), given.pop("gang_of", {})
    more = {name: given.pop(name) for name in ("saves", "may_leave", "not_before") if name in given}
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
    needs = known | {TaskId(name): need for name, need in (needs or {}).items()}
    return play(inputs, Work(needs=needs, lasts_s=lasts, gang_of=gang_of, **more), plan_of)


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


def test_what_began_meanwhile_is_not_given_away_when_others_are_gone() -> None:
    busy = a_cluster(a_node("n00", free_cpus=0), a_node("n01"), partitions=["main"])
    two_days = a_request(cpus_per_task=8, walltime_s=48 * HOUR)

    found = played(Ready().add("t1", two_days, importance=1).add("t2", whole()).add("t3", whole()), clusters=(busy,))

    begin = {task: (one.begins_at - NOW).total_seconds() / HOUR for task, one in found.courses.items()}
    assert begin == {"t1": 0, "t2": 24, "t3": 25}


def test_what_runs_on_a_node_that_nobody_lists_any_more_takes_none_of_the_others() -> None:
    busy = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])
    long = row(nodes=("n77",), request=a_request(cpus_per_task=8, walltime_s=72 * HOUR))

    found = played(Ready().add("t1", whole()), clusters=(busy,), running=(long,))

    assert found.courses == {"t1": course(24 * HOUR)}


def test_where_no_node_is_known_budgets_alone_decide() -> None:
    ready = Ready().add("t1", whole(3)).add("t2", whole(3))

    found = played(ready, clusters=(replace(a_cluster(partitions=["main"]), nodes=()),), site=capped(3, Metered.NODES))

    assert found.courses == {"t1": course(0, nodes=3), "t2": course(HOUR, nodes=3)}


def test_a_place_that_opens_again_is_waited_for() -> None:
    closed = Closure(backend=HERE, starts_at=NOW, ends_at=after(3 * 24 * HOUR))

    found = played(Ready().add("t1", whole()), site=SitePolicy(closures=(closed,)))

    assert found.courses[TaskId("t1")].begins_at == closed.ends_at


def test_a_place_that_stays_closed_ends_it() -> None:
    closed = Closure(backend=HERE, starts_at=NOW, ends_at=NOW + timedelta(days=900))

    assert played(Ready().add("t1", whole()), site=SitePolicy(closures=(closed,))).courses == {}


def test_elastic_work_goes_as_fast_as_it_is_large() -> None:
    found = played(Ready().add("t1", elastic(2, 8)), 8, lasts_s={TaskId("t1"): 2000})

    assert found.courses == {"t1": course(0, 500, nodes=8)}


def kept(begins_s: float, ends_s: float, nodes: int = 1, **fields: Any) -> SitePolicy:
    one = Reservation(
        project=ProjectName("vision"), backend=HERE, resource=Metered.NODES, amount=nodes,
        starts_at=after(begins_s), ends_at=after(ends_s), id=RuleId("r1"), **fields,
    )  # fmt: skip
    return SitePolicy(reservations=(one,))


def placed(**given: Any) -> dict[str, Any]:
    """Have elisa choose the nodes, so that it keeps room on them."""
    return {"queueing": (), **given}


def test_others_begin_before_reserved_room_if_they_are_over_by_then_and_else_at_the_moment_it_ends() -> None:
    ready = Ready().add("t1", whole(), project="nlp").add("t2", whole(2), project="nlp").add("t3", whole())

    found = played(ready, **placed(site=kept(HOUR, 5000)), lasts_s={TaskId("t3"): 600})

    assert found.courses == {"t1": course(0), "t2": course(5000, nodes=2), "t3": course(0, 600)}


def test_what_its_holder_runs_already_counts_towards_what_is_reserved() -> None:
    clusters = (a_cluster(a_node("n00", free_cpus=0), a_node("n01"), partitions=["main"]),)
    runs = {"clusters": clusters, "ends": {"x1.1": after(2400).timestamp()}, "site": kept(-600, 9000)}
    ready = Ready().add("t1", whole(), project="nlp")

    assert played(ready, **placed(**runs, running=(row(),))).courses == {"t1": course(0)}
    assert played(ready, **placed(**runs, running=(row(project="nlp"),))).courses == {"t1": course(2400)}


def test_a_guest_leaves_lent_room_as_its_holder_comes_and_goes_on_later_from_there() -> None:
    elsewhere = a_cluster(a_node("m00", cpus=1, free_cpus=0), partitions=["main"], backend="there")
    first = row(backend="there", nodes=("m00",), request=a_request(), project="nlp")
    ready = Ready().add("t1", whole(), may_leave=True, project="nlp").add("t2", whole())

    found = played(
        ready,
        needs={"t2": behind("x1")},
        lasts_s={TaskId("t1"): 3000, TaskId("t2"): 900},
        running=(first,),
        ends={"x1.1": after(1000).timestamp()},
        **placed(clusters=(machine(1), elsewhere), site=kept(-60, 90 * HOUR, is_lent=True)),
    )

    assert found.courses == {"t1": course(0, 3900), "t2": course(1000, 900)}


def test_a_guest_that_ran_before_comes_back_too_if_it_has_a_row() -> None:
    guest = row(task="x1", project="nlp", saves_on_request=True)
    full = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])
    given = placed(clusters=(full,), running=(guest,), site=kept(-60, 90 * HOUR, is_lent=True))

    left = played(Ready().add("t1", whole()).add("x1", whole(), project="nlp", may_leave=True), **given)
    stays = played(Ready().add("t1", whole()), **given)

    assert (left.courses, stays.courses) == ({"t1": course(0)}, {"t1": course(HOUR - 600)})


def test_who_must_be_apart_begins_as_the_others_end_and_who_is_beside_one_follows_it() -> None:
    company = Company(
        circles=(Circle("vision", "p1", ("a",)), Circle("vision", "", (), (("kind", "loud"),))), held=(0, 1)
    )
    follows, loud = Bond((Tie(0),)), Bond((Tie(1, apart=True),), (1,))
    ready = Ready().add("t1", a_request(cpus_per_task=4), bond=Bond((), (0,)), importance=9)
    ready.add("t2", a_request(), bond=follows, importance=8)
    ready.add("t3", a_request(), bond=loud).add("t4", a_request(), bond=loud)
    ready.add("t5", whole(), importance=9)

    found = played(
        ready, needs={"t2": behind("t1")}, lasts_s={TaskId("t1"): 600, TaskId("t3"): 300},
        **placed(clusters=(machine(2),), outlook=Outlook(company=company)),
    )  # fmt: skip

    assert found.courses == {
        "t1": course(0, 600), "t2": course(600), "t3": course(0, 300), "t4": course(300), "t5": course(0),
    }  # fmt: skip


def test_who_is_beside_one_that_waits_behind_others_does_not_wait_for_it() -> None:
    company = Company(circles=(Circle("vision", "p1", ("a",)),), held=(0,))
    ready = Ready().add("t1", a_request(), bond=Bond((), (0,))).add("t2", a_request(), bond=Bond((Tie(0),)))
    given = placed(clusters=(machine(1),), outlook=Outlook(company=company))

    found = played(ready.add("t3", a_request()), needs={"t1": behind("t3")}, **given)

    assert found.courses == {"t1": course(HOUR), "t2": course(0), "t3": course(0)}


def test_nobody_waits_for_the_node_of_one_whose_job_waits_in_a_queue_now() -> None:
    queued = Neighbour(HERE, (), (0,), task="x1")
    company = Company(circles=(Circle("vision", "p1", ("a",)),), neighbours=(queued,), held=(0,))
    ready = Ready().add("x1", whole(), bond=Bond((), (0,)), importance=9)
    ready.add("t1", a_request(cpus_per_task=8), bond=Bond((Tie(0, apart=True),)))
    usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), Charge(), jobs=1, nodes=1)])

    found = played(
        ready, 1, running=(row(nodes=(), started_us=0, is_queued=True),), usage=usage, outlook=Outlook(company=company)
    )

    assert found.courses == {"t1": course(HOUR)}


def test_who_must_be_apart_from_one_that_runs_knows_its_node_from_its_manager() -> None:
    unknown = Neighbour(HERE, (), (0,), task="x1")
    company = Company(circles=(Circle("vision", "p1", ("a",)),), neighbours=(unknown,), held=(0,))
    ready = Ready().add("t1", a_request(), bond=Bond((Tie(0, apart=True),)))
    half = a_cluster(a_node("n00", free_cpus=4), a_node("n01"), partitions=["main"])
    given: dict[str, Any] = {"running": (row(request=a_request(cpus_per_task=4)),), "outlook": Outlook(company=company)}

    alone = replace(half, nodes=half.nodes[:1])

    assert played(ready, clusters=(half,), **given).courses == {"t1": course(0)}
    assert played(ready, clusters=(alone,), **given).courses == {"t1": course(HOUR - 600)}


def test_a_gang_begins_whole_when_all_that_must_are_ready_and_the_rest_of_it_follows() -> None:
    ready = Ready().add("t1", whole(), gang=0).add("t2", whole(), gang=0).add("t3", whole(), gang=0)
    ready.add("t4", a_request())
    ready.gangs.append(GangRow(size=3, minimum=2))

    found = played(
        ready,
        needs={"t1": behind("t4"), "t2": behind("t4")},
        lasts_s={TaskId("t1"): 300, TaskId("t4"): 600},
    )

    assert found.courses == {"t1": course(600, 300), "t2": course(600), "t3": course(900), "t4": course(0, 600)}


def test_the_last_member_begins_alone_when_all_others_are_over() -> None:
    ready = Ready().add("t1", whole(), gang=0).add("t2", whole(), gang=0).add("t3", whole(), gang=0)
    ready.gangs.append(GangRow(size=3, minimum=2))

    assert played(ready).courses == {"t1": course(0), "t2": course(0), "t3": course(HOUR)}


def test_members_that_run_count_as_long_as_they_do() -> None:
    ready = Ready().add("t1", whole(), gang=0).add("t2", whole(), gang=0)
    ready.gangs.append(GangRow(size=2, minimum=2, live=1))
    full = a_cluster(a_node("n00", free_cpus=0), a_node("n01", free_cpus=0), partitions=["main"])
    others = row(attempt="x2.1", task="x2", nodes=("n01",), started_us=round(NOW.timestamp() * 1e6))
    given: dict[str, Any] = {"clusters": (full,), "gang_of": {TaskId("x1"): 0}, "running": (row(), others)}

    in_time = played(ready, ends={"x2.1": after(600).timestamp()}, **given)
    too_late = played(ready, needs={"t1": behind("x1"), "t2": behind("x1")}, **given)

    assert in_time.courses == {"t1": course(600), "t2": course(HOUR - 600)}
    assert too_late.courses == {"t1": course(HOUR), "t2": course(HOUR)}


def test_a_tick_that_reckons_with_walltimes_is_not_told_when_anything_ends() -> None:
    ready = Ready().add("t1", whole(2), importance=9).add("t2", a_request(walltime_s=1200))
    full = a_cluster(a_node("n00", free_cpus=0), a_node("n01"), partitions=["main"])
    given = placed(clusters=(full,), running=(row(),), ends={"x1.1": after(600).timestamp()})

    def begins_s(times: BackfillTimes) -> float:
        found = played(ready, **given, site=SitePolicy(backfill_times=times))
        return (found.courses[TaskId("t2")].begins_at - NOW).total_seconds()

    assert (begins_s(BackfillTimes.REQUESTED), begins_s(BackfillTimes.PREDICTED)) == (0, 600 + HOUR)


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


def test_who_saves_goes_on_in_another_attempt_if_its_walltime_is_over_and_others_do_not() -> None:
    ready = Ready().add("t1", whole()).add("t2", whole())
    lasts = {TaskId("t1"): 1.5 * HOUR, TaskId("t2"): 1.5 * HOUR}

    found = played(ready, lasts_s=lasts, saves={TaskId("t1")})

    assert found.courses == {"t1": course(0, 1.5 * HOUR), "t2": course(0)}


def test_what_runs_and_saves_goes_on_after_its_walltime_as_soon_as_there_is_room() -> None:
    full = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])
    ready = Ready().add("x1", whole()).add("t1", whole(), importance=9)

    found = played(
        ready,
        needs={"x1": at_once},
        clusters=(full,),
        running=(row(),),
        lasts_s={TaskId("x1"): HOUR},
        saves={TaskId("x1")},
    )

    over = HOUR - 600
    assert found.courses == {"x1": Course(after(-600), after(over + HOUR + 600), 1), "t1": course(over)}


def test_what_its_author_says_of_what_runs_counts_as_far_as_its_walltime_goes() -> None:
    full = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])

    def begins_s(lasts_s: float) -> float:
        given: dict[str, Any] = {"clusters": (full,), "running": (row(),), "lasts_s": {TaskId("x1"): lasts_s}}
        return (played(Ready().add("t1", whole()), **given).courses[TaskId("t1")].begins_at - NOW).total_seconds()

    assert (begins_s(900), begins_s(9 * HOUR)) == (900, HOUR - 600)


def test_a_pause_after_a_failure_is_waited_for() -> None:
    assert played(Ready().add("t1", whole()), not_before={TaskId("t1"): after(90)}).courses == {"t1": course(90)}


def test_who_holds_more_than_a_hard_limit_leaves_and_comes_back_when_there_is_leave() -> None:
    rows = [row(), row(attempt="x2.1", task="x2", nodes=("n01",), priority=3)]
    usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), Charge(), jobs=2, nodes=2)])
    full = a_cluster(a_node("n00", free_cpus=0), a_node("n01", free_cpus=0), partitions=["main"])
    ready = Ready().add("x1", whole()).add("x2", whole(), priority=3)
    rows = [one._replace(saves_on_request=True) for one in rows]

    found = played(
        ready,
        needs={"x1": at_once, "x2": at_once},
        clusters=(full,),
        running=rows,
        usage=usage,
        site=capped(1, Metered.NODES),
        may_leave={TaskId("x1"), TaskId("x2")},
    )

    over = HOUR - 600
    assert found.courses == {"x1": Course(after(-600), after(over), 1), "x2": Course(after(-600), after(2 * over), 1)}


def test_who_must_leave_goes_on_as_long_as_the_limit_allows_and_never_comes_back_if_that_was_all() -> None:
    usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(node_s=HOUR), Charge(), jobs=1, nodes=1)])
    full = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])
    guest = row(saves_on_request=True, started_us=round(NOW.timestamp() * 1e6))

    found = played(
        Ready().add("x1", whole()),
        needs={"x1": at_once},
        clusters=(full,),
        running=(guest,),
        usage=usage,
        site=capped(HOUR // 2),
        may_leave={TaskId("x1")},
    )

    assert found.courses == {}
    reason = found.never[TaskId("x1")]
    assert reason is not None
    assert (reason.code, reason.facts["left"]) == (ReasonCode.BUDGET_EXHAUSTED, 120 + 60)


def test_an_attempt_that_is_queued_behind_its_own_task_gives_back_what_it_reserved_and_no_more() -> None:
    usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(node_s=2 * HOUR), Charge(), jobs=2, nodes=2)])
    full = a_cluster(a_node("n00", free_cpus=0), a_node("n01"), partitions=["main"])
    behind_it = row(attempt="x1.2", nodes=(), started_us=0, is_queued=True)

    found = played(
        Ready().add("x1", whole()).add("t1", whole()),
        clusters=(full,),
        running=(row(), behind_it),
        usage=usage,
        site=capped(2, Metered.NODES),
    )

    assert found.courses == {"t1": course(0)}


def test_it_is_told_from_when_on_each_budget_is_short() -> None:
    ready = Ready().add("t1", whole()).add("t2", whole()).add("t3", whole(), project="nlp")

    found = played(ready, 1, site=capped(HOUR))

    assert [(one.at, one.reason.facts["project"]) for one in found.short] == [(NOW, "vision")]


def test_who_saves_leaves_a_place_as_it_closes_and_goes_on_when_there_is_another_or_it_opens() -> None:
    closed = Closure(backend=HERE, starts_at=after(600), ends_at=after(9000), nodes=("n00",))
    rows = [row(task=f"x{n}", attempt=f"x{n}.1", nodes=(f"n0{n}",), saves_on_request=True) for n in (0, 1)]
    full = a_cluster(a_node("n00", free_cpus=0), a_node("n01", free_cpus=0), partitions=["main"])
    ready, left = Ready(), {"x0": HOUR - 600 - 600, "x1": HOUR - 600}
    for name in left:
        ready.add(name, whole())
    given: dict[str, Any] = {
        "needs": dict.fromkeys(left, at_once),
        "clusters": (full,),
        "running": rows,
        "may_leave": {TaskId("x0"), TaskId("x1")},
    }

    one_node = played(ready, site=SitePolicy(closures=(closed,)), **given)
    all_of_it = played(ready, site=SitePolicy(closures=(replace(closed, nodes=()),)), **given)
    elsewhere = played(ready, site=SitePolicy(closures=(replace(closed, backend=BackendName("there")),)), **given)

    def ends_s(found: Played) -> list[float]:
        return [(found.courses[TaskId(name)].ends_at - NOW).total_seconds() for name in left]

    assert ends_s(one_node) == [left["x1"] + left["x0"], left["x1"]]
    assert ends_s(all_of_it) == [9000 + left["x0"], 9000 + left["x0"]]
    assert ends_s(elsewhere) == [left["x1"], left["x1"]]


def test_who_had_to_leave_is_no_longer_the_oldest_when_it_comes_back() -> None:
    closed = Closure(backend=HERE, starts_at=after(600), ends_at=after(9000))
    full = a_cluster(a_node("n00", free_cpus=0), partitions=["main"])
    ready = Ready().add("x1", whole(), age_s=900).add("t1", whole(), age_s=60)

    found = played(
        ready,
        needs={"x1": at_once},
        clusters=(full,),
        running=(row(saves_on_request=True),),
        may_leave={TaskId("x1")},
        site=SitePolicy(closures=(closed,), order=("age",)),
    )

    assert (found.courses["t1"], found.courses["x1"].ends_at) == (course(9000), after(9000 + 2 * HOUR - 1200))
