"""Gangs over time, fenced planners, circles of waiting, policies from other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.decisions import Submit
from elisa.model.ids import BackendName, ProjectName, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.breaker import guarded, problems_of
from elisa.policies.deadlock import Deadlock, Idle, deadlocks, losses, waits_for
from elisa.policies.gangs import Assembling, Assembly, assemble
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import GROUP, ORDER, Plugins, load_plugins, named_by
from elisa.policies.snapshot import Snapshot
from tests.policies.build import HERE, Ready, a_snapshot, started


def a_gang(name: str = "g", rank: int = 1, **fields: Any) -> Assembling:
    return Assembling(name=name, rank=rank, **{"size": 4, "running": 2, "waited_s": 10.0, **fields})


def next_states(held: tuple[int, ...], sizes: tuple[int, ...], nodes: int, *, is_giving: bool) -> set[tuple[int, ...]]:
    """Return what may follow: the queue starts any one member, a whole gang ends (-1), or elisa takes back what waits."""
    free = nodes - sum(count for count in held if count > 0)
    after_start = {
        (*held[:i], count + 1, *held[i + 1 :]) for i, count in enumerate(held) if 0 <= count < sizes[i] and free > 0
    }
    after_end = {(*held[:i], -1, *held[i + 1 :]) for i, count in enumerate(held) if count == sizes[i]}
    gangs = [
        Assembling(name=str(i), rank=i, size=sizes[i], running=count, waited_s=1e9)
        for i, count in enumerate(held)
        if count > 0
    ]
    outcome = assemble(gangs) if is_giving else {}
    given = tuple(0 if outcome.get(str(i)) is Assembly.GIVE_BACK else count for i, count in enumerate(held))
    return (after_start | after_end | {given}) - {held}


def stuck(sizes: tuple[int, ...], nodes: int, *, is_giving: bool) -> set[tuple[int, ...]]:
    """Return every state that a queue may come to, in any order of starts, and that does not lead to the end of all."""
    begin, end = (0,) * len(sizes), (-1,) * len(sizes)
    follows: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    waiting = [begin]
    while waiting:
        state = waiting.pop()
        if state not in follows:
            follows[state] = next_states(state, sizes, nodes, is_giving=is_giving)
            waiting += follows[state]
    good = {end}
    while True:
        more = {state for state, after_ in follows.items() if state not in good and after_ & good}
        if not more:
            return set(follows) - good
        good |= more


# Every way to choose up to three gangs of up to four members, each of which fits on the nodes by itself.
SMALL = [
    (sizes, nodes)
    for count in (1, 2, 3)
    for sizes in product(range(1, 5), repeat=count)
    for nodes in range(max(sizes), 6)
]


class TestAssembly:
    @pytest.mark.slow
    def test_no_order_in_which_a_queue_starts_members_ends_in_a_deadlock(self) -> None:
        assert [(sizes, nodes) for sizes, nodes in SMALL if stuck(sizes, nodes, is_giving=True)] == []

    def test_without_giving_back_there_are_deadlocks_to_prevent(self) -> None:
        assert stuck((2, 2), 2, is_giving=False) == {(1, 1)}

    @pytest.mark.parametrize(
        ("gang", "outcome"),
        [
            (a_gang(running=4), Assembly.COMPLETE),
            (a_gang(), Assembly.WAIT),
            (a_gang(timeout_s=11), Assembly.WAIT),
            (a_gang(timeout_s=10), Assembly.GIVE_BACK),
            (a_gang(timeout_s=10, minimum=2), Assembly.COMPLETE),
            (a_gang(timeout_s=10, minimum=3), Assembly.GIVE_BACK),
            (a_gang(minimum=2), Assembly.WAIT),
        ],
    )
    def test_a_gang_waits_until_its_time_is_up(self, gang: Assembling, outcome: Assembly) -> None:
        assert assemble([gang]) == {"g": outcome}

    def test_of_several_that_wait_only_the_first_may_hold_on(self) -> None:
        gangs = [a_gang("late", 3), a_gang("first", 1), a_gang("done", 0, running=4), a_gang("second", 2)]

        assert assemble(gangs) == {
            "done": Assembly.COMPLETE,
            "first": Assembly.WAIT,
            "second": Assembly.GIVE_BACK,
            "late": Assembly.GIVE_BACK,
        }

    @given(
        st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=6),
        st.randoms(use_true_random=False),
    )
    def test_gangs_that_are_started_piecemeal_all_come_together(
        self, kinds: list[tuple[int, int]], chance: Any
    ) -> None:
        """A manager that starts members of any gang at random on ten slots: without a rule it would lock up."""
        slots = 10
        size = {f"g{n}": members + 4 for n, (members, _) in enumerate(kinds)}
        left = {f"g{n}": ticks for n, (_, ticks) in enumerate(kinds)}
        running = dict.fromkeys(size, 0)
        for _ in range(60):
            waiting = [name for name in left if running[name] < size[name]]
            while waiting and sum(running.values()) < slots:
                name = chance.choice(waiting)
                running[name] += 1
                waiting = [one for one in left if running[one] < size[one]]
            gangs = [a_gang(n, int(n[1:]), size=size[n], running=running[n]) for n in left if running[n]]
            for name, outcome in assemble(gangs).items():
                if outcome is Assembly.GIVE_BACK:
                    running[name] = 0
                elif outcome is Assembly.COMPLETE:
                    left[name] -= 1
            for name in [name for name, ticks in left.items() if ticks <= 0]:
                del left[name]
                running[name] = 0
            first = min((name for name in left if running[name]), default=None)
            # The rest of the first gang is served next: it keeps its place in the manager's queue.
            if first is not None:
                running[first] += min(size[first] - running[first], slots - sum(running.values()))
        assert left == {}


class Nonsense(Plan):
    """A plan with decisions of its own."""

    decisions: Any = ()


def saying(snapshot: Snapshot, *submits: Submit) -> Plan:
    made = plan(snapshot)
    nonsense = Nonsense.__new__(Nonsense)
    nonsense.__dict__ |= {**made.__dict__, "decisions": submits}
    return nonsense


def a_submit(task: str, **fields: Any) -> Submit:
    defaults = {"backend": HERE, "partition": "", "rank": 1, "reason": because(ReasonCode.CHOSEN)}
    return Submit(task=TaskId(task), **{**defaults, **fields})


class TestFence:
    SNAPSHOT = a_snapshot(
        Ready().add("t1").add("t2"),
        site=SitePolicy(
            projects=(ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=Metered.JOBS, limit=1),)),)
        ),
    )

    def test_a_sound_planner_is_heard(self) -> None:
        made, problems = guarded(plan, self.SNAPSHOT)

        assert (started(made), problems) == (["t1"], ())

    def test_one_that_raises_is_replaced(self) -> None:
        def broken(snapshot: Snapshot) -> Plan:
            raise RuntimeError(f"{len(snapshot.tasks)} are too many")

        made, problems = guarded(broken, self.SNAPSHOT)

        assert (started(made), problems) == (["t1"], ("RuntimeError: 2 are too many",))

    @pytest.mark.parametrize(
        ("submits", "problem"),
        [
            ([a_submit("t1"), a_submit("t1")], "t1 starts 2 times"),
            ([a_submit("t9")], "t9 is not ready"),
            ([a_submit("t1", partition="moon")], "t1 starts in here/moon, which is not there"),
            ([a_submit("t1", backend=BackendName("moon"))], "t1 starts in moon/, which is not there"),
            ([a_submit("t1"), a_submit("t2")], "t2 goes beyond a hard cap of vision"),
        ],
    )
    def test_one_that_returns_nonsense_is_replaced(self, submits: list[Submit], problem: str) -> None:
        nonsense = saying(self.SNAPSHOT, *submits)

        assert problems_of(nonsense, self.SNAPSHOT) == (problem,)
        assert started(guarded(lambda _: nonsense, self.SNAPSHOT)[0]) == ["t1"]


def ids(*names: str) -> tuple[TaskId, ...]:
    return tuple(TaskId(name) for name in names)


A, B, C, D = ids("a", "b", "c", "d")


class TestDeadlock:
    def test_a_ready_member_waits_for_those_without_which_its_gang_cannot_start(self) -> None:
        one, two, free = TaskId("one"), TaskId("two"), TaskId("free")
        idle = [
            Idle(one, is_ready=True, gang="g"),
            Idle(two, is_ready=False, needs=(one,), gang="g"),
            Idle(free, is_ready=True),
        ]

        assert waits_for(idle) == {one: [two], two: (one,)}
        assert waits_for([row._replace(minimum=1) for row in idle]) == {two: (one,)}

    def test_giving_way_loses_a_task_and_all_that_need_it(self) -> None:
        one, two, three = TaskId("one"), TaskId("two"), TaskId("three")
        idle = [
            Idle(one, is_ready=True),
            Idle(two, is_ready=False, needs=(one,)),
            Idle(three, is_ready=False, needs=(two, one)),
        ]

        assert losses(idle) == {one: 3, two: 2, three: 1}

    def test_a_circle_is_found_explained_and_undone_by_the_cheapest(self) -> None:
        assert deadlocks({A: (B,), B: (C, D), C: (A,), D: ()}, {A: 5.0, B: 2.0, C: 9.0}) == (
            Deadlock(
                members=(A, B, C),
                victim=B,
                explanation="a waits for b waits for c waits for a: b gives way, which loses least",
            ),
        )

    def test_waiting_for_oneself_is_a_circle_and_a_chain_is_none(self) -> None:
        assert [one.members for one in deadlocks({A: (A,), B: (C,), C: (D,)})] == [(A,)]

    def test_of_equals_the_last_gives_way(self) -> None:
        assert deadlocks({A: (B,), B: (A,)})[0].victim == B

    def test_a_long_chain_needs_no_recursion(self) -> None:
        chain = {TaskId(str(n)): (TaskId(str(n + 1)),) for n in range(5000)}

        assert deadlocks(chain) == ()

    @given(st.dictionaries(st.sampled_from(ids(*"abcdefg")), st.lists(st.sampled_from(ids(*"abcdefg"))).map(tuple)))
    def test_without_the_victims_nothing_goes_in_circles_forever(self, edges: dict[TaskId, tuple[TaskId, ...]]) -> None:
        left = dict(edges)
        for _ in range(8):
            found = deadlocks(left)
            if not found:
                break
            for one in found:
                assert all(b in left[a] for a, b in zip(one.members, one.members[1:] + one.members[:1], strict=True))
                assert one.victim in one.members
                left.pop(one.victim, None)
        assert deadlocks(left) == ()


class TestRegistry:
    @staticmethod
    def an_entry(name: str, value: str) -> EntryPoint:
        return EntryPoint(name=name, value=value, group=GROUP)

    def test_a_key_of_another_package_orders_the_queue(self) -> None:
        found = load_plugins([self.an_entry("order.shortest", "tests.policies.test_safety:reversed_ids")])

        made = plan(a_snapshot(Ready().add("t1").add("t2"), site=SitePolicy(order=("shortest",)), plugins=found.order))

        assert (started(made), found.problems) == (["t2", "t1"], ())

    def test_what_cannot_be_used_is_named_and_left_out(self) -> None:
        found = load_plugins(
            [
                self.an_entry("order.class", "tests.policies.test_safety:reversed_ids"),
                self.an_entry("mine", "tests.policies.test_safety:reversed_ids"),
                self.an_entry("order.lost", "tests.policies.nowhere:key"),
                self.an_entry("order.data", "tests.policies.test_safety:A"),
            ]
        )

        assert dict(found.order) == {}
        assert [problem.split("`")[1] for problem in found.problems] == [
            "order.class",
            "mine",
            "order.lost",
            "order.data",
        ]
        assert found.problems[2].endswith("cannot be loaded: No module named 'tests.policies.nowhere'")

    def test_nothing_is_installed_here_that_would_change_the_order(self) -> None:
        assert load_plugins() == Plugins({}, ())

    def test_every_default_key_is_known(self) -> None:
        assert named_by(SitePolicy()) == ()
        assert named_by(SitePolicy(order=("age", "moon"))) == ("order.moon",)
        assert {"multifactor", "fair_tree", "drf", "fifo", "aged", "tiers"} <= set(ORDER)


def reversed_ids(snapshot: Snapshot) -> Any:
    return -np.arange(len(snapshot.tasks))
