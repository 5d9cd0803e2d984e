"""Tasks held while their jobs wait in a native queue, through whole ticks on a simulated cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.commands import cancel, hold, release
from elisa.engine.config import Site
from elisa.model.errors import Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, Capabilities, NativeState, Seen
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

ONE_NODE = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=4),), heartbeat_s=30)
SITE = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})


class Holding:
    """The simulated cluster, which counts what it is asked about holds, and may not answer, or not be able to."""

    def __init__(self, cluster: SimulatedBackend) -> None:
        self._cluster = cluster
        self.asked: list[str] = []
        self.is_away = self.refuses = False
        self.is_able = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._cluster, name)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._cluster.capabilities, hold=self.is_able)

    def hold(self, ids: list[NativeId]) -> frozenset[NativeId]:
        self._ask("hold")
        return frozenset() if self.refuses else self._cluster.hold(ids)

    def release(self, ids: list[NativeId]) -> frozenset[NativeId]:
        self._ask("release")
        return self._cluster.release(ids)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.is_away:
            raise Unavailable("qhold failed", "no answer")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a cluster of one node, which is busy for ten minutes, and a job that waits for it."""
    made = World.make(tmp_path / "home", spec=ONE_NODE, site=SITE)
    made.extra["sim"] = Holding(made.cluster)  # type: ignore[assignment]
    made.submit(job("busy", cpus=4, lasts_s=600, walltime_s=1200), job("next", cpus=4, lasts_s=60))
    made.tick()
    made.tick()
    return made


def cluster(world: World) -> Holding:
    found = world.extra["sim"]
    assert isinstance(found, Holding)
    return found


def ids(world: World) -> list[str]:
    return [world.tasks()["next"].id]


def native(world: World) -> NativeId:
    native_id = world.attempts("next")[-1].native_id
    assert native_id is not None
    return native_id


def natively(world: World) -> NativeState:
    poll = world.cluster.poll([native(world)])
    assert isinstance(poll, Answered)
    seen = poll.observations[native(world)]
    assert isinstance(seen, Seen)
    return seen.state


def held(world: World) -> NativeId:
    """Hold the job that waits, and return its number."""
    hold(world.workspace(), ids(world))
    world.tick()
    assert natively(world) is NativeState.HELD
    return native(world)


def test_held_job_keeps_its_number_does_not_start_and_goes_on_when_it_is_released(world: World) -> None:
    number = held(world)
    world.pass_time(660)
    world.tick()
    before = world.states()
    release(world.workspace(), ids(world))
    world.run()

    assert before == {"busy": TaskState.SUCCEEDED, "next": TaskState.ACTIVE}
    assert [one.native_id for one in world.attempts("next")] == [number]
    assert world.states()["next"] is TaskState.SUCCEEDED
    assert cluster(world).asked == ["hold", "release"]
    assert_sound(world)


def test_job_that_is_held_for_long_is_taken_back(world: World) -> None:
    held(world)
    world.pass_time(901)
    world.tick()
    world.pass_time(60)
    world.tick()
    after = world.states()["next"]
    release(world.workspace(), ids(world))
    world.run()

    assert after is TaskState.HELD
    assert world.states()["next"] is TaskState.SUCCEEDED
    assert_sound(world)


@pytest.mark.parametrize("why", ["it has no holds", "it refuses"])
def test_job_that_cannot_be_held_is_taken_back(world: World, why: str) -> None:
    cluster(world).is_able = why != "it has no holds"
    cluster(world).refuses = why == "it refuses"
    hold(world.workspace(), ids(world))
    for _ in range(3):
        world.tick()

    assert world.states()["next"] is TaskState.HELD


def test_hold_of_somebody_else_is_left_to_them(world: World) -> None:
    world.cluster.hold([native(world)])
    world.tick()
    hold(world.workspace(), ids(world))
    world.tick()
    release(world.workspace(), ids(world))
    world.tick()

    assert natively(world) is NativeState.HELD
    assert cluster(world).asked == []


def test_job_that_somebody_released_is_not_held_again_and_its_task_is_wanted(world: World) -> None:
    number = held(world)
    world.tick()
    world.cluster.release([number])
    world.tick()
    world.tick()

    assert natively(world) is NativeState.QUEUED
    assert not world.tasks()["next"].hold_requested
    assert cluster(world).asked == ["hold"]


def test_hold_that_comes_after_both_have_released_is_theirs(world: World) -> None:
    number = held(world)
    release(world.workspace(), ids(world))
    world.cluster.release([number])
    world.tick()
    world.cluster.hold([number])
    world.tick()

    assert natively(world) is NativeState.HELD
    assert cluster(world).asked == ["hold"]


def test_manager_that_does_not_answer_is_asked_again(world: World) -> None:
    cluster(world).is_away = True
    hold(world.workspace(), ids(world))
    world.tick()
    before = natively(world)
    cluster(world).is_away = False
    world.pass_time(60)
    world.tick()

    assert (before, natively(world)) == (NativeState.QUEUED, NativeState.HELD)


def test_task_whose_job_began_first_runs_on(world: World) -> None:
    hold(world.workspace(), ids(world))
    world.pass_time(601)
    world.tick()
    world.run()

    assert world.states()["next"] is TaskState.SUCCEEDED
    assert cluster(world).asked == []


def test_cancelled_task_is_taken_out_of_its_hold(world: World) -> None:
    held(world)
    cancel(world.workspace(), ids(world))
    world.tick()
    world.tick()

    assert world.states()["next"] is TaskState.CANCELLED


def test_tick_tells_which_jobs_it_held_and_released(world: World) -> None:
    attempt = world.attempts("next")[-1].id
    hold(world.workspace(), ids(world))
    first, second = world.tick(), world.tick()
    release(world.workspace(), ids(world))
    third, fourth = world.tick(), world.tick()

    told = [(report.held, report.released) for report in (first, second, third, fourth)]
    assert told == [((attempt,), ()), ((), ()), ((), (attempt,)), ((), ())]
    assert (third.facts()["held"], third.facts()["released"]) == (0, 1)


@pytest.mark.parametrize("why", ["it does not answer", "it refuses"])
def test_tick_does_not_tell_of_what_a_manager_did_not_do(world: World, why: str) -> None:
    cluster(world).is_away = why == "it does not answer"
    cluster(world).refuses = why == "it refuses"
    hold(world.workspace(), ids(world))

    assert world.tick().held == ()
    assert cluster(world).asked == ["hold"]


def test_tick_does_not_tell_as_its_own_what_somebody_else_released(world: World) -> None:
    number = held(world)
    release(world.workspace(), ids(world))
    world.cluster.release([number])

    assert world.tick().released == ()


def test_what_was_done_stands_in_the_audit(world: World) -> None:
    held(world)
    release(world.workspace(), ids(world))
    world.tick()
    with Reader.open(world.home) as reader:
        kinds = [row.kind for row in reader.audit(subject=world.attempts("next")[-1].id)]

    assert [kind.removeprefix("noted.") for kind in kinds if "native" in kind] == [
        "native_holding",
        "native_held",
        "native_releasing",
        "native_released",
    ]
