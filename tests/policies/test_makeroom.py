"""Gangs for which others make room: for all members that must start together, or nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Bond
from elisa.model.columns import GangRow, RunningRow
from elisa.model.native import NodeView
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, ProjectPolicy, SitePolicy
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, started
from tests.policies.test_affinity_pledges import BESIDE, PEER, SERVER, at, company
from tests.policies.test_preemption import CRITICAL, RULES, WHOLE, a_job, a_site, asked, full, preempts

HALF = a_request(cpus_per_task=4)
HIGH, NORMAL, LOW = 1, 2, 3


def a_gang(*requests: Resources, minimum: int = 0, live: int = 0, bonds: Sequence[Bond] = (), **row: Any) -> Ready:
    """Return ready members of one gang of class high, called m0 and so on."""
    ready = Ready()
    for number, request in enumerate(requests):
        bond = bonds[number] if bonds else Bond()
        ready.add(f"m{number}", request, bond=bond, **{"gang": 0, "priority": HIGH, **row})
    ready.gangs = [GangRow(len(requests), minimum, live, "p/g")]
    return ready


def planned(ready: Ready, *jobs: RunningRow, nodes: Sequence[NodeView] = (), **extra: Any) -> Plan:
    """Plan where each job holds all of its nodes, unless `nodes` say otherwise."""
    held = full(*(name for job in jobs for name in job.nodes))
    return a_plan(ready, a_cluster(*(nodes or held)), running=jobs, **{"site": a_site(), **extra})


A, B, C = a_job("ta.1", "n1"), a_job("tb.1", "n2"), a_job("tc.1", "n3")


class TestWhole:
    def test_a_gang_takes_the_places_of_as_many_as_it_needs(self) -> None:
        made = planned(a_gang(WHOLE, WHOLE), A, B, C)

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("ta.1", "m0"), ("tb.1", "m0")]
        assert started(made) == []

    @pytest.mark.parametrize(
        "firm",
        [
            B._replace(priority=HIGH),
            B._replace(is_preemptible=False),
            B._replace(is_protected=True),
            B._replace(times_preempted=2),
            a_job("tb.1", "n2", ran_s=99),
        ],
    )
    def test_where_one_of_too_few_is_firm_nobody_is_asked(self, firm: RunningRow) -> None:
        assert asked(planned(a_gang(WHOLE, WHOLE), A, firm)) == []
        assert asked(planned(a_gang(WHOLE), A, firm)) == ["ta.1"]

    @pytest.mark.parametrize(("minimum", "live", "count"), [(0, 0, 0), (3, 0, 3), (3, 1, 2), (1, 1, 1)])
    def test_room_is_made_for_as_many_as_must_start_together(self, minimum: int, live: int, count: int) -> None:
        ready = a_gang(WHOLE, WHOLE, WHOLE, WHOLE, minimum=minimum, live=live)

        assert len(asked(planned(ready, A, B, C))) == count

    def test_one_that_is_not_all_ready_asks_nobody(self) -> None:
        ready = a_gang(WHOLE)
        ready.gangs = [GangRow(2)]

        assert asked(planned(ready, A, B)) == []

    def test_free_nodes_are_used_and_those_that_leave_are_counted(self) -> None:
        nodes = [a_node("n0"), *full("n1", "n2", "n3")]
        leaving = C._replace(is_leaving=True)

        assert asked(planned(a_gang(WHOLE, WHOLE, WHOLE), A, B, leaving, nodes=nodes)) == ["ta.1"]
        assert asked(planned(a_gang(WHOLE, WHOLE), A, B, leaving, nodes=nodes)) == []

    def test_nobody_is_preempted_where_the_site_does_not_allow_it(self) -> None:
        assert asked(planned(a_gang(WHOLE, WHOLE), A, B, site=SitePolicy())) == []

    def test_what_it_cannot_have_is_left_to_the_next(self) -> None:
        caps = (Cap(resource=Metered.NODES, limit=1),)
        site = a_site(projects=(ProjectPolicy(name=CRITICAL.name, highest=CRITICAL.highest, caps=caps),))
        ready = a_gang(WHOLE, WHOLE, importance=1.0).add("t9", WHOLE, priority=HIGH)

        made = planned(ready, A, B, site=site)

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("ta.1", "t9")]

    def test_who_was_asked_for_a_gang_makes_room_for_nobody_else(self) -> None:
        made = planned(a_gang(WHOLE, WHOLE, importance=1.0).add("t9", WHOLE, priority=HIGH), A, B, C)

        assert [one.beneficiary for one in preempts(made)] == ["m0", "m0", "t9"]

    def test_in_a_full_native_queue_nobody_leaves_for_it(self) -> None:
        cluster = a_cluster(*full("n1", "n2"), partitions=["main"])

        made = a_plan(a_gang(WHOLE, WHOLE), cluster, running=[A, B], queueing=[HERE], site=a_site(default_window=1))

        assert (started(made), asked(made)) == ([], [])


class TestStanding:
    def test_it_stands_as_its_loosest_member(self) -> None:
        ready = a_gang(WHOLE).add("m9", WHOLE, gang=0, priority=LOW)
        ready.gangs = [GangRow(2)]

        assert asked(planned(ready, A, B)) == []
        assert len(asked(planned(ready, A._replace(priority=4), B._replace(priority=4)))) == 2

    def test_one_that_runs_already_counts_and_never_leaves_for_the_others(self) -> None:
        own = a_job("m9.1", "n1", gang="p/g", priority=LOW)

        assert asked(planned(a_gang(WHOLE, live=1), own, B)) == []
        assert asked(planned(a_gang(WHOLE, live=1), own._replace(priority=NORMAL), B)) == ["tb.1"]

    def test_in_a_native_queue_too(self) -> None:
        queued = [
            a_job(f"q{number}.1", "", is_queued=True, partition="main", gang="p/g", priority=rank, ran_s=0)
            for number, rank in enumerate((HIGH, LOW))
        ]
        cluster = a_cluster(*full("n1", "n2"), partitions=["main"])

        def leave(rank: int) -> list[str]:
            victims = [one._replace(priority=rank) for one in (A, B)]
            return asked(a_plan(Ready(), cluster, running=[*queued, *victims], queueing=[HERE], site=a_site()))

        assert (leave(LOW), leave(4)) == ([], ["ta.1", "tb.1"])

    def test_members_that_this_plan_sends_to_wait_count_as_the_loosest_of_them(self) -> None:
        ready = a_gang(WHOLE).add("m9", WHOLE, gang=0, priority=LOW)
        ready.gangs = [GangRow(2)]
        cluster = a_cluster(*full("n1", "n2"), partitions=["main"])

        made = a_plan(ready, cluster, running=[A, B], queueing=[HERE], site=a_site())

        assert (started(made), asked(made)) == (["m0", "m9"], [])


class TestCheapest:
    def test_the_cheapest_of_all_leave(self) -> None:
        saved = [one._replace(saves_on_request=True) for one in (A, B, C)]

        assert asked(planned(a_gang(WHOLE, WHOLE), A, saved[1], saved[2])) == ["tb.1", "tc.1"]

    def test_one_that_a_later_member_makes_needless_stays(self) -> None:
        wide = a_job("tw.1", "n2,n3", request=a_request(cpus_per_task=8, nodes=2))
        ready = a_gang(WHOLE).add("m1", a_request(cpus_per_task=8, features=("big",)), gang=0, priority=HIGH)
        ready.gangs = [GangRow(2)]
        nodes = [*full("n1", "n2"), a_node("n3", free_cpus=0, features=("big",))]

        assert asked(planned(ready, A, wide, nodes=nodes)) == ["tw.1"]

    def test_one_without_whom_too_few_nodes_are_left_goes(self) -> None:
        wide = a_job("tw.1", "n2,n3", request=a_request(cpus_per_task=8, nodes=2))
        ready = a_gang(WHOLE, WHOLE).add("m2", a_request(cpus_per_task=8, features=("big",)), gang=0, priority=HIGH)
        ready.gangs = [GangRow(3)]
        nodes = [*full("n1", "n2"), a_node("n3", free_cpus=0, features=("big",))]

        assert asked(planned(ready, A, wide, nodes=nodes)) == ["ta.1", "tw.1"]


class TestTied:
    def test_peers_get_a_node_each(self) -> None:
        jobs = [a_job(f"t{number}.1", f"n{number}", request=HALF) for number in (1, 1, 2, 2)]
        jobs = [one._replace(attempt=f"x{place}.1", task=f"x{place}") for place, one in enumerate(jobs)]

        made = planned(a_gang(HALF, HALF, bonds=(PEER, PEER)), *jobs, nodes=full("n1", "n2"), outlook=company())

        assert asked(made) == ["x0.1", "x2.1"]

    def test_one_that_must_be_beside_another_gets_room_on_its_node(self) -> None:
        jobs = [a_job(f"x{place}.1", f"n{1 + place % 2}", request=HALF) for place in range(4)]
        jobs[0] = jobs[0]._replace(saves_on_request=True)

        made = planned(a_gang(HALF, HALF, bonds=(BESIDE, SERVER)), *jobs, nodes=full("n1", "n2"), outlook=company())

        assert asked(made) == ["x0.1", "x2.1"]

    def test_where_the_others_node_is_not_enough_nobody_leaves(self) -> None:
        firm = B._replace(is_preemptible=False, request=HALF)
        jobs = [firm, a_job("x1.1", "n2", request=HALF)]

        made = planned(a_gang(HALF, HALF, bonds=(BESIDE, SERVER)), *jobs, nodes=full("n2"), outlook=company())

        assert asked(made) == []

    def test_whom_a_member_must_be_apart_from_leaves_though_there_is_room_for_all(self) -> None:
        shunned = a_job("x0.1", "n1", request=a_request(cpus_per_task=1))
        nodes = [a_node("n1", free_cpus=7)]

        made = planned(
            a_gang(HALF, a_request(), bonds=(PEER, Bond())), shunned, nodes=nodes, outlook=company(at("x0", "n1"))
        )

        assert asked(made) == ["x0.1"]

    def test_it_counts_whom_the_same_plan_starts(self) -> None:
        ready = a_gang(HALF, bonds=(PEER,)).add("t0", HALF, bond=PEER, priority=0).add("t1", WHOLE, priority=0)
        jobs = [a_job("x1.1", "n1", request=HALF, saves_on_request=True), a_job("x2.1", "n2")]
        nodes = [a_node("n1", free_cpus=4), *full("n2"), a_node("n3")]

        made = planned(ready, *jobs, nodes=nodes, outlook=company())

        assert (started(made), asked(made)) == (["t0", "t1"], ["x2.1"])

    def test_who_was_made_room_for_keeps_those_off_who_could_not_be_there_with_it(self) -> None:
        ready = a_gang(HALF, bonds=(PEER,), importance=1.0).add("t9", HALF, bond=PEER, priority=HIGH)
        jobs = [a_job(f"x{place}.1", "n1", request=HALF) for place in range(2)]

        made = planned(ready, *jobs, nodes=full("n1"), outlook=company())

        assert [one.beneficiary for one in preempts(made)] == ["m0"]


class Work(NamedTuple):
    """What runs on so many nodes of the row, and whether it may be asked to leave."""

    nodes: int
    is_firm: bool
    saves: bool


WORKS = st.lists(st.builds(Work, st.integers(1, 3), st.booleans(), st.booleans()), max_size=5)


def site_of(works: Sequence[Work], idle: int) -> tuple[list[RunningRow], int]:
    """Return who runs where, and how many nodes there are: those of the works and `idle` ones behind them."""
    rows, first = [], 0
    for number, one in enumerate(works):
        names = ",".join(f"n{node:02}" for node in range(first, first + one.nodes))
        request = a_request(cpus_per_task=8, nodes=one.nodes)
        rows.append(
            a_job(f"x{number}.1", names, request=request, is_preemptible=not one.is_firm, saves_on_request=one.saves)
        )
        first += one.nodes
    return rows, first + idle


def again(ready: Ready, rows: Sequence[RunningRow], count: int, **extra: Any) -> Plan:
    """Plan with just these running on so many nodes, each of which they hold as a whole."""
    taken = {name for row in rows for name in row.nodes}
    nodes = [a_node(f"n{node:02}", free_cpus=0 if f"n{node:02}" in taken else 8) for node in range(count)]
    return planned(ready, *rows, nodes=nodes, **extra)


@given(works=WORKS, idle=st.integers(0, 3), members=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_others_leave_only_if_all_of_a_gang_can_then_start(
    works: Sequence[Work], idle: int, members: Sequence[int]
) -> None:
    rows, count = site_of(works, idle)
    ready = a_gang(*(a_request(cpus_per_task=8, nodes=nodes) for nodes in members))
    firm = sum(one.nodes for one in works if one.is_firm)

    made = again(ready, rows, count) if count else planned(ready, nodes=full("n00"))

    leaving = set(asked(made))
    fits = sum(members) <= count - firm
    assert bool(started(made) or leaving) is fits
    stay = [row for row in rows if row.attempt not in leaving]
    assert len(started(again(ready, stay, count))) == (len(members) if fits else 0)
    for one in leaving:
        kept = [row for row in rows if row.attempt not in leaving - {one}]
        assert started(again(ready, kept, count)) == []


@given(
    halves=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8),
    bonds=st.lists(st.sampled_from([Bond(), PEER, SERVER, BESIDE, Bond(BESIDE.ties, (0,))]), min_size=1, max_size=4),
)
def test_whoever_leaves_for_a_gang_whose_members_are_tied_lets_all_of_it_start(
    halves: Sequence[tuple[bool, bool]], bonds: Sequence[Bond]
) -> None:
    def site(rows: Sequence[RunningRow]) -> list[NodeView]:
        names = [f"n{number // 2}" for number in range(len(halves))]
        return [a_node(name, free_cpus=8 - 4 * sum(name in row.nodes for row in rows)) for name in dict.fromkeys(names)]

    rows = [
        a_job(f"x{number}.1", f"n{number // 2}", request=HALF, is_preemptible=not is_firm)
        for number, (is_there, is_firm) in enumerate(halves)
        if is_there
    ]
    ready = a_gang(*(HALF for _ in bonds), bonds=bonds)

    made = planned(ready, *rows, nodes=site(rows), outlook=company())

    leaving = asked(made)
    if leaving:
        assert started(made) == []
        stay = [row for row in rows if row.attempt not in leaving]
        assert len(started(planned(ready, *stay, nodes=site(stay), outlook=company()))) == len(bonds)


def test_rules_of_the_site_hold_for_gangs_too() -> None:
    apart = PreemptionRules(enabled=True, class_gap=3)

    assert asked(planned(a_gang(WHOLE, WHOLE), A, B, site=a_site(preemption=apart))) == []
    assert RULES.class_gap < apart.class_gap
