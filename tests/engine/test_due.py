"""What a deadline makes of the order, through whole ticks on a simulated cluster."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from elisa.engine.config import Site
from elisa.engine.submit import submit
from elisa.model.ids import ProjectName
from elisa.model.needs import Need
from elisa.model.pipeline import Pipeline
from elisa.model.states import AttemptState
from elisa.model.task import TaskSpec
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World

from .test_preemption import HOUR, ONE_NODE


@pytest.fixture
def world(tmp_path: Path) -> World:
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})
    return World.make(tmp_path / "home", spec=ONE_NODE, site=site)


def due(world: World, name: str, hours: int, *tasks: TaskSpec) -> None:
    workspace = world.workspace()
    deadline = workspace.clock.now() + timedelta(hours=hours)
    submit(workspace, Pipeline(name=name, project=ProjectName("nlp"), tasks=tasks, deadline=deadline))


def test_a_short_task_with_much_behind_it_goes_before_a_longer_one_that_is_due_sooner(world: World) -> None:
    due(world, "alone", 10, job("single", cpus=4, walltime_s=2 * HOUR))
    due(
        world,
        "chain",
        11,
        job("first", cpus=4, walltime_s=HOUR),
        job("second", Need(tasks=("first",)), cpus=4, walltime_s=5 * HOUR),
        job("third", Need(tasks=("second",)), cpus=4, walltime_s=4 * HOUR),
    )

    for _ in range(2):
        world.tick()
        world.pass_time(60)

    [first], [single] = world.attempts("first"), world.attempts("single")
    assert (first.state, single.state) == (AttemptState.RUNNING, AttemptState.QUEUED)


def test_only_unfinished_tasks_of_pipelines_with_a_deadline_count(world: World) -> None:
    world.submit(job("free"), job("after", Need(tasks=("free",))))
    due(world, "flat", 10, job("lonely"))
    due(world, "chain", 10, job("first", walltime_s=60), job("second", Need(tasks=("first",)), walltime_s=120))

    with Reader.open(world.home) as reader:
        rows = reader.unfinished_due()

    ids = {name: task.id for name, task in world.tasks().items()}
    assert sorted((row.walltime_s, row.needs) for row in rows) == [(60, ()), (120, (ids["first"],)), (3600, ())]
