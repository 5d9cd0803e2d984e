"""Room kept for what cannot start yet; no promise is ever broken when jobs run as long as they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import GangRow, ProjectUsage
from elisa.model.ids import AttemptId, TaskId
from elisa.model.native import NodeView
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import Closure, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import KeptRoom, Snapshot
from tests.policies.build import (
    HERE,
    NOW,
    Ready,
    a_cluster,
    a_node,
    a_plan,
    a_request,
    a_snapshot,
    after,
    an_attempt,
    started,
)

WIDE = a_request(cpus_per_task=8, walltime_s=100)


def running(id_: str, nodes: str, ends_in_s: int, **request: Any) -> Attempt:
    walltime_s = 1000
    began = after(ends_in_s - walltime_s)
    return an_attempt(id_, nodes=nodes, started_at=began, request=a_request(walltime_s=walltime_s, **request))


def reason(made: Plan, task: str) -> Any:
    return made.reason(TaskId(task))


HALF = a_node(free_cpus=4)
OCCUPANT = running("t0.1", "n1", 60, cpus_per_task=4)


def test_a_blocked_task_is_told_when_it_can_start() -> None:
    made = a_plan(Ready().add("t1", WIDE), a_cluster(HALF), live=[OCCUPANT])

    assert reason(made, "t1").facts["starts_at"] == "2026-03-01T12:01:00+00:00"


@pytest.mark.parametrize(("ends_in_s", "starts_at"), [(60, "12:01:00"), (600, "12:02:00")])
def test_who_was_asked_to_leave_is_gone_in_a_moment(ends_in_s: int, starts_at: str) -> None:
    leaving = replace(running("t0.1", "n1", ends_in_s, cpus_per_task=4), cancel_sent=True)
    ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=121), importance=1)

    made = a_plan(ready, a_cluster(HALF), live=[leaving])

    assert started(made) == []
    assert reason(made, "t1").facts["starts_at"] == f"2026-03-01T{starts_at}+00:00"


def test_a_short_task_may_go_before_it_and_a_long_one_may_not() -> None:
    ready = Ready().add("t1", WIDE, importance=9)
    ready.add("t2", a_request(walltime_s=60), importance=2).add("t3", a_request(walltime_s=61), importance=1)

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT])

    assert started(made) == ["t2"]
    assert reason(made, "t3") == because(
        ReasonCode.RESERVED_FOR_HIGHER,
        task="t1",
        starts_at="2026-03-01T12:01:00+00:00",
        backend="here",
        partition="",
    )


def test_a_task_may_go_before_it_that_is_expected_to_be_shorter_than_it_asks_for() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=61), importance=2)
    expected = a_snapshot(ready, a_cluster(HALF), live=[OCCUPANT])
    shapes = tuple(
        shape._replace(expected_s=60.0) if shape.request.walltime_s == 61 else shape for shape in expected.shapes
    )

    assert started(plan(expected)) == []
    assert started(plan(replace(expected, shapes=shapes))) == ["t2"]


def test_a_long_task_may_go_before_it_on_what_it_does_not_need() -> None:
    ready = Ready().add("t1", a_request(cpus_per_task=7), importance=9).add("t2", a_request(walltime_s=9999))

    assert started(a_plan(ready, a_cluster(HALF), live=[OCCUPANT])) == ["t2"]


def test_without_depth_nothing_is_kept() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=9999))
    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], site=SitePolicy(backfill_depth=0))

    assert started(made) == ["t2"]
    assert "starts_at" not in reason(made, "t1").facts


def test_no_room_is_kept_for_who_begins_later_than_the_site_looks_ahead() -> None:
    def made(lookahead_s: float) -> Plan:
        ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=9999))
        return a_plan(
            ready, a_cluster(HALF), live=[OCCUPANT], site=SitePolicy(backfill_depth=1, backfill_lookahead_s=lookahead_s)
        )

    assert (started(made(60)), "starts_at" in reason(made(60), "t1").facts) == ([], True)
    assert (started(made(59)), "starts_at" in reason(made(59), "t1").facts) == (["t2"], False)


def test_with_more_depth_the_second_blocked_task_is_kept_room_for_too() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", WIDE, importance=8)
    ready.add("t3", a_request(walltime_s=61))
    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], site=SitePolicy(backfill_depth=2))

    assert [reason(made, task).facts["starts_at"][11:19] for task in ("t1", "t2")] == ["12:01:00", "12:02:40"]
    assert started(made) == []


def test_beyond_the_depth_room_is_kept_for_a_blocked_task_that_is_due() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", WIDE, importance=8, deadline_s=400)
    ready.add("t3", a_request(walltime_s=61))

    def plan_with(**site: int) -> Plan:
        return a_plan(ready, a_cluster(HALF), live=[OCCUPANT], site=SitePolicy(backfill_depth=1, **site))

    kept = plan_with(backfill_due=1)
    assert reason(kept, "t2").facts["starts_at"][11:19] == "12:02:40"
    assert "starts_at" not in reason(plan_with(), "t2").facts


def test_room_for_what_is_due_is_kept_behind_a_shape_that_was_given_up() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", WIDE, importance=8)
    ready.add("t3", WIDE, importance=7, deadline_s=900).add("t4", WIDE, importance=6, deadline_s=900)

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], site=SitePolicy(backfill_depth=1, backfill_due=1))

    assert ["starts_at" in reason(made, name).facts for name in ("t1", "t2", "t3", "t4")] == [True, False, True, False]


def test_room_that_was_kept_for_what_is_due_is_kept_again() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", WIDE, importance=8, deadline_s=900)
    site = SitePolicy(backfill_depth=1, backfill_due=1)
    kept = {
        TaskId("t1"): KeptRoom(after(60).timestamp(), ("n1",)),
        TaskId("t2"): KeptRoom(after(500).timestamp(), ("n1",)),
    }

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], site=site, promised=kept)

    assert [reason(made, name).facts["starts_at"][11:19] for name in ("t1", "t2")] == ["12:01:00", "12:02:40"]


def test_a_prediction_of_an_end_counts_until_it_is_past() -> None:
    def starts(ends_s: float) -> Any:
        ends = {AttemptId("t0.1"): NOW.timestamp() + ends_s}
        made = a_plan(Ready().add("t1", WIDE), a_cluster(HALF), live=[OCCUPANT], ends=ends)
        return reason(made, "t1").facts["starts_at"][11:19]

    assert [starts(ends_s) for ends_s in (20, -5, 500)] == ["12:00:20", "12:01:00", "12:01:00"]


def test_the_pool_where_it_starts_soonest_is_kept() -> None:
    nodes = [a_node("n1", free_cpus=0, partitions=("p",)), a_node("n2", free_cpus=0, partitions=("q",))]
    live = [running("t8.1", "n1", 90, cpus_per_task=8), running("t9.1", "n2", 30, cpus_per_task=8)]

    made = a_plan(Ready().add("t1", WIDE), a_cluster(*nodes, partitions=["p", "q"]), live=live)

    assert reason(made, "t1").facts["starts_at"][11:19] == "12:00:30"


def test_what_nobody_is_known_to_give_back_cannot_be_promised() -> None:
    stranger = running("t0.1", "elsewhere", 60, cpus_per_task=4)
    made = a_plan(Ready().add("t1", WIDE, importance=1).add("t2"), a_cluster(HALF), live=[stranger])

    assert started(made) == ["t2"]
    assert "starts_at" not in reason(made, "t1").facts


def test_a_manager_with_a_queue_does_its_own_backfill() -> None:
    ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=9999))
    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], queueing=[HERE], site=SitePolicy(default_window=1))

    assert started(made) == ["t1"]
    assert "starts_at" not in reason(made, "t2").facts


def test_gpus_and_whole_nodes_come_back_too() -> None:
    node = a_node(free_cpus=0, gpus={"a100": 2}, free_gpus=(("a100", 0),))
    for held in (a_request(2, exclusive=True), a_request(exclusive=True)):
        holder = an_attempt("t0.1", nodes="n1", started_at=after(-3000), request=held)
        for wanted in (a_request(2, ("a100",)), a_request(exclusive=True)):
            made = a_plan(Ready().add("t1", wanted), a_cluster(node), live=[holder])
            assert reason(made, "t1").facts["starts_at"][11:19] == "12:10:00"


def test_each_type_of_gpu_comes_back_as_itself() -> None:
    node = a_node(free_cpus=8, gpus={"a100": 1, "v100": 1}, free_gpus=(("a100", 0), ("v100", 0)))
    live = [
        an_attempt("t8.1", nodes="n1", started_at=after(-3000), request=a_request(1, ("a100",))),
        an_attempt("t9.1", nodes="n1", started_at=after(-2400), request=a_request(1, ("v100",))),
    ]

    for kind, starts_at in (("a100", "12:10:00"), ("v100", "12:20:00")):
        made = a_plan(Ready().add("t1", a_request(1, (kind,))), a_cluster(node), live=live)
        assert reason(made, "t1").facts["starts_at"][11:19] == starts_at


def test_room_is_kept_for_a_gang_as_a_whole() -> None:
    ready = Ready()
    ready.gangs.append(GangRow(2))
    for task in ("t1", "t2"):
        ready.add(task, WIDE, gang=0, importance=9)
    ready.add("t3", a_request(walltime_s=80)).add("t4", a_request(walltime_s=90))
    nodes = [a_node("n1", free_cpus=4), a_node("n2", free_cpus=4)]
    live = [running("t8.1", "n1", 60, cpus_per_task=4), running("t9.1", "n2", 85, cpus_per_task=4)]

    made = a_plan(ready, a_cluster(*nodes), live=live)

    assert started(made) == ["t3"]
    assert {reason(made, task).facts["starts_at"][11:19] for task in ("t1", "t2")} == {"12:01:25"}
    assert reason(made, "t4").facts["task"] == "t1"


def test_a_gang_that_could_never_be_together_keeps_no_room() -> None:
    ready = Ready()
    ready.gangs.append(GangRow(2))
    for task in ("t1", "t2"):
        ready.add(task, WIDE, gang=0, importance=9)
    made = a_plan(ready.add("t3"), a_cluster(HALF), live=[OCCUPANT])

    assert started(made) == ["t3"]


def test_nothing_runs_into_a_closure() -> None:
    closure = Closure(backend=HERE, starts_at=after(100), ends_at=after(200), nodes=("n1",))
    site = SitePolicy(closures=(closure,))
    ready = Ready().add("t1", a_request(walltime_s=100)).add("t2", a_request(walltime_s=101))

    made = a_plan(ready, site=site)

    assert started(made) == ["t1"]
    assert reason(made, "t2").code is ReasonCode.CLOSED
    assert reason(made, "t2").facts["starts_at"] == after(100).isoformat()


def test_room_that_closes_too_soon_is_no_room_while_the_rest_is_taken() -> None:
    closure = Closure(backend=HERE, starts_at=after(100), ends_at=after(200), nodes=("n1",))
    nodes = a_cluster(a_node("n1"), a_node("n2", free_cpus=0))

    made = a_plan(Ready().add("t1", a_request(walltime_s=101)), nodes, site=SitePolicy(closures=(closure,)))

    assert started(made) == []
    assert reason(made, "t1").code is ReasonCode.RESERVED_FOR_HIGHER
    assert reason(made, "t1").facts["task"] == "closure"


def test_a_closure_of_other_nodes_or_of_the_past_stops_nobody() -> None:
    closures = (
        Closure(backend=HERE, starts_at=after(-9), ends_at=after(-5)),
        Closure(backend=HERE, starts_at=after(-9), ends_at=after(500), nodes=("n2",)),
    )
    nodes = a_cluster(a_node("n1"), a_node("n2"), partitions=["p", "q"])

    made = a_plan(Ready().add("t1", WIDE).add("t2", WIDE), nodes, site=SitePolicy(closures=closures))

    assert [made.nodes(TaskId(task)) for task in started(made)] == [("n1",)]


def test_many_moments_are_thinned_to_later_ones() -> None:
    live = [running(f"r{number}.1", "n1", 10 + number, cpus_per_task=1) for number in range(900)]
    node = a_node(cpus=900, free_cpus=0)
    made = a_plan(Ready().add("t1", a_request(cpus_per_task=450, walltime_s=1)), a_cluster(node), live=live)

    starts_at = datetime.fromisoformat(reason(made, "t1").facts["starts_at"])
    assert after(459) <= starts_at <= after(459 + 8)


def test_an_earlier_promise_that_cannot_be_kept_is_made_anew() -> None:
    ready = Ready().add("t1", WIDE)

    def starts(kept: KeptRoom) -> Any:
        made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], promised={TaskId("t1"): kept})
        return reason(made, "t1").facts["starts_at"][11:19]

    for seconds, nodes in ((30, ("n1",)), (-5, ("n1",)), (90, ("n9",)), (90, ("n1", "n2"))):
        assert starts(KeptRoom(NOW.timestamp() + seconds, nodes)) == "12:01:00"


def test_a_promise_on_a_node_that_is_too_small_is_made_anew() -> None:
    nodes = [HALF, a_node("n2", cpus=4)]
    kept = {TaskId("t1"): KeptRoom(NOW.timestamp() + 90, ("n2",))}

    made = a_plan(Ready().add("t1", WIDE), a_cluster(*nodes), live=[OCCUPANT], promised=kept)

    assert reason(made, "t1").facts["nodes"] == "n1"


def test_promises_mean_nothing_to_a_manager_with_a_queue() -> None:
    kept = {TaskId("t1"): KeptRoom(NOW.timestamp() + 60, ("n1",))}
    ready = Ready().add("t1", WIDE, importance=9).add("t2", a_request(walltime_s=9999))

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], promised=kept, queueing=[HERE])

    assert started(made) == ["t1", "t2"]


def test_a_promise_counts_only_as_long_as_nobody_new_ranks_above() -> None:
    ready = Ready().add("t1", WIDE, importance=1).add("t9", WIDE, importance=9)
    kept = {TaskId("t1"): KeptRoom(NOW.timestamp() + 60, ("n1",))}

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], promised=kept, site=SitePolicy(backfill_depth=5))

    assert [reason(made, task).facts["starts_at"][11:19] for task in ("t9", "t1")] == ["12:01:00", "12:02:40"]


def test_promises_beyond_the_sites_depth_are_let_go() -> None:
    ready = Ready().add("t1", WIDE)
    kept = {TaskId("t1"): KeptRoom(NOW.timestamp() + 60, ("n1",))}

    made = a_plan(ready, a_cluster(HALF), live=[OCCUPANT], promised=kept, site=SitePolicy(backfill_depth=0))

    assert "starts_at" not in reason(made, "t1").facts


def test_each_cluster_has_a_future_of_its_own() -> None:
    far = a_cluster(a_node("m1", free_cpus=4), backend="far")
    ready = Ready().add("t1", a_request(cpus_per_task=4, walltime_s=500), importance=9).add("t2", WIDE, importance=8)
    ready.add("t3", a_request(walltime_s=499))

    made = a_plan(ready, a_cluster(HALF), far, live=[OCCUPANT])

    assert [(task, made.nodes(TaskId(task))) for task in started(made)] == [("t1", ("m1",))]
    assert reason(made, "t2").facts["starts_at"][11:19] == "12:01:00"


def test_a_job_whose_kind_of_gpu_nobody_knows_gives_back_the_nodes_own() -> None:
    node = a_node(free_cpus=8, gpus={"a100": 1}, free_gpus=(("a100", 0),))
    holder = an_attempt("t0.1", nodes="n1", started_at=after(-3000), request=a_request(1))
    lost = an_attempt("t9.1", nodes="", started_at=after(-3000), request=a_request(1))

    made = a_plan(Ready().add("t1", a_request(1, ("a100",))), a_cluster(node), live=[holder, lost])

    assert reason(made, "t1").facts["starts_at"][11:19] == "12:10:00"


jobs = st.lists(
    st.builds(
        lambda nodes, cpus, minutes, at: (a_request(nodes=nodes, cpus_per_task=cpus, walltime_s=60 * minutes), at),
        nodes=st.integers(1, 3),
        cpus=st.integers(1, 4),
        minutes=st.integers(1, 6),
        at=st.integers(0, 8),
    ),
    min_size=1,
    max_size=12,
)


class Cluster:
    """Three nodes of four cores; jobs run exactly as long as they said."""

    def __init__(self, depth: int) -> None:
        self.site = SitePolicy(order=("fifo",), backfill_depth=depth)
        self.live: list[Attempt] = []
        self.promised: dict[str, datetime] = {}
        self.started: dict[str, datetime] = {}
        self.kept: dict[TaskId, KeptRoom] = {}

    def nodes(self) -> list[NodeView]:
        names = ["n1", "n2", "n3"]
        held = dict.fromkeys(names, 0)
        for attempt in self.live:
            for name in attempt.nodes.split(","):
                held[name] += attempt.request.cpus_per_node
        assert max(held.values()) <= 4
        return [a_node(name, cpus=4, free_cpus=4 - held[name]) for name in names]

    def step(self, now: datetime, queue: Mapping[str, tuple[Resources, int]]) -> None:
        self.live = [one for one in self.live if one.started_at + timedelta(seconds=one.request.walltime_s) > now]  # type: ignore[operator]
        ready = Ready()
        for id_, (request, at) in queue.items():
            if id_ not in self.started and after(60 * at) <= now:
                ready.add(id_, request, age_s=-60.0 * at)
        made = plan(
            Snapshot.build(
                ready.columns(),
                ProjectUsage(),
                [a_cluster(*self.nodes())],
                self.live,
                self.site,
                now,
                promised=self.kept,
            )
        )
        self.note(made, now, queue)

    def note(self, made: Plan, now: datetime, queue: Mapping[str, tuple[Resources, int]]) -> None:
        self.kept = {}
        for one in made.passed_over():
            if "nodes" in one.reason.facts:
                starts_at = datetime.fromisoformat(str(one.reason.facts["starts_at"]))
                self.promised.setdefault(one.task, starts_at)
                self.kept[one.task] = KeptRoom(starts_at.timestamp(), tuple(str(one.reason.facts["nodes"]).split(",")))
        for id_ in started(made):
            self.started[id_] = now
            self.live.append(
                an_attempt(
                    f"{id_}.1",
                    AttemptState.RUNNING,
                    nodes=",".join(made.nodes(TaskId(id_))),
                    started_at=now,
                    request=queue[id_][0],
                )
            )


@pytest.mark.parametrize("depth", [1, 100])
@given(jobs=jobs)
def test_no_promised_start_is_ever_delayed_with_perfect_estimates(
    depth: int, jobs: Sequence[tuple[Resources, int]]
) -> None:
    cluster = Cluster(depth)
    queue = {
        f"t{number:02}": (request, at) for number, (request, at) in enumerate(sorted(jobs, key=lambda job: job[1]))
    }

    for minute in range(200):
        cluster.step(after(60 * minute), queue)
        if len(cluster.started) == len(queue):
            break

    assert set(cluster.started) == set(queue)
    assert {id_ for id_, promised in cluster.promised.items() if cluster.started[id_] > promised} == set()


def test_a_wide_job_does_not_starve_behind_a_stream_of_small_ones() -> None:
    cluster = Cluster(1)
    queue = {f"s{minute:03}": (a_request(cpus_per_task=2, walltime_s=180), minute) for minute in range(60)}
    queue |= {f"u{minute:03}": (a_request(cpus_per_task=3, walltime_s=300), minute) for minute in range(60)}
    queue["wide"] = (a_request(nodes=3, cpus_per_task=4, walltime_s=60), 2)

    for minute in range(60):
        cluster.step(after(60 * minute), queue)

    assert cluster.started["wide"] <= after(60 * 15)
    greedy = replace(cluster.site, backfill_depth=0)
    other = Cluster(1)
    other.site = greedy
    for minute in range(60):
        other.step(after(60 * minute), queue)
    assert "wide" not in other.started


def test_who_starts_elsewhere_is_kept_off_the_nodes_where_room_is_kept() -> None:
    nodes = (HALF, replace(HALF, name="n2", free_cpus=2))
    live = [OCCUPANT, running("t8.1", "n2", 900, cpus_per_task=6)]
    ready = Ready().add("t1", WIDE, importance=9)
    ready.add("t2", a_request(walltime_s=60)).add("t3", a_request(walltime_s=60, cpus_per_task=2))

    made = a_plan(ready, a_cluster(*nodes), live=live)

    assert [made.nodes(TaskId(task)) for task in started(made)] == [("n2",), ("n1",)]
    assert [made.kept_off(TaskId(task)) for task in started(made)] == [("n1",), ()]
