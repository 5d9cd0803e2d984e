"""Gangs whose members a queue starts one by one, through whole ticks on a simulated cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine.config import Site
from elisa.model.pipeline import Backoff, Gang, RetryPolicy, SitePlacement, TaskSpec
from elisa.model.resources import Resources
from elisa.model.states import AttemptState, TaskState
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import World

pytestmark = pytest.mark.slow

# Two nodes that are told apart by a feature; jobs of the partition `first` go before others on the second of them.
CROSSED = ClusterSpec(
    nodes=(
        NodeType(name="x", cpus=4, features=("x",), partitions=("later",)),
        NodeType(name="y", cpus=4, features=("y",), partitions=("later", "first")),
    ),
    partitions=(PartitionSpec(name="later", is_default=True), PartitionSpec(name="first", priority=10)),
    heartbeat_s=30,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    site = Site.model_validate(
        {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, "order": ["fifo"]}
    )
    return World.make(tmp_path / "home", spec=CROSSED, site=site)


def whole(name: str, node: str, *, lasts_s: int = 1800, partition: str = "later", **fields: Any) -> TaskSpec:
    """A job that takes one of the two nodes."""
    spec = job(name, lasts_s=lasts_s, **fields)
    wanted = Resources(cpus_per_task=4, walltime_s=3600, features=(node,))
    return replace(spec, resources=wanted, placement=SitePlacement(partition=partition))


def minutes(world: World, count: int) -> None:
    for _ in range(count):
        world.tick()
        world.pass_time(60)


def running(world: World, *names: str) -> list[str]:
    return [name for name in names if world.attempts(name)[-1].state is AttemptState.RUNNING]


def test_of_two_gangs_that_each_hold_what_the_other_waits_for_the_later_one_gives_way_and_both_finish(
    world: World,
) -> None:
    world.submit(whole("fill-x", "x", lasts_s=900), whole("fill-y", "y", lasts_s=600))
    minutes(world, 2)
    one, other = Gang(name="one"), Gang(name="other")
    world.submit(whole("one-x", "x", gang=one), whole("one-y", "y", gang=one))
    world.tick()
    world.submit(whole("other-x", "x", gang=other), whole("other-y", "y", gang=other, partition="first"))
    minutes(world, 15)
    assert running(world, "one-x", "one-y", "other-x", "other-y") == ["one-x", "other-y"]

    minutes(world, 5)

    assert running(world, "one-x", "one-y", "other-x", "other-y") == ["one-x", "one-y"]
    world.run(step_s=300)
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert {name: task.failures for name, task in world.tasks().items() if task.failures} == {}
    with Reader.open(world.home) as reader:
        told = read_explanation(reader, world.tasks()["other-y"].id, world.clock.now())
    assert any("its gang other had only 1 of 2 members running" in one.words for one in told.history)
    assert_sound(world)


def test_a_member_that_is_ready_once_more_but_has_no_room_is_waited_for_as_one_in_the_queue_is(tmp_path: Path) -> None:
    site = Site.model_validate(
        {
            "backends": {"sim": {"kind": "simulated"}},
            "default_window": 1,
            "jobs": {"self_fence": "60s"},
            "order": ["fifo"],
        }
    )
    spec = ClusterSpec(nodes=(NodeType(name="n", count=4, cpus=4),), heartbeat_s=30)
    world = World.make(tmp_path / "home", spec=spec, site=site)
    fails = {"exit_code": 1, "at": 0.5, "times": 1}
    later = RetryPolicy(backoff=Backoff(initial_s=300, maximum_s=300, jitter=0))
    for name in ("one", "other"):
        gang = Gang(name=name)
        failing = job(f"{name}-y", cpus=4, gang=gang, fails=fails, retry=later)
        world.submit(job(f"{name}-x", cpus=4, lasts_s=3000, gang=gang), failing)
        minutes(world, 1)
    world.submit(job("late-x", cpus=4, lasts_s=3500), job("late-y", cpus=4, lasts_s=3500))
    minutes(world, 3)
    assert running(world, "one-x", "other-x", "late-x", "late-y") == ["one-x", "other-x", "late-x", "late-y"]

    minutes(world, 8)

    assert running(world, "one-x", "other-x", "late-x", "late-y") == ["one-x", "late-x", "late-y"]
    assert len(world.attempts("one-y")) == 2
    world.run(step_s=300)
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


@pytest.mark.parametrize(("minimum", "first"), [(0, ["behind"]), (1, ["gang-y"])])
def test_when_its_time_is_up_a_gang_gives_back_what_it_holds_unless_enough_of_it_run(
    world: World, minimum: int, first: list[str]
) -> None:
    world.submit(whole("fill-x", "x", lasts_s=3000))
    minutes(world, 2)
    gang = Gang(name="g", minimum=minimum, timeout_s=600)
    world.submit(whole("gang-x", "x", gang=gang), whole("gang-y", "y", gang=gang))
    minutes(world, 1)
    world.submit(whole("behind", "y", partition="first"))

    minutes(world, 14)

    assert running(world, "gang-y", "behind") == first
    world.run(step_s=300)
    assert set(world.states().values()) == {TaskState.SUCCEEDED}


def test_a_gang_that_is_alone_waits_for_its_last_member(world: World) -> None:
    world.submit(whole("fill-x", "x", lasts_s=3000))
    minutes(world, 2)
    gang = Gang(name="g")
    world.submit(whole("gang-x", "x", gang=gang), whole("gang-y", "y", gang=gang))

    minutes(world, 20)

    assert running(world, "gang-x", "gang-y") == ["gang-y"]
    assert len(world.attempts("gang-y")) == 1


def test_a_gang_that_waits_for_a_task_which_waits_for_the_gang_gives_that_task_up_and_says_why(world: World) -> None:
    gang = Gang(name="pair")
    one = whole("one", "x", gang=gang)
    other = replace(whole("other", "y", gang=gang), needs=(after("one"),))
    world.submit(one, other, replace(whole("last", "y"), needs=(after("other"),)))

    minutes(world, 2)

    assert world.states() == {"last": TaskState.SKIPPED, "one": TaskState.ACTIVE, "other": TaskState.FAILED}
    with Reader.open(world.home) as reader:
        told = read_explanation(reader, world.tasks()["other"].id, world.clock.now())
    assert "none could begin before another: other waits for one waits for other" in told.now


def test_two_gangs_that_need_each_others_members_lose_one_task_and_no_more(world: World) -> None:
    left, right = Gang(name="left"), Gang(name="right")
    world.submit(
        whole("left-1", "x", gang=left),
        replace(whole("left-2", "x", gang=left), needs=(after("right-1"),)),
        whole("right-1", "y", gang=right),
        replace(whole("right-2", "y", gang=right), needs=(after("left-1"),)),
    )

    world.run(step_s=600)

    assert sorted(state.value for state in world.states().values()) == ["failed", "succeeded", "succeeded", "succeeded"]


def test_a_gang_whose_threshold_is_reached_waits_for_nobody(world: World) -> None:
    gang = Gang(name="pair", minimum=1)
    world.submit(whole("one", "x", gang=gang), replace(whole("other", "y", gang=gang), needs=(after("one"),)))

    world.run(step_s=600)

    assert set(world.states().values()) == {TaskState.SUCCEEDED}


def test_the_last_member_starts_alone_when_all_others_have_finished(tmp_path: Path) -> None:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30, queue=False)
    world = World.make(tmp_path / "home", spec=spec)
    gang = Gang(name="loose", minimum=2)
    world.submit(*(job(f"m{number}", cpus=4, lasts_s=600, gang=gang) for number in range(3)))

    world.run(step_s=300, ticks=20)

    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


def test_members_that_succeeded_count_towards_the_threshold_of_those_that_still_run(tmp_path: Path) -> None:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30, queue=False)
    world = World.make(tmp_path / "home", spec=spec)
    gang = Gang(name="loose", minimum=2, timeout_s=300)
    world.submit(
        job("quick", cpus=4, lasts_s=900, gang=gang),
        job("slow", cpus=4, lasts_s=3000, gang=gang),
        job("third", cpus=4, lasts_s=600, gang=gang),
    )

    world.run(step_s=300, ticks=20)

    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert {name: len(world.attempts(name)) for name in ("quick", "slow", "third")} == {
        "quick": 1,
        "slow": 1,
        "third": 1,
    }
