"""Jobs that their manager calls running for ever: shut out first, then deleted, and their tasks tried again; whole ticks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from elisa.engine.fence import read_fence
from elisa.engine.files import OsFiles
from elisa.model.errors import StoreError
from elisa.model.pipeline import RestartWhen, RetryPolicy
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.report.explain import read_explanation
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.reliability.believing import Believing, a_believing_world
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

ONCE = RetryPolicy(limit=0, restart=RestartWhen.NEVER)


def stuck(home: Path, *, limit: str = "10m", **manager: Any) -> tuple[World, Believing]:
    """Return a world whose only task, which may run but once, was sent to a node, and never began there."""
    world, believing = a_believing_world(home, limit=limit, **manager)
    world.submit(job("once", lasts_s=36_000, walltime_s=72_000, retry=ONCE))
    world.tick()
    world.tick()
    return world, believing


def give_up(world: World) -> None:
    """Tick as often as it takes, once the time is over."""
    world.pass_time(601)
    for _ in range(3):
        world.tick()


def fence(world: World) -> int:
    return read_fence(OsFiles(), world.home, world.tasks()["once"].id)


def test_it_is_shut_out_and_deleted_and_its_task_runs_at_no_cost(tmp_path: Path) -> None:
    world, manager = stuck(tmp_path / "home")
    give_up(world)
    first = world.attempts("once")[0]
    assert first.end is not None
    assert (first.state, first.end.reason, first.claimed) == (AttemptState.LOST, EndReason.LOST, False)
    assert (fence(world), manager.deleted) == (2, [first.native_id])
    assert (world.states()["once"], len(world.attempts("once"))) == (TaskState.WAITING, 1)

    world.run(step_s=600)

    assert world.states() == {"once": TaskState.SUCCEEDED}
    assert world.tasks()["once"].failures == 0
    assert manager.deleted == [first.native_id]
    assert_sound(world)


def test_it_is_told(tmp_path: Path) -> None:
    world, _ = stuck(tmp_path / "home")
    native_id = world.attempts("once")[0].native_id
    give_up(world)

    with Reader.open(world.home) as reader:
        explanation = read_explanation(reader, "study/once", world.clock.now())
        [row] = read_status(reader, world.clock.now()).tasks
    told = [one.words for one in explanation.history]
    assert explanation.now.startswith("waiting: its agent never gave a sign; it waits until ")
    assert row.note.startswith("its agent never gave a sign; it waits until ")
    shut_out = f"its manager has called {native_id} running for 10m01s, and it was shut out"
    assert f"{shut_out}: lost, its agent never gave a sign" in told
    assert f"the resource manager is to be asked to delete {native_id}" in told


def test_nothing_waits_for_its_deletion(tmp_path: Path) -> None:
    world, manager = stuck(tmp_path / "home")
    submitted = list[int]()
    manager.on_delete = lambda _: submitted.append(len(world.recorder.accepted))
    world.pass_time(601)
    world.tick()
    world.tick()
    world.submit(job("other"))
    world.tick()

    assert submitted == [2]


def test_an_agent_that_comes_late_after_all_runs_nothing(tmp_path: Path) -> None:
    world, manager = stuck(tmp_path / "home", obeys=False)
    [late] = manager.unbegun
    give_up(world)
    world.pass_time(600)
    world.tick()
    [_, second] = world.attempts("once")

    why = manager.begin(late, world.cluster._cluster.now_us)

    assert why == "attempt 2 was allowed after this one"
    assert second.state is not AttemptState.LOST
    world.run(step_s=3600)
    assert [run.attempt for run in world.recorder.runs.values() if run.is_complete] == [second.id]


def test_an_agent_that_comes_before_the_fence_is_left_alone(tmp_path: Path) -> None:
    world, manager = stuck(tmp_path / "home")
    [late] = manager.unbegun
    world.pass_time(601)
    world.tick()
    world.tick()
    assert manager.begin(late, world.cluster._cluster.now_us) == ""
    world.tick()  # of all its signs only the claim is to be seen

    assert (world.attempts("once")[0].state, world.attempts("once")[0].claimed) == (AttemptState.RUNNING, True)
    assert fence(world) < 2
    assert manager.deleted == []


@pytest.mark.parametrize("trouble", ["outage", "kill"])
def test_its_manager_is_asked_to_delete_it_until_it_answers(tmp_path: Path, trouble: str) -> None:
    world, manager = stuck(tmp_path / "home", outages=2 if trouble == "outage" else 0)
    [first] = world.attempts("once")
    if trouble == "kill":
        manager.on_delete = die
        with pytest.raises(KeyboardInterrupt):
            give_up(world)
        manager.on_delete = lambda _: None
    else:
        give_up(world)
    assert (fence(world), manager.deleted) == (2, [])

    for _ in range(4):
        world.pass_time(60)
        world.tick()

    assert manager.deleted == [first.native_id]


def die(point: str) -> None:
    raise KeyboardInterrupt(point)


def test_nothing_is_concluded_while_the_fence_cannot_be_raised(tmp_path: Path) -> None:
    world, manager = stuck(tmp_path / "home")
    world.pass_time(601)
    world.tick()
    world.tick()
    world.files = ReadOnly
    with pytest.raises(StoreError):
        world.tick()

    [attempt] = world.attempts("once")
    assert attempt.end is None
    assert manager.deleted == []


class ReadOnly(OsFiles):
    """A state folder in which no fence can be written."""

    def write_all(self, contents: Mapping[Path, bytes]) -> None:
        if any(path.name == "fence" for path in contents):
            raise OSError(30, "Read-only file system", str(next(iter(contents))))
        super().write_all(contents)


@pytest.mark.parametrize(("limit", "passes_s"), [("off", 36_000), ("2h", 3_600)])
def test_a_site_says_how_long_to_wait(tmp_path: Path, limit: str, passes_s: float) -> None:
    world, manager = stuck(tmp_path / "home", limit=limit)
    world.pass_time(passes_s - 60)
    for _ in range(4):
        world.tick()

    assert [one.state for one in world.attempts("once")] == [AttemptState.RUNNING]
    assert manager.deleted == []
