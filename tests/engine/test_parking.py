"""Work that saves and parks when its project's budget is used up, and wakes when there is room; through whole ticks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elisa.engine.config import Site
from elisa.engine.loop import until_idle
from elisa.model.pipeline import PriorityClass
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.report.explain import read_explanation
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.engine.test_closures import a_world, long, minutes, rounds
from tests.reliability.invariants import assert_sound
from tests.reliability.world import World


def rules(budget: float, **of_project: Any) -> Site:
    return Site.model_validate(
        {
            "backends": {"sim": {"kind": "simulated"}},
            "jobs": {"self_fence": "60s"},
            "projects": {"nlp": {"budget": {"cpu_hours": budget}, **of_project}},
        }
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two tasks of four cores, six hours asked for and four needed, over a budget that has room for both."""
    world = a_world(tmp_path / "home")
    world.site = rules(100)
    world.submit(long("low", priority=PriorityClass.LOW), long("high", priority=PriorityClass.HIGH))
    rounds(world, 7, 600)
    assert set(world.states().values()) == {TaskState.ACTIVE}
    return world


def note(world: World, name: str) -> str:
    with Reader.open(world.home) as reader:
        (told,) = [one.note for one in read_status(reader, world.clock.now()).tasks if one.row.name == name]
        assert told in read_explanation(reader, f"study/{name}", world.clock.now()).now
    return told


@pytest.mark.slow
def test_a_budget_that_was_cut_parks_the_lower_class_with_what_it_saved_and_wakes_it_when_there_is_room(
    world: World,
) -> None:
    world.site = rules(30)  # 48 are reserved, 24 of them for each
    rounds(world, 1, 600)
    still_going = len(world.attempts("low")), world.states()["low"]
    minutes(world, 13)

    [parked] = world.attempts("low")
    assert still_going == (1, TaskState.ACTIVE)  # 30 - 24 = 6 core hours: an hour and a half on four cores
    assert (parked.end and parked.end.reason, parked.cancel_sent) == (EndReason.CANCELLED, True)
    assert parked.ended_at is not None
    assert parked.started_at is not None
    assert timedelta(minutes=75) < parked.ended_at - parked.started_at < timedelta(minutes=90)
    assert parked.last_checkpoint is not None
    assert note(world, "low").startswith(f"parked at step {parked.last_checkpoint.step}: project nlp has ")
    rounds(world, 12, 600)
    assert len(world.attempts("low")) == 1

    world.site = rules(100)
    minutes(world, 2)

    [_, woken] = world.attempts("low")
    assert woken.resume_from == parked.last_checkpoint
    world.run(step_s=600)
    assert world.tasks()["low"].failures == 0
    assert (len(world.attempts("low")), len(world.attempts("high"))) == (2, 1)
    assert_sound(world)


@pytest.mark.slow
def test_what_others_give_back_wakes_it_too_and_nothing_is_parked_twice(world: World) -> None:
    world.site = rules(40)
    rounds(world, 60, 600)

    # `high` asked for 24 core hours and used 16: with those 8 and its own rest `low` has the 24 that it asks for.
    assert {name: len(world.attempts(name)) for name in world.states()} == {"low": 1, "high": 1}
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


@pytest.mark.slow
def test_a_cap_on_what_is_used_at_once_parks_at_once_and_wakes_when_others_are_through(world: World) -> None:
    world.site = rules(100, at_once={"cpus": 4})
    minutes(world, 4)

    assert world.states() == {"high": TaskState.ACTIVE, "low": TaskState.READY}
    assert "project nlp uses 4 cpus of the 4 it may use at once" in note(world, "low")
    world.run(step_s=600)
    assert {name: len(world.attempts(name)) for name in world.states()} == {"low": 2, "high": 1}
    assert world.attempts("low")[1].started_at >= world.attempts("high")[0].ended_at
    assert_sound(world)


@pytest.mark.slow
def test_work_that_may_not_be_preempted_or_saves_nothing_goes_on(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(long("firm", preemptible=False), long("rash", saves_every_s=None))
    minutes(world, 3)

    world.site = rules(1)
    minutes(world, 4)

    assert [world.attempts(name)[0].state for name in ("firm", "rash")] == [AttemptState.RUNNING] * 2
    assert not any(world.attempts(name)[0].cancel_sent for name in ("firm", "rash"))


@pytest.mark.slow
def test_simulated_time_stops_where_something_has_to_park(world: World) -> None:
    world.site = rules(30)

    until_idle(world.workspace())

    [parked] = world.attempts("low")
    assert parked.ended_at is not None
    assert parked.started_at is not None
    assert parked.ended_at - parked.started_at < timedelta(minutes=90)
    assert world.states() == {"high": TaskState.SUCCEEDED, "low": TaskState.READY}
