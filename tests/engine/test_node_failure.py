"""Failed nodes: what ran there is called off, and its successor waits no longer than it must; several, all, and a crash."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

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


def test_work_that_was_finished_on_a_node_called_dead_is_not_done_again(world: World) -> None:
    """Slurm calls a job dead at once whose node was set down; its program may end in order before anybody stops it."""
    attempt = fail(world, world.attempts("long")[0].nodes)
    done = layout.done_mark(world.home, attempt.task)
    done.write_text(json.dumps({"attempt": attempt.id, "incarnation": 0, "exited": {"exit_code": 0}}))
    layout.released(world.home, attempt.id, 0).touch()

    world.run(step_s=600)

    assert world.states() == {"long": TaskState.SUCCEEDED, "other": TaskState.SUCCEEDED, "then": TaskState.SUCCEEDED}
    [_, second] = world.attempts("long")
    assert not second.claimed
    assert second.end is not None
    assert second.end.detail == "refused to start: the task is done"


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


def age(world: World, attempt: Attempt, silent_s: float) -> None:
    """Let the last sign of life of an attempt be so old by the clock of the file server, which here is the real one."""
    then = time.time() - silent_s
    for path in (layout.claim(world.home, attempt.id), *layout.event_dir(world.home, attempt.id).iterdir()):
        os.utime(path, (then, then))


def history_of(world: World, task: str) -> list[str]:
    with Reader.open(world.home) as reader:
        return [one.words for one in read_explanation(reader, f"study/{task}", world.clock.now()).history]


def test_a_dead_node_is_waited_for_from_its_last_sign_of_life_not_from_when_its_failure_was_noticed(
    world: World,
) -> None:
    attempt = fail(world, world.attempts("long")[0].nodes)

    age(world, attempt, 45)
    world.tick()
    assert len(world.attempts("long")) == 1
    age(world, attempt, 120)
    world.tick()
    assert len(world.attempts("long")) == 2
    words = [one for one in history_of(world, "long") if "silent" in one]
    assert [re.sub(r"2m\d+s", "two minutes", one) for one in words] == [
        "what ran on the failed node has been silent for two minutes, and has stopped for sure"
    ]


def test_how_long_a_dead_node_is_waited_for_is_what_its_own_agent_was_told_whatever_the_site_says_now(
    world: World,
) -> None:
    world.site = world.site.model_copy(update={"jobs": world.site.jobs.model_copy(update={"self_fence": 4})})
    attempt = fail(world, world.attempts("long")[0].nodes)

    assert world.tasks()["long"].not_before == world.clock.now() + FENCE
    age(world, attempt, 45)
    world.tick()
    assert len(world.attempts("long")) == 1


def test_the_fence_is_up_before_the_last_sign_of_life_is_looked_at(world: World) -> None:
    attempt = fail(world, world.attempts("long")[0].nodes)
    layout.fence(world.home, attempt.task).write_bytes(b"1\n")  # as if elisa had died before it raised it

    world.tick()

    assert read_fence(OsFiles(), world.home, attempt.task) == 2
    assert len(world.attempts("long")) == 1


def test_without_its_claim_and_without_its_instructions_the_site_s_own_rule_is_kept(world: World) -> None:
    layout.job_file(world.home, world.attempts("long")[0].id).write_text("[torn")
    attempt = fail(world, world.attempts("long")[0].nodes)
    layout.claim(world.home, attempt.id).unlink()

    world.pass_time(70)
    world.tick()
    assert len(world.attempts("long")) == 1
    world.pass_time(5)
    world.tick()
    assert len(world.attempts("long")) == 2


@pytest.mark.parametrize(
    ("says", "count"),
    [({"booted_at": timedelta(minutes=5)}, 2), ({"booted_at": timedelta(days=-1)}, 1), ({"is_off": True}, 2)],
    ids=["booted since", "booted before", "switched off"],
)
def test_work_goes_on_at_once_when_the_manager_says_that_its_node_is_off_or_has_booted_since(
    world: World, monkeypatch: pytest.MonkeyPatch, says: dict[str, Any], count: int
) -> None:
    attempt = fail(world, world.attempts("long")[0].nodes)
    assert attempt.started_at is not None
    if "booted_at" in says:
        says = {"booted_at": attempt.started_at + says["booted_at"]}
    view = world.cluster.cluster()
    nodes = tuple(replace(one, **says) if one.name == attempt.nodes else one for one in view.nodes)
    monkeypatch.setattr(world.cluster, "cluster", lambda: replace(view, nodes=nodes))

    world.tick()

    assert len(world.attempts("long")) == count
    proof = f"nothing runs any more on {attempt.nodes}, switched off or booted since"
    assert (proof in history_of(world, "long")) is (count == 2)


def test_managers_are_not_asked_about_nodes_unless_work_waits_for_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    look = world.cluster.cluster
    monkeypatch.setattr(world.cluster, "cluster", lambda: (asked.append("nodes"), look())[1])

    world.tick()
    assert asked == []
    fail(world, world.attempts("long")[0].nodes)
    assert asked == ["nodes"]
    layout.released(world.home, world.attempts("long")[0].id, 0).touch()
    asked.clear()
    world.tick()
    assert asked == ["nodes"]  # for the plan: it said itself that it has stopped
