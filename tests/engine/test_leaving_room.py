"""What work that was asked to leave gives back bit by bit is there for whom it makes room, not for who comes behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.model.pipeline import PriorityClass, TaskSpec
from elisa.model.resources import Resources
from elisa.model.states import TaskState
from tests.reliability.specs import job
from tests.reliability.world import World

pytestmark = pytest.mark.slow

SITE = Site.model_validate(
    {
        "backends": {"sim": {"kind": "simulated"}},
        "jobs": {"self_fence": "60s", "grace": "5m"},
        "preemption": {"enabled": True, "minimum_run": "0s"},
        "projects": {"nlp": {"highest": "critical"}},
    }
)


def saving(name: str, save_s: int) -> TaskSpec:
    one = job(name, cpus=4, lasts_s=20000, walltime_s=28800, saves_every_s=600, priority=PriorityClass.LOW)
    return replace(one, metadata=(*one.metadata, ("sim_save", json.dumps(save_s))))


def test_nobody_begins_on_what_the_first_of_two_has_left_while_the_second_still_saves(tmp_path: Path) -> None:
    spec = ClusterSpec(nodes=(NodeType(name="n", count=2, cpus=4),), heartbeat_s=30, queue=False)
    world = World.make(tmp_path / "home", spec=spec, site=SITE)
    world.submit(saving("fast", 1), saving("slow", 200))
    world.tick()
    world.pass_time(900)
    world.tick()
    wide = job("wide", lasts_s=600, priority=PriorityClass.CRITICAL)
    short = [job(f"short{number}", cpus=4, lasts_s=900, walltime_s=1200) for number in range(3)]
    world.submit(replace(wide, resources=Resources(nodes=2, cpus_per_task=4, walltime_s=3600)), *short)

    for _ in range(5):
        world.tick()
        world.pass_time(60)

    assert world.states() == {
        **dict.fromkeys(("fast", "slow", "short0", "short1", "short2"), TaskState.READY),
        "wide": TaskState.ACTIVE,
    }
