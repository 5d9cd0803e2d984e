"""Work that can use more GPUs of a node or fewer: how many it gets, gives back, and comes to rest with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.columns import RunningRow
from elisa.model.decisions import Resize
from elisa.model.ids import AttemptId, TaskId
from elisa.model.native import ClusterView, NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Elastic, GpuRequest, Resources
from elisa.model.site import Cap, Metered, SitePolicy
from elisa.model.states import AttemptState
from elisa.policies.elastic import size_of, sized, sizes_above, spare_of
from elisa.policies.plan import Plan
from elisa.report.words import in_words
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, an_attempt, started
from tests.policies.test_elastic import NORMAL, WORST, project_with
from tests.policies.test_resizing import HOUR, micros, running

KIND = "a100"


def gpus(least: int, most: int, *, step: int = 1, kind: str = KIND, **fields: Any) -> Resources:
    wanted = GpuRequest(per_node=least, types=(kind,) if kind else ())
    return replace(a_request(elastic=Elastic(least=least, most=most, step=step, of_gpus=True), **fields), gpus=wanted)


def fixed(count: int, *, nodes: int = 1) -> Resources:
    return replace(a_request(nodes=nodes), gpus=GpuRequest(per_node=count, types=(KIND,)))


def machine(*free: int, count: int = 8, cpus: int = 32) -> ClusterView:
    """Return a cluster of nodes with eight GPUs each, of which so many are free."""
    return a_cluster(*(_node(number, left, count, cpus) for number, left in enumerate(free)), partitions=["main"])


def _node(number: int, free: int, count: int = 8, cpus: int = 32) -> NodeView:
    return a_node(f"n{number:02}", cpus=cpus, gpus={KIND: count}, free_gpus=((KIND, free),))


def holding(task: str, request: Resources, count: int, *, node: int = 0, **fields: Any) -> RunningRow:
    row = running(task, request, request.nodes, first=node, **fields)
    return row._replace(request=sized(row.request, count) if row.request.elastic else row.request)


def planned(*free: int, rows: tuple[RunningRow, ...] = (), ready: Ready | None = None, **extra: Any) -> Plan:
    return a_plan(ready or Ready(), machine(*free), running=rows, **extra)


def resizes(made: Plan) -> dict[str, int]:
    return {one.attempt: one.size for one in made.decisions if isinstance(one, Resize)}


class TestStarting:
    @pytest.mark.parametrize(("free", "given"), [(2, 2), (5, 5), (8, 6)])
    def test_it_gets_what_is_free_within_its_bounds_and_pays_for_it(self, free: int, given: int) -> None:
        made = planned(free, ready=Ready().add("t1", gpus(2, 6)))

        assert made.request(TaskId("t1")).gpus == GpuRequest(per_node=given, types=(KIND,))
        assert made.charge(TaskId("t1")).gpu_s == given * HOUR
        assert in_words(made.decisions[0].reason).endswith(f"with {given} of 2 to 6 gpus")

    def test_with_less_than_the_least_it_waits(self) -> None:
        made = planned(1, 1, ready=Ready().add("t1", gpus(2, 8)))

        assert (started(made), made.reason(TaskId("t1")).code) == ([], ReasonCode.NO_ROOM)

    def test_it_goes_where_most_are_free_though_its_least_fits_a_tighter_node(self) -> None:
        made = planned(2, 7, ready=Ready().add("t1", gpus(2, 8)))

        assert (made.nodes(TaskId("t1")), made.request(TaskId("t1")).gpus.per_node) == (("n01",), 7)

    def test_one_whose_node_is_full_keeps_no_other_from_more(self) -> None:
        made = planned(2, 4, ready=Ready().add("t1", gpus(2, 4)).add("t2", gpus(2, 4)))

        assert [made.request(TaskId(one)).gpus.per_node for one in ("t1", "t2")] == [2, 4]

    def test_what_it_leaves_for_a_node_with_more_is_there_for_others_in_the_next_plan(self) -> None:
        nodes = (_node(0, 2), replace(_node(1, 7), free_cpus=16))
        ready = Ready().add("t1", gpus(2, 8), importance=9).add("t2", Resources(cpus_per_task=32))

        made = a_plan(ready, a_cluster(*nodes), site=SitePolicy(backfill_depth=0))

        assert (started(made), made.nodes(TaskId("t1"))) == (["t1"], ("n01",))
        assert made.reason(TaskId("t2")).code is ReasonCode.NO_ROOM

    def test_only_multiples_of_its_step_will_do(self) -> None:
        made = planned(7, ready=Ready().add("t1", gpus(2, 8, step=2)))

        assert made.request(TaskId("t1")).gpus.per_node == 6
        assert sizes_above(gpus(2, 8, step=2)) == (8, 6, 4)

    def test_others_of_its_class_come_before_more_than_its_least(self) -> None:
        made = planned(8, ready=Ready().add("t1", gpus(2, 8), importance=9).add("t2", fixed(3)))

        assert (started(made), made.request(TaskId("t1")).gpus.per_node) == (["t1", "t2"], 5)

    def test_it_gets_no_more_than_its_budget(self) -> None:
        site = project_with(Cap(resource=Metered.GPUS, limit=5))

        assert planned(8, ready=Ready().add("t1", gpus(2, 8)), site=site).request(TaskId("t1")).gpus.per_node == 5

    def test_as_long_as_one_of_its_class_waits_in_the_queue_it_keeps_to_its_least(self) -> None:
        job = an_attempt("q1.1", AttemptState.QUEUED, request=fixed(8))

        made = planned(6, ready=Ready().add("t1", gpus(2, 8)), live=[job], queueing=[HERE])

        assert made.request(TaskId("t1")).gpus.per_node == 2

    def test_any_type_will_do_if_none_is_named(self) -> None:
        made = planned(4, ready=Ready().add("t1", gpus(2, 8, kind="")))

        assert made.request(TaskId("t1")).gpus == GpuRequest(per_node=4, types=(KIND,))

    def test_gpus_draw_in_proportion_and_the_rest_of_the_node_does_not(self) -> None:
        asked = gpus(2, 8, watts=100, gpu_watts=500)

        assert sized(asked, 6) == replace(asked, gpus=replace(asked.gpus, per_node=6), gpu_watts=1500)


class TestShrinking:
    WIDE = holding("e1", gpus(2, 8), 8)

    def test_it_gives_back_what_is_more_than_its_least(self) -> None:
        made = planned(0, rows=(self.WIDE,), ready=Ready().add("t1", fixed(6)))

        assert made.decisions == (
            Resize(
                attempt=AttemptId("e1.1"),
                size=2,
                reason=because(ReasonCode.SHRINKS, task="t1", was=8, size=2, of="gpus"),
                beneficiary=TaskId("t1"),
            ),
        )
        assert "on fewer gpus than 8, 2 or more" in in_words(made.decisions[0].reason)

    @pytest.mark.parametrize(("asked", "rank"), [(7, NORMAL), (6, WORST)])
    def test_nobody_is_asked_for_what_would_not_be_enough_or_one_of_a_worse_class(self, asked: int, rank: int) -> None:
        assert resizes(planned(0, rows=(self.WIDE,), ready=Ready().add("t1", fixed(asked), priority=rank))) == {}

    def test_cores_and_memory_are_not_given_back(self) -> None:
        part = spare_of(self.WIDE, ())

        assert part is not None
        assert (part.request.cpus, part.request.memory_mib, part.request.gpu_count) == (0, 0, 6)
        assert spare_of(holding("e1", gpus(2, 8), 2), ()) is None

    def test_who_needs_the_cores_of_the_node_is_not_helped(self) -> None:
        wide = holding("e1", gpus(2, 8, cpus_per_task=30), 8)
        node = a_node("n00", cpus=32, free_cpus=2, gpus={KIND: 8}, free_gpus=((KIND, 0),))
        ready = Ready().add("t1", replace(fixed(4), cpus_per_task=8))

        assert resizes(a_plan(ready, a_cluster(node, partitions=["main"]), running=(wide,))) == {}


class TestGrowing:
    SMALL = holding("e1", gpus(2, 8, walltime_s=9 * HOUR), 2, roomy_us=micros(HOUR))

    def test_it_grows_on_its_own_node(self) -> None:
        made = planned(4, rows=(self.SMALL,))

        assert made.decisions == (
            Resize(
                attempt=AttemptId("e1.1"),
                size=6,
                reason=because(ReasonCode.GROWS, was=2, size=6, of="gpus", idle_s=HOUR),
            ),
        )

    def test_it_moves_to_a_node_with_more(self) -> None:
        assert planned(1, 7, rows=(self.SMALL,)).room == {"e1.1": 7}

    def test_what_one_grows_into_is_not_there_for_another_and_what_it_leaves_is(self) -> None:
        other = holding("e2", gpus(2, 8, walltime_s=9 * HOUR), 2, node=1, priority=WORST, roomy_us=micros(HOUR))

        assert planned(1, 6, rows=(self.SMALL, other)).room == {"e1.1": 6, "e2.1": 3}

    def test_with_all_that_it_can_use_or_no_room_it_stays(self) -> None:
        assert planned(8, rows=(holding("e1", gpus(2, 2), 2),)).room == {}
        assert planned(0, 2, rows=(self.SMALL,)).room == {}
        assert size_of(self.SMALL) == 2

    def test_it_grows_no_further_than_its_budget(self) -> None:
        site = project_with(Cap(resource=Metered.GPU_S, limit=4 * 9 * HOUR))

        assert planned(6, rows=(self.SMALL,), site=site).room == {"e1.1": 5}
