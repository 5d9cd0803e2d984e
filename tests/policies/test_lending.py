"""Reserved room that is lent: whoever saves may use it, and is gone in time when its holder comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import GangRow, RunningRow
from elisa.model.decisions import Preempt
from elisa.model.ids import AttemptId, ProjectName, RuleId, TaskId
from elisa.model.native import NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, ProjectPolicy, Reservation
from elisa.model.task import Attempt
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, started
from tests.policies.test_reservations import GPU_NODE, HOUR, gpus, live, reserved, running, site, why

Pair = tuple[Attempt, RunningRow]
FULL = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 0),), free_cpus=4)


def lent(amount: int = 4, **fields: Any) -> Reservation:
    return reserved(amount, **{"is_lent": True, **fields})


def a_guest(id_: str, request: Resources, nodes: str = "n1", project: str = "nlp", **fields: Any) -> Pair:
    attempt, row = running(id_, request, nodes, project)
    return attempt, row._replace(**{"saves_on_request": True, **fields})


def asked(made: Plan) -> list[str]:
    return [one.attempt for one in made.decisions if isinstance(one, Preempt)]


def holders(*counts: int) -> Ready:
    ready = Ready()
    for number, count in enumerate(counts):
        ready.add(f"t{number}", gpus(count), importance=-number)
    return ready


def test_only_who_saves_and_leaves_gets_it_and_is_told_whose_it_is() -> None:
    ready = Ready().add("t1", gpus(3), project="nlp", importance=9).add("t2", gpus(3), project="nlp", may_leave=True)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(lent(), backfill_depth=0))

    assert started(made) == ["t2"]
    assert why(made, "t2").facts["lent_by"] == "vision"
    assert started(a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(4), backfill_depth=0))) == []


def test_nothing_is_lent_that_its_holder_has_work_for_or_that_a_manager_places() -> None:
    ready = Ready().add("t1", gpus(3), project="nlp", importance=9, may_leave=True)
    view = a_cluster(GPU_NODE, partitions=("main",))

    assert started(a_plan(ready, view, site=site(lent()), queueing=[HERE])) == []
    ready.add("t2", gpus(4))
    assert started(a_plan(ready, view, site=site(lent()))) == ["t2"]


def test_a_guest_elsewhere_has_nothing_that_is_lent() -> None:
    ready = Ready().add("t1", gpus(2), project="nlp", may_leave=True)

    made = a_plan(ready, a_cluster(a_node("n0", gpus={"a100": 2}), GPU_NODE), site=site(lent()))

    assert "lent_by" not in why(made, "t1").facts


def test_what_guests_have_is_kept_no_second_time() -> None:
    node = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 2),), free_cpus=7)
    ready = Ready().add("t1", gpus(2), project="nlp")
    guest = a_guest("t0.1", gpus(2, 7200))
    stays = running("t0.1", gpus(2, 7200), "n1", "nlp")

    assert started(a_plan(ready, a_cluster(node), site=site(lent(2)), **live(guest))) == ["t1"]
    assert started(a_plan(ready, a_cluster(node), site=site(lent(2)), **live(stays))) == []
    both = site(lent(2), lent(2, project=ProjectName("speech"), id=RuleId("r2")))
    assert started(a_plan(ready, a_cluster(node), site=both, **live(guest))) == []


def test_a_guest_is_asked_to_leave_when_the_holder_has_no_other_room() -> None:
    made = a_plan(holders(2), a_cluster(FULL), site=site(lent()), **live(a_guest("t9.1", gpus(4, 7200))))

    facts = {"task": "t0", "project": "vision", "backend": "here", "what": "4 a100", "reservation": "r1"}
    assert made.decisions == (
        Preempt(attempt=AttemptId("t9.1"), beneficiary=TaskId("t0"), reason=because(ReasonCode.LENT_BACK, **facts)),
    )
    roomy = a_plan(holders(2), a_cluster(FULL, replace(GPU_NODE, name="n2")), site=site(lent()), **live())
    assert (started(roomy), asked(roomy)) == (["t0"], [])


def test_as_few_leave_as_the_reservation_covers_the_cheapest_first() -> None:
    dear, cheap = a_guest("t8.1", gpus(2, 7200)), a_guest("t9.1", gpus(2, 7200))
    dear = (dear[0], dear[1]._replace(saves_on_request=True, slack_s=0.0))

    def leaving(amount: int, *counts: int) -> list[str]:
        return asked(a_plan(holders(*counts), a_cluster(FULL), site=site(lent(amount)), **live(dear, cheap)))

    assert leaving(4, 1, 1) == ["t9.1"]
    assert leaving(4, 2, 2) == ["t9.1", "t8.1"]
    assert leaving(2, 2, 2) == ["t9.1"]
    assert leaving(2, 3) == []


def test_what_the_holder_has_or_just_got_is_covered_no_second_time() -> None:
    half = replace(FULL, free_gpus=(("a100", 2),))
    own, guest = running("t7.1", gpus(2, 7200), "n1", "vision"), a_guest("t8.1", gpus(2, 7200))

    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(lent(2)), **live(own, guest))) == []
    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(lent(4)), **live(own, guest))) == ["t8.1"]
    made = a_plan(holders(2, 2), a_cluster(half), site=site(lent(2)), **live(guest))
    assert (started(made), asked(made)) == (["t0"], [])


@pytest.mark.parametrize(
    "guest",
    [
        a_guest("t9.1", gpus(4, 7200), is_preemptible=False),
        a_guest("t9.1", gpus(4, 7200), saves_on_request=False),
        a_guest("t9.1", gpus(4, 7200), is_leaving=True),
        a_guest("t9.1", gpus(4, 7200), project="speech"),
        a_guest("t9.1", gpus(4, 7200), backend="elsewhere"),
    ],
    ids=["not preemptible", "does not save", "leaves already", "has a reservation of its own", "is elsewhere"],
)
def test_who_is_no_guest_or_leaves_already_is_not_asked(guest: Pair) -> None:
    rules = site(lent(), reserved(1, project=ProjectName("speech"), id=RuleId("r2"), begin_s=HOUR, end_s=2 * HOUR))

    assert asked(a_plan(holders(2), a_cluster(FULL), site=rules, **live(guest))) == []


def test_nobody_leaves_before_it_begins_nor_for_work_that_may_not_start_nor_for_room_that_is_not_lent() -> None:
    guest = live(a_guest("t9.1", gpus(4, 7200)))
    poor = ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=Metered.GPUS, limit=1),))

    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(lent(begin_s=60)), **guest)) == []
    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(reserved(4)), **guest)) == []
    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(lent(), projects=(poor,)), **guest)) == []


def test_members_of_a_gang_get_room_too() -> None:
    ready = Ready()
    ready.gangs.append(GangRow(size=2))
    for number in range(2):
        ready.add(f"t{number}", gpus(2), gang=0)

    pairs = live(a_guest("t8.1", gpus(2, 7200)), a_guest("t9.1", gpus(2, 7200)))

    assert asked(a_plan(ready, a_cluster(FULL), site=site(lent()), **pairs)) == ["t8.1", "t9.1"]


def test_preemption_asks_nobody_else_for_work_that_guests_make_room_for() -> None:
    other = a_guest("t8.1", gpus(2, 7200), is_preemptible=True, saves_on_request=False, priority=4)
    rules = PreemptionRules(enabled=True, minimum_run_s=0)

    pairs = live(other, a_guest("t9.1", gpus(2, 7200)))

    assert asked(a_plan(holders(2), a_cluster(FULL), site=site(lent(2), preemption=rules), **pairs)) == ["t9.1"]


# the law


def _with_starts(nodes: Sequence[NodeView], made: Plan, counts: dict[str, int]) -> list[NodeView]:
    """Return the nodes with less of what started there."""
    for task in started(made):
        (name,) = made.nodes(TaskId(task))
        nodes = [_less(node, counts[task]) if node.name == name else node for node in nodes]
    return list(nodes)


def _less(node: NodeView, count: int) -> NodeView:
    return replace(
        node, free_gpus=(("a100", dict(node.free_gpus)["a100"] - count),), free_cpus=node.free_cpus - (count > 0)
    )


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    wanted=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=8),
    amount=st.integers(1, 6),
)
def test_the_holder_starts_as_soon_as_the_guests_have_left(
    sizes: list[int], wanted: list[tuple[int, bool]], amount: int
) -> None:
    nodes = [a_node(f"n{number}", gpus={"a100": size}, cpus=4 * size) for number, size in enumerate(sizes)]
    rules, amount = site(lent(min(amount, sum(sizes)))), min(amount, sum(sizes))
    ready, counts = Ready(), {}
    for number, (count, may_leave) in enumerate(wanted):
        counts[f"o{number}"] = count
        ready.add(f"o{number}", gpus(count, 7200), project="nlp", importance=-number, may_leave=may_leave)

    before = a_plan(ready, a_cluster(*nodes), site=rules)
    nodes = _with_starts(nodes, before, counts)
    pairs = [
        a_guest(f"{task}.1", gpus(counts[task], 7200), node, saves_on_request=wanted[int(task[1:])][1])
        for task in started(before)
        for node in before.nodes(TaskId(task))
    ]
    came = a_plan(holders(*[1] * amount), a_cluster(*nodes), site=rules, **live(*pairs))
    gone = set(asked(came))
    for attempt, _ in pairs:
        if attempt.id in gone:
            nodes = [
                replace(_less(node, -attempt.request.gpu_count), free_cpus=node.free_cpus + 1)
                if node.name == attempt.nodes
                else node
                for node in nodes
            ]
    nodes = _with_starts(nodes, came, dict.fromkeys(started(came), 1))
    left = [pair for pair in pairs if pair[0].id not in gone]
    new = [running(f"{task}.1", gpus(1), came.nodes(TaskId(task))[0], "vision", began_s=0) for task in started(came)]
    rest = Ready()
    for number in range(amount):
        if f"t{number}" not in started(came):
            rest.add(f"t{number}", gpus(1), importance=-number)

    then = a_plan(rest, a_cluster(*nodes), site=rules, **live(*left, *new))

    assert len(started(came)) + len(started(then)) == amount
    assert all(pair[1].saves_on_request for pair in pairs if pair[0].id in gone)
