"""`checkpoints restore`, `checkpoints prune` and `replay`, killed at every point and given once more."""

from __future__ import annotations

import os
from pathlib import Path

from elisa.engine.checkpoint_choice import restore
from elisa.engine.checkpoint_prune import prune
from elisa.engine.commands import hold, release
from elisa.engine.replay import replay
from elisa.model import layout
from elisa.model.states import TaskState
from elisa.model.task import Task
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.restore import restore_newest
from elisa.runtime.crash import set_crash_hook
from elisa.store.reader import Reader
from tests.reliability.forking import Step, enumerate_crashes
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import World
from tests.runtime.checkpoint.checkpoint_cases import is_state, save_steps

STEPS = (10, 20, 30, 40)


def train_of(world: World) -> Task:
    return world.tasks()["train"]


def folder_of(world: World) -> Path:
    return layout.checkpoint_dir(world.home, train_of(world).pipeline, "train")


def steps_in(world: World) -> list[int]:
    return [one.step for one in Generations(str(folder_of(world))).newest_first()]


def saved(world: World) -> None:
    """Let a task wait, held, that has saved four steps."""
    world.submit(job("train", lasts_s=600, saves_every_s=60), job("report", after("train")))
    hold(world.workspace(), [train_of(world).id])
    save_steps(folder_of(world), *STEPS)


def finished(world: World) -> None:
    world.submit(
        job("prepare"), job("train", after("prepare"), lasts_s=600, saves_every_s=60), job("report", after("train"))
    )
    world.run()
    save_steps(folder_of(world), *STEPS)


def with_points_in_folders(step: Step) -> Step:
    """Have `step` pass the points of the checkpoint library too, where they are another process's in a job."""

    def scenario(world: World) -> None:
        set_crash_hook(world.crash)
        try:
            step(world)
        finally:
            set_crash_hook(None)

    return scenario


def as_a_new_process(step: Step) -> Step:
    def recover(world: World) -> None:
        set_crash_hook(None)
        assert_sound(world)
        step(world)
        assert_sound(world)

    return recover


def as_left_by_the_dead(folder: Path) -> None:
    """Name what was left after a process that is no more: the one that "died" here lives on, as the parent."""
    for path in folder.glob(".trash-*"):
        path.rename(path.with_name(path.name.replace(f"-{os.getppid()}-", "-4194303-")))


def prune_to_one(world: World) -> None:
    prune(world.workspace(), "study/train", 1)


def pruned_again(world: World) -> None:
    assert steps_in(world)[0] == 40
    as_left_by_the_dead(folder_of(world))
    prune_to_one(world)

    assert steps_in(world) == [40]
    newest = restore_newest([Generations(str(folder_of(world)))])
    assert newest is not None
    assert is_state(newest.state, 40)
    assert [name.name for name in folder_of(world).iterdir() if name.name.startswith((".tmp", ".trash"))] == []
    with Reader.open(world.home) as reader:
        told = [row for row in reader.audit() if "checkpoints_pruned" in str(row)]
        check = reader.verify_audit()
    assert told, "whatever was removed, the log says so"
    assert check.problems == ()


def test_pruning_killed_anywhere_keeps_the_newest_and_can_be_repeated() -> None:
    crashes = enumerate_crashes(with_points_in_folders(prune_to_one), as_a_new_process(pruned_again), prepare=saved)

    assert crashes.points.count("checkpoint.remove") == 3
    assert "store.commit" in crashes.points


def choose_twenty(world: World) -> None:
    restore(world.workspace(), "study/train", 20)


def chosen_again(world: World) -> None:
    choose_twenty(world)

    assert steps_in(world) == list(reversed(STEPS)), "choosing removes nothing"
    task = train_of(world)
    assert task.resume_from is not None
    assert (task.resume_from.step, task.resume_from.chosen_for, task.attempts) == (20, 1, 0)
    release(world.workspace(), [task.id])
    world.run()
    assert world.states() == {"report": TaskState.SUCCEEDED, "train": TaskState.SUCCEEDED}
    assert [attempt.number for attempt in world.attempts("train")] == [1]


def test_a_choice_killed_anywhere_is_made_or_not_and_can_be_repeated() -> None:
    crashes = enumerate_crashes(with_points_in_folders(choose_twenty), as_a_new_process(chosen_again), prepare=saved)

    assert "store.commit" in crashes.points
    assert crashes.died > 5


def replay_from_twenty(world: World) -> None:
    with Reader.open(world.home) as reader:
        first = min(reader.pipelines(), key=lambda one: one.submitted_at)
    replay(world.workspace(), first.id, "20", task="train")


def run_all(world: World) -> None:
    """Tick until every task of every pipeline is over; two of them have tasks of the same names."""
    for _ in range(200):
        world.tick()
        with Reader.open(world.home) as reader:
            if not reader.pipelines(unfinished_only=True):
                return
        world.pass_time(60)
    raise AssertionError("it does not end")


def replayed_once(world: World) -> None:
    """Give the command once more unless it is seen that it was carried out, and let everything end.

    What was taken over never ran here, so it is the store that is asked whether it is sound, not the cluster.
    """
    set_crash_hook(None)
    with Reader.open(world.home) as reader:
        pipelines = sorted(reader.pipelines(), key=lambda one: one.submitted_at)
        before = reader.tasks_of(pipelines[0].id)
    assert len(pipelines) <= 2
    if len(pipelines) == 1:
        replay_from_twenty(world)
    run_all(world)

    with Reader.open(world.home) as reader:
        old, new = sorted(reader.pipelines(), key=lambda one: one.submitted_at)
        assert reader.tasks_of(old.id) == before, "the old one is only read"
        states = {task.spec.name: task.state for task in reader.tasks_of(new.id)}
        check = reader.verify_audit()
        attempts = [attempt.number for task in reader.tasks_of(new.id) for attempt in reader.attempts_of(task.id)]
    assert states == dict.fromkeys(("prepare", "train", "report"), TaskState.SUCCEEDED)
    assert attempts == [1, 1, 1]
    assert check.problems == ()
    copied = Generations(str(layout.checkpoint_dir(world.home, new.id, "train"))).newest_first()
    assert [one.step for one in copied] == [20]


def test_a_replay_killed_anywhere_is_there_once_or_not_at_all() -> None:
    crashes = enumerate_crashes(with_points_in_folders(replay_from_twenty), replayed_once, prepare=finished)

    assert {"replay.copied", "replay.resumed", "store.commit", "store.committed"} <= set(crashes.points)
