"""Tasks that run beside others, or apart from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Affinity, Bond, Circle, Company, Neighbour, Tie
from elisa.model.columns import GangRow, Outlook
from elisa.model.decisions import Submit
from elisa.model.ids import TaskId
from elisa.model.native import ClusterView, NodeState
from elisa.model.pipeline import SitePlacement
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.model.site import PlacementWeights, SitePolicy, Window
from elisa.policies.placement_nodes import fitting_nodes
from elisa.policies.placement_pools import pools_of
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, started

THREE = a_cluster(a_node("n1"), a_node("n2"), a_node("n3"))
BESIDE, APART = Tie(0), Tie(0, apart=True)
SERVER, PEER = Bond(circles=(0,)), Bond((APART,), (0,))
WANTED = SitePlacement(affinity=(Affinity(tasks=("server",)),))


def planned(
    ready: Ready, *clusters: ClusterView, neighbours: Sequence[Neighbour] = (), held: bool = True, **extra: Any
) -> Plan:
    circles = (Circle("vision", "p1", ("server",)), Circle("vision", labels=(("role", "db"),)))
    company = Company(circles, tuple(neighbours), (0, 1) if held else ())
    return a_plan(ready, *(clusters or (THREE,)), outlook=Outlook(company=company), **extra)


def at(*nodes: str, circles: tuple[int, ...] = (0,), **more: Any) -> Neighbour:
    return Neighbour(HERE, nodes, circles, **more)


def pins(made: Plan) -> dict[str, tuple[str, ...]]:
    return {one.task: made.request(one.task).nodelist for one in made.decisions if isinstance(one, Submit)}


def told(made: Plan, task: str) -> tuple[object, ...]:
    reason = made.reason(TaskId(task))
    assert reason.code is ReasonCode.AFFINITY, reason
    others_on = reason.facts.get("others_on", reason.facts["nodes"])
    return (*(reason.facts[name] for name in ("wants", "whom", "state")), others_on)


class TestBeside:
    def test_a_task_goes_where_the_other_runs(self) -> None:
        made = planned(Ready().add("t1", bond=Bond((BESIDE,))), neighbours=[at("n2")])

        assert pins(made) == {"t1": ("n2",)}
        assert made.kept_off(TaskId("t1")) == ()

    def test_it_may_follow_one_that_ended_but_rather_one_that_lives(self) -> None:
        ready = Ready().add("t1", bond=Bond((BESIDE,)))

        assert pins(planned(ready, neighbours=[at("n3", is_over=True)])) == {"t1": ("n3",)}
        assert pins(planned(ready, neighbours=[at("n3", is_over=True), at("n1")])) == {"t1": ("n1",)}

    @pytest.mark.parametrize("first", ["a1", "z1"])
    def test_both_start_in_one_plan_whoever_is_first_in_the_order(self, first: str) -> None:
        ready = Ready().add("m1", bond=SERVER, importance=5.0 if first == "z1" else 0.0)
        ready.add(first, bond=Bond((BESIDE,)), importance=1.0)

        made = pins(planned(ready))

        assert made["m1"] == made[first] != ()

    def test_who_waits_for_one_that_cannot_start_is_told_so(self) -> None:
        ready = Ready().add("t1", bond=Bond((BESIDE,))).add("t2", Resources(cpus_per_task=99), bond=SERVER)

        made = planned(ready)

        assert started(made) == []
        assert told(made, "t1") == ("beside", "server", "ready", "")

    def test_without_anybody_to_wait_for_any_node_will_do(self) -> None:
        made = planned(Ready().add("t1", bond=Bond((BESIDE,))))

        assert started(made) == ["t1"]

    def test_of_a_ring_the_first_goes_anywhere_and_the_others_follow(self) -> None:
        ring = Ready().add("t1", bond=Bond((Tie(0),), (1,))).add("t2", bond=Bond((Tie(1),), (0,)))

        made = pins(planned(ring))

        assert made["t1"] == made["t2"] != ()

    def test_instances_that_want_to_be_together_need_no_first(self) -> None:
        made = pins(planned(Ready().add("t1", bond=Bond((BESIDE,), (0,))).add("t2", bond=Bond((BESIDE,), (0,)))))

        assert made["t1"] == made["t2"] != ()

    def test_it_waits_while_the_node_is_full(self) -> None:
        full = a_cluster(a_node("n1"), a_node("n2", cpus=8, free_cpus=0))

        made = planned(Ready().add("t1", bond=Bond((BESIDE,))), full, neighbours=[at("n2")])

        assert told(made, "t1") == ("beside", "server", "runs", "n2")

    def test_one_on_another_cluster_cannot_be_joined_here(self) -> None:
        away = Neighbour("away", ("x1",), (0,))

        made = planned(Ready().add("t1", bond=Bond((BESIDE,))), neighbours=[away])

        assert told(made, "t1") == ("beside", "server", "runs", "")

    def test_in_a_native_queue_it_waits_for_that_very_node(self) -> None:
        full = a_cluster(a_node("n1"), a_node("n2", cpus=8, free_cpus=0))

        made = planned(Ready().add("t1", bond=Bond((BESIDE,))), full, neighbours=[at("n2")], queueing=[HERE])

        assert pins(made) == {"t1": ("n2",)}

    def test_it_does_not_queue_for_too_few_nodes_or_one_that_is_down(self) -> None:
        down = a_cluster(a_node("n1"), a_node("n2", state=NodeState.DOWN))
        two = Resources(nodes=2)

        for request, cluster in ((two, THREE), (None, down)):
            made = planned(
                Ready().add("t1", request, bond=Bond((BESIDE,))), cluster, neighbours=[at("n2")], queueing=[HERE]
            )
            assert told(made, "t1") == ("beside", "server", "runs", "n2")

    def test_it_waits_until_one_that_is_queued_has_a_node(self) -> None:
        made = planned(Ready().add("t1", bond=Bond((BESIDE,))), neighbours=[at()], queueing=[HERE])

        assert told(made, "t1") == ("beside", "server", "queued", "")

    def test_a_gang_places_those_first_whom_others_follow(self) -> None:
        ready = Ready().add("t1", bond=Bond((BESIDE,)), gang=0).add("t2", bond=SERVER, gang=0)
        ready.gangs.append(GangRow(size=2))

        made = pins(planned(ready))

        assert made["t1"] == made["t2"] != ()

    def test_a_gang_that_does_not_fit_leaves_no_trace(self) -> None:
        ready = Ready().add("t1", bond=PEER, gang=0).add("t2", bond=PEER, gang=0).add("t3", bond=PEER)
        ready.gangs.append(GangRow(size=2))

        made = planned(ready, a_cluster(a_node("n1")))

        assert pins(made) == {"t3": ("n1",)}
        assert told(made, "t1") == ("apart", "server", "runs", "n1")


class TestApart:
    def test_peers_get_a_node_each(self) -> None:
        ready = Ready()
        for number in range(4):
            ready.add(f"t{number}", bond=PEER)

        made = planned(ready)

        assert sorted(pins(made).values()) == [("n1",), ("n2",), ("n3",)]
        assert told(made, "t3") == ("apart", "server", "runs", "n1,n2,n3")

    def test_it_holds_from_both_sides(self) -> None:
        made = planned(Ready().add("t1", bond=SERVER), neighbours=[at("n1", circles=(), shuns=(0,))])

        assert pins(made)["t1"] in {("n2",), ("n3",)}

    def test_who_is_shunned_everywhere_is_told_so(self) -> None:
        everywhere = [at("n1", "n2", "n3", circles=(), shuns=(0,))]

        assert told(planned(Ready().add("t1", bond=SERVER), neighbours=everywhere), "t1") == (
            "shunned", "server", "runs", "n1,n2,n3",
        )  # fmt: skip

    def test_those_that_are_over_are_in_nobodys_way(self) -> None:
        made = planned(Ready().add("t1", bond=Bond((APART,))), neighbours=[at("n1", "n2", "n3", is_over=True)])

        assert started(made) == ["t1"]

    def test_in_a_native_queue_only_one_waits_whose_node_is_not_known(self) -> None:
        busy = a_cluster(a_node("n1"), a_node("n2", cpus=8, free_cpus=0), a_node("n3", cpus=8, free_cpus=0))
        ready = Ready()
        for number in range(3):
            ready.add(f"t{number}", bond=PEER)

        made = planned(ready, busy, queueing=[HERE])

        assert pins(made) == {"t0": ("n1",), "t1": ()}
        assert made.kept_off(TaskId("t1")) == ("n1",)
        assert told(made, "t2") == ("apart", "server", "queued", "")

    def test_one_that_shuns_and_waits_in_a_queue_keeps_others_waiting(self) -> None:
        queued = [at(circles=(), shuns=(0,))]

        made = planned(Ready().add("t1", bond=SERVER), neighbours=queued, queueing=[HERE])

        assert told(made, "t1") == ("shunned", "server", "queued", "")

    def test_where_a_manager_cannot_keep_a_job_off_nodes_it_waits_for_free_ones(self) -> None:
        busy = a_cluster(a_node("n1", free_cpus=4), a_node("n2", cpus=8, free_cpus=0))
        ready = Ready().add("t1", bond=Bond((APART,)))
        extra: dict[str, Any] = {"neighbours": [at("n1")], "queueing": [HERE]}

        assert pins(planned(ready, busy, unexcluding=[HERE], **extra)) == {}
        assert pins(planned(ready, busy, **extra)) == {"t1": ()}
        assert pins(planned(ready, busy, unexcluding=[HERE], queueing=[HERE])) == {"t1": ("n1",)}

    def test_a_full_window_is_told_first(self) -> None:
        full = a_cluster(a_node("n1", free_cpus=0))
        site = SitePolicy(windows=(Window(backend=HERE, size=0),))

        made = planned(Ready().add("t1", bond=PEER), full, neighbours=[at("n1")], queueing=[HERE], site=site)

        assert made.reason(TaskId("t1")).code is ReasonCode.WINDOW_FULL

    def test_where_no_node_is_known_it_never_fits(self) -> None:
        nameless = ClusterView(backend=HERE, nodes=(), partitions=())
        ready = Ready().add("t1", placement=WANTED, bond=Bond((BESIDE,)))

        made = planned(ready, nameless, queueing=[HERE])

        reason = made.reason(TaskId("t1"))
        assert (reason.code, reason.facts["resource"]) == (ReasonCode.NEVER_FITS, "node with a name")

    def test_who_is_in_nobodys_way_waits_for_room_like_all_others(self) -> None:
        made = planned(Ready().add("t1", bond=PEER), a_cluster(a_node("n1", free_cpus=0)))

        assert made.reason(TaskId("t1")).code is ReasonCode.NO_ROOM

    def test_a_request_that_names_its_nodes_fits_on_no_others(self) -> None:
        (pool,) = pools_of(THREE, keeps_queue=True)

        assert fitting_nodes(Resources(nodelist=("n2", "n9")), "", pool, free=False).tolist() == [1]


class TestPreferred:
    def test_the_node_that_fulfils_most_is_taken_where_elisa_chooses(self) -> None:
        wishes = Bond((Tie(0, weight=1), Tie(1, apart=True, weight=3)))
        neighbours = [at("n1"), at("n2", "n1", circles=(1,))]

        made = planned(Ready().add("t1", bond=wishes), neighbours=neighbours, held=False)

        assert pins(made) == {"t1": ("n3",)}

    def test_what_is_only_preferred_never_keeps_a_task_waiting(self) -> None:
        full = a_cluster(a_node("n1"), a_node("n2", free_cpus=0))
        ready = Ready().add("t1", bond=Bond((Tie(0, weight=9),)))

        assert pins(planned(ready, full, neighbours=[at("n2")], held=False)) == {"t1": ("n1",)}

    def test_a_resource_manager_with_a_queue_is_not_told_of_wishes_within_a_partition(self) -> None:
        made = planned(
            Ready().add("t1", bond=Bond((Tie(0, weight=9),))), neighbours=[at("n2")], held=False, queueing=[HERE]
        )

        assert pins(made) == {"t1": ()}

    def test_in_a_full_cluster_it_waits_in_the_queue_for_any_node(self) -> None:
        full = a_cluster(a_node("n1", free_cpus=0), a_node("n2", free_cpus=0))
        ready = Ready().add("t1", bond=Bond((Tie(0, weight=9),)))

        made = planned(ready, full, neighbours=[at("n2")], held=False, queueing=[HERE])

        assert (pins(made), made.nodes(TaskId("t1"))) == ({"t1": ()}, ())

    @pytest.mark.parametrize(("weight", "partition"), [(4.0, "q"), (0.0, "p")])
    def test_a_partition_where_it_can_be_beside_them_is_worth_its_weight(self, weight: float, partition: str) -> None:
        nodes = a_cluster(a_node("n1", partitions=("p",)), a_node("n2", partitions=("q",)), partitions=("p", "q"))
        site = SitePolicy(placement=PlacementWeights(affinity=weight))
        ready = Ready().add("t1", bond=Bond((Tie(0, weight=1),)))

        made = planned(ready, nodes, neighbours=[at("n2")], held=False, site=site)

        (decision,) = made.decisions
        assert isinstance(decision, Submit)
        assert decision.partition == partition
        assert {one.terms["affinity"] for one in made.places(TaskId("t1"))} == {0.0, 1.0}

    def test_of_a_partition_without_known_nodes_nothing_is_expected(self) -> None:
        nodes = a_cluster(a_node("n1", partitions=("p",)), partitions=("p", "q"))
        ready = Ready().add("t1", bond=Bond((Tie(0, weight=1),)))

        made = planned(ready, nodes, neighbours=[at("n1")], held=False, queueing=[HERE])

        assert {one.terms["affinity"] for one in made.places(TaskId("t1"))} == {0.0, 1.0}


def test_tasks_without_ties_are_not_looked_at() -> None:
    made = planned(Ready().add("t1"), neighbours=[at("n1")])

    assert pins(made) == {"t1": ()}


_BONDS = st.builds(
    Bond,
    st.lists(st.builds(Tie, st.integers(0, 1), st.booleans(), st.sampled_from([0, 0, 3])), max_size=2, unique=True).map(tuple),
    st.sets(st.integers(0, 1)).map(lambda circles: tuple(sorted(circles))),
)  # fmt: skip
_WHERE = st.sets(st.sampled_from(["n1", "n2", "n3"]), min_size=1, max_size=2).map(lambda names: tuple(sorted(names)))


@given(
    bonds=st.lists(_BONDS, min_size=1, max_size=6),
    live=st.lists(st.tuples(_WHERE, st.sampled_from([(), (0,), (1,)]), st.sampled_from([(), (0,), (1,)])), max_size=3),
    is_queueing=st.booleans(),
)
def test_what_must_be_holds_of_all_that_is_placed(bonds: Any, live: Any, *, is_queueing: bool) -> None:
    ready = Ready()
    for number, bond in enumerate(bonds):
        ready.add(f"t{number}", Resources(cpus_per_task=3), bond=bond)
    neighbours = [Neighbour(HERE, nodes, circles, shuns) for nodes, circles, shuns in live]

    made = planned(ready, neighbours=neighbours, queueing=[HERE] if is_queueing else [])

    placed = {task: (bonds[int(task[1:])], nodes) for task, nodes in pins(made).items() if nodes}
    for task, (bond, nodes) in placed.items():
        others = [(set(one.circles), set(one.shuns), set(one.nodes)) for one in neighbours]
        others += [
            (set(b.circles), {t.whom for t in b.ties if t.apart and not t.weight}, set(n))
            for other, (b, n) in placed.items()
            if other != task
        ]
        for tie in bond.ties:
            on = set().union(*(where for circles, _, where in others if tie.whom in circles))
            if tie.apart and not tie.weight:
                assert on.isdisjoint(nodes)
        for _, shuns, where in others:
            assert shuns.isdisjoint(bond.circles) or where.isdisjoint(nodes)
