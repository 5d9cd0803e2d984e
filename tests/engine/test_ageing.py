"""Work of a bad class that waits in a native queue behind a stream of better work, through whole ticks."""

from __future__ import annotations

from pathlib import Path

from elisa.engine.config import Site
from elisa.model.pipeline import PriorityClass
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Task
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World

from .test_preemption import HOUR, ONE_NODE


def task_of(world: World, name: str) -> Task:
    with Reader.open(world.home) as reader:
        return reader.task(world.attempts(name)[0].task)


def a_world(tmp_path: Path, aged: str) -> World:
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated", "window": 1}}, "aged": aged})
    world = World.make(tmp_path / "home", spec=ONE_NODE, site=site)
    world.submit(job("busy", cpus=4, lasts_s=HOUR, walltime_s=HOUR))
    world.tick()
    world.submit(job("old", cpus=4, lasts_s=60, walltime_s=60, priority=PriorityClass.LOW))
    world.tick()
    return world


def stream(world: World, hours: int) -> None:
    """Let two hours of better work come every hour."""
    for hour in range(hours):
        for half in range(2):
            better = job(f"b{hour}-{half}", cpus=4, lasts_s=HOUR, walltime_s=HOUR, priority=PriorityClass.HIGH)
            world.submit(better, project="rescue")
        for _ in range(3):
            world.tick()
            world.pass_time(1200)


def test_what_is_taken_back_from_a_queue_before_it_began_keeps_its_age(tmp_path: Path) -> None:
    world = a_world(tmp_path, "off")
    since = task_of(world, "old").ready_at

    stream(world, 4)

    taken_back = [one.end.reason for one in world.attempts("old") if one.end is not None]
    assert taken_back
    assert set(taken_back) == {EndReason.CANCELLED}
    assert task_of(world, "old").ready_at == since


def test_once_it_came_of_age_it_keeps_its_place_and_is_the_next(tmp_path: Path) -> None:
    world = a_world(tmp_path, "1h")

    stream(world, 6)

    last = world.attempts("old")[-1]
    assert (last.state, last.end.reason if last.end is not None else None) == (AttemptState.ENDED, EndReason.COMPLETED)


def test_without_ageing_it_never_is(tmp_path: Path) -> None:
    world = a_world(tmp_path, "off")

    stream(world, 6)

    assert all(one.started_at is None for one in world.attempts("old"))
