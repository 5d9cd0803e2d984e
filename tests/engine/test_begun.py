"""What only asks knows of jobs that began after the last tick."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.plan import preview
from elisa.model.pipeline import PriorityClass
from elisa.model.resources import Resources
from elisa.model.states import AttemptState
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World

pytestmark = pytest.mark.slow

SITE = Site.model_validate(
    {
        "backends": {"sim": {"kind": "simulated"}},
        "jobs": {"self_fence": "60s"},
        "preemption": {"enabled": True, "minimum_run": "0s"},
    }
)


@pytest.mark.parametrize("queue", [False, True])
def test_nobody_is_said_to_make_room_for_a_job_that_has_begun(tmp_path: Path, *, queue: bool) -> None:
    spec = ClusterSpec(nodes=(NodeType(name="n", count=4, cpus=4),), heartbeat_s=30, queue=queue)
    world = World.make(tmp_path / "home", spec=spec, site=SITE)
    world.submit(job("low", cpus=4, lasts_s=9000, walltime_s=10800, priority=PriorityClass.LOW))
    world.tick()
    world.pass_time(600)
    world.tick()
    wide = job("high", lasts_s=9000, priority=PriorityClass.HIGH)
    world.submit(replace(wide, resources=Resources(nodes=2, cpus_per_task=4, walltime_s=10800)))
    world.tick()
    world.pass_time(5)

    seen = preview(world.workspace())

    assert seen.decisions == ()
    assert {row.task: (row.is_queued, len(row.nodes)) for row in seen.inputs.running} == {
        world.tasks()["low"].id: (False, 1),
        world.tasks()["high"].id: (False, 2),
    }
    assert [one.state for one in seen.inputs.live] == [AttemptState.RUNNING] * 2
    with Reader.open(world.home) as reader:
        assert {one.state for one in reader.live_attempts()} == {AttemptState.RUNNING, AttemptState.SUBMITTED}
