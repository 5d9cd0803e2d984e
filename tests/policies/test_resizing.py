"""Running elastic work that starts again with another number of nodes: for whom, when, and that it comes to rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, RunningRow, UsageRow
from elisa.model.decisions import Preempt, Resize
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.native import NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, Reservation, SitePolicy
from elisa.model.states import AttemptState
from elisa.policies.elastic import spare_of
from elisa.policies.plan import Plan
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, an_attempt, started
from tests.policies.test_elastic import NORMAL, WORST, elastic, project_with, whole

HIGH, HOUR = 1, 3600
PREEMPTS = SitePolicy(preemption=PreemptionRules(enabled=True))


def micros(ago_s: float) -> int:
    return round((NOW.timestamp() - ago_s) * 1e6)


def running(task: str, request: Resources, nodes: int, *, first: int = 0, **fields: Any) -> RunningRow:
    """Return an attempt that has run for an hour on `nodes` nodes from number `first` on."""
    known: dict[str, Any] = {
        "attempt": f"{task}.1",
        "task": task,
        "project": "vision",
        "owner_uid": 1000,
        "backend": HERE,
        "nodes": tuple(f"n{number:02}" for number in range(first, first + nodes)),
        "request": replace(request, nodes=nodes or request.nodes),
        "priority": NORMAL,
        "started_us": micros(HOUR),
        "saves_on_request": True,
        "may_resize": request.elastic is not None,
        "partition": "main",
    }
    return RunningRow(**{**known, **fields})


def machine(count: int, *rows: RunningRow) -> Any:
    """Return a cluster of nodes with eight cores each, those of the rows taken as a whole."""
    taken = {node for row in rows for node in row.nodes}
    return a_cluster(*(_node(f"n{number:02}", taken) for number in range(count)), partitions=["main"])


def _node(name: str, taken: set[str]) -> NodeView:
    return a_node(name, free_cpus=0 if name in taken else 8)


def planned(count: int, *rows: RunningRow, ready: Ready | None = None, **extra: Any) -> Plan:
    return a_plan(ready or Ready(), machine(count, *rows), running=rows, **extra)


def resizes(made: Plan) -> dict[str, int]:
    return {one.attempt: one.size for one in made.decisions if isinstance(one, Resize)}


class TestShrinking:
    WIDE = running("e1", elastic(2, 8), 8)

    def test_it_gives_back_what_is_more_than_its_least_when_one_of_its_class_lacks_it(self) -> None:
        made = planned(8, self.WIDE, ready=Ready().add("t1", whole(4)))

        assert made.decisions == (
            Resize(
                attempt=AttemptId("e1.1"),
                size=2,
                reason=because(ReasonCode.SHRINKS, task="t1", was=8, size=2, of="nodes"),
                beneficiary=TaskId("t1"),
            ),
        )

    @pytest.mark.parametrize(
        ("row", "asked", "fields"),
        [
            (WIDE, whole(7), {}),
            (WIDE, whole(4), {"priority": WORST}),
            (WIDE._replace(started_us=micros(599)), whole(4), {}),
            (WIDE._replace(may_resize=False), whole(4), {}),
            (WIDE._replace(gave_way_to=("t1",)), whole(4), {}),
            (WIDE._replace(is_leaving=True), whole(4), {}),
            (running("e1", elastic(8, 16), 8), whole(4), {}),
        ],
        ids=[
            "would not be enough",
            "of a worse class",
            "young",
            "saves nothing",
            "did before",
            "leaves",
            "at its least",
        ],
    )
    def test_nobody_else_is_given_room(self, row: RunningRow, asked: Resources, fields: dict[str, Any]) -> None:
        assert resizes(planned(8, row, ready=Ready().add("t1", asked, **fields))) == {}

    def test_it_is_asked_before_anybody_has_to_leave_for_good(self) -> None:
        victim = running("f1", whole(4), 4, priority=WORST, is_preemptible=True)
        wide = running("e1", elastic(2, 8), 6, first=4, priority=WORST)

        made = planned(10, victim, wide, ready=Ready().add("t1", whole(4), priority=HIGH), site=PREEMPTS)

        assert resizes(made) == {"e1.1": 2}

    def test_who_would_not_fit_beside_its_least_takes_its_place_by_preemption(self) -> None:
        made = planned(8, self.WIDE, ready=Ready().add("t1", whole(7), priority=HIGH), site=PREEMPTS)

        assert [type(one) for one in made.decisions] == [Preempt]

    def test_what_works_with_idle_means_has_no_claim_on_what_others_hold(self) -> None:
        spent = Charge(node_s=HOUR)
        site = project_with(Cap(resource=Metered.NODE_S, limit=1, is_hard=False))
        usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), spent)])
        wide = self.WIDE._replace(project="nlp", priority=WORST)

        assert resizes(planned(8, wide, ready=Ready().add("t1", whole(4)), site=site, usage=usage)) == {}
        assert resizes(planned(8, wide, ready=Ready().add("t1", whole(4)), usage=usage)) == {"e1.1": 2}

    def test_a_job_that_waits_in_a_native_queue_is_helped_as_well(self) -> None:
        waiting = running("q1", whole(4), 0, is_queued=True, started_us=0)

        assert resizes(planned(8, self.WIDE, waiting, queueing=[HERE])) == {"e1.1": 2}

    def test_one_that_starts_leaves_room_to_those_that_wait_in_its_queue(self) -> None:
        job = an_attempt("q1.1", AttemptState.QUEUED, request=whole(3))
        ready = Ready().add("t1", elastic(2, 8))

        made = a_plan(ready, machine(8), live=[job], queueing=[HERE])

        assert made.request(TaskId("t1")).nodes == 5

    def test_one_that_starts_leaves_room_to_those_that_this_plan_sends_to_wait(self) -> None:
        ready = Ready().add("t1", elastic(2, 8)).add("t2", whole(8))

        made = a_plan(ready, machine(8), queueing=[HERE])

        assert (started(made), made.request(TaskId("t1")).nodes) == (["t1", "t2"], 2)

    def test_what_is_more_than_the_least_is_given_where_it_is_wanted(self) -> None:
        part = spare_of(self.WIDE, {"n00", "n01"})

        assert part is not None
        assert {"n00", "n01"} < set(part.nodes)
        assert (len(part.nodes), spare_of(running("f1", whole(4), 4), ())) == (6, None)


class TestGrowing:
    SMALL = running("e1", elastic(2, 8, walltime_s=9 * HOUR), 4, roomy_us=micros(HOUR))

    def test_it_starts_again_on_nodes_that_have_stood_idle_for_long_enough(self) -> None:
        made = planned(8, self.SMALL)

        assert made.room == {"e1.1": 8}
        assert made.decisions == (
            Resize(
                attempt=AttemptId("e1.1"),
                size=8,
                reason=because(ReasonCode.GROWS, was=4, size=8, of="nodes", idle_s=HOUR),
            ),
        )

    @pytest.mark.parametrize(("idle_s", "grows"), [(0, False), (119, False), (121, True)])
    def test_what_stood_idle_must_be_worth_a_start_of_all_nodes(self, idle_s: int, *, grows: bool) -> None:
        # 4 more nodes idle for 120 s are as much as 8 nodes that start for 60 s.
        row = self.SMALL._replace(roomy_us=micros(idle_s) if idle_s else 0)

        assert bool(resizes(planned(8, row))) is grows

    @pytest.mark.parametrize(("lasts_s", "grows"), [(230, False), (250, True)])
    def test_what_is_left_to_do_must_become_shorter_by_twice_of_what_a_start_takes(
        self, lasts_s: int, *, grows: bool
    ) -> None:
        end_s = NOW.timestamp() + lasts_s

        made = planned(8, self.SMALL, ends={"e1.1": end_s})

        assert bool(resizes(made)) is grows

    def test_one_that_saves_when_it_likes_waits_until_it_has_saved(self) -> None:
        row = self.SMALL._replace(saves_on_request=False)

        assert resizes(planned(8, row)) == {}
        assert resizes(planned(8, row._replace(saved_us=micros(10)))) == {"e1.1": 8}

    def test_nobody_of_its_class_may_wait_for_nodes(self) -> None:
        def grown(row: RunningRow = self.SMALL, **fields: Any) -> dict[str, int]:
            return dict(planned(8, row, ready=Ready().add("t1", whole(5), **fields)).room)

        assert grown() == {}
        assert grown(priority=WORST) == {"e1.1": 8}

    def test_a_task_that_its_budget_keeps_back_is_no_reason_to_wait(self) -> None:
        site = project_with(Cap(resource=Metered.CPU_S, limit=1))
        ready = Ready().add("t1", whole(5), project="vision")

        made = planned(8, self.SMALL._replace(project="nlp"), ready=ready, site=site)

        assert made.room == {"e1.1": 8}

    def test_nobody_of_its_class_may_wait_in_the_queue_of_its_cluster(self) -> None:
        job = an_attempt("q1.1", AttemptState.QUEUED, request=whole(8))
        row = running("q1", whole(8), 0, is_queued=True, started_us=0, priority=NORMAL)

        assert planned(8, self.SMALL, row, live=[job], queueing=[HERE]).room == {}
        assert planned(8, self.SMALL, row._replace(priority=WORST), live=[job], queueing=[HERE]).room == {"e1.1": 8}

    def test_a_job_in_the_queue_of_a_manager_that_does_not_answer_waits_for_no_nodes_here(self) -> None:
        job = an_attempt("q1.1", AttemptState.QUEUED, request=whole(8), backend=BackendName("away"))

        assert planned(8, self.SMALL, live=[job], queueing=[HERE]).room == {"e1.1": 8}

    def test_room_that_is_kept_or_closed_or_of_others_is_not_idle(self) -> None:
        other = running("f1", whole(2), 2, first=4)

        assert planned(8, self.SMALL, other).room == {"e1.1": 6}
        assert planned(5, self.SMALL).room == {"e1.1": 5}
        assert planned(4, self.SMALL).room == {}

    @pytest.mark.parametrize(("limit", "size"), [(8, 8), (7, 7), (4, 0)])
    def test_it_grows_no_further_than_its_budget(self, limit: int, size: int) -> None:
        usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), Charge(), jobs=1, nodes=4)])

        made = planned(8, self.SMALL, site=project_with(Cap(resource=Metered.NODES, limit=limit)), usage=usage)

        assert made.room.get("e1.1", 0) == size

    def test_of_two_the_better_class_gets_the_idle_nodes_and_the_other_the_rest(self) -> None:
        low = running("e0", elastic(2, 8), 2, first=4, priority=WORST, roomy_us=micros(HOUR))

        made = planned(11, self.SMALL, low)

        assert made.room == {"e1.1": 8, "e0.1": 3}

    def test_in_a_partition_that_is_not_known_nothing_grows(self) -> None:
        assert planned(8, self.SMALL._replace(partition="elsewhere")).room == {}

    def test_who_grew_before_and_got_no_more_stays_as_it_is(self) -> None:
        assert planned(8, self.SMALL._replace(grew_from=4)).room == {}
        assert planned(8, self.SMALL._replace(grew_from=2)).room == {"e1.1": 8}

    def test_where_room_is_reserved_nothing_grows(self) -> None:
        kept = Reservation(
            project=ProjectName("nlp"),
            backend=HERE,
            resource=Metered.NODES,
            amount=1,
            starts_at=NOW,
            ends_at=NOW + timedelta(hours=1),
        )

        assert planned(8, self.SMALL, site=SitePolicy(reservations=(kept,))).room == {}

    def test_it_waits_while_others_of_its_project_start(self) -> None:
        assert planned(12, self.SMALL, ready=Ready().add("t1", whole())).room == {}
