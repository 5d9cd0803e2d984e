"""What was learnt from past attempts reaches the instructions of the next one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.dice import Distribution
from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine.config import Site
from elisa.engine.experience import Experience
from elisa.model import layout
from elisa.model.pipeline import CheckpointPolicy, TaskSpec
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World, scratch_folder

SPEC = ClusterSpec(
    nodes=(NodeType(name="node", count=2, cpus=4),),
    partitions=(PartitionSpec(name="batch", is_default=True),),
    duration=Distribution(kind="constant", numbers=(600.0,)),
    checkpoint_s=60.0,
)


@pytest.fixture
def world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home", spec=SPEC)


def instructions(world: World, name: str) -> dict[str, Any]:
    """Return the job.json of the newest attempt at a task."""
    content = json.loads(layout.job_file(world.home, world.attempts(name)[-1].id).read_bytes())
    assert isinstance(content, dict)
    return content


def a_saving_job(name: str, policy: CheckpointPolicy | None = None) -> TaskSpec:
    """Return a job whose saves take ten seconds; how often it saves is left to elisa."""
    spec = job(name, lasts_s=3000, walltime_s=7200)
    told = (*spec.metadata, ("sim_save", "10.0"), ("sim_steps", "100"))
    return replace(spec, checkpoint=policy or CheckpointPolicy(), metadata=told, group=name)


def preempt(world: World, name: str, times: int) -> None:
    for _ in range(times):
        while world.tasks()[name].state is not TaskState.ACTIVE or world.attempts(name)[-1].started_at is None:
            world.tick()
            world.pass_time(30)
        for _ in range(10):
            world.pass_time(60)
            world.tick()
        native_id = world.attempts(name)[-1].native_id
        assert native_id is not None
        world.cluster.preempt(native_id)
        world.pass_time(60)
        world.tick()


def test_before_anything_was_measured_the_agent_is_left_its_own_choice(world: World) -> None:
    world.submit(a_saving_job("train"))
    world.tick()

    told = instructions(world, "train")["checkpoint"]
    assert (told["lead_s"], told["mtbf_s"]) == (None, None)


def test_the_lead_is_learnt_from_the_tasks_own_saves(world: World) -> None:
    world.submit(a_saving_job("train"))
    preempt(world, "train", 1)
    world.tick()

    with Reader.open(world.home) as reader:
        lead = Experience(reader, world.clock.now()).lead(world.tasks()["train"])
    assert (lead.whose, lead.save_s) == ("task", 10.0)
    assert instructions(world, "train")["checkpoint"]["lead_s"] == lead.lead_s


def test_what_the_author_says_of_the_lead_and_the_interval_is_not_changed(world: World) -> None:
    world.submit(a_saving_job("train", CheckpointPolicy(lead_s=77, interval_s=60)))
    preempt(world, "train", 3)
    world.tick()

    told = instructions(world, "train")["checkpoint"]
    assert (told["lead_s"], told["interval_s"], told["mtbf_s"]) == (77, 60, None)


def test_the_measured_time_between_interruptions_is_passed_on_where_the_interval_is_left_to_elisa(world: World) -> None:
    world.submit(a_saving_job("train"))
    preempt(world, "train", 3)
    world.tick()

    with Reader.open(world.home) as reader:
        found = Experience(reader, world.clock.now()).interruptions("sim", "batch", 1)
    assert found is not None
    assert found.events == 3
    assert instructions(world, "train")["checkpoint"]["mtbf_s"] == pytest.approx(found.mtbf_s)
    assert 300 < found.mtbf_s < 1200


def test_a_task_without_a_past_learns_from_its_group(world: World) -> None:
    world.submit(a_saving_job("train-1"))
    preempt(world, "train-1", 1)
    task = world.tasks()["train-1"]

    with Reader.open(world.home) as reader:
        experience = Experience(reader, world.clock.now())
        assert reader.saves_of_group(task.pipeline, "train-1", "another")
        assert experience.save_s(task) == 10.0


def test_the_site_says_where_the_fast_disks_of_its_nodes_are() -> None:
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "jobs": {"local_checkpoints": "$TMPDIR"}})
    with scratch_folder() as folder:
        world = World.make(Path(folder) / "home", site=site)
        world.submit(a_saving_job("train"))
        world.tick()

        assert instructions(world, "train")["checkpoint"]["local_dir"] == "$TMPDIR"
