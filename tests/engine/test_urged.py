"""What urgent work waits for is urgent, through whole ticks on a simulated cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from elisa.model.pipeline import PriorityClass
from elisa.model.states import AttemptState, TaskState
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from tests.reliability.specs import after, job
from tests.reliability.world import World

from .test_preemption import HOUR, a_world, minutes, rush

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_world(tmp_path / "home")


def chain(world: World, priority: PriorityClass = PriorityClass.CRITICAL, project: str = "rescue") -> None:
    """Submit work of the lowest class that urgent work waits for."""
    first = job("first", cpus=4, lasts_s=HOUR, priority=PriorityClass.SCAVENGER)
    world.submit(first, job("second", after("first"), cpus=4, priority=priority), project=project)


def test_what_critical_work_waits_for_goes_before_other_work_and_says_why(world: World) -> None:
    world.submit(job("other", cpus=4))
    chain(world)

    minutes(world, 2)

    assert [world.attempts(name)[0].state for name in ("first", "other")] == [AttemptState.RUNNING, AttemptState.QUEUED]
    with Reader.open(world.home) as reader:
        told = read_explanation(reader, world.tasks()["first"].id, world.clock.now())
    second = world.tasks()["second"].id
    assert any(f"as urgent as {second}, which waits for it" in one.words for one in told.history)


def test_nobody_rises_above_what_the_project_may_use(world: World) -> None:
    world.submit(job("other", cpus=4, priority=PriorityClass.CRITICAL), project="rescue")
    chain(world, PriorityClass.HIGH, project="nlp")  # the highest that it may use

    minutes(world, 2)

    assert world.attempts("other")[0].state is AttemptState.RUNNING


def test_what_critical_work_waits_for_is_not_asked_to_leave_for_other_critical_work(world: World) -> None:
    chain(world)
    minutes(world, 15)
    rush(world)

    minutes(world, 3)

    assert [one.state for one in world.attempts("first")] == [AttemptState.RUNNING]
    assert world.states()["second"] is TaskState.WAITING
