"""Who is asked to leave: the right ones, as few as can be, and never in circles."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, RunningRow, UsageRow
from elisa.model.decisions import Preempt
from elisa.model.ids import ProjectName
from elisa.model.native import NodeView
from elisa.model.pipeline import PriorityClass, SitePlacement
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, ProjectPolicy, ServiceClass, SitePolicy
from elisa.policies.budgets import CapRow, Owner
from elisa.policies.plan import Plan
from elisa.policies.preemption import Standing, cost_of, may_preempt, standings
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, a_request, after, started

NOW_US = int(NOW.timestamp() * 1e6)
RULES = PreemptionRules(enabled=True, minimum_run_s=100, times=2, restart_s=0)
WHOLE = a_request(cpus_per_task=8)
CRITICAL = ProjectPolicy(name=ProjectName("vision"), highest=PriorityClass.CRITICAL)


def a_site(**fields: Any) -> SitePolicy:
    return SitePolicy(**{"preemption": RULES, "projects": (CRITICAL,), **fields})


def a_job(attempt: str = "t0.1", nodes: str = "n1", ran_s: float = 3600, **fields: Any) -> RunningRow:
    defaults: dict[str, Any] = {
        "project": "other",
        "owner_uid": 1,
        "backend": HERE,
        "request": WHOLE,
        "priority": 3,
        "started_us": NOW_US - int(ran_s * 1e6),
    }
    return RunningRow(
        attempt=attempt, task=attempt.split(".", maxsplit=1)[0], nodes=tuple(nodes.split(",")), **{**defaults, **fields}
    )


def full(*names: str) -> list[NodeView]:
    return [a_node(name, free_cpus=0) for name in names or ("n1",)]


def preempts(made: Plan) -> list[Preempt]:
    return [decision for decision in made.decisions if isinstance(decision, Preempt)]


def asked(made: Plan) -> list[str]:
    return [decision.attempt for decision in preempts(made)]


def evict(
    *jobs: RunningRow, request: Resources = WHOLE, nodes: list[NodeView] | None = None, **extra: Any
) -> list[str]:
    priority = extra.pop("priority", 1)
    ready = Ready().add("t1", request, priority=priority)
    return asked(a_plan(ready, a_cluster(*(nodes or full())), running=jobs, **{"site": a_site(), **extra}))


def test_a_better_class_takes_the_place_of_a_worse_one() -> None:
    made = a_plan(Ready().add("t1", WHOLE, priority=1), a_cluster(*full()), running=[a_job()], site=a_site())

    assert preempts(made) == [
        Preempt(
            attempt=a_job().attempt,  # type: ignore[arg-type]
            beneficiary="t1",  # type: ignore[arg-type]
            reason=because(ReasonCode.PREEMPTED_FOR, task="t1", cost_hours=8.0),
        )
    ]
    assert started(made) == []


@pytest.mark.parametrize(
    "job",
    [
        a_job(priority=1),
        a_job(priority=0),
        a_job(is_preemptible=False),
        a_job(ran_s=99),
        a_job(times_preempted=2),
        a_job(backend="elsewhere"),
        a_job(nodes="n2"),
        a_job(request=a_request(cpus_per_task=4)),
    ],
)
def test_who_is_protected_or_would_not_help_is_left_alone(job: RunningRow) -> None:
    assert evict(job) == []


def test_nobody_is_preempted_where_the_site_does_not_allow_it() -> None:
    assert evict(a_job(), site=SitePolicy()) == []


def test_a_gap_between_classes_may_be_asked_for() -> None:
    site = a_site(preemption=PreemptionRules(enabled=True, class_gap=2))

    assert evict(a_job(priority=2), site=site) == []
    assert evict(a_job(priority=3), site=site) == ["t0.1"]


def test_who_was_asked_is_not_asked_again_and_nobody_else_instead() -> None:
    leaving = a_job("t8.1", is_leaving=True)

    assert evict(leaving, a_job("t9.1", "n2"), nodes=full("n1", "n2")) == []


def test_what_is_about_to_be_free_is_counted_once() -> None:
    half = a_request(cpus_per_task=4)

    assert evict(a_job("t8.1", request=half, is_leaving=True), a_job("t9.1", request=half)) == ["t9.1"]


def test_the_cheapest_loss_is_chosen() -> None:
    jobs = [
        a_job("t5.1", "n1"),
        a_job("t6.1", "n2", saved_us=NOW_US - 60_000_000),
        a_job("t7.1", "n3", ran_s=120),
    ]
    nodes = full("n1", "n2", "n3")

    assert evict(*jobs, nodes=nodes) == ["t6.1"]
    assert evict(*jobs, a_job("t8.1", "n4", saves_on_request=True), nodes=[*nodes, *full("n4")]) == ["t8.1"]


def test_a_victim_with_a_near_deadline_costs_more() -> None:
    near, far = a_job("t5.1", "n1", slack_s=60), a_job("t6.1", "n2", ran_s=7200)

    assert evict(near, far, nodes=full("n1", "n2")) == ["t6.1"]
    assert cost_of(near, a_site(), NOW.timestamp()) == 10 * cost_of(a_job(), a_site(), NOW.timestamp())


def test_no_more_are_stopped_than_necessary() -> None:
    quarter = a_request(cpus_per_task=2)
    jobs = [a_job(f"t{n}.1", request=quarter, ran_s=1000 + n) for n in range(2, 6)]

    assert evict(*jobs, request=a_request(cpus_per_task=4)) == ["t2.1", "t3.1"]
    assert evict(*jobs, request=a_request(cpus_per_task=4), nodes=[a_node(free_cpus=2, cpus=10)]) == ["t2.1"]


def test_a_cheap_one_that_turns_out_needless_is_spared() -> None:
    small = a_job("t2.1", request=a_request(cpus_per_task=1), ran_s=200)
    large = a_job("t3.1", request=a_request(cpus_per_task=7), ran_s=200)

    assert evict(small, large, request=a_request(cpus_per_task=7)) == ["t3.1"]


def test_one_that_runs_on_several_nodes_frees_them_all() -> None:
    wide = a_job("t5.1", "n1,n2", request=a_request(nodes=2, cpus_per_task=8), ran_s=150)
    single = a_job("t6.1", "n3", ran_s=200)

    assert evict(wide, single, request=a_request(nodes=2, cpus_per_task=8), nodes=full("n1", "n2", "n3")) == ["t5.1"]


def test_room_for_several_nodes_comes_whole_or_not_at_all() -> None:
    jobs = [a_job("t5.1", "n1"), a_job("t6.1", "n2", priority=0)]
    ready = (
        Ready().add("t1", a_request(nodes=2, cpus_per_task=8), priority=1, importance=1).add("t2", WHOLE, priority=1)
    )

    made = a_plan(ready, a_cluster(*full("n1", "n2")), running=jobs, site=a_site())

    assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("t5.1", "t2")]


def test_each_victim_makes_room_for_one_only() -> None:
    ready = Ready().add("t1", WHOLE, priority=1).add("t2", WHOLE, priority=1)

    made = a_plan(ready, a_cluster(*full()), running=[a_job()], site=a_site())

    assert [one.beneficiary for one in preempts(made)] == ["t1"]


def test_gpus_memory_and_whole_nodes_are_freed_as_they_were_held() -> None:
    node = a_node(gpus={"a100": 2}, free_gpus=(("a100", 0),))
    for held in (a_request(2, ("a100",)), a_request(2), a_request(exclusive=True)):
        assert evict(a_job(request=held), request=a_request(2, ("a100",)), nodes=[node]) == ["t0.1"]
    assert evict(a_job(request=a_request(1)), request=a_request(2, ("a100",)), nodes=[node]) == []
    crowded = a_node(free_memory_mib=0)
    hungry = a_request(memory_mib_per_node=20000)
    assert evict(a_job(request=hungry), request=hungry, nodes=[crowded]) == ["t0.1"]


def test_what_this_plan_started_is_not_counted_as_free() -> None:
    ready = Ready().add("t1", a_request(cpus_per_task=4), priority=0).add("t2", WHOLE, priority=1)
    half = a_job(request=a_request(cpus_per_task=4))

    made = a_plan(ready, a_cluster(a_node(free_cpus=4)), running=[half], site=a_site())

    assert (started(made), asked(made)) == (["t1"], [])


def test_what_starts_on_another_cluster_takes_no_room_here() -> None:
    there = a_cluster(a_node("x1"), backend="there")
    ready = Ready().add("t1", WHOLE, priority=1, placement=SitePlacement(backend="there"))
    ready.add("t2", WHOLE, priority=1, placement=SitePlacement(backend=HERE))

    made = a_plan(ready, a_cluster(*full()), there, running=[a_job()], site=a_site())

    assert (started(made), asked(made)) == (["t1"], ["t0.1"])


def test_a_task_without_budget_preempts_nobody() -> None:
    poor = ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=Metered.JOBS, limit=1),))
    ready = Ready().add("t1", WHOLE, priority=1, importance=1).add("t2", WHOLE, priority=1)
    made = a_plan(
        ready,
        a_cluster(*full("n1", "n2")),
        running=[a_job(), a_job("t9.1", "n2")],
        site=a_site(projects=(poor,)),
    )
    assert len(asked(made)) == 1


class TestIdleMeans:
    def site(self, **fields: Any) -> SitePolicy:
        return a_site(projects=(ProjectPolicy(name=ProjectName("other"), **fields), CRITICAL))

    def test_best_effort_yields_to_everybody_whatever_its_class(self) -> None:
        job = a_job(priority=1)

        assert evict(job, priority=4, site=self.site()) == []
        assert evict(job, priority=4, site=self.site(service=ServiceClass.BEST_EFFORT)) == ["t0.1"]

    def test_what_lies_beyond_a_soft_cap_yields_first_and_only_that(self) -> None:
        soft = (Cap(resource=Metered.JOBS, limit=1, is_hard=False),)
        jobs = [a_job("t5.1", "n1", ran_s=9000, priority=1), a_job("t6.1", "n2", ran_s=8000, priority=1)]
        usage = ProjectUsage(rows=[UsageRow("other", 1, "", Charge(), Charge(), jobs=2)])

        for field in ("caps", "user_caps"):
            site = self.site(**{field: soft})
            ready = Ready().add("t1", WHOLE, priority=4).add("t9", project="other", owner_uid=1, importance=-9)
            made = a_plan(ready, a_cluster(*full("n1", "n2")), running=jobs, site=site, usage=usage)
            assert asked(made) == ["t6.1"]

    def test_who_would_work_beyond_a_soft_cap_takes_nobodys_place(self) -> None:
        site = a_site(projects=(ProjectPolicy(name=ProjectName("vision"), service=ServiceClass.BEST_EFFORT),))

        assert evict(a_job(), priority=1, site=site) == []

    def test_a_cap_on_a_type_of_gpu_counts_only_that_type(self) -> None:
        cap = Cap(resource=Metered.GPUS, gpu_type="a100", limit=0, is_hard=False)
        rows = [
            a_job("t1.1", request=a_request(1, ("a100",))),
            a_job("t2.1", request=a_request(1, ("v100",))),
        ]
        usage = [UsageRow("other", 1, "a100", Charge(), Charge(), gpus=1)]
        row = CapRow(Owner(ProjectName("other")), cap, usage[0].gpus)
        assert standings(rows, [row], SitePolicy()) == {
            "t1.1": Standing(is_idle_only=True, rank=3),
            "t2.1": Standing(is_idle_only=False, rank=3),
        }


class TestNativeQueues:
    QUEUE = a_cluster(a_node(free_cpus=0), partitions=["main"])

    def plan(self, *jobs: RunningRow, **extra: Any) -> Plan:
        ready = Ready().add("t1", WHOLE, priority=1)
        site = extra.pop("site", a_site(default_window=0))
        return a_plan(ready, self.QUEUE, running=jobs, queueing=[HERE], site=site)

    def test_the_last_of_a_worse_class_is_withdrawn_when_the_window_is_full(self) -> None:
        jobs = [a_job(f"t{n}.1", priority=n, is_queued=True, partition="main", ran_s=0) for n in (1, 3, 4)]

        made = self.plan(*jobs, site=SitePolicy(default_window=0))

        assert asked(made) == ["t4.1"]
        assert preempts(made)[0].reason == because(ReasonCode.PREEMPTED_FOR, task="t1", was="queued")

    @pytest.mark.parametrize(
        "job",
        [
            a_job(is_queued=True, partition="main", priority=1),
            a_job(is_queued=True, partition="other"),
            a_job(is_queued=True, partition="main", is_leaving=True),
            a_job(partition="main"),
        ],
    )
    def test_others_keep_their_place(self, job: RunningRow) -> None:
        assert asked(self.plan(job, site=SitePolicy(default_window=0))) == []

    def test_whoever_has_to_make_room_once_it_is_first_in_the_queue_is_asked_at_once(self) -> None:
        waits = a_job("t9.1", "", priority=4, is_queued=True, partition="main", ran_s=0)

        made = self.plan(waits, a_job("t8.1"))

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("t9.1", "t1"), ("t8.1", "t1")]

    def test_one_place_is_enough_wherever_it_is(self) -> None:
        jobs = [a_job(f"t{n}.1", priority=4, is_queued=True, partition=p, ran_s=0) for n, p in ((3, "p"), (4, "q"))]
        cap = ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=Metered.JOBS, limit=1),))
        made = a_plan(
            Ready().add("t1", WHOLE, priority=1, importance=1).add("t2", WHOLE, priority=1),
            a_cluster(a_node(free_cpus=0), partitions=["p", "q"]),
            running=jobs,
            queueing=[HERE],
            site=SitePolicy(default_window=0, projects=(cap,)),
        )

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("t3.1", "t1")]

    def test_where_nobody_can_be_withdrawn_the_budget_is_left_for_others(self) -> None:
        cap = ProjectPolicy(name=ProjectName("vision"), caps=(Cap(resource=Metered.JOBS, limit=1),))
        last = a_job("t9.1", priority=4, is_queued=True, partition="q", ran_s=0)
        ready = Ready().add("t1", priority=1, importance=1, placement=SitePlacement(partition="p"))
        ready.add("t2", priority=1, placement=SitePlacement(partition="q"))
        made = a_plan(
            ready,
            a_cluster(a_node(free_cpus=0), partitions=["p", "q"]),
            running=[last],
            queueing=[HERE],
            site=SitePolicy(default_window=0, projects=(cap,)),
        )

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("t9.1", "t2")]

    @pytest.mark.parametrize("kind", ["a100", "v100"])
    def test_running_jobs_are_asked_to_leave_for_a_better_one_that_waits_natively(self, kind: str) -> None:
        waiting = a_job("t7.1", "", request=a_request(1, (kind,)), priority=0, is_queued=True, partition="main")
        node = a_node(gpus={"v100": 1, "a100": 1}, free_gpus=(("v100", 0), ("a100", 0)))
        runs = a_job("t8.1", request=a_request(1, (kind,)))

        made = a_plan(
            Ready().add("t1", priority=4),
            a_cluster(node, partitions=["main"]),
            running=[waiting, runs],
            queueing=[HERE],
            site=a_site(default_window=0),
        )

        assert [(one.attempt, one.beneficiary) for one in preempts(made)] == [("t8.1", "t7")]

    def test_a_waiting_job_of_another_partition_is_not_helped_here(self) -> None:
        waiting = a_job("t7.1", "", is_queued=True, partition="gone", priority=0)

        assert asked(self.plan(waiting, a_job("t8.1"))) == []

    def test_a_job_that_will_start_anyway_needs_nobody_to_leave(self) -> None:
        waiting = a_job("t7.1", "", is_queued=True, partition="main", priority=0, request=a_request())
        made = a_plan(
            Ready().add("t1", priority=4),
            a_cluster(a_node(free_cpus=1), partitions=["main"]),
            running=[waiting, a_job("t8.1", request=a_request(cpus_per_task=7))],
            queueing=[HERE],
            site=a_site(default_window=0),
        )

        assert asked(made) == []

    def test_a_waiting_job_that_cannot_be_helped_leaves_all_in_peace(self) -> None:
        waiting = a_job(
            "t7.1", "", request=a_request(cpus_per_task=8, nodes=2), is_queued=True, partition="main", priority=0
        )

        made = a_plan(
            Ready().add("t1", priority=4),
            a_cluster(*full("n1", "n2"), partitions=["main"]),
            running=[waiting, a_job("t8.1", "n1")],
            queueing=[HERE],
            site=a_site(default_window=0),
        )

        assert asked(made) == []


standing = st.builds(Standing, st.booleans(), st.integers(0, 4))


class TestNoPingPong:
    @given(one=standing, other=standing, third=standing, gap=st.integers(0, 3))
    def test_to_be_allowed_to_preempt_is_a_strict_order(
        self, one: Standing, other: Standing, third: Standing, gap: int
    ) -> None:
        rules = PreemptionRules(enabled=True, class_gap=gap)

        assert not may_preempt(one, one, rules)
        assert not (may_preempt(one, other, rules) and may_preempt(other, one, rules))
        if may_preempt(one, other, rules) and may_preempt(other, third, rules):
            assert may_preempt(one, third, rules)

    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 8), st.booleans()), min_size=2, max_size=7))
    def test_with_nothing_new_preemptions_come_to_an_end(self, kinds: list[tuple[int, int, bool]]) -> None:
        """Ticks over one node: victims go back to the queue, the planned start; nobody ever ends by itself."""
        spare = ProjectPolicy(name=ProjectName("spare"), service=ServiceClass.BEST_EFFORT)
        soft = ProjectPolicy(
            name=ProjectName("vision"),
            highest=PriorityClass.CRITICAL,
            caps=(Cap(resource=Metered.CPUS, limit=5, is_hard=False),),
        )
        site = a_site(projects=(spare, soft), preemption=PreemptionRules(enabled=True, minimum_run_s=0, times=10**9))
        tasks = {f"t{n}": kind for n, kind in enumerate(kinds)}
        live: list[str] = []
        moves: list[tuple[str, str]] = []
        for _ in range(30):
            made = self.tick(tasks, live, site)
            victims = {one.attempt.split(".")[0]: str(one.beneficiary) for one in preempts(made)}
            live = [task for task in [*live, *started(made)] if task not in victims]
            moves += victims.items()
            if not victims and not started(made):
                break

        assert not preempts(made)
        assert not any((winner, loser) in moves for loser, winner in moves)

    @staticmethod
    def tick(tasks: dict[str, tuple[int, int, bool]], live: list[str], site: SitePolicy) -> Plan:
        ready = Ready()
        for task, (priority, cpus, is_spare) in tasks.items():
            if task not in live:
                project = "spare" if is_spare else "vision"
                ready.add(task, a_request(cpus_per_task=cpus), priority=priority, project=project)
        running = [
            a_job(
                f"{task}.1",
                priority=tasks[task][0],
                request=a_request(cpus_per_task=tasks[task][1]),
                project="spare" if tasks[task][2] else "vision",
                owner_uid=1000,
            )
            for task in live
        ]
        held = dict.fromkeys(("spare", "vision"), 0)
        for task in live:
            held["spare" if tasks[task][2] else "vision"] += tasks[task][1]
        usage = ProjectUsage(
            rows=[UsageRow(name, 1000, "", Charge(), Charge(), cpus=cpus) for name, cpus in held.items()]
        )
        node = a_node(free_cpus=8 - sum(held.values()))
        return a_plan(ready, a_cluster(node), running=running, site=site, usage=usage)

    def test_a_victim_was_never_better_than_who_took_its_place(self) -> None:
        ranks = [4, 3, 2, 1]
        for worse, better in pairwise(ranks):
            assert evict(a_job(priority=worse), priority=better) == ["t0.1"]
            assert evict(a_job(priority=better), priority=worse) == []


def test_who_saves_when_asked_loses_only_the_restart() -> None:
    site = a_site(preemption=PreemptionRules(restart_s=450))

    assert cost_of(a_job(saves_on_request=True), site, NOW.timestamp()) == 1.0


def test_a_deadline_is_near_when_the_loss_would_break_it() -> None:
    site = a_site(preemption=PreemptionRules(restart_s=60, grace_s=40))
    costs = [cost_of(a_job(ran_s=100, slack_s=slack_s), site, NOW.timestamp()) for slack_s in (199, 200, 201)]

    assert costs[0] == 10 * costs[1] == 10 * costs[2]


def test_time_does_not_run_backwards_in_costs() -> None:
    assert cost_of(a_job(ran_s=-50), a_site(), NOW.timestamp()) == 0
    assert cost_of(a_job(saved_us=int(after(5).timestamp() * 1e6)), a_site(), NOW.timestamp()) == 0


@given(
    jobs=st.lists(
        st.fixed_dictionaries(
            {
                "ran_s": st.sampled_from([0, 599, 600, 3600]),
                "is_preemptible": st.booleans(),
                "times_preempted": st.integers(0, 4),
                "is_leaving": st.booleans(),
                "priority": st.integers(0, 4),
                "saved": st.booleans(),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_victim_is_protected_young_or_stopped_too_often(jobs: list[dict[str, Any]]) -> None:
    rules = PreemptionRules(enabled=True, minimum_run_s=600, times=3)
    running = {
        f"t{number}.1": a_job(
            f"t{number}.1",
            f"n{number}",
            **{**{key: value for key, value in job.items() if key != "saved"}, "saved_us": NOW_US * job["saved"]},
        )
        for number, job in enumerate(jobs)
    }
    nodes = full(*(f"n{number}" for number in range(len(jobs))))

    victims = evict(*running.values(), nodes=nodes, site=a_site(preemption=rules))

    fair_game = {
        attempt: job
        for attempt, job in zip(running, jobs, strict=True)
        if job["is_preemptible"] and job["ran_s"] >= 600 and job["times_preempted"] < 3 and job["priority"] >= 2
    }
    about_to_be_free = any(job["is_leaving"] for job in jobs)
    willing = {attempt for attempt, job in fair_game.items() if not job["is_leaving"]}
    assert len(victims) == (1 if willing and not about_to_be_free else 0)
    assert willing.issuperset(victims)
    site = a_site(preemption=rules)
    cost = {attempt: cost_of(running[attempt], site, NOW.timestamp()) for attempt in willing}
    assert all(cost[victim] == min(cost.values()) for victim in victims)
