"""The interval of a task's saves, and what it follows from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.cli.saving_words import schedule_words
from elisa.engine.checkpoint_choice import restore
from elisa.engine.checkpoint_interval import Schedule, read_schedule
from elisa.engine.checkpoints import read_shelf
from elisa.engine.commands import hold, release
from elisa.engine.config import Site
from elisa.engine.seals import event_key, read_secret
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.pipeline import CheckpointPolicy, TaskSpec
from elisa.model.states import TaskState
from elisa.runtime.checkpoint.interval import Choice, optimum_s
from elisa.runtime.eventfile import Record, encode_record
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World, scratch_folder


@pytest.fixture
def world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home")


def a_saving_job(policy: CheckpointPolicy | None) -> TaskSpec:
    spec = job("train", lasts_s=3000, walltime_s=7200)
    told = (*spec.metadata, ("sim_save", "10.0"), ("sim_steps", "100"))
    return replace(spec, checkpoint=policy, metadata=told)


def run_for(world: World, minutes: int) -> None:
    for _ in range(minutes):
        world.tick()
        world.pass_time(60)
    world.tick()


def schedule(world: World) -> Schedule:
    with Reader.open(world.home) as reader:
        return read_schedule(world.workspace(), reader, world.tasks()["train"])


def preempt(world: World) -> None:
    native_id = world.attempts("train")[-1].native_id
    assert native_id is not None
    world.cluster.preempt(native_id)
    run_for(world, 3)


def lose_all_nodes(world: World) -> None:
    world.cluster.fail_nodes(*[node.name for node in world.cluster.cluster().nodes], for_s=600)


def test_before_the_first_save_the_interval_is_open(world: World) -> None:
    world.submit(a_saving_job(CheckpointPolicy()))

    found = schedule(world)

    assert (found.interval_s, found.choice, found.share, found.remaining_s) == (None, None, None, 7200.0)
    assert next(iter(schedule_words(found))) == (
        "train: how often it saves is decided when its first save shows what that costs"
    )
    assert "  a save: nothing measured yet" in schedule_words(found)


def test_a_fixed_interval_is_told_beside_the_one_that_elisa_would_choose(world: World) -> None:
    world.submit(a_saving_job(CheckpointPolicy(interval_s=60, lead_s=30)))
    run_for(world, 5)

    found = schedule(world)
    words = list(schedule_words(found))

    assert (found.interval_s, found.lead.whose) == (60, "author")
    assert words[0] == "train: saves every 1m00s, as its author asks; saving takes 14 % of its time"
    assert words[-1] == "  told of the end of its walltime 30s before, as its author asks"
    assert words[-2].startswith("  elisa would choose ")


def test_the_measured_cost_and_rate_give_the_interval(world: World) -> None:
    world.submit(a_saving_job(CheckpointPolicy()))
    world.cluster.spec = replace(world.cluster.spec, checkpoint_s=60.0)
    for _ in range(3):
        run_for(world, 6)
        preempt(world)
    run_for(world, 5)

    found = schedule(world)

    assert found.interruptions is not None
    assert found.choice is not None
    assert found.choice.save_s == 10.0
    assert found.choice.optimum_s == optimum_s(10.0, found.interruptions.mtbf_s)
    assert found.interval_s == max(found.choice.optimum_s, 200.0)
    assert found.remaining_s < 7200
    assert any(line.startswith("  interruptions: every ") for line in schedule_words(found))


def test_what_the_program_itself_said_is_told(world: World) -> None:
    world.submit(a_saving_job(None))
    run_for(world, 1)
    attempt = world.attempts("train")[-1].id
    data = {
        "path": "c",
        "step": 5,
        "interval_s": 90.0,
        "bound": "optimum",
        "blocked_s": 0.5,
        "mtbf_s": 1e4,
        "optimum_s": 90.0,
    }
    key = event_key(read_secret(world.workspace().files, world.home), attempt)
    file = layout.event_dir(world.home, attempt) / "0-1-0.jsonl"
    file.write_bytes(encode_record(Record(attempt, 0, 1, 0, 1e9, "checkpoint", data), key))
    file.chmod(0o600)

    found = schedule(world)

    assert found.in_job == Choice(90.0, "optimum", 0.5, 1e4, 90.0)
    assert any("every 1m30s; a save keeps it waiting for 0.5s" in line for line in schedule_words(found))


def test_when_what_the_program_said_is_gone_the_measured_numbers_are_told(world: World) -> None:
    world.submit(a_saving_job(CheckpointPolicy(interval_s=60)))
    run_for(world, 10)
    shutil.rmtree(layout.event_dir(world.home, world.attempts("train")[-1].id))

    found = schedule(world)

    assert found.in_job is None
    assert found.choice is not None


@pytest.mark.parametrize(
    ("bound", "words"),
    [("optimum", "this is the Young/Daly optimum"), ("overhead", "too much of the time"), ("remaining", "two saves")],
)
def test_each_bound_has_its_sentence(world: World, bound: str, words: str) -> None:
    world.submit(a_saving_job(None))
    found = replace(schedule(world), choice=Choice(100.0, bound, 1.0, 1e4, 140.0))

    lines = list(schedule_words(found))

    assert words in "\n".join(lines)
    assert lines[0] == "train: saves every 1m40s, if its program leaves that to elisa; saving takes 0.99 % of its time"
    assert found.share is not None
    assert math.isclose(found.share, 1 / 101)


def test_a_simulated_task_lists_what_it_announced_and_can_be_sent_back(world: World) -> None:
    world.site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})
    world.submit(a_saving_job(CheckpointPolicy(interval_s=60)))
    run_for(world, 6)
    with Reader.open(world.home) as reader:
        steps = [one.step for one in read_shelf(world.workspace(), reader, world.tasks()["train"]).stored]
    with pytest.raises(UsageError, match="cannot be chosen now"):
        restore(world.workspace(), "study/train", steps[-1])
    lose_all_nodes(world)
    run_for(world, 1)
    assert world.tasks()["train"].state in {TaskState.READY, TaskState.WAITING}

    done = restore(world.workspace(), "study/train", steps[-1])
    run_for(world, 30)

    assert (done.checkpoint.step, done.checkpoint.chosen_for, done.is_over) == (steps[-1], 2, False)
    resumed = world.attempts("train")[1]
    assert resumed.resume_from == done.checkpoint
    assert json.loads(layout.job_file(world.home, resumed.id).read_bytes())["resume"]["exact"] is True


def test_a_held_task_stays_held_when_its_checkpoint_is_chosen(world: World) -> None:
    world.site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})
    world.submit(a_saving_job(CheckpointPolicy(interval_s=60)))
    run_for(world, 6)
    with Reader.open(world.home) as reader:
        step = reader.checkpoints_of(world.tasks()["train"].id)[0].step
    lose_all_nodes(world)
    run_for(world, 1)
    hold(world.workspace(), ["study/train"])

    restore(world.workspace(), "study/train", step)

    task = world.tasks()["train"]
    assert task.state is TaskState.HELD
    assert task.resume_from is not None
    assert task.resume_from.step == step
    release(world.workspace(), ["study/train"])
    assert world.tasks()["train"].resume_from == task.resume_from
