"""Submissions that run side by side: as many as the manager takes, each settled by its own answer."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.asking import side_by_side, waves
from elisa.engine.config import Site
from elisa.engine.threads import threads
from elisa.model.errors import StoreError
from elisa.model.ids import BackendName, NativeId
from elisa.model.native import JobRequest
from elisa.model.ports import no_crash
from elisa.model.states import AttemptState, TaskState
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import SideBySide, World

NAMES = tuple(f"t{number:02}" for number in range(12))
_SITE = Site.model_validate(
    {"backends": {"sim": {"kind": "simulated", "window": 100}}, "jobs": {"self_fence": "60s"}, "order": ["fifo"]}
)


class Meeting(SideBySide):
    """A cluster where a submission goes on only when all that may run beside it are there."""

    def __init__(self, world: World, at_once: int) -> None:
        super().__init__(world.cluster, at_once)
        self.meeting = threading.Barrier(at_once)

    def submit(self, request: JobRequest) -> NativeId:
        self.meeting.wait(timeout=10)
        return super().submit(request)


class Patient(SideBySide):
    """A cluster that answers nobody until it is told that all is `written`."""

    def __init__(self, world: World, written: threading.Event) -> None:
        super().__init__(world.cluster, 4)
        self._written = written

    def submit(self, request: JobRequest) -> NativeId:
        assert self._written.wait(timeout=10)
        return super().submit(request)


def a_world(folder: Path) -> World:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=4, cpus=100),), heartbeat_s=30)
    return World.make(folder / "home", spec=spec, site=_SITE)


def submit_distinct(world: World) -> None:
    world.submit(*(job(name, cpus=1 + number) for number, name in enumerate(NAMES)))


def test_jobs_that_ask_for_different_things_are_submitted_side_by_side(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.extra["sim"] = Meeting(world, 4)
    submit_distinct(world)

    report = world.tick()

    assert len(report.submitted) == 12
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


def test_each_is_settled_by_its_own_answer_and_after_a_limit_nobody_is_asked_any_more(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.extra["sim"] = SideBySide(world.cluster, 4)
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.BUSY, Fate.ACCEPT_LOST, Fate.BUSY)
    submit_distinct(world)

    report = world.tick()

    assert (len(report.submitted) + len(report.withdrawn), len(report.unsettled)) == (11, 1)
    assert len(world.recorder.accepted) == len(report.submitted) + 1
    # three may have been under way beside the first that was refused
    assert 1 <= len(report.submitted) <= 4
    # of what ran side by side two were refused and one was lost: that is one failure of the manager
    assert [(health.failures, health.is_alarming) for health in world.health().values()] == [(1, False)]
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


def test_after_a_limit_one_is_asked_for_at_a_time(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = world.extra["sim"] = SideBySide(world.cluster, 4)
    world.cluster.fail_submit(*[Fate.BUSY] * 4)
    submit_distinct(world)
    world.tick()
    backend.most_at_once = 0
    world.pass_time(400)
    world.cluster.fail_submit(Fate.BUSY)

    world.tick()

    assert backend.most_at_once == 1


def test_the_next_jobs_are_written_down_while_the_first_are_asked_about(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    written = threading.Event()
    world.extra["sim"] = Patient(world, written)
    intended = 0

    def see(point: str) -> None:
        nonlocal intended
        intended += point == "act.intended"
        if point == "release.written" and intended == 2:
            written.set()

    world.crash = see
    submit_distinct(world)

    report = world.tick()

    assert len(report.submitted) == 12
    assert_sound(world)


def test_jobs_written_down_while_others_met_a_limit_are_taken_back(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.extra["sim"] = SideBySide(world.cluster, 4)
    world.cluster.fail_submit(*[Fate.ACCEPTED] * 7, Fate.BUSY)
    submit_distinct(world)

    report = world.tick()

    assert len(report.submitted) + len(report.withdrawn) == 12
    assert 7 <= len(report.submitted) == len(world.recorder.accepted) <= 10
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


def test_a_disk_that_fails_meanwhile_settles_what_was_asked_about(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.extra["sim"] = SideBySide(world.cluster, 4)
    intended = 0

    def fail(point: str) -> None:
        nonlocal intended
        intended += point == "act.intended"
        if point == "files.write.begin" and intended == 2:
            raise OSError(errno.ENOSPC, "no space left")

    world.crash = fail
    submit_distinct(world)

    with pytest.raises(StoreError):
        world.tick()

    world.crash = no_crash
    states = Counter(world.attempts(name)[-1].state for name in NAMES)
    assert states == {AttemptState.SUBMITTED: 8, AttemptState.ENDED: 4}
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


@pytest.mark.parametrize(
    ("takers", "expected"),
    [
        ("aaaaa", ["aaa", "aa"]),
        ("aabbbbaa", ["aa", "b", "b", "b", "b", "aa"]),
        ("", []),
    ],
)
def test_waves_are_neighbours_for_one_manager(takers: str, expected: Sequence[str]) -> None:
    most = {"a": 3, "b": 1}

    found = waves(takers, lambda name: (BackendName(name), most[name]))

    assert ["".join(wave) for wave in found] == expected


def test_an_error_in_one_call_is_seen_where_its_answer_is_asked_for() -> None:
    def fails() -> int:
        raise ValueError("no")

    first, second = side_by_side([lambda: 1, fails])

    assert first() == 1
    with pytest.raises(ValueError, match="no"):
        second()


def test_a_child_of_a_fork_has_threads_of_its_own() -> None:
    assert threads().submit(int, "7").result() == 7
    child = os.fork()
    if child == 0:
        os._exit(threads().submit(int, "7").result(timeout=10))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
