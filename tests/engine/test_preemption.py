"""Urgent work takes the place of less urgent work, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.commands import cancel
from elisa.engine.config import Site
from elisa.model.ids import NativeId
from elisa.model.native import CancelOutcome
from elisa.model.pipeline import Gang, PriorityClass
from elisa.model.ports import no_crash
from elisa.model.states import AttemptState, TaskState
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.swarm import CrashNow
from tests.reliability.world import World

HOUR = 3600
ONE_NODE = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=4),), heartbeat_s=30)


def a_world(home: Path, *, spec: ClusterSpec = ONE_NODE, **rules: object) -> World:
    site = Site.model_validate(
        {
            "backends": {"sim": {"kind": "simulated"}},
            "jobs": {"self_fence": "60s"},
            "preemption": {"enabled": True, "minimum_run": "10m", **rules},
            "projects": {"rescue": {"highest": "critical"}},
        }
    )
    return World.make(home, spec=spec, site=site)


@pytest.fixture
def idle(tmp_path: Path) -> World:
    return a_world(tmp_path / "home")


def fill(world: World, name: str = "long", *, saves_every_s: float | None = HOUR, **fields: Any) -> None:
    """Give the only node ten hours of work of low class."""
    fields = {"priority": PriorityClass.LOW, "lasts_s": 10 * HOUR, "walltime_s": 12 * HOUR, **fields}
    world.submit(job(name, cpus=4, saves_every_s=saves_every_s, **fields))


def minutes(world: World, count: int) -> None:
    for _ in range(count):
        world.tick()
        world.pass_time(60)


def rush(world: World, name: str = "urgent", priority: PriorityClass = PriorityClass.CRITICAL, **fields: Any) -> None:
    world.submit(job(name, cpus=4, priority=priority, lasts_s=HOUR // 2, **fields), project="rescue")


def test_urgent_work_takes_the_place_of_less_urgent_work_which_saves_first_and_goes_on_there(idle: World) -> None:
    fill(idle)
    minutes(idle, 90)
    rush(idle)

    minutes(idle, 4)

    [urgent] = idle.attempts("urgent")
    [stopped, *_] = idle.attempts("long")
    assert urgent.state is AttemptState.RUNNING
    assert stopped.cancel_sent
    assert stopped.state is AttemptState.ENDED
    assert stopped.last_checkpoint is not None
    assert stopped.last_checkpoint.step > 5000  # an hour and a half of steps of a second: saved when it was asked
    idle.run(step_s=600)
    assert [one.resume_from.step if one.resume_from else 0 for one in idle.attempts("long")] == [
        0,
        stopped.last_checkpoint.step,
    ]
    assert idle.tasks()["long"].failures == 0
    assert_sound(idle)


class Patient(SimulatedBackend):
    """A cluster on which jobs can be asked to end in their own time; it keeps who was asked how."""

    asked: ClassVar[list[str]] = []

    def ask_to_leave(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        self.asked.append("to leave")
        return super().cancel(ids)

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        self.asked.append("to end")
        return super().cancel(ids)


@pytest.fixture
def patient(idle: World) -> World:
    Patient.asked.clear()
    idle.cluster = Patient(ONE_NODE, idle.clock, name="sim")
    fill(idle)
    minutes(idle, 30)
    return idle


def test_what_makes_room_is_asked_to_leave_in_its_own_time(patient: World) -> None:
    rush(patient)
    minutes(patient, 3)

    assert patient.attempts("long")[0].cancel_sent
    assert Patient.asked == ["to leave"]


def test_what_its_owner_cancels_is_ended(patient: World) -> None:
    cancel(patient.workspace(), [patient.tasks()["long"].id])
    minutes(patient, 2)

    assert Patient.asked == ["to end"]


@pytest.mark.parametrize(
    ("dies_at", "asked"),
    [("stop.sent", ["to end"]), ("stop.asked", ["to leave", "to end"]), ("stop.noted", ["to leave"])],
)
def test_what_may_not_have_heard_that_it_shall_leave_is_ended(patient: World, dies_at: str, asked: list[str]) -> None:
    def crash(point: str) -> None:
        if point == dies_at:
            raise CrashNow

    rush(patient)
    patient.crash = crash
    with pytest.raises(CrashNow):
        patient.tick()
    patient.crash = no_crash
    patient.tick()

    assert Patient.asked == asked


def test_the_place_goes_to_the_one_it_was_made_for_and_comes_back_only_after_it(idle: World) -> None:
    fill(idle)
    minutes(idle, 30)
    rush(idle)

    minutes(idle, 20)

    assert len(idle.attempts("urgent")) == 1
    assert len(idle.attempts("long")) <= 2
    assert idle.attempts("urgent")[0].state is AttemptState.RUNNING


@pytest.mark.parametrize(
    ("fields", "ran"),
    [({"preemptible": False}, 60), ({"priority": PriorityClass.HIGH}, 60), ({}, 5)],
    ids=["protected", "of the same class", "too young"],
)
def test_work_that_may_not_be_stopped_is_left_alone(idle: World, fields: dict[str, Any], ran: int) -> None:
    fill(idle, **fields)
    minutes(idle, ran)
    rush(idle, priority=PriorityClass.HIGH)

    minutes(idle, 2)

    assert [one.state for one in idle.attempts("long")] == [AttemptState.RUNNING]


def test_a_task_that_was_stopped_as_often_as_the_rules_allow_is_left_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", times=2)
    fill(world)
    for number in range(3):
        minutes(world, 45)
        rush(world, f"urgent{number}")

    minutes(world, 60)

    assert sum(one.end is not None for one in world.attempts("long")) == 2
    assert world.states()["urgent2"] is TaskState.ACTIVE  # it queues until the long one is through
    world.run(step_s=600)
    assert_sound(world)


def test_two_classes_that_want_the_same_node_never_push_each_other_about(idle: World) -> None:
    fill(idle, "low")
    minutes(idle, 30)
    rush(idle, "high", PriorityClass.HIGH)
    minutes(idle, 15)
    rush(idle, "critical")

    idle.run(step_s=300)

    attempts = {name: len(idle.attempts(name)) for name in ("critical", "high", "low")}
    assert attempts == {"critical": 1, "high": 2, "low": 2}
    assert_sound(idle)


def test_without_the_rule_nobody_is_asked_to_leave(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", enabled=False)
    fill(world)
    minutes(world, 60)
    rush(world)

    minutes(world, 10)

    assert [one.state for one in world.attempts("long")] == [AttemptState.RUNNING]


def gang_world(home: Path) -> World:
    """Three nodes on which elisa itself places work, each full of ten hours of low class; one more such task waits."""
    world = a_world(home, spec=replace(ONE_NODE, nodes=(NodeType(name="node", count=3, cpus=4),), queue=False))
    for number in range(3):
        fill(world, f"long-{number}")
    minutes(world, 30)
    fill(world, "late", lasts_s=HOUR, walltime_s=HOUR)
    minutes(world, 1)
    return world


def test_an_urgent_gang_takes_the_places_that_all_of_it_needs_and_no_more(tmp_path: Path) -> None:
    world = gang_world(tmp_path / "home")
    members = [
        job(f"m{number}", cpus=4, priority=PriorityClass.CRITICAL, lasts_s=HOUR // 2, gang=Gang(name="fleet"))
        for number in range(2)
    ]
    world.submit(*members, project="rescue")

    minutes(world, 6)

    assert [world.attempts(f"m{number}")[0].state for number in range(2)] == [AttemptState.RUNNING] * 2
    stopped = [name for name in ("long-0", "long-1", "long-2") if world.attempts(name)[0].cancel_sent]
    assert len(stopped) == 2
    lead = min(world.tasks()[f"m{number}"].id for number in range(2))
    with Reader.open(world.home) as reader:
        told = read_explanation(reader, world.tasks()[stopped[0]].id, world.clock.now())
    assert any(f"it made room for {lead}" in one.words for one in told.history)
    world.run(step_s=600)
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert [len(world.attempts(name)) for name in stopped] == [2, 2]
    assert {name: task.failures for name, task in world.tasks().items() if task.failures} == {}
    assert_sound(world)


def test_nobody_leaves_for_an_urgent_gang_that_would_not_fit_all_the_same(tmp_path: Path) -> None:
    world = gang_world(tmp_path / "home")
    fleet = Gang(name="fleet", minimum=3)
    members = [
        job(f"m{number}", cpus=4, priority=PriorityClass.CRITICAL if number else PriorityClass.LOW, gang=fleet)
        for number in range(3)
    ]
    world.submit(*members, project="rescue")

    minutes(world, 6)

    assert [world.attempts(f"long-{number}")[0].cancel_sent for number in range(3)] == [False] * 3
    assert not any(world.attempts(f"m{number}") for number in range(3))
