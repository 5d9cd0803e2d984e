from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from elisa.engine.files import OsFiles
from elisa.engine.rebuild import Ports, Rebuilt, rebuild
from elisa.model import layout
from elisa.model.errors import StoreDamaged, StoreError, UsageError
from elisa.model.ports import CrashPoint, no_crash
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.forking import enumerate_crashes
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import World

SUCCEEDED = TaskState.SUCCEEDED


def damage(world: World) -> None:
    path = layout.database(world.home)
    path.write_bytes(path.read_bytes()[:5000])


def mend(world: World, crash: CrashPoint = no_crash) -> Rebuilt:
    ports = Ports(files=OsFiles(crash), clock=world.clock, random=world.random, crash=crash, actor="ada")
    return rebuild(world.home, ports)


def with_a_copy(world: World) -> None:
    """The first tick keeps a copy; what follows is younger than it."""
    world.submit(job("a", lasts_s=100), job("b", after("a"), lasts_s=900, saves_every_s=60), job("c", lasts_s=2000))
    world.tick()
    world.tick()
    for _ in range(6):
        world.pass_time(60)
        world.tick()


def test_what_the_copy_does_not_know_is_found_again_and_nothing_runs_twice(world: World) -> None:
    with_a_copy(world)
    damage(world)
    with pytest.raises(StoreDamaged):
        world.tick()

    done = mend(world)
    world.run()

    assert world.states() == {"a": SUCCEEDED, "b": SUCCEEDED, "c": SUCCEEDED}
    assert {name: len(world.attempts(name)) for name in "abc"} == {"a": 1, "b": 1, "c": 1}
    assert len(world.recorder.accepted) == 3
    assert_sound(world)
    assert done.strays == ()
    assert (done.damaged / "elisa.db").stat().st_size == 5000


def test_jobs_of_tasks_that_nobody_knows_any_more_are_shut_out_and_named(world: World) -> None:
    with_a_copy(world)
    world.submit(job("late", lasts_s=600))
    world.tick()
    [stray] = world.attempts("late")
    damage(world)

    done = mend(world)

    assert done.strays == (stray.id,)
    assert layout.fence(world.home, stray.task).read_text() == "2\n"
    assert set(world.states()) == {"a", "b", "c"}


def test_a_sound_database_is_left_alone(world: World) -> None:
    with_a_copy(world)

    with pytest.raises(UsageError):
        mend(world)


def test_a_copy_that_is_damaged_too_is_passed_over(world: World) -> None:
    with_a_copy(world)
    [copy] = layout.backups(world.home).glob("elisa-*.db")
    (copy.parent / "elisa-9999999999999999.db").write_bytes(copy.read_bytes()[:4096])
    damage(world)

    assert mend(world).copy == copy


def test_without_any_copy_nothing_is_touched(world: World) -> None:
    with_a_copy(world)
    shutil.rmtree(layout.backups(world.home))
    damage(world)

    with pytest.raises(StoreError):
        mend(world)

    assert layout.database(world.home).stat().st_size == 5000


def test_a_journal_of_the_damaged_file_is_not_played_into_the_new_one(world: World) -> None:
    with_a_copy(world)
    damage(world)
    journal = world.home / "elisa.db-journal"
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))

    mend(world)

    assert not journal.exists()
    with Reader.open(world.home) as reader:
        assert reader.verify_audit().is_sound


@pytest.mark.slow
def test_killed_at_every_point_a_rebuild_can_be_run_again() -> None:
    def again(world: World) -> None:
        with suppress(UsageError):
            mend(world)
        world.run()
        assert set(world.states().values()) == {SUCCEEDED}
        assert_sound(world)

    def prepare(world: World) -> None:
        with_a_copy(world)
        damage(world)

    def act(world: World) -> None:
        mend(world, world.crash)

    scenario: Callable[[World], None] = act
    crashes = enumerate_crashes(scenario, again, prepare=prepare)

    assert crashes.died > 20


def test_the_folder_of_trials_holds_nothing_afterwards(world: World) -> None:
    with_a_copy(world)
    damage(world)
    mend(world)

    assert list(Path(world.home / ".rebuild").iterdir()) == []
