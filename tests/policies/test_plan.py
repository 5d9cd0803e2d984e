from __future__ import annotations

from dataclasses import replace

import pytest

from elisa.model.changes import Charge, PassedOver
from elisa.model.columns import GangRow, ProjectUsage, UsageRow
from elisa.model.decisions import Submit
from elisa.model.ids import BackendName, ProjectName, TaskId
from elisa.model.native import NodeState, PartitionView
from elisa.model.pipeline import SitePlacement
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import GpuRequest, Resources
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy, Window
from elisa.model.states import AttemptState
from elisa.policies.plan import Plan
from elisa.policies.walk import Walk
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, a_snapshot, an_attempt, started

WHOLE = a_request(cpus_per_task=8)


def reason(made: Plan, task: str) -> Reason:
    return made.reason(TaskId(task))


def a_site(*caps: Cap, **fields: object) -> SitePolicy:
    project = ProjectPolicy(name=ProjectName("vision"), caps=caps)
    return replace(SitePolicy(projects=(project,)), **fields)  # type: ignore[arg-type]


def test_nothing_ready_is_nothing_planned() -> None:
    made = a_plan(Ready())

    assert (made.decisions, list(made.passed_over())) == ((), [])


def test_a_task_that_fits_starts() -> None:
    made = a_plan(Ready().add("t1"), a_cluster(partitions=["main"]))

    assert made.decisions == (
        Submit(
            task=TaskId("t1"),
            backend=HERE,
            partition="main",
            rank=1,
            reason=because(ReasonCode.CHOSEN, rank=1, backend="here", partition="main"),
        ),
    )
    assert made.charge(TaskId("t1")) == Charge(node_s=3600, cpu_s=3600)


def test_a_machine_without_partitions_has_one_without_a_name() -> None:
    assert a_plan(Ready().add("t1")).decisions[0].partition == ""


def test_a_full_node_makes_the_next_one_wait_with_the_facts() -> None:
    made = a_plan(Ready().add("t1", WHOLE).add("t2", WHOLE))

    assert started(made) == ["t1"]
    assert list(made.passed_over()) == [
        PassedOver(
            task=TaskId("t2"),
            reason=because(
                ReasonCode.NO_ROOM,
                resource="cpus a node",
                asked=8,
                free=0,
                backend="here",
                partition="",
                starts_at="2026-03-01T13:00:00+00:00",
                nodes="n1",
            ),
        )
    ]


def test_smaller_work_still_starts_beside_what_does_not_fit() -> None:
    made = a_plan(Ready().add("t1", WHOLE, importance=9).add("t2"), a_cluster(a_node(free_cpus=7)))

    assert started(made) == ["t2"]


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        (a_request(cpus_per_task=9), "cpus a node"),
        (a_request(memory_mib_per_node=2**20), "memory a node"),
        (a_request(gpus=1), "gpus a node (any)"),
        (a_request(gpus=1, types=("h100",)), "gpus a node (h100)"),
        (a_request(nodes=2), "nodes"),
        (a_request(features=("ib",)), "node with the feature ib"),
    ],
)
def test_what_fits_nowhere_says_by_what(request_: Resources, resource: str) -> None:
    refusal = reason(a_plan(Ready().add("t1", request_)), "t1")

    assert (refusal.code, refusal.facts["resource"]) == (ReasonCode.NEVER_FITS, resource)


def test_a_gpu_with_too_little_memory_does_not_fit() -> None:
    node = a_node(gpus={"a100": 4}, gpu_memory_mib=40960)
    wanted = Resources(gpus=GpuRequest(per_node=1, memory_mib=80 * 1024 - 2048))

    assert reason(a_plan(Ready().add("t1", wanted), a_cluster(node)), "t1") == because(
        ReasonCode.NEVER_FITS, resource="memory of a GPU", asked="78GiB", largest="40GiB", backend="here", partition=""
    )


def test_unknown_gpu_memory_is_no_ground_to_refuse() -> None:
    wanted = Resources(gpus=GpuRequest(per_node=1, memory_mib=80 * 1024 - 2048))

    assert started(a_plan(Ready().add("t1", wanted), a_cluster(a_node(gpus={"a100": 4})))) == ["t1"]


def test_features_and_gpu_types_lead_to_their_nodes() -> None:
    nodes = [
        a_node("n1", gpus={"v100": 2}),
        a_node("n2", gpus={"a100": 2}),
        a_node("n3", gpus={"a100": 2}, features=("ib",)),
    ]
    ready = Ready().add("t1", a_request(2, ("a100", "v100"), features=("ib",))).add("t2", a_request(2, ("a100",)))
    made = a_plan(ready.add("t3", a_request(2, ("a100", "v100"))), a_cluster(*nodes))

    assert [decision.reason.facts["gpu_type"] for decision in made.decisions] == ["a100", "a100", "v100"]
    assert made.request(TaskId("t3")) == a_request(2, ("v100",))
    assert made.charge(TaskId("t3")).gpu_type == "v100"
    assert made.request(TaskId("t1")).features == ("ib",)


def test_nodes_that_are_drained_take_nothing_but_may_come_back() -> None:
    refusal = reason(a_plan(Ready().add("t1"), a_cluster(a_node(state=NodeState.DRAINED))), "t1")

    assert refusal.code is ReasonCode.NO_ROOM


def test_the_tightest_node_is_filled_first() -> None:
    nodes = [a_node("n1"), a_node("n2", free_cpus=2)]
    made = a_plan(Ready().add("t1", a_request(cpus_per_task=2), importance=1).add("t2", WHOLE), a_cluster(*nodes))

    assert started(made) == ["t1", "t2"]


def test_exclusive_work_needs_whole_nodes_and_keeps_them() -> None:
    alone = a_request(exclusive=True)

    assert started(a_plan(Ready().add("t1", alone), a_cluster(a_node(free_cpus=7)))) == []
    assert started(a_plan(Ready().add("t1", alone, importance=1).add("t2"))) == ["t1"]
    assert started(a_plan(Ready().add("t1", importance=1).add("t2", alone))) == ["t1"]


def test_several_nodes_are_taken_together() -> None:
    nodes = [a_node(f"n{n}") for n in range(3)]
    ready = Ready().add("t1", a_request(nodes=2, cpus_per_task=8), importance=1).add("t2", WHOLE).add("t3", WHOLE)

    assert started(a_plan(ready, a_cluster(*nodes))) == ["t1", "t2"]


def test_enough_licences_are_no_reason_to_wait() -> None:
    view = replace(a_cluster(a_node(free_cpus=0)), licences={"ansys": 1})
    refused = reason(a_plan(Ready().add("t1", a_request(licences=(("ansys", 1),))), view), "t1")

    assert refused.facts["resource"] == "cpus a node"


def test_a_task_may_wait_for_the_second_node_with_licences_at_hand() -> None:
    view = replace(a_cluster(a_node("n1"), a_node("n2", free_cpus=0)), licences={"ansys": 1})
    refused = reason(a_plan(Ready().add("t1", a_request(nodes=2, licences=(("ansys", 1),))), view), "t1")

    assert (refused.facts["resource"], refused.facts["free"]) == ("nodes", 1)


def test_a_licence_that_nobody_has_is_missing() -> None:
    refused = reason(a_plan(Ready().add("t1", a_request(licences=(("ansys", 1),)))), "t1")

    assert (refused.facts["resource"], refused.facts["free"]) == ("ansys", 0)


def test_licences_run_out() -> None:
    view = replace(a_cluster(), licences={"ansys": 1})
    wanted = a_request(licences=(("ansys", 1),))
    made = a_plan(Ready().add("t1", wanted).add("t2", wanted), view)

    assert started(made) == ["t1"]
    assert reason(made, "t2") == because(
        ReasonCode.NO_ROOM, resource="ansys", asked=1, free=0, backend="here", partition=""
    )


def test_a_partition_limits_time_and_nodes() -> None:
    limited = replace(
        a_cluster(a_node(), a_node("n2")),
        partitions=(PartitionView(name="short", max_walltime_s=60, max_nodes=1),),
    )
    ready = Ready().add("t1", a_request(walltime_s=61)).add("t2", a_request(walltime_s=60, nodes=2))
    made = a_plan(ready, limited)

    assert [reason(made, task).facts["resource"] for task in ("t1", "t2")] == ["walltime", "nodes"]


def test_a_closed_partition_takes_nothing_now() -> None:
    closed = replace(a_cluster(), partitions=(PartitionView(name="main", is_up=False),))

    assert reason(a_plan(Ready().add("t1"), closed), "t1").code is ReasonCode.NO_ROOM


def test_a_wish_for_a_partition_is_followed() -> None:
    view = a_cluster(partitions=["main", "debug"])
    made = a_plan(Ready().add("t1", placement=SitePlacement(partition="debug")), view)

    assert made.decisions[0].partition == "debug"


def test_a_backend_that_is_not_there_is_named() -> None:
    made = a_plan(Ready().add("t1", placement=SitePlacement(backend="moon")))

    assert reason(made, "t1") == because(ReasonCode.NO_BACKEND, wanted="moon/any")


def test_a_backend_that_does_not_answer_is_named() -> None:
    made = a_plan(
        Ready().add("t1", placement=SitePlacement(backend="moon")), unreachable={BackendName("moon"): "timed out"}
    )

    assert reason(made, "t1") == because(ReasonCode.BACKEND_UNREACHABLE, backend="moon", error="timed out")


class TestQueues:
    FULL = a_cluster(a_node(free_cpus=0), partitions=["main"])

    def test_no_more_wait_in_a_native_queue_than_its_window(self) -> None:
        site = SitePolicy(windows=(Window(backend=HERE, partition="main", size=2),))
        ready = Ready().add("t1").add("t2").add("t3")
        queued = [an_attempt("t0.1", AttemptState.QUEUED)]
        made = a_plan(ready, self.FULL, site=site, live=queued, queueing=[HERE])

        assert started(made) == ["t1"]
        assert reason(made, "t2") == because(
            ReasonCode.WINDOW_FULL, window=2, queued=2, backend="here", partition="main"
        )

    def test_running_jobs_do_not_count_as_waiting(self) -> None:
        site = SitePolicy(windows=(Window(backend=HERE, size=1),))
        running = [an_attempt("t0.1", AttemptState.RUNNING)]

        assert started(a_plan(Ready().add("t1"), self.FULL, site=site, live=running, queueing=[HERE])) == ["t1"]

    def test_an_idle_cluster_fills_in_one_tick(self) -> None:
        ready = Ready()
        for number in range(12):
            ready.add(f"t{number:02}")
        made = a_plan(ready, a_cluster(partitions=["main"]), site=SitePolicy(default_window=1), queueing=[HERE])

        assert len(started(made)) == 8 + 1

    def test_a_full_window_is_not_passed_by_what_would_fit(self) -> None:
        queued = [an_attempt("t0.1", AttemptState.SUBMITTED)]
        made = a_plan(
            Ready().add("t1"),
            a_cluster(partitions=["main"]),
            site=SitePolicy(default_window=1),
            live=queued,
            queueing=[HERE],
        )

        assert started(made) == []

    def test_a_cluster_whose_nodes_are_unknown_is_judged_by_its_limits(self) -> None:
        unknown = replace(a_cluster(partitions=["main"]), nodes=())

        assert started(a_plan(Ready().add("t1", a_request(1, ("a100",))), unknown, queueing=[HERE])) == ["t1"]
        assert reason(a_plan(Ready().add("t1"), unknown), "t1").code is ReasonCode.NEVER_FITS

    def test_free_nodes_are_better_than_a_place_in_the_queue(self) -> None:
        busy = a_node("n1", free_cpus=0, partitions=("main",))
        idle = a_node("n2", partitions=("spare",))
        made = a_plan(Ready().add("t1"), a_cluster(busy, idle, partitions=["main", "spare"]), queueing=[HERE])

        assert made.decisions[0].partition == "spare"

    def test_no_more_is_submitted_in_a_tick_than_the_rate_allows(self) -> None:
        made = a_plan(Ready().add("t1").add("t2"), site=SitePolicy(submits_per_tick=1))

        assert started(made) == ["t1"]
        assert reason(made, "t2") == because(ReasonCode.SUBMIT_RATE, backend="here", limit=1)


class TestBudgets:
    def test_a_budget_is_reserved_for_the_whole_walltime(self) -> None:
        ready = Ready().add("t1", a_request(walltime_s=3600)).add("t2", a_request(walltime_s=3600))
        usage = ProjectUsage(rows=[UsageRow("vision", 7, "", Charge(cpu_s=100), Charge(cpu_s=1000))], past=[])
        made = a_plan(ready, site=a_site(Cap(resource=Metered.CPU_S, limit=5000)), usage=usage)

        assert started(made) == ["t1"]
        assert reason(made, "t2") == because(
            ReasonCode.BUDGET_EXHAUSTED, project="vision", resource="cpu_s", asked=3600, cap=5000, left=300
        )

    def test_a_smaller_task_of_the_same_project_still_fits_the_rest(self) -> None:
        ready = Ready().add("t1", a_request(walltime_s=3600), importance=1).add("t2", a_request(walltime_s=60))

        assert started(a_plan(ready, site=a_site(Cap(resource=Metered.CPU_S, limit=100)))) == ["t2"]

    def test_what_is_held_now_is_capped_too(self) -> None:
        usage = ProjectUsage(rows=[UsageRow("vision", 7, "", Charge(), Charge(), jobs=1)])
        made = a_plan(Ready().add("t1").add("t2"), site=a_site(Cap(resource=Metered.JOBS, limit=2)), usage=usage)

        assert started(made) == ["t1"]
        assert reason(made, "t2") == because(
            ReasonCode.CONCURRENCY_CAP, project="vision", resource="jobs", asked=1, cap=2, in_use=2
        )

    def test_a_used_up_budget_is_told_though_others_who_ask_for_the_same_lack_room(self) -> None:
        poor = ProjectPolicy(name=ProjectName("poor"), caps=(Cap(resource=Metered.CPU_S, limit=1),))
        ready = Ready()
        for id_, project in (("t1", "rich"), ("t2", "rich"), ("t3", "poor")):
            ready.add(id_, a_request(cpus_per_task=8), project=project, owner_uid=len(ready.rows))
        made = a_plan(ready, a_cluster(a_node(cpus=8)), site=SitePolicy(projects=(poor,), backfill_depth=0))

        codes = {tasks: why.code for why, tasks in made.passed_over_groups()}
        assert codes == {("t2",): ReasonCode.NO_ROOM, ("t3",): ReasonCode.BUDGET_EXHAUSTED}
        assert reason(made, "t3").code is ReasonCode.BUDGET_EXHAUSTED

    def test_whom_caps_refuse_is_known_for_each_owner(self) -> None:
        poor = ProjectPolicy(name=ProjectName("poor"), caps=(Cap(resource=Metered.CPU_S, limit=1),))
        ready = Ready().add("t1", project="a").add("t2", project="b").add("t3", project="poor")
        snapshot = a_snapshot(ready, site=SitePolicy(projects=(poor,)))

        assert Walk(snapshot).why.are_refused_by_caps(snapshot.tasks).tolist() == [False, False, True]

    def test_a_cap_on_one_type_of_gpu_leaves_the_others_alone(self) -> None:
        nodes = [a_node("n1", gpus={"a100": 4}), a_node("n2", gpus={"v100": 4})]
        cap = Cap(resource=Metered.GPUS, gpu_type="a100", limit=2)
        ready = Ready().add("t1", a_request(2, ("a100", "v100"))).add("t2", a_request(2, ("a100", "v100")))
        made = a_plan(ready.add("t3", a_request(2, ("a100",))), a_cluster(*nodes), site=a_site(cap))

        assert [decision.reason.facts["gpu_type"] for decision in made.decisions] == ["a100", "v100"]
        assert reason(made, "t3").facts["resource"] == "gpus:a100"

    def test_a_cut_cap_stops_new_work_but_not_work_that_asks_for_none_of_it(self) -> None:
        usage = ProjectUsage(rows=[UsageRow("vision", 7, "a100", Charge(), Charge(gpu_s=10))])
        made = a_plan(
            Ready().add("t1").add("t2", a_request(1)),
            a_cluster(a_node(gpus={"a100": 1})),
            site=a_site(Cap(resource=Metered.GPU_S, limit=5)),
            usage=usage,
        )

        assert started(made) == ["t1"]
        assert reason(made, "t2").facts["left"] == -5

    def test_each_member_has_caps_of_their_own(self) -> None:
        project = ProjectPolicy(name=ProjectName("vision"), user_caps=(Cap(resource=Metered.JOBS, limit=1),))
        ready = Ready().add("t1").add("t2").add("t3", owner_uid=1001)
        made = a_plan(ready, site=SitePolicy(projects=(project,)))

        assert started(made) == ["t1", "t3"]
        assert reason(made, "t2").facts["user"] == 1000

    def test_what_a_member_used_before_counts_for_that_member_alone(self) -> None:
        project = ProjectPolicy(name=ProjectName("vision"), user_caps=(Cap(resource=Metered.CPU_S, limit=4000),))
        usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), Charge(cpu_s=1000))])
        ready = Ready().add("t1", owner_uid=1000).add("t2", owner_uid=1001)
        made = a_plan(ready, site=SitePolicy(projects=(project,)), usage=usage)

        assert started(made) == ["t2"]
        assert reason(made, "t1").facts["left"] == 3000

    def test_the_cap_that_refuses_is_the_one_named(self) -> None:
        overdrawn = Cap(resource=Metered.GPU_S, limit=5)
        usage = ProjectUsage(rows=[UsageRow("vision", 7, "a100", Charge(), Charge(gpu_s=10))])
        made = a_plan(Ready().add("t1"), site=a_site(overdrawn, Cap(resource=Metered.CPU_S, limit=9)), usage=usage)

        assert reason(made, "t1").facts["resource"] == "cpu_s"

    def test_projects_that_are_not_named_follow_the_rules_for_unlisted_ones(self) -> None:
        unlisted = ProjectPolicy(name=ProjectName(""), caps=(Cap(resource=Metered.JOBS, limit=1),))
        ready = Ready().add("t1", project="a").add("t2", project="a").add("t3", project="b")

        assert started(a_plan(ready, site=SitePolicy(unlisted=unlisted))) == ["t1", "t3"]


class TestGangs:
    @staticmethod
    def a_gang(size: int, minimum: int = 0, live: int = 0, ready: int | None = None) -> Ready:
        tasks = Ready()
        tasks.gangs.append(GangRow(size, minimum, live))
        for number in range(size if ready is None else ready):
            tasks.add(f"t{number}", a_request(cpus_per_task=4), gang=0)
        return tasks

    def test_all_start_or_none(self) -> None:
        assert started(a_plan(self.a_gang(2))) == ["t0", "t1"]
        assert started(a_plan(self.a_gang(3))) == []

    def test_one_that_does_not_fit_leaves_its_room_to_others(self) -> None:
        made = a_plan(self.a_gang(3).add("t9", WHOLE, importance=-1))

        assert started(made) == ["t9"]
        assert {reason(made, task).code for task in ("t0", "t1", "t2")} == {ReasonCode.NO_ROOM}

    def test_one_that_is_not_all_ready_waits(self) -> None:
        made = a_plan(self.a_gang(2, ready=1))

        assert started(made) == []
        assert reason(made, "t0") == because(ReasonCode.GANG_INCOMPLETE, ready=1, needed=2)

    def test_a_threshold_lets_some_start_and_the_rest_follow(self) -> None:
        made = a_plan(self.a_gang(3, minimum=2))

        assert started(made) == ["t0", "t1"]
        assert reason(made, "t2").code is ReasonCode.NO_ROOM
        assert started(a_plan(self.a_gang(1, minimum=2, live=2))) == ["t0"]

    def test_a_budget_that_is_too_small_for_all_admits_none_and_is_given_back(self) -> None:
        site = a_site(Cap(resource=Metered.CPUS, limit=7))
        made = a_plan(self.a_gang(2).add("t9", a_request(cpus_per_task=7), importance=-1), site=site)

        assert started(made) == ["t9"]
        assert reason(made, "t0").code is ReasonCode.CONCURRENCY_CAP

    def test_a_member_that_fits_nowhere_stops_its_gang(self) -> None:
        ready = self.a_gang(2, ready=1).add("t8", a_request(gpus=1), gang=0)
        made = a_plan(ready)

        assert started(made) == []
        assert {reason(made, task).code for task in ("t0", "t8")} == {ReasonCode.NEVER_FITS}

    def test_submissions_that_were_tried_in_vain_are_given_back_exactly(self) -> None:
        ready = self.a_gang(3)
        for number in range(5, 9):
            ready.add(f"t{number}", importance=-1)
        made = a_plan(ready, site=SitePolicy(submits_per_tick=3))

        assert started(made) == ["t5", "t6", "t7"]

    def test_after_a_gang_that_did_not_fit_others_are_planned_as_ever(self) -> None:
        ready = self.a_gang(2, ready=1).add("t8", WHOLE, importance=-1).add("t9", WHOLE, importance=-2)
        made = a_plan(ready)

        assert started(made) == ["t8"]
        assert "starts_at" in reason(made, "t9").facts

    def test_a_gang_whose_places_in_the_queue_do_not_suffice_gives_them_back(self) -> None:
        full = a_cluster(a_node(free_cpus=0), partitions=["main"])
        made = a_plan(self.a_gang(3).add("t9", importance=-1), full, site=SitePolicy(default_window=2), queueing=[HERE])

        assert started(made) == ["t9"]


class TestOrder:
    def ids(self, ready: Ready, **site: object) -> list[str]:
        made = a_plan(ready, a_cluster(a_node(cpus=64)), site=SitePolicy(**site))  # type: ignore[arg-type]
        return started(made)

    def test_class_comes_before_importance_before_deadline_before_age(self) -> None:
        ready = (
            Ready()
            .add("t5", age_s=10)
            .add("t4", age_s=20)
            .add("t3", deadline_s=9000)
            .add("t2", importance=1)
            .add("t1", priority=0)
        )

        assert self.ids(ready) == ["t1", "t2", "t3", "t4", "t5"]

    def test_the_least_slack_goes_first_not_the_earliest_deadline(self) -> None:
        ready = Ready().add("t1", deadline_s=8000, path_s=100).add("t2", deadline_s=9000, path_s=5000)

        assert self.ids(ready) == ["t2", "t1"]

    def test_ties_end_in_the_id(self) -> None:
        assert self.ids(Ready().add("t2").add("t1")) == ["t1", "t2"]

    def test_the_smaller_of_equals_goes_first(self) -> None:
        assert self.ids(Ready().add("t1", a_request(cpus_per_task=2)).add("t2")) == ["t2", "t1"]

    def test_the_site_may_choose_plain_fifo(self) -> None:
        ready = Ready().add("t1", priority=0, age_s=1).add("t2", priority=4, age_s=2)

        assert self.ids(ready, order=("fifo",)) == ["t2", "t1"]

    def test_projects_take_turns_by_their_shares_within_one_plan(self) -> None:
        ready = Ready()
        for number in range(6):
            ready.add(f"a{number}", project="a").add(f"b{number}", project="b")
        shares = (ProjectPolicy(name=ProjectName("a"), shares=2), ProjectPolicy(name=ProjectName("b")))

        order = "".join(task[0] for task in self.ids(ready, projects=shares))

        assert [order[: n + 1].count("a") - 2 * order[: n + 1].count("b") for n in range(9)] == [
            1, -1, 0, 1, -1, 0, 1, -1, 0,
        ]  # fmt: skip

    def test_a_turn_comes_when_what_went_before_is_paid_for_not_later(self) -> None:
        ready = Ready().add("t1", a_request(walltime_s=36000), project="a", age_s=9).add("t2", project="b", age_s=1)

        assert self.ids(ready) == ["t1", "t2"]

    def test_what_starts_now_counts_like_what_was_used_before(self) -> None:
        usage = ProjectUsage(rows=[UsageRow("a", 1, "", Charge(), Charge(cpu_s=3600))])
        ready = Ready().add("a0", a_request(walltime_s=1440), project="a", age_s=99)
        for number in range(4):
            ready.add(f"b{number}", a_request(walltime_s=1440), project="b")
        made = a_plan(ready, a_cluster(a_node(cpus=64)), usage=usage)

        assert started(made) == ["b0", "b1", "b2", "a0", "b3"]

    def test_who_used_less_goes_first(self) -> None:
        usage = ProjectUsage(rows=[UsageRow("a", 1, "", Charge(), Charge(cpu_s=10**6))])
        ready = Ready().add("t1", project="a").add("t2", project="b")

        made = a_plan(ready, usage=usage)

        assert started(made) == ["t2", "t1"]

    def test_a_rank_is_known_for_every_ready_task(self) -> None:
        made = a_plan(Ready().add("t1").add("t2", priority=0))

        assert [made.rank(TaskId(task)) for task in ("t1", "t2")] == [2, 1]
        with pytest.raises(KeyError):
            made.rank(TaskId("t3"))


def test_only_the_tasks_of_the_user_who_ticks_are_started() -> None:
    made = a_plan(Ready().add("t1", owner_uid=5).add("t2", owner_uid=6), uid=6)

    assert started(made) == ["t2"]
    assert reason(made, "t1") == because(ReasonCode.OTHER_OWNER, owner=5)


def test_a_task_without_gpus_keeps_its_request_as_it_is() -> None:
    made = a_plan(Ready().add("t1", a_request(memory_mib_per_node=5)))

    assert made.request(TaskId("t1")) == a_request(memory_mib_per_node=5)
    assert made.nodes(TaskId("t1")) == ("n1",)


def test_only_started_tasks_have_a_charge() -> None:
    made = a_plan(Ready().add("t1", a_request(gpus=1)))

    with pytest.raises(KeyError):
        made.charge(TaskId("t1"))
