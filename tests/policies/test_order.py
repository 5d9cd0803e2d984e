"""Factors, ageing, inheritance, deadlines, and keys from outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import UnfinishedRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.pipeline import PriorityClass
from elisa.model.rows import WorkName
from elisa.model.site import Factors, ProjectPolicy, SitePolicy
from elisa.policies.ageing import bound_s
from elisa.policies.deadlines import DeadlineVerdict, Work, due_of, judge, longest_paths, urgency
from elisa.policies.factors import FactorLine
from elisa.policies.inheritance import Urged, inherited, urged
from elisa.policies.order import KeyLine
from elisa.policies.snapshot import Snapshot
from tests.policies.build import NOW, Ready, a_cluster, a_node, a_plan, a_request, a_snapshot, after, started

ONE_AT_A_TIME = a_cluster(a_node(cpus=1))


def ids(ready: Ready, **site: Any) -> list[str]:
    return started(a_plan(ready, a_cluster(a_node(cpus=64)), site=SitePolicy(**site)))


class TestFactors:
    def test_every_factor_is_shown_with_its_weight(self) -> None:
        weights = Factors(
            age=100,
            fair_share=10,
            deadline=1000,
            importance=1,
            size=5,
            progress=50,
            promise=20,
            age_s=120,
            importance_full=10,
        )
        ready = Ready().add(
            "t1", a_request(walltime_s=3600), age_s=60, deadline_s=7200, importance=5, progress=0.5, promise=0.25
        )
        made = a_plan(ready, site=SitePolicy(factors=weights))

        assert made.factors(TaskId("t1")) == (
            FactorLine("deadline", 0.5, 1000, 500),
            FactorLine("age", 0.5, 100, 50),
            FactorLine("progress", 0.5, 50, 25),
            FactorLine("fair_share", 1.0, 10, 10),
            FactorLine("promise", 0.25, 20, 5),
            FactorLine("size", 0.5, 5, 2.5),
            FactorLine("importance", 0.5, 1, 0.5),
        )

    def test_what_each_key_of_the_order_says_is_shown_the_most_important_first(self) -> None:
        keys = ("tiers", "class", "deadline", "multifactor", "size", "fair_tree", "mine", "gone", "class", "drf")
        ready = Ready().add("t1", a_request(walltime_s=3600), deadline_s=7200, path_s=600, importance=5)
        ready.add("t2", a_request(walltime_s=60))
        site = SitePolicy(order=keys, aged_s=60.0, factors=Factors(importance=2, fair_share=0, age=0, deadline=0))
        made = a_plan(ready, site=site, plugins={"mine": lambda _: [0.25, 0.5]})

        assert made.keys(TaskId("t1")) == (
            KeyLine("tiers", 1.0),
            KeyLine("class", 2.0),
            KeyLine("deadline", 6600.0),
            KeyLine("multifactor", -0.1),
            KeyLine("size", 1.0),
            KeyLine("fair_tree", -1.0),
            KeyLine("mine", 0.0),
            KeyLine("drf", 1 / 8),
        )
        assert made.keys(TaskId("t2"))[-1] == KeyLine("drf", 2 / 8)

    @pytest.mark.parametrize(
        ("weight", "first"),
        [
            ("age", {"age_s": 9000}),
            ("deadline", {"deadline_s": 4000}),
            ("importance", {"importance": 50}),
            ("progress", {"progress": 0.9}),
            ("promise", {"promise": 0.9}),
            ("size", {"request": a_request(walltime_s=10)}),
        ],
    )
    def test_one_weight_alone_decides_by_its_factor(self, weight: str, first: dict[str, Any]) -> None:
        nothing = dict.fromkeys(("age", "fair_share", "deadline", "importance", "size", "progress", "promise"), 0.0)
        ready = Ready().add("t1").add("t2", **first)

        assert ids(ready, order=("multifactor",), factors=Factors(**{**nothing, weight: 1.0})) == ["t2", "t1"]

    @given(st.integers(-(10**6), 10**6), st.floats(-1e3, 1e3), st.floats(0, 1))
    def test_every_factor_lies_between_0_and_1(self, deadline_s: int, importance: float, progress: float) -> None:
        ready = Ready().add("t1", deadline_s=deadline_s, importance=importance, progress=progress)

        assert all(0 <= line.value <= 1 for line in a_plan(ready).factors(TaskId("t1")))


class TestClasses:
    def test_a_class_above_what_the_project_may_use_counts_as_the_highest_it_may(self) -> None:
        modest = ProjectPolicy(name=ProjectName("modest"), highest=PriorityClass.LOW)
        ready = Ready().add("t1", project="modest", priority=0, importance=9).add("t2", project="other", priority=2)

        assert ids(ready, projects=(modest,)) == ["t2", "t1"]

    def test_a_project_that_may_be_critical_comes_first(self) -> None:
        able = ProjectPolicy(name=ProjectName("able"), highest=PriorityClass.CRITICAL)
        ready = Ready().add("t1", project="other", priority=0, importance=9).add("t2", project="able", priority=0)

        assert ids(ready, projects=(able,)) == ["t2", "t1"]


class TestAgeing:
    def test_who_has_come_of_age_goes_before_all_others(self) -> None:
        ready = Ready().add("t1", priority=1).add("t2", priority=4, age_s=500).add("t3", priority=4, age_s=499)

        assert ids(ready, aged_s=100.0) == ["t2", "t1", "t3"]
        assert ids(ready, aged_s=0.0) == ["t1", "t2", "t3"]

    def test_the_aged_are_served_in_the_order_in_which_they_came_of_age(self) -> None:
        ready = Ready().add("t1", priority=4, age_s=560).add("t2", priority=1, age_s=250).add("t3", age_s=320)

        assert ids(ready, aged_s=100.0) == ["t1", "t2", "t3"]

    @given(
        backlog=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50)), max_size=6),
        flood=st.lists(st.integers(0, 3), min_size=1, max_size=3),
        rank=st.integers(1, 4),
    )
    def test_no_task_waits_longer_than_the_proved_bound(
        self, backlog: list[tuple[int, int]], flood: list[int], rank: int
    ) -> None:
        """One task at a time, 10 s each; after the victim, better tasks arrive faster than they can be served."""
        aged_s, service_s = 40.0, 10.0
        queue = {f"b{number}": (of, -float(wait)) for number, (of, wait) in enumerate(backlog)}
        queue["victim"] = (rank, 0.0)
        comes_of_age = (rank + 1) * aged_s
        clock = 0.0
        while True:
            queue |= {f"f{clock:06}{n}": (max(1, of), clock) for n, of in enumerate(flood)}
            first = self._first(queue, clock, aged_s)
            if first == "victim":
                break
            del queue[first]
            clock += service_s

        ahead = sum(1 for of, at in [*queue.values()] if at + (of + 1) * aged_s < comes_of_age)
        served = round(clock / service_s)
        assert clock <= bound_s(rank, aged_s, ahead + served, service_s)
        limit = comes_of_age + service_s * (len(backlog) + len(flood) * (comes_of_age / service_s + 1))
        assert clock <= limit

    @staticmethod
    def _first(queue: dict[str, tuple[int, float]], clock: float, aged_s: float) -> str:
        ready = Ready()
        for id_, (rank, at) in queue.items():
            ready.add(id_, priority=rank, age_s=clock - at)
        return started(a_plan(ready, ONE_AT_A_TIME, site=SitePolicy(aged_s=aged_s)))[0]

    def test_without_ageing_a_flood_starves_the_lowest(self) -> None:
        ready = Ready().add("victim", priority=4, age_s=10**7).add("flood", priority=1, age_s=0)

        assert started(a_plan(ready, ONE_AT_A_TIME)) == ["flood"]


def tids(*names: str) -> tuple[TaskId, ...]:
    return tuple(TaskId(name) for name in names)


A, B, C, D = tids("a", "b", "c", "d")


class TestInheritance:
    def test_what_a_critical_task_waits_for_becomes_critical_however_far_up(self) -> None:
        ranks = {A: 4, B: 2, C: 0, D: 3}

        assert inherited(ranks, {B: (A,), C: (B,), D: (A,)}) == {A: 0, B: 0, C: 0, D: 3}

    def test_nobody_rises_above_what_the_project_may_use(self) -> None:
        assert inherited({A: 4, B: 0}, {B: (A,)}, {A: 1, B: 1}) == {A: 1, B: 1}

    def test_who_inherits_is_told_from_whom(self) -> None:
        assert urged({A: 4, B: 2, C: 0}, {B: (A,), C: (B,)}) == {A: Urged(0, C), B: Urged(0, C)}
        assert urged({A: 0, B: 4}, {B: (A,)}) == {}

    def test_what_is_urged_counts_as_urgent_but_never_above_its_projects_highest(self) -> None:
        ready = Ready().add("a", priority=4).add("b", priority=1).add("c", priority=4, project="modest")
        modest = ProjectPolicy(name=ProjectName("modest"), highest=PriorityClass.LOW)
        site = SitePolicy(
            projects=(modest,), unlisted=ProjectPolicy(name=ProjectName(""), highest=PriorityClass.CRITICAL)
        )
        heirs = {A: Urged(0, D), C: Urged(0, D)}

        made = a_plan(ready, a_cluster(a_node(cpus=64)), site=site, urged=heirs)

        assert started(made) == ["a", "b", "c"]
        assert made.snapshot.tasks.priority.tolist() == [0, 1, 3]
        assert made.reason(A).facts["urged_by"] == D

    def test_finished_tasks_and_circles_do_no_harm(self) -> None:
        assert inherited({A: 3, B: 1}, {A: (B, C), B: (A,)}) == {A: 1, B: 1}

    @given(
        ranks=st.lists(st.integers(0, 4), min_size=1, max_size=8),
        edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16),
    )
    def test_the_result_is_the_least_that_the_rule_asks_for(
        self, ranks: list[int], edges: list[tuple[int, int]]
    ) -> None:
        names = [TaskId(str(number)) for number in range(len(ranks))]
        needs = {names[i]: tuple(names[j] for k, j in edges if k == i and j < len(names)) for i in range(len(names))}
        own = dict(zip(names, ranks, strict=True))

        got = inherited(own, needs)

        assert all(got[task] <= own[task] for task in names)
        assert all(got[need] <= got[task] for task in names for need in needs[task])
        assert set(got.values()) <= set(ranks)


class TestDeadlines:
    def chain(self, *lengths: float) -> list[Work]:
        return [
            Work(id=TaskId(str(n)), remaining_s=length, needs=(TaskId(str(n - 1)),)) for n, length in enumerate(lengths)
        ]

    def test_the_path_of_a_task_is_all_that_follows_it(self) -> None:
        assert longest_paths(self.chain(1, 2, 3)) == {TaskId("0"): 6, TaskId("1"): 5, TaskId("2"): 3}

    def test_a_circle_is_named(self) -> None:
        with pytest.raises(ValueError, match="a, b run in a circle"):
            longest_paths([Work(id=A, remaining_s=1, needs=(B,)), Work(id=B, remaining_s=1, needs=(A,))])

    def test_a_deadline_that_can_be_met_says_with_how_much_left(self) -> None:
        work = [*self.chain(100, 200), Work(id=A, remaining_s=250)]

        assert judge(work, after(400), NOW) == DeadlineVerdict(
            deadline=after(400),
            is_reachable=True,
            slack_s=100,
            earliest_end=after(300),
            critical=tids("0", "1"),
            cut_s=0,
            slots=2,
        )

    def test_a_deadline_that_cannot_be_met_says_when_it_would_end_and_what_it_would_take(self) -> None:
        verdict = judge(self.chain(100, 200), after(250), NOW)

        assert (verdict.is_reachable, verdict.slack_s, verdict.earliest_end, verdict.cut_s) == (
            False,
            -50,
            after(300),
            50,
        )

    def test_after_the_deadline_no_number_of_slots_is_enough(self) -> None:
        verdict = judge(self.chain(10), after(-1), NOW)

        assert (verdict.is_reachable, verdict.slots, verdict.cut_s) == (False, 0, 11)
        assert judge([], after(10), NOW).critical == ()
        assert judge([], after(10), NOW).slots == 0

    def test_every_pipeline_that_is_due_is_judged_by_all_its_work_but_one_that_runs_in_a_circle(self) -> None:
        name = WorkName("nlp", "study", "", "")
        until = int(after(100).timestamp() * 1e6)
        rows = [
            UnfinishedRow("a", name, 60, "p1", until, needs=("gone",)),
            UnfinishedRow("b", name, 60, "p1", until, needs=("a",)),
            UnfinishedRow("c", name, 60, "p2", until, needs=("c",)),
        ]

        due = due_of(rows, dict.fromkeys(tids("a", "b", "c"), 60.0), NOW)

        assert due.paths == {TaskId("a"): 120.0, TaskId("b"): 60.0}
        assert {one: verdict.slack_s for one, verdict in due.verdicts.items()} == {"p1": -20.0}

    @given(
        lengths=st.lists(st.floats(0, 1e4), min_size=1, max_size=8),
        edges=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16),
    )
    def test_paths_obey_their_definition(self, lengths: list[float], edges: set[tuple[int, int]]) -> None:
        work = [
            Work(id=TaskId(str(n)), remaining_s=s, needs=tuple(TaskId(str(i)) for i, j in edges if j == n and i < j))
            for n, s in enumerate(lengths)
        ]

        paths = longest_paths(work)

        for one in work:
            after_it = [paths[other.id] for other in work if one.id in other.needs]
            assert paths[one.id] == one.remaining_s + max(after_it, default=0.0)
        verdict = judge(work, after(5000), NOW)
        known = {one.id: one.remaining_s for one in work}
        assert sum(known[id_] for id_ in verdict.critical) == pytest.approx(max(paths.values()))

    @given(path_s=st.floats(0, 1e6), left_s=st.floats(-1e6, 1e6), less=st.floats(0, 1e6))
    def test_urgency_rises_as_the_deadline_nears(self, path_s: float, left_s: float, less: float) -> None:
        assert 0 <= urgency(path_s, left_s) <= urgency(path_s, left_s - less) <= 1


class TestKeysFromOutside:
    READY = Ready().add("t1").add("t2")

    def plan(self, key: Any) -> tuple[list[str], tuple[str, ...]]:
        made = a_plan(self.READY, site=SitePolicy(order=("mine", "age")), plugins={"mine": key})
        return started(made), made.notes

    def test_a_key_from_outside_orders_like_any_other(self) -> None:
        assert self.plan(lambda snapshot: -np.arange(len(snapshot.tasks))) == (["t2", "t1"], ())

    def test_one_that_raises_is_left_out_and_everybody_is_told(self) -> None:
        def broken(snapshot: Snapshot) -> Any:
            raise ZeroDivisionError(len(snapshot.tasks))

        assert self.plan(broken) == (["t1", "t2"], ("order key `mine` failed (ZeroDivisionError: 2): left out",))

    @pytest.mark.parametrize("nonsense", [None, [1.0], [float("nan"), 1.0], ["a", "b"], [[1], [2]]])
    def test_one_that_gives_nonsense_is_left_out_and_everybody_is_told(self, nonsense: Any) -> None:
        assert self.plan(lambda _: nonsense) == (
            ["t1", "t2"],
            ("order key `mine` gave no number for each task: left out",),
        )

    def test_one_that_is_not_there_is_left_out_and_everybody_is_told(self) -> None:
        made = a_plan(self.READY, site=SitePolicy(order=("theirs",)))

        assert (started(made), made.notes) == (
            ["t1", "t2"],
            ("order key `theirs` is not there, or rests after failures: left out",),
        )


def test_a_plan_of_nothing_has_no_notes() -> None:
    assert a_plan(Ready(), site=SitePolicy(order=("theirs",))).notes == ()
    assert len(a_snapshot(Ready()).tasks) == 0
