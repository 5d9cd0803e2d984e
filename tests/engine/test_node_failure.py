"""Failed nodes: what ran there is called off, and its successor waits no longer than it must; several, all, and a crash."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from elisa.engine.fence import read_fence
from elisa.engine.files import OsFiles
from elisa.model import layout
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from tests.engine.test_closures import HOUR, a_world, long, rounds
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import World

NODES = ("n0001", "n0002", "n0003", "n0004")
FENCE = timedelta(seconds=75)  # a quarter over self_fence: 60s


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = a_world(tmp_path / "home")
    world.submit(long(), job("other", lasts_s=2 * HOUR, walltime_s=3 * HOUR), job("then", after("long"), lasts_s=60))
    rounds(world, 9, 600)
    return world


def fail(world: World, *nodes: str) -> Attempt:
    """Let nodes fail, tick, and return the attempt at `long` that ended with its node."""
    world.cluster.fail_nodes(*nodes, for_s=600)
    world.tick()
    attempt = world.attempts("long")[0]
    assert attempt.end is not None
    assert (attempt.end.reason, attempt.claimed) == (EndReason.NODE_FAILURE, True)
    return attempt


def test_what_may_still_run_on_a_failed_node_is_called_off_and_its_successor_waits_until_it_has_surely_ended(
    world: World,
) -> None:
    attempt = fail(world, world.attempts("long")[0].nodes)

    assert read_fence(OsFiles(), world.home, attempt.task) == 2
    assert world.tasks()["long"].not_before == world.clock.now() + FENCE
    world.pass_time(70)
    world.tick()
    assert len(world.attempts("long")) == 1
    world.pass_time(5)
    world.tick()
    assert len(world.attempts("long")) == 2


def test_a_successor_starts_at_once_when_what_was_cut_off_says_that_it_has_stopped(world: World) -> None:
    attempt = fail(world, world.attempts("long")[0].nodes)

    world.pass_time(10)
    world.tick()
    assert len(world.attempts("long")) == 1
    layout.released(world.home, attempt.id, 0).touch()
    world.pass_time(10)
    world.tick()

    [_, second] = world.attempts("long")
    assert second.resume_from == attempt.last_checkpoint
    with Reader.open(world.home) as reader:
        words = [one.words for one in read_explanation(reader, "study/long", world.clock.now()).history]
    assert "what ran on the failed node has stopped for sure" in words
    world.run(step_s=600)
    assert world.tasks()["long"].failures == 0
    assert_sound(world)


def test_a_failed_node_touches_nothing_but_the_work_that_was_there(world: World) -> None:
    fail(world, world.attempts("long")[0].nodes)

    assert world.states() == {"long": TaskState.WAITING, "other": TaskState.ACTIVE, "then": TaskState.WAITING}
    world.run(step_s=600)
    assert {name: len(world.attempts(name)) for name in world.states()} == {"long": 2, "other": 1, "then": 1}
    assert_sound(world)


def test_all_nodes_failing_at_once_costs_nobody_a_retry_and_loses_no_more_than_what_was_not_saved(
    world: World,
) -> None:
    attempt = fail(world, *NODES)

    assert attempt.last_checkpoint is not None
    assert attempt.last_checkpoint.step > 3500  # an hour of steps of a second
    world.run(step_s=600)
    assert {name: task.failures for name, task in world.tasks().items()} == {"long": 0, "other": 0, "then": 0}
    assert world.attempts("long")[1].resume_from == attempt.last_checkpoint
    assert world.attempts("other")[1].state is AttemptState.ENDED
    assert_sound(world)
