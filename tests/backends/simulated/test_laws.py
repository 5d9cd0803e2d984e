from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.backends.simulated.backend import Fate
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, NativeState, Seen
from elisa.model.resources import GpuRequest
from tests.backends.simulated.conftest import World
from tests.backends.worlds import START

NODES = {"n": {"count": 3, "cpus": 4, "memory": "4GiB", "gpus": {"a100": 2}}}
PARTITIONS = {"low": {"default": True, "preemptible": True}, "high": {"priority": 2}}

seconds = st.integers(min_value=1, max_value=5000)
resources = st.fixed_dictionaries(
    {
        "nodes": st.integers(1, 3),
        "cpus_per_task": st.integers(1, 4),
        "memory_mib_per_node": st.integers(0, 4096),
        "gpus": st.builds(GpuRequest, per_node=st.integers(0, 2)),
        "walltime_s": seconds,
    }
)
steps = st.one_of(
    st.tuples(st.just("submit"), resources, seconds, st.sampled_from(["low", "high"])),
    st.tuples(st.just("advance"), seconds),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("preempt"), st.integers(0, 30)),
    st.tuples(st.just("fail_nodes"), st.integers(1, 3), seconds),
    st.tuples(st.just("fail_submit"), st.sampled_from(list(Fate))),
    st.tuples(st.just("forget"), st.integers(0, 30)),
)


def _play(world: World, step: tuple[Any, ...], number: int) -> None:
    ids = list(world.backend._cluster.jobs)
    match step:
        case ("submit", asked, length, partition):
            request = world.request("law", number, seconds=length, resources=asked, partition=partition)
            with suppress(Rejected, Unavailable, SubmitUncertain):
                world.backend.submit(request)
        case ("advance", length):
            world.clock.advance(length)
        case ("fail_nodes", index, length):
            world.backend.fail_nodes(f"n{index:04d}", for_s=length)
        case ("fail_submit", fate):
            world.backend.fail_submit(fate)
        case (("cancel" | "preempt" | "forget") as name, index) if ids:
            native_id = ids[index % len(ids)]
            getattr(world.backend, name)([native_id] if name == "cancel" else native_id)


def _assert_books_balance(world: World) -> None:
    """What is free and what running jobs hold adds up to what there is, on every node."""
    nodes = {node.name: node for node in world.backend.cluster().nodes}
    used = dict.fromkeys(nodes, 0)
    gpus = dict.fromkeys(nodes, 0)
    for job in world.backend._cluster.jobs.values():
        for name in job.node_names.split(",") if job.is_up else ():
            used[name] += job.shape.cpus
            gpus[name] += job.shape.gpus
    assert {name: node.cpus - node.free_cpus for name, node in nodes.items()} == used
    assert {name: 2 - dict(node.free_gpus)["a100"] for name, node in nodes.items()} == gpus
    assert all(node.free_memory_mib >= 0 for node in nodes.values())


def _assert_sound(world: World, ended: dict[NativeId, Seen]) -> None:
    poll = world.backend.poll(list(world.backend._cluster.jobs))
    assert isinstance(poll, Answered)
    for native_id, seen in poll.observations.items():
        if isinstance(seen, Seen):
            if native_id in ended:
                assert seen == ended[native_id], "an end was changed afterwards"
            if seen.state is NativeState.ENDED:
                ended[native_id] = seen
                assert seen.end_reason is not None
                assert seen.queued_at is not None
                assert seen.ended_at is not None
                assert seen.queued_at <= (seen.started_at or seen.queued_at) <= seen.ended_at


@given(plan=st.lists(steps, max_size=40), requeue=st.booleans())
@settings(max_examples=150)
def test_the_books_balance_whatever_happens(plan: list[tuple[Any, ...]], requeue: bool) -> None:  # noqa: FBT001
    world = World(nodes=NODES, partitions=PARTITIONS, requeue=requeue)
    ended: dict[NativeId, Seen] = {}
    for number, step in enumerate(plan, 1):
        _play(world, step, number)
        _assert_books_balance(world)
        _assert_sound(world, ended)
    # Left alone, everything comes to an end.
    world.clock.advance(10**7)
    world.backend.poll([])
    assert all(job.ended_us for job in world.backend._cluster.jobs.values())


@pytest.mark.slow
def test_a_month_of_work_takes_seconds(make: Callable[..., World]) -> None:
    world = make(
        nodes={"n": {"count": 20, "cpus": 32}},
        faults={"node_down_every": "1d", "preempt_every": "6h"},
        requeue=True,
        purge_after="60d",
    )
    ids = [
        world.backend.submit(
            world.agent_request(
                "month",
                number,
                sim_duration={"lognormal": ["2d", 0.6]},
                resources={"cpus_per_task": 8},
                job={"task": f"t{number:09d}", "checkpoint": {"interval_s": 3600}},
            )
        )
        for number in range(1, 901)
    ]
    ends = world.run_to_end(*ids)

    assert world.clock.now() > START + timedelta(days=20)
    assert {end.exit_code for end in ends} == {0}
    assert world.backend.cancel(ids[:1]) == {ids[0]: CancelOutcome.ALREADY_GONE}
