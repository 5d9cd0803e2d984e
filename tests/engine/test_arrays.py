from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine.commands import cancel
from elisa.engine.config import Site
from elisa.model.errors import AtLimit, Rejected
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from elisa.model.pipeline import SitePlacement
from elisa.model.states import AttemptState, EndReason, TaskState
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

NAMES = tuple(f"t{number}" for number in range(12))
_SITE = Site.model_validate(
    {
        "backends": {"sim": {"kind": "simulated", "window": 100}},
        "jobs": {"self_fence": "60s"},
    }
)


class Watched:
    """A cluster that notes how many jobs came by each call, and may refuse arrays above a size."""

    def __init__(self, world: World, *, most: int = 10**6, error: type[Exception] = AtLimit) -> None:
        self.calls: list[int] = []
        self._inner = world.cluster
        self._most = most
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def submit(self, request: JobRequest) -> NativeId:
        self.calls.append(1)
        return self._inner.submit(request)

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        self.calls.append(len(requests))
        if len(requests) > self._most:
            raise self._error("too many at once")
        return self._inner.submit_array(requests)


def a_world(folder: Path, *, arrays: int = 1000, cpus: int = 8, max_queued: int = 0) -> World:
    spec = ClusterSpec(
        nodes=(NodeType(name="node", count=1, cpus=cpus),),
        partitions=(PartitionSpec(name="batch", is_default=True, max_queued=max_queued),),
        arrays=arrays,
        heartbeat_s=30,
    )
    return World.make(folder / "home", spec=spec, site=_SITE)


def watched(world: World, **rules: object) -> Watched:
    backend = Watched(world, **rules)  # type: ignore[arg-type]  # as its caller wrote them
    world.extra["sim"] = backend  # type: ignore[assignment]  # it answers as the cluster does
    return backend


def test_tasks_that_ask_for_the_same_thing_are_submitted_by_one_call(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = watched(world)
    world.submit(*(job(name) for name in NAMES))

    report = world.tick()

    assert backend.calls == [12]
    assert len(report.submitted) == 12
    ids = [world.attempts(name)[0].native_id for name in NAMES]
    assert len(set(ids)) == 12
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert_sound(world)


def test_what_differs_goes_by_calls_of_its_own(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = watched(world)
    throttled = SitePlacement(at_once=2)
    world.submit(
        job("a"),
        job("b", cpus=2),
        job("c"),
        job("d", placement=throttled),
        job("e", placement=throttled),
        job("f", saves_every_s=60),
    )

    world.tick()

    assert sorted(backend.calls) == [1, 1, 2, 2]


def test_no_call_holds_more_than_the_backend_takes(tmp_path: Path) -> None:
    world = a_world(tmp_path, arrays=5)
    backend = watched(world)
    world.submit(*(job(name) for name in NAMES))

    world.tick()

    assert backend.calls == [5, 5, 2]


def test_an_array_that_is_too_much_is_taken_in_parts_as_far_as_the_limit_goes(tmp_path: Path) -> None:
    world = a_world(tmp_path, cpus=1, max_queued=7)
    backend = watched(world)
    world.submit(*(job(name) for name in NAMES))

    report = world.tick()

    # one of them began at once, and made room
    assert len(report.submitted) == 8
    assert len(report.withdrawn) == 4
    assert sorted(world.states().values()) == [TaskState.ACTIVE] * 8 + [TaskState.READY] * 4
    assert backend.calls == [12, 6, 6, 3, 1, 2, 1, 1]
    assert_sound(world)


def test_after_a_limit_few_are_tried_at_once(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = watched(world)
    world.cluster.fail_submit(Fate.BUSY)
    world.submit(*(job(name) for name in NAMES))
    world.tick()
    world.pass_time(400)

    world.tick()

    assert backend.calls[:2] == [12, 4]
    assert sum(backend.calls[1:]) == 12


def test_an_array_refused_for_what_each_job_asks_for_costs_two_calls(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = watched(world)
    world.cluster.fail_submit(Fate.REJECTED, Fate.REJECTED)
    world.submit(*(job(name) for name in NAMES))

    report = world.tick()

    assert backend.calls == [12, 1]
    assert len(report.rejected) == 12
    ends = [world.attempts(name)[0].end for name in NAMES]
    assert {end.reason for end in ends if end} == {EndReason.REJECTED}
    assert_sound(world)


def test_where_only_the_array_is_refused_its_jobs_are_taken_one_by_one(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    backend = watched(world, most=1, error=Rejected)
    world.submit(*(job(name) for name in NAMES))

    report = world.tick()

    assert backend.calls == [12] + [1] * 12
    assert len(report.submitted) == 12


@pytest.mark.parametrize("fate", [Fate.ACCEPT_LOST, Fate.ACCEPT_LATE])
def test_every_job_of_an_array_whose_answer_was_lost_is_adopted(tmp_path: Path, fate: Fate) -> None:
    world = a_world(tmp_path)
    world.cluster.fail_submit(fate)
    world.submit(*(job(name) for name in NAMES))

    report = world.tick()

    assert len(report.unsettled) == 12
    assert {world.attempts(name)[0].state for name in NAMES} == {AttemptState.INTENDED}
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert len(world.recorder.accepted) == 12
    assert_sound(world)


def test_an_array_that_reached_nobody_is_submitted_again(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.cluster.fail_submit(Fate.LOST)
    world.submit(*(job(name) for name in NAMES))

    world.run()

    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert len(world.recorder.accepted) == 12
    assert_sound(world)


def test_jobs_of_an_array_end_each_for_a_reason_of_its_own(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    no_retry = replace(job("x").retry, limit=0)
    fails = {"exit_code": 3, "at": 0.5, "times": 9}
    world.submit(*(job(name, retry=no_retry, fails=fails if name == "t4" else None) for name in NAMES))
    world.tick()

    cancel(world.workspace(), [world.tasks()["t7"].id])
    world.run()

    others = {TaskState.SUCCEEDED}
    assert {state for name, state in world.states().items() if name not in {"t4", "t7"}} == others
    assert world.states()["t4"] is TaskState.FAILED
    assert world.states()["t7"] is TaskState.CANCELLED
    assert_sound(world)
