"""Work on several nodes goes where it talks over the fewest switches."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Bond, Circle, Company, Neighbour, Tie
from elisa.model.columns import GangRow, Outlook
from elisa.model.decisions import Submit
from elisa.model.ids import TaskId
from elisa.model.native import ClusterView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.policies.plan import Plan
from elisa.policies.topology import least_switches, on_few_switches
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, an_attempt, started


def leaves(*sizes: int, busy: tuple[str, ...] = ()) -> ClusterView:
    """A cluster of `a1`, `a2`, ... on switch a, `b1` ... on switch b, and so on."""
    nodes = [
        a_node(f"{letter}{n}", switch=letter, free_cpus=0 if f"{letter}{n}" in busy else 8)
        for letter, size in zip("abcd", sizes, strict=False)
        for n in range(1, size + 1)
    ]
    return a_cluster(*nodes)


def pins(made: Plan) -> dict[str, tuple[str, ...]]:
    return {one.task: made.request(one.task).nodelist for one in made.decisions if isinstance(one, Submit)}


def placed(request: Resources, cluster: ClusterView, **extra: Any) -> tuple[str, ...]:
    return pins(a_plan(Ready().add("t1", request), cluster, **extra))["t1"]


class TestFewest:
    def test_all_go_to_the_tightest_switch_that_holds_them(self) -> None:
        assert placed(Resources(nodes=2), leaves(4, 2, 3)) == ("b1", "b2")

    def test_else_to_the_largest_first_and_then_to_the_tightest(self) -> None:
        assert sorted(placed(Resources(nodes=5), leaves(2, 4, 1))) == ["b1", "b2", "b3", "b4", "c1"]

    def test_a_job_on_one_node_is_not_pinned(self) -> None:
        assert placed(Resources(), leaves(2, 2)) == ()

    def test_where_the_manager_chooses_it_is_not_pinned_either(self) -> None:
        assert placed(Resources(nodes=2), leaves(4, 2), queueing=[HERE]) == ()

    def test_the_members_of_a_gang_come_together(self) -> None:
        ready = Ready()
        for number in range(3):
            ready.add(f"t{number}", Resources(exclusive=True), gang=0)
        ready.gangs.append(GangRow(size=3))

        assert sorted(pins(a_plan(ready, leaves(2, 3, 4))).values()) == [("b1",), ("b2",), ("b3",)]

    def test_a_gang_whose_members_have_several_nodes_comes_together_too(self) -> None:
        ready = Ready()
        for number in range(2):
            ready.add(f"t{number}", Resources(nodes=2, exclusive=True), gang=0)
        ready.gangs.append(GangRow(size=2))

        found = pins(a_plan(ready, leaves(3, 3, 4)))

        assert sorted(node for nodes in found.values() for node in nodes) == ["c1", "c2", "c3", "c4"]

    def test_what_must_be_apart_from_others_is_kept_off_their_nodes(self) -> None:
        company = Company((Circle("vision", "p", ("db",)),), (Neighbour(HERE, ("b1",), (0,)),), (0,))
        ready = Ready().add("t1", Resources(nodes=2), bond=Bond((Tie(0, apart=True),)))

        assert pins(a_plan(ready, leaves(3, 2), outlook=Outlook(company=company))) == {"t1": ("a1", "a2")}

    def test_a_partition_that_holds_it_on_one_switch_is_preferred(self) -> None:
        spread = [a_node(f"s{n}", switch=f"s{n}", partitions=("p",)) for n in range(2)]
        close = [a_node(f"c{n}", switch="c", partitions=("q",)) for n in range(2)]
        unknown = [a_node(f"u{n}", partitions=("r",)) for n in range(2)]
        cluster = a_cluster(*spread, *close, *unknown, partitions=("p", "q", "r"))
        made = a_plan(Ready().add("t1", Resources(nodes=2)), cluster)

        terms = {made.snapshot.pools[one.option.pool].partition.name: one.terms for one in made.places(TaskId("t1"))}

        assert {name: found["switches"] for name, found in terms.items()} == {"p": 0.5, "q": 1.0, "r": 0.5}
        alone = a_plan(Ready().add("t1"), cluster)
        assert {one.terms["switches"] for one in alone.places(TaskId("t1"))} == {1.0}


class TestMust:
    def test_it_waits_until_so_few_switches_have_room(self) -> None:
        made = a_plan(Ready().add("t1", Resources(nodes=2, switches=1)), leaves(2, 2, busy=("a1", "b1")))

        reason = made.reason(TaskId("t1"))
        assert started(made) == []
        assert (reason.code, reason.facts["resource"], reason.facts["asked"], reason.facts["free"]) == (
            ReasonCode.NO_ROOM, "nodes on one switch", 2, 1,
        )  # fmt: skip

    def test_one_whose_switch_is_free_but_kept_for_others_is_told_for_whom(self) -> None:
        live = [an_attempt("t0.1", nodes="b1", started_at=NOW, request=Resources(cpus_per_task=8, walltime_s=600))]
        ready = Ready().add("t1", Resources(nodes=4, cpus_per_task=8), importance=1)
        ready.add("t2", Resources(nodes=2, switches=1, cpus_per_task=8))

        made = a_plan(ready, leaves(2, 2, busy=("b1",)), live=live)

        reason = made.reason(TaskId("t2"))
        assert (reason.code, reason.facts["task"]) == (ReasonCode.RESERVED_FOR_HIGHER, "t1")

    @pytest.mark.parametrize(
        ("switches", "starts", "nodes"), [(1, "12:50", "b1,b2"), (2, "12:20", "a1,c1"), (0, "12:20", "a1,c1")]
    )
    def test_room_is_kept_for_it_from_when_so_few_switches_have_it(
        self, switches: int, starts: str, nodes: str
    ) -> None:
        ends = {"a1": 1200, "b1": 3000, "b2": 2400, "c1": 600}
        live = [
            an_attempt(f"t{name}.1", nodes=name, started_at=NOW, request=Resources(cpus_per_task=8, walltime_s=ends_s))
            for name, ends_s in ends.items()
        ]
        ready = Ready().add("t1", Resources(nodes=2, switches=switches, cpus_per_task=8))

        reason = a_plan(ready, leaves(1, 2, 1, busy=tuple(ends)), live=live).reason(TaskId("t1"))

        assert (str(reason.facts["starts_at"])[11:16], reason.facts["nodes"]) == (starts, nodes)

    @pytest.mark.parametrize(
        ("switches", "words", "largest"), [(1, "nodes on one switch", 3), (2, "nodes on 2 switches", 5)]
    )
    def test_more_than_so_many_switches_ever_have_never_fits(self, switches: int, words: str, largest: int) -> None:
        made = a_plan(Ready().add("t1", Resources(nodes=6, switches=switches)), leaves(3, 2, 1))

        reason = made.reason(TaskId("t1"))
        assert (reason.code, reason.facts["resource"], reason.facts["largest"]) == (
            ReasonCode.NEVER_FITS, words, largest,
        )  # fmt: skip

    def test_in_a_native_queue_the_manager_waits_for_it(self) -> None:
        ready = Ready().add("t1", Resources(nodes=2, switches=1))

        made = a_plan(ready, leaves(2, 2, busy=("a1", "b1")), queueing=[HERE])

        assert started(made) == ["t1"]
        assert made.nodes(TaskId("t1")) == ()

    def test_where_switches_are_not_known_it_is_left_to_the_manager(self) -> None:
        ready = Ready().add("t1", Resources(nodes=2, switches=1))

        assert started(a_plan(ready, a_cluster(a_node("n1"), a_node("n2")), queueing=[HERE])) == ["t1"]

    def test_one_whose_switch_is_not_known_is_by_itself(self) -> None:
        cluster = a_cluster(a_node("n1", switch="a"), a_node("n2"), a_node("n3"))

        made = a_plan(Ready().add("t1", Resources(nodes=2, switches=1)), cluster)

        assert made.reason(TaskId("t1")).facts["largest"] == 1


SWITCHES = st.lists(st.integers(-1, 3), min_size=1, max_size=8)


def spread(nodes: tuple[int, ...], switch_of: list[int]) -> int:
    return len({switch_of[node] if switch_of[node] >= 0 else ("alone", node) for node in nodes})


@given(switch_of=SWITCHES, count=st.integers(1, 9), most=st.integers(0, 4))
def test_no_choice_of_nodes_needs_fewer_switches(switch_of: list[int], count: int, most: int) -> None:
    nodes = list(range(len(switch_of)))
    least = min((spread(some, switch_of) for some in combinations(nodes, count)), default=0)

    found = on_few_switches(nodes, switch_of, count, most=most)

    assert least_switches(switch_of, count) == least
    if least == 0 or 0 < most < least:
        assert found is None
    else:
        assert found is not None
        assert len(set(found)) == count
        assert spread(found, switch_of) == least


def test_favoured_switches_come_first_and_do_not_count() -> None:
    assert on_few_switches([0, 1, 2], [0, 1, 1], 2, most=1, favoured={0}) == (0, 1)
    assert on_few_switches([0, 1, 2], [0, 1, 1], 2, most=1) == (1, 2)
