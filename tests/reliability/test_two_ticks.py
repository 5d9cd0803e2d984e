"""Two ticks at once: the lock lets one of them work; where locks fail, no job is submitted twice all the same."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest

from elisa.engine import tick as tick_module
from elisa.engine.lock import tick_lock
from elisa.model import layout
from elisa.model.errors import ExitCode, StaleChange, StoreBusy
from elisa.model.ports import no_crash
from elisa.model.states import TaskState
from tests.reliability.forking import Crashes, world_behind_a_link
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.tier import SOAK
from tests.reliability.world import START, World, scratch_folder

DIAMOND = (job("a"), job("b", after("a")), job("c", after("a")), job("d", after("b", "c")))


@pytest.fixture
def world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home")


def test_a_second_tick_leaves_and_says_who_is_at_work(world: World) -> None:
    with tick_lock(world.home, START), pytest.raises(StoreBusy) as caught:
        world.tick()

    assert caught.value.exit_code is ExitCode.TRY_AGAIN
    assert START.isoformat() in caught.value.why


def _die_with_the_lock(home: Path, ready: multiprocessing.synchronize.Event) -> None:
    with tick_lock(home, START):
        ready.set()
        multiprocessing.Event().wait()


def test_the_lock_of_a_killed_tick_is_free_at_once(world: World) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_die_with_the_lock, args=(world.home, ready))
    holder.start()
    ready.wait()

    holder.kill()
    holder.join()

    world.tick()
    assert layout.tick_lock(world.home).exists()


@contextmanager
def _no_lock(_home: Path, _now: datetime) -> Iterator[None]:
    yield


class Intruder:
    """Runs a whole second tick, once, at the `at`-th point of the first; not within a transaction, where it would wait."""

    def __init__(self, world: World, at: int) -> None:
        self.world = world
        self.left = at
        self.is_inside = False

    def __call__(self, point: str) -> None:
        self.is_inside = (self.is_inside or point == "store.begin") and point != "store.committed"
        if self.is_inside:
            return
        self.left -= 1
        if self.left == 0:
            self.world.crash = no_crash
            self.world.tick()


def _intruded(at: int) -> bool:
    """Let a second tick into the `at`-th gap of the first; return whether the first was long enough to have it."""
    with scratch_folder() as folder:
        world = World.make(Path(folder) / "home")
        world.submit(*DIAMOND)
        world.run_until("b")
        intruder = Intruder(world, at)
        world.crash = intruder
        # To find out that it is not alone is as good as having done nothing.
        with suppress(StoreBusy, StaleChange):
            world.tick()
        world.crash = no_crash
        world.run()
        assert_sound(world)
        assert world.states() == dict.fromkeys("abcd", TaskState.SUCCEEDED)
        assert Counter(job_.attempt for job_ in world.cluster._cluster.jobs.values()).most_common(1)[0][1] == 1
        return intruder.left <= 0


@pytest.mark.slow
def test_where_locks_do_not_work_a_second_tick_anywhere_submits_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_module, "tick_lock", _no_lock)
    at = 1
    while _intruded(at):
        at += 1 if SOAK else 3

    assert at > 30


@pytest.mark.slow
def test_a_tick_repeated_at_every_moment_changes_nothing() -> None:
    with world_behind_a_link() as world:
        world.submit(*DIAMOND)
        crashes = Crashes(world=world, recover=assert_still, picks=lambda _n, point: point == "store.committed")
        world.crash = crashes
        world.run()
        world.crash = no_crash

    assert crashes.failures == []
    assert crashes.died > 10
