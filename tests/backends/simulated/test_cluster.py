from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from elisa.backends.conformance import attempt
from elisa.model.errors import Rejected, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Gone, NativeState, NodeState
from elisa.model.resources import GpuRequest
from elisa.model.states import EndReason
from tests.backends.simulated.conftest import World
from tests.backends.worlds import START

Make = Callable[..., World]
ONE_NODE = {"nodes": {"n": {"cpus": 4, "memory": "8GiB"}}}


def test_jobs_queue_for_cores_and_start_when_others_end(make: Make) -> None:
    world = make(**ONE_NODE)
    first = world.backend.submit(world.request("first", seconds=100, resources={"cpus_per_task": 3}))
    second = world.backend.submit(world.request("second", seconds=50, resources={"cpus_per_task": 2}))
    states = [world.seen(native_id).state for native_id in (first, second)]
    waiting = world.seen(second)
    ends = world.run_to_end(first, second)

    assert states == [NativeState.RUNNING, NativeState.QUEUED]
    assert (waiting.detail, waiting.started_at) == ("Resources", None)
    assert [one.ended_at for one in ends] == [START + timedelta(seconds=100), START + timedelta(seconds=150)]


def test_a_small_job_passes_a_large_one_that_does_not_fit(make: Make) -> None:
    world = make(**ONE_NODE)
    names = {"running": 3, "large": 4, "small": 1}
    ids = [world.backend.submit(world.request(n, resources={"cpus_per_task": c})) for n, c in names.items()]

    assert [world.seen(native_id).state for native_id in ids] == [
        NativeState.RUNNING, NativeState.QUEUED, NativeState.RUNNING,
    ]  # fmt: skip


def test_a_higher_priority_starts_first(make: Make) -> None:
    world = make(**ONE_NODE)
    whole = {"cpus_per_task": 4}
    world.backend.submit(world.request("running", seconds=10, resources=whole))
    low = world.backend.submit(world.request("low", seconds=10, resources=whole))
    high = world.backend.submit(world.request("high", seconds=10, resources=whole, priority=5))
    low_seen, high_seen = world.run_to_end(low, high)

    assert (high_seen.started_at, low_seen.started_at) == (START + timedelta(seconds=10), START + timedelta(seconds=20))


def test_many_nodes_memory_gpus_features_and_licences_are_all_looked_at(make: Make) -> None:
    nodes = {
        "a": {"count": 2, "cpus": 4, "memory": "8GiB", "features": ["ib", "old"]},
        "g": {"count": 2, "cpus": 4, "memory": "8GiB", "gpus": {"a100": 2}, "gpu_memory": "40GiB", "features": ["ib"]},
    }
    world = make(nodes=nodes, licences={"matlab": 1})
    asked: dict[str, dict[str, Any]] = {
        "two nodes": {"nodes": 2, "memory_mib_per_node": 8192},
        "gpus": {"gpus": GpuRequest(per_node=2, types=("h100", "a100"), memory_mib=40960)},
        "any gpu": {"gpus": GpuRequest(per_node=1)},
        "feature": {"features": ("old",)},
        "constraint": {"constraint": "new|ib&old"},
        "licence": {"licences": (("matlab", 1),)},
        "second licence": {"licences": (("matlab", 1),)},
        "exclusive": {"exclusive": True},
    }
    ids = {name: world.backend.submit(world.request(name, resources=what)) for name, what in asked.items()}
    placed = {name: world.seen(native_id).nodes for name, native_id in ids.items()}

    assert placed == {
        "two nodes": "a0001,a0002",
        "gpus": "g0001",
        "any gpu": "g0002",
        "feature": "a0001",
        "constraint": "a0001",
        "licence": "a0001",
        "second licence": "",
        "exclusive": "",
    }
    assert world.backend.cluster().licences == {"matlab": 0}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"resources": {"cpus_per_task": 5}}, "Requested node configuration is not available"),
        ({"resources": {"nodes": 2}}, "Requested node configuration is not available"),
        ({"resources": {"gpus": GpuRequest(per_node=1)}}, "Requested node configuration is not available"),
        ({"resources": {"features": ("ib",)}}, "Requested node configuration is not available"),
        ({"resources": {"walltime_s": 3601}, "partition": "short"}, "PartitionTimeLimit"),
        ({"partition": "nowhere"}, "invalid partition name specified"),
        ({"exclude_nodes": ("n0001",)}, "Requested node configuration is not available"),
    ],
)
def test_what_can_never_run_is_rejected(change: dict[str, Any], why: str, make: Make) -> None:
    world = make(**ONE_NODE, partitions={"batch": {"default": True}, "short": {"max_walltime": "1h"}})
    with pytest.raises(Rejected) as caught:
        world.backend.submit(world.request("impossible", **change))

    assert caught.value.why == why


def test_a_full_queue_is_back_pressure(make: Make) -> None:
    world = make(**ONE_NODE, partitions={"batch": {"max_queued": 1}})
    whole = {"cpus_per_task": 4}
    for name in ("running", "queued"):
        world.backend.submit(world.request(name, resources=whole))
        world.backend.poll([])

    with pytest.raises(Unavailable):
        world.backend.submit(world.request("one too many", resources=whole))


def test_a_job_waits_for_what_others_of_the_site_have_queued_before_it(make: Make) -> None:
    world = make(**ONE_NODE, partitions={"batch": {"wait": "10m"}})
    native_id = world.backend.submit(world.request("patient", seconds=60))
    queued = world.seen(native_id)
    (seen,) = world.run_to_end(native_id)

    assert (queued.state, queued.detail) == (NativeState.QUEUED, "BeginTime")
    assert (seen.started_at, seen.ended_at) == (START + timedelta(minutes=10), START + timedelta(minutes=11))


def test_a_successor_starts_when_its_predecessor_succeeds_and_is_cancelled_when_it_fails(make: Make) -> None:
    world = make(**ONE_NODE)
    good = world.backend.submit(world.request("good", seconds=10))
    bad = world.backend.submit(world.request("bad", seconds=10, environment=(("SIM_EXIT", "1"),)))
    after_good = world.backend.submit(world.request("after good", seconds=10, after=(good,)))
    after_bad = world.backend.submit(world.request("after bad", seconds=10, after=(good, bad)))
    waiting = world.seen(after_good)
    good_end, bad_end = world.run_to_end(after_good, after_bad)

    assert waiting.detail == "Dependency"
    assert (good_end.started_at, good_end.end_reason) == (START + timedelta(seconds=10), EndReason.COMPLETED)
    assert (bad_end.started_at, bad_end.end_reason, bad_end.detail) == (
        None, EndReason.CANCELLED, "DependencyNeverSatisfied",
    )  # fmt: skip


def test_a_faster_node_ends_a_job_sooner(make: Make) -> None:
    world = make(nodes={"n": {"speed": 2}})

    assert world.run_to_end(world.backend.submit(world.request("fast", seconds=100)))[0].ended_at == START + timedelta(
        seconds=50
    )


def test_a_job_of_a_higher_partition_pushes_out_the_youngest_preemptible_ones(make: Make) -> None:
    partitions = {"low": {"default": True, "preemptible": True}, "high": {"priority": 10}}
    world = make(**ONE_NODE, partitions=partitions)
    old = world.backend.submit(world.request("old", resources={"cpus_per_task": 2}))
    world.clock.advance(5)
    young = world.backend.submit(world.request("young", resources={"cpus_per_task": 2}))
    world.clock.advance(5)
    urgent = world.backend.submit(world.request("urgent", partition="high", resources={"cpus_per_task": 2}, seconds=10))
    young_end, urgent_end = world.run_to_end(young, urgent)

    assert (young_end.end_reason, young_end.ended_at) == (EndReason.PREEMPTED, START + timedelta(seconds=11))
    assert urgent_end.started_at == START + timedelta(seconds=11)
    assert world.seen(old).state is NativeState.RUNNING


def test_nobody_is_pushed_out_in_vain(make: Make) -> None:
    partitions = {"low": {"preemptible": True}, "firm": {}, "high": {"priority": 10}}
    world = make(**ONE_NODE, partitions=partitions)
    firm = world.backend.submit(world.request("firm", partition="firm", resources={"cpus_per_task": 2}))
    low = world.backend.submit(world.request("low", partition="low", resources={"cpus_per_task": 2}))
    world.backend.submit(world.request("urgent", partition="high", resources={"cpus_per_task": 4}))
    world.clock.advance(60)

    assert [world.seen(native_id).state for native_id in (firm, low)] == [NativeState.RUNNING] * 2


def test_a_cancelled_job_leaves_within_its_grace(make: Make) -> None:
    world = make(**ONE_NODE)
    running = world.backend.submit(world.request("running", grace_s=30.0, resources={"cpus_per_task": 4}))
    queued = world.backend.submit(world.request("queued", resources={"cpus_per_task": 4}))
    world.clock.advance(10)

    assert world.backend.cancel([queued, running]) == {queued: CancelOutcome.ASKED, running: CancelOutcome.ASKED}
    running_end, queued_end = world.run_to_end(running, queued)
    assert (running_end.ended_at, running_end.signal) == (START + timedelta(seconds=11), 15)
    assert (queued_end.ended_at, queued_end.started_at) == (START + timedelta(seconds=10), None)
    assert {running_end.end_reason, queued_end.end_reason} == {EndReason.CANCELLED}


def test_a_job_that_ends_before_its_cancellation_takes_effect_has_completed(make: Make) -> None:
    world = make(**ONE_NODE)
    native_id = world.backend.submit(world.request("racing", seconds=10))
    world.clock.advance(9.5)
    world.backend.cancel([native_id])

    assert world.run_to_end(native_id)[0].end_reason is EndReason.COMPLETED


def test_too_much_memory_ends_a_job_and_more_lets_it_pass(make: Make) -> None:
    world = make(**ONE_NODE)
    needs = (("SIM_MEMORY", "2000"),)
    small = world.backend.submit(world.request("m", 1, environment=needs, resources={"memory_mib_per_node": 1000}))
    large = world.backend.submit(world.request("m", 2, environment=needs, resources={"memory_mib_per_node": 2000}))
    small_end, large_end = world.run_to_end(small, large)

    assert (small_end.end_reason, small_end.signal, large_end.end_reason) == (
        EndReason.OUT_OF_MEMORY, 9, EndReason.COMPLETED,
    )  # fmt: skip


def test_ended_jobs_are_forgotten_after_a_while_but_their_names_are_known_to_accounting(make: Make) -> None:
    for accounting in (True, False):
        world = make(**ONE_NODE, purge_after="5m", accounting=accounting)
        native_id = world.backend.submit(world.request("old", seconds=1))
        world.clock.advance(300)
        assert world.seen(native_id).end_reason is EndReason.COMPLETED
        world.clock.advance(2)

        assert world.backend.poll([native_id]) == Answered(observations={native_id: Gone(native_id=native_id)})
        found = world.backend.find([attempt("old")]).ids[attempt("old")]
        assert found == ((native_id,) if accounting else ())


def test_ids_come_again_where_the_cluster_reuses_them(make: Make) -> None:
    world = make(**ONE_NODE, reuse_ids=3)
    ids = []
    for number in range(1, 7):
        ids.append(world.backend.submit(world.request("again", number, seconds=1 if number != 2 else 10**5)))
        world.clock.advance(10)

    # The second still runs: its number is passed over.
    assert ids == ["1", "2", "3", "1", "3", "1"]
    assert world.seen(NativeId("2")).state is NativeState.RUNNING


def test_a_failed_node_takes_its_jobs_along_and_comes_back(make: Make) -> None:
    world = make(nodes={"n": {"count": 2, "cpus": 4}})
    lost, kept = (world.backend.submit(world.request(name, resources={"cpus_per_task": 4})) for name in ("a", "b"))
    world.backend.fail_nodes("n0001", for_s=600)
    seen = world.seen(lost)

    assert (seen.end_reason, seen.detail, seen.exit_code, seen.signal) == (
        EndReason.NODE_FAILURE, "n0001 failed", None, None,
    )  # fmt: skip
    assert world.seen(kept).state is NativeState.RUNNING
    assert [node.state for node in world.backend.cluster().nodes] == [NodeState.DOWN, NodeState.UP]
    world.clock.advance(600)
    assert [node.state for node in world.backend.cluster().nodes] == [NodeState.UP, NodeState.UP]


def test_a_cluster_that_requeues_starts_a_job_again_under_its_id(make: Make) -> None:
    world = make(**ONE_NODE, requeue=True)
    native_id = world.backend.submit(world.request("again", seconds=100))
    world.clock.advance(50)
    world.backend.fail_nodes("n0001", for_s=5)
    requeued = world.seen(native_id)
    (seen,) = world.run_to_end(native_id)

    assert (requeued.state, requeued.restarts) == (NativeState.QUEUED, 1)
    assert (seen.restarts, seen.ended_at) == (1, START + timedelta(seconds=160))


def test_nothing_happens_on_an_idle_cluster(make: Make) -> None:
    world = make(**ONE_NODE, faults={"node_down_every": "1h"})

    assert world.backend.next_event_at() is None
