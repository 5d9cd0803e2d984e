"""Loops without progress, each planted in a simulated site: every one of them ends, and is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, FaultSpec, NodeType
from elisa.engine.commands import cancel
from elisa.engine.config import Site
from elisa.model.pipeline import Gang, PriorityClass
from elisa.model.reasons import ReasonCode
from elisa.model.states import TaskState
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

from .test_preemption import HOUR, ONE_NODE

pytestmark = pytest.mark.slow

CRITICAL, LOW = PriorityClass.CRITICAL, PriorityClass.LOW


def a_world(home: Path, spec: ClusterSpec = ONE_NODE, **site: object) -> World:
    known = {"backends": {"sim": {"kind": "simulated", "window": 1}}, "projects": {"rescue": {"highest": "critical"}}}
    return World.make(home, spec=spec, site=Site.model_validate({**known, **site}))


def ticks(world: World, count: int, *, step_s: int = 300, rush_every: int = 0) -> list[str]:
    """Tick on, and return what is told of `long`; every so many ticks something urgent comes that takes the whole node."""
    notes = []
    for number in range(count):
        if rush_every and number % rush_every == 0:
            world.submit(job(f"urgent{number}", cpus=4, lasts_s=250, priority=CRITICAL), project="rescue")
        world.tick()
        world.pass_time(step_s)
        notes.append(note(world, "long") if "long" in world.states() else "")
    return notes


def spins(world: World, name: str) -> list[dict[str, Any]]:
    with Reader.open(world.home) as reader:
        rows = reader.audit(subject=world.tasks()[name].id)
    return [dict(row.facts["because"]) for row in rows if row.facts.get("reason") == ReasonCode.SPINS]  # type: ignore[call-overload]


def pauses_s(world: World, name: str) -> list[float]:
    """Return how long it was from each try to the next."""
    began = [one.intended_at for one in world.attempts(name)]
    return [(after - before).total_seconds() for before, after in pairwise(began)]


def note(world: World, name: str) -> str:
    with Reader.open(world.home) as reader:
        found = read_status(reader, world.clock.now(), everything=True)
    return next(one.note for one in found.tasks if one.row.name == name)


def test_work_that_saves_nothing_is_let_through_however_often_others_want_its_place(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", preemption={"enabled": True, "minimum_run": "0s", "times": 1000})
    world.submit(job("long", cpus=4, lasts_s=1800, walltime_s=HOUR, priority=LOW))

    told = ticks(world, 30, rush_every=2)

    assert world.states()["long"] is TaskState.SUCCEEDED
    assert len(world.attempts("long")) <= 7
    assert spins(world, "long")[0]["causes"] == "asked to leave 5x"
    assert any(
        "it came back 5 times" in one and "without getting any further (asked to leave 5x)" in one for one in told
    )
    assert any("left alone, for it came back 5 times" in one for one in told)
    assert world.tasks()["long"].failures == 0
    assert_sound(world)


def test_a_job_that_is_taken_back_from_a_queue_again_and_again_keeps_its_place(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(job("blocker", cpus=4, lasts_s=5 * HOUR, walltime_s=6 * HOUR, priority=CRITICAL), project="rescue")
    ticks(world, 2)
    world.submit(job("long", cpus=4, lasts_s=600, priority=LOW))

    for number in range(9):
        ticks(world, 1, step_s=60)
        rush = world.submit(job(f"urgent{number}", cpus=4, priority=CRITICAL), project="rescue")
        ticks(world, 1, step_s=60)
        cancel(world.workspace(), [rush])
        ticks(world, 1, step_s=60)

    assert [one.cancel_sent for one in world.attempts("long")] == [*[True] * 5, False]
    assert spins(world, "long")[0]["causes"] == "taken back from the queue 5x"
    assert "left alone" in note(world, "long")


def test_a_gang_whose_time_to_meet_is_always_too_short_comes_ever_more_rarely_and_then_whole(tmp_path: Path) -> None:
    two = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=4),), heartbeat_s=30)
    world = a_world(tmp_path / "home", two, backends={"sim": {"kind": "simulated", "window": 4}})
    world.submit(job("blocker", cpus=4, lasts_s=3 * HOUR, walltime_s=4 * HOUR))
    ticks(world, 1)
    gang = Gang(name="g", timeout_s=60)
    world.submit(*(replace(job(f"m{number}", cpus=4, lasts_s=600), gang=gang) for number in range(2)))

    ticks(world, 50)

    assert world.states() == {"blocker": TaskState.SUCCEEDED, "m0": TaskState.SUCCEEDED, "m1": TaskState.SUCCEEDED}
    first, *_, last = pauses_s(world, "m0")
    assert last >= 2 * first
    assert_sound(world)


def test_work_that_its_manager_takes_off_again_and_again_is_tried_ever_more_rarely(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", replace(ONE_NODE, faults=FaultSpec(preempt_every_s=200)))
    world.submit(job("long", cpus=4, lasts_s=20 * HOUR, walltime_s=21 * HOUR))

    ticks(world, 40)

    first, *_, last = pauses_s(world, "long")
    assert last >= 4 * first
    assert "taken off by the resource manager" in spins(world, "long")[0]["causes"]
