"""Tasks that run on the switch of others, or on another one than they."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Affinity, Bond, Neighbour, Over, Tie
from elisa.model.ids import TaskId
from elisa.model.pipeline import SitePlacement
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Resources
from elisa.policies.plan import Plan
from elisa.policies.topology import switch_mates
from elisa.report.words import in_words
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, started
from tests.policies.test_affinity import pins, told
from tests.policies.test_affinity_pledges import Job, World, at, company, kept, running
from tests.policies.test_preemption import a_job, a_site, asked

# Circle 0 is the servers as they are on nodes, 1 the same as they are on switches.
AWAY, NEAR = Bond((Tie(1, apart=True),)), Bond((Tie(1),))
SERVER = Bond((), (0, 1))
PEER = Bond((Tie(1, apart=True),), (0, 1))
FLOCK = Bond((Tie(1), Tie(0, apart=True)), (0, 1))
SWITCHES = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "u1": "", "u2": ""}
SMALL, WHOLE = Resources(cpus_per_task=1), Resources(cpus_per_task=8)


def leaves(*names: str, full: Sequence[str] = ()) -> Any:
    """A cluster of some nodes, a1 and a2 on switch a and so on; `full` ones have nothing free."""
    return a_cluster(*[a_node(name, switch=SWITCHES[name], free_cpus=8 * (name not in full)) for name in names])


def server(*nodes: str, **more: Any) -> Neighbour:
    return at("t9", *nodes, circles=(0, 1), **more)


def planned(ready: Ready, cluster: Any, *neighbours: Neighbour, **extra: Any) -> Plan:
    return a_plan(ready, cluster, outlook=company(*neighbours), **extra)


FOUR = leaves("a1", "a2", "b1", "b2")


class TestBeside:
    def test_a_task_goes_to_another_node_of_the_others_switch(self) -> None:
        full = leaves("a1", "a2", "b1", "b2", full=["b1"])

        assert pins(planned(Ready().add("t1", bond=NEAR), full, server("b1"))) == {"t1": ("b2",)}

    def test_all_nodes_of_a_wide_one_are_on_it(self) -> None:
        two = Ready().add("t1", Resources(nodes=2), bond=NEAR)

        assert sorted(pins(planned(two, FOUR, server("b2")))["t1"]) == ["b1", "b2"]
        assert started(planned(Ready().add("t1", Resources(nodes=3), bond=NEAR), FOUR, server("b2"))) == []

    def test_it_follows_one_that_is_over_to_its_switch(self) -> None:
        full = leaves("a1", "a2", "b1", "b2", full=["b1"])

        assert pins(planned(Ready().add("t1", bond=NEAR), full, server("b1", is_over=True))) == {"t1": ("b2",)}

    def test_it_waits_while_the_switch_is_full_and_is_told_so(self) -> None:
        full = leaves("a1", "a2", "b1", "b2", full=["b1", "b2"])

        made = planned(Ready().add("t1", bond=NEAR), full, server("b1"))

        assert told(made, "t1") == ("beside", "server", "runs", "b1,b2")
        assert in_words(made.reason(TaskId("t1"))) == (
            "it must run on the switch of server, that of b1,b2, where there is no room for it"
        )

    def test_in_a_native_queue_it_waits_for_nodes_of_that_switch(self) -> None:
        full = leaves("a1", "a2", "b1", "b2", full=["b1", "b2"])

        assert pins(planned(Ready().add("t1", bond=NEAR), full, server("b2"), queueing=[HERE])) == {"t1": ("b1",)}

    def test_those_that_want_one_switch_but_no_node_together_get_that(self) -> None:
        ready = Ready().add("t1", bond=FLOCK).add("t2", bond=FLOCK).add("t3", bond=FLOCK)

        made = planned(ready, FOUR)

        assert sorted(node for nodes in pins(made).values() for node in nodes) in (["a1", "a2"], ["b1", "b2"])


class TestApart:
    def test_peers_get_a_switch_each(self) -> None:
        made = planned(Ready().add("t1", bond=PEER).add("t2", bond=PEER).add("t3", bond=PEER), FOUR)

        assert {nodes[0][0] for nodes in pins(made).values()} == {"a", "b"}
        assert told(made, "t3") == ("apart", "server", "runs", "a1,a2,b1,b2")

    def test_it_holds_from_both_sides(self) -> None:
        shunning = at("t8", "a1", circles=(), shuns=(1,))

        made = planned(Ready().add("t1", bond=SERVER), leaves("a1", "a2", "b1"), shunning)
        crowded = planned(Ready().add("t1", bond=SERVER), leaves("a1", "a2", "b1", full=["b1"]), shunning)

        assert pins(made) == {"t1": ("b1",)}
        assert in_words(crowded.reason(TaskId("t1"))) == (
            "on the switch of a1,a2 runs what must be on another than server, and there is no room elsewhere"
        )

    def test_in_a_native_queue_it_is_kept_off_the_whole_switch(self) -> None:
        busy = leaves("a1", "a2", "b1", "b2", full=["b1", "b2"])
        ready = Ready().add("t1", bond=AWAY)

        made = planned(ready, busy, server("a1"), queueing=[HERE])

        assert pins(made) == {"t1": ()}
        assert made.kept_off(TaskId("t1")) == ("a1", "a2")
        assert pins(planned(ready, busy, server("a1"), queueing=[HERE], unexcluding=[HERE])) == {}

    def test_a_node_whose_switch_is_not_known_is_on_one_by_itself(self) -> None:
        unknown = leaves("a1", "u1", "u2")

        assert pins(planned(Ready().add("t1", bond=AWAY), unknown, server("a1", "u1"))) == {"t1": ("u2",)}
        assert pins(planned(Ready().add("t1", bond=NEAR), unknown, server("u2"))) == {"t1": ("u2",)}


class TestUnknown:
    @pytest.mark.parametrize("apart", [False, True])
    def test_where_no_switch_is_known_it_can_never_start_and_says_so(self, *, apart: bool) -> None:
        wish = SitePlacement(affinity=(Affinity(tasks=("server",), apart=apart, over=Over.SWITCH),))
        bond = AWAY if apart else NEAR

        made = planned(Ready().add("t1", bond=bond, placement=wish), leaves("u1", "u2"), queueing=[HERE])

        reason = made.reason(TaskId("t1"))
        assert (reason.code, reason.facts["resource"]) == (ReasonCode.NEVER_FITS, "node on a known switch")

    def test_one_known_switch_in_a_partition_will_do(self) -> None:
        wish = SitePlacement(affinity=(Affinity(tasks=("server",), over=Over.SWITCH),))

        assert started(planned(Ready().add("t1", bond=NEAR, placement=wish), leaves("u1", "b1"))) == ["t1"]

    def test_a_wish_that_is_only_preferred_starts_all_the_same(self) -> None:
        wish = SitePlacement(affinity=(Affinity(tasks=("server",), weight=5, over=Over.SWITCH),))

        made = planned(Ready().add("t1", bond=Bond((Tie(1, weight=5),)), placement=wish), leaves("u1", "u2"))

        assert started(made) == ["t1"]


class TestPreferred:
    @pytest.mark.parametrize(("apart", "node"), [(False, "b2"), (True, "a1")])
    def test_the_switch_that_fulfils_it_is_taken(self, node: str, *, apart: bool) -> None:
        wish = Bond((Tie(1, apart=apart, weight=5),))
        nodes = leaves("a1", "b1", "b2", full=["b1"])

        assert pins(planned(Ready().add("t1", bond=wish), nodes, server("b1"))) == {"t1": (node,)}


class TestKept:
    def test_who_must_be_apart_gets_the_switch_whose_tasks_leave_first(self) -> None:
        live = [running("t8", "a1", 1200), running("t9", "b1", 600)]
        near = (at("t8", "a1", circles=(0, 1)), server("b1"))

        made = planned(Ready().add("t1", bond=AWAY), leaves("a1", "a2", "b1"), *near, live=live)

        assert kept(made, "t1") == ("12:10", "b1")

    @pytest.mark.parametrize(("walltime_s", "starts"), [(600, True), (601, False)])
    def test_whom_it_shuns_does_not_start_on_that_switch_unless_over_by_then(
        self, walltime_s: int, *, starts: bool
    ) -> None:
        ready = Ready().add("t1", WHOLE, bond=AWAY, importance=9)
        ready.add("t2", Resources(walltime_s=walltime_s), bond=SERVER)
        nodes, live = leaves("a1", "a2", full=["a1"]), [running("t9", "a1", 600, 8)]

        made = planned(ready, nodes, server("a1"), live=live)

        assert kept(made, "t1") == ("12:10", "a1")
        assert started(made) == (["t2"] if starts else [])

    @pytest.mark.parametrize(("cpus", "goes_to"), [(8, {}), (6, {"t2": ("a2",)})])
    def test_who_leans_on_one_that_is_over_keeps_the_circle_on_its_switch(
        self, cpus: int, goes_to: dict[str, tuple[str, ...]]
    ) -> None:
        live = [running("t7", "a1", 600, 8), running("t8", "a2", 1200, cpus)]
        held = {"a1": 8, "a2": cpus, "b1": 0}
        nodes = a_cluster(*[a_node(name, switch=name[0], free_cpus=8 - used) for name, used in held.items()])
        ready = Ready().add("t1", WHOLE, bond=NEAR, importance=9).add("t2", Resources(walltime_s=601), bond=SERVER)

        made = planned(ready, nodes, server("a1", is_over=True), live=live)

        assert kept(made, "t1") == ("12:10", "a1")
        assert pins(made) == goes_to

    def test_beside_a_wide_one_on_two_switches_nobody_of_the_circle_is_for_sure(self) -> None:
        nodes = leaves("a1", "b1", "b2", full=["a1", "b1"])
        live = [running("t7", "a1", 600, 8), running("t8", "b1", 600, 8)]
        ready = Ready().add("t1", Resources(nodes=2, cpus_per_task=8), bond=NEAR, importance=9)
        ready.add("t2", Resources(walltime_s=7200), bond=SERVER)

        made = planned(ready, nodes, at("t9", "a1", "b1", circles=(0, 1), is_over=True), live=live)

        assert kept(made, "t1") == ("12:10", "a1,b1")
        assert started(made) == []


class TestMadeRoom:
    def victims(self, bond: Bond, nodes: Any, near: Sequence[Neighbour], *jobs: Any) -> list[str]:
        ready = Ready().add("t1", SMALL, priority=1, bond=bond)
        return asked(planned(ready, nodes, *near, running=jobs, site=a_site()))

    def test_who_is_shunned_leaves_its_switch_though_it_is_on_another_node(self) -> None:
        jobs = [a_job(f"t{name}.1", name, request=SMALL, is_preemptible=name != "b1") for name in ("a1", "a2", "b1")]
        near = [at(f"t{name}", name, circles=(0, 1)) for name in ("a1", "a2", "b1")]

        assert sorted(self.victims(AWAY, leaves("a1", "a2", "b1"), near, *jobs)) == ["ta1.1", "ta2.1"]

    def test_nobody_leaves_for_a_switch_where_one_that_it_shuns_would_stay(self) -> None:
        jobs = [a_job("t8.1", "a1"), a_job("t9.1", "a2", is_preemptible=False)]

        assert self.victims(AWAY, leaves("a1", "a2", full=["a1", "a2"]), [server("a2")], *jobs) == []

    def test_room_is_made_on_the_switch_of_the_others_and_not_by_their_leaving(self) -> None:
        jobs = [a_job("t7.1", "a1", ran_s=200), a_job("t8.1", "b1", ran_s=7200), a_job("t9.1", "b2", ran_s=200)]
        full = leaves("a1", "b1", "b2", full=["a1", "b1", "b2"])

        assert self.victims(NEAR, full, [server("b2")], *jobs) == ["t8.1"]

    @given(
        jobs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=4),
        costs=st.permutations([200, 2000, 4000, 9000]),
    )
    def test_a_switch_is_cleared_of_all_whom_it_shuns_or_nobody_leaves(
        self, jobs: Sequence[tuple[bool, bool]], costs: Sequence[int]
    ) -> None:
        names = ("a1", "a2", "b1", "b2")
        facts = dict(zip(names, jobs, strict=True))
        rows = [
            a_job(f"t{name}.1", name, is_preemptible=may_leave, ran_s=ran_s)
            for (name, (_, may_leave)), ran_s in zip(facts.items(), costs, strict=True)
        ]
        near = [at(f"t{name}", name, circles=(0, 1)) for name, (is_server, _) in facts.items() if is_server]

        left = {one[1:3] for one in self.victims(AWAY, leaves(*names, full=names), near, *rows)}

        def is_cleared(node: str, gone: Collection[str]) -> bool:
            return node in gone and all(name in gone for name in names if facts[name][0] and name[0] == node[0])

        movable = [name for name, (_, may_leave) in facts.items() if may_leave]
        assert any(is_cleared(name, left) for name in names) is any(is_cleared(name, movable) for name in names)
        assert bool(left) is any(is_cleared(name, movable) for name in names)


def test_the_mates_of_a_node_are_all_on_its_switch_if_that_is_known() -> None:
    assert switch_mates((0, 1, -1, 0)) == {0: (0, 3), 3: (0, 3), 1: (1,)}
    assert switch_mates(()) == {}


_BONDS = st.builds(
    Bond,
    st.lists(st.builds(Tie, st.integers(0, 1), st.booleans(), st.sampled_from([0, 0, 3])), max_size=2, unique=True).map(tuple),
    st.sampled_from([(), (0, 1)]),
)  # fmt: skip
_WHERE = st.sets(st.sampled_from(sorted(SWITCHES)), min_size=1, max_size=2).map(lambda names: tuple(sorted(names)))
_CIRCLES = st.sampled_from([(), (0, 1)])


def spots(nodes: Sequence[str], circle: int) -> set[str]:
    """Return what tasks on some nodes share with others there: the nodes, or over switches those that are known."""
    return {SWITCHES[node] or node if circle else node for node in nodes}


@given(
    asked_for=st.lists(st.tuples(_BONDS, st.integers(1, 2)), min_size=1, max_size=6),
    live=st.lists(st.tuples(_WHERE, _CIRCLES, st.sampled_from([(), (0,), (1,)]), st.booleans()), max_size=3),
    is_queueing=st.booleans(),
)
def test_no_tie_that_must_hold_over_switches_is_ever_violated(asked_for: Any, live: Any, *, is_queueing: bool) -> None:
    ready = Ready()
    for number, (bond, nodes) in enumerate(asked_for):
        ready.add(f"t{number}", Resources(cpus_per_task=3, nodes=nodes), bond=bond)
    there = [Neighbour(HERE, nodes, circles, () if over else shuns, over) for nodes, circles, shuns, over in live]

    made = planned(ready, leaves(*SWITCHES), *there, queueing=[HERE] if is_queueing else [])

    placed = {task: (asked_for[int(task[1:])][0], nodes) for task, nodes in pins(made).items() if nodes}
    living = [(one.circles, one.shuns, one.nodes) for one in there if not one.is_over]
    for task, (bond, nodes) in placed.items():
        others = living + [
            (other.circles, tuple(tie.whom for tie in other.ties if tie.apart and not tie.weight), where)
            for name, (other, where) in placed.items()
            if name != task
        ]
        for circle in (tie.whom for tie in bond.ties if not tie.weight and tie.apart):
            met = [spots(where, circle) for circles, _, where in others if circle in circles]
            assert spots(nodes, circle).isdisjoint(set().union(*met))
        for _, shuns, where in others:
            for circle in set(shuns).intersection(bond.circles):
                assert spots(nodes, circle).isdisjoint(spots(where, circle))
        for circle in (tie.whom for tie in bond.ties if not (tie.weight or tie.apart)):
            known = [one for one in there if circle in one.circles]
            lives = [spots(where, circle) for circles, _, where in others if circle in circles]
            was = [spots(one.nodes, circle) for one in known if one.is_over]
            if known:
                assert spots(nodes, circle) <= set().union(*lives, *was)
            if any(not one.is_over for one in known):
                assert spots(nodes, circle) <= set().union(*lives)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 100])
@given(
    jobs=st.lists(
        st.builds(
            Job,
            st.integers(1, 4),
            st.integers(1, 6),
            st.integers(0, 8),
            st.sampled_from([Bond(), AWAY, PEER, SERVER, NEAR, Bond((Tie(1),), (0, 1))]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_promise_to_a_task_that_is_tied_over_switches_is_broken(depth: int, jobs: Sequence[Job]) -> None:
    queue = {f"t{number:02}": job for number, job in enumerate(sorted(jobs, key=lambda job: job.at))}
    world = World(queue, depth, {"a1": "a", "a2": "a", "b1": "b"})

    world.run(200)

    assert set(world.started) == set(queue)
    assert {id_: at for id_, at in world.promised.items() if world.started[id_] > at} == {}
