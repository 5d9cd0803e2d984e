"""Places that close: work saves and leaves in time, goes on elsewhere, and comes back; through whole ticks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.loop import until_idle
from elisa.model.changes import ClosureAdded, ClosureLifted
from elisa.model.ids import BackendName, new_closure_id
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import UNTIL_LIFTED, Closure
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.builders import SeededRandom
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600
SIM = BackendName("sim")
FOUR = ClusterSpec(nodes=(NodeType(name="n", count=4, cpus=4),), heartbeat_s=30)


def a_world(home: Path, spec: ClusterSpec = FOUR, **rules: object) -> World:
    rules = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, **rules}
    return World.make(home, spec=spec, site=Site.model_validate(rules))


def minutes(world: World, count: int) -> None:
    for _ in range(count):
        world.tick()
        world.pass_time(60)


def close(world: World, *nodes: str, after_s: float = 0, lasts_s: float | None = None, forced: bool = False) -> Closure:
    starts_at = world.clock.now() + timedelta(seconds=after_s)
    closure = Closure(
        id=new_closure_id(SeededRandom(len(nodes) + 1)),
        backend=SIM,
        nodes=nodes,
        starts_at=starts_at,
        ends_at=UNTIL_LIFTED if lasts_s is None else starts_at + timedelta(seconds=lasts_s),
        why="new roof",
        is_forced=forced,
    )
    with world.workspace().writer() as writer:
        writer.apply((ClosureAdded(closure=closure),))
    return closure


def long(name: str = "long", **fields: Any) -> Any:
    return job(name, **{"cpus": 4, "lasts_s": 4 * HOUR, "walltime_s": 6 * HOUR, "saves_every_s": HOUR, **fields})


def test_work_leaves_a_node_that_closes_saves_first_and_goes_on_on_another_without_losing_a_retry(
    tmp_path: Path,
) -> None:
    world = a_world(tmp_path / "home")
    world.submit(long())
    minutes(world, 90)
    [first] = world.attempts("long")

    close(world, first.nodes)
    minutes(world, 5)

    [stopped, second] = world.attempts("long")
    assert (stopped.end and stopped.end.reason, stopped.cancel_sent) == (EndReason.CANCELLED, True)
    assert stopped.last_checkpoint is not None
    assert stopped.last_checkpoint.step > 5000  # an hour and a half of steps of a second: saved when it was asked
    assert second.state is AttemptState.RUNNING
    assert second.nodes != first.nodes
    assert second.resume_from == stopped.last_checkpoint
    world.run(step_s=600)
    assert (world.tasks()["long"].failures, len(world.attempts("long"))) == (0, 2)
    assert_sound(world)


def rounds(world: World, count: int, step_s: float) -> None:
    for _ in range(count):
        world.tick()
        world.pass_time(step_s)


def running(world: World) -> list[str]:
    world.cluster.poll([])
    return sorted(run.attempt for run in world.recorder.runs.values() if run.ended_us is None)


def test_a_whole_cluster_is_empty_when_it_closes_and_takes_its_work_back_when_it_opens(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(*(long(f"long{number}") for number in range(6)))
    minutes(world, 3)

    closure = close(world, after_s=HOUR, lasts_s=2 * HOUR)
    rounds(world, 11, 300)
    before = running(world)
    minutes(world, 5)

    assert len(before) == 4
    assert (world.clock.now(), running(world)) == (closure.starts_at, [])
    minutes(world, 1)
    assert set(world.states().values()) == {TaskState.READY}
    rounds(world, 13, 600)
    assert world.clock.now() > closure.ends_at
    assert len(running(world)) == 4
    world.run(step_s=600)
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)


def test_what_will_be_over_in_time_is_left_alone_and_what_would_not_be_waits(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(long("early", walltime_s=HOUR, lasts_s=HOUR // 2))
    minutes(world, 2)
    close(world, after_s=HOUR, lasts_s=HOUR)
    world.submit(long("short", walltime_s=HOUR // 2, lasts_s=60), long("late", walltime_s=2 * HOUR, lasts_s=60))

    minutes(world, 3)

    assert world.attempts("late") == ()
    with Reader.open(world.home) as reader:
        verdict = reader.verdict(world.tasks()["late"].id)
    assert verdict is not None
    assert in_words(Reason(code=ReasonCode(verdict.code), facts=verdict.facts)).startswith("sim closes at ")
    rounds(world, 8, 600)
    assert {attempt.cancel_sent for name in ("early", "short") for attempt in world.attempts(name)} == {False}
    world.run(step_s=600)
    assert_sound(world)


def test_work_that_may_not_be_preempted_stays_unless_it_is_forced(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(long(preemptible=False))
    minutes(world, 3)

    closure = close(world, world.attempts("long")[0].nodes)
    minutes(world, 3)
    stayed = len(world.attempts("long")) == 1 and bool(running(world))
    with world.workspace().writer() as writer:
        writer.apply((ClosureLifted(closure=closure.id, by="ada"),))
    close(world, *(f"n{number:04d}" for number in range(1, 5)), forced=True)
    minutes(world, 4)

    assert stayed
    assert (running(world), world.states()) == ([], {"long": TaskState.READY})


def test_a_job_that_waits_is_taken_back_once_it_could_begin_too_late_and_is_then_kept_off(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    world.submit(*(long(f"long{number}") for number in range(5)))
    minutes(world, 3)
    [waiting] = [one for one in map(world.attempts, world.states()) if one[0].state is AttemptState.QUEUED]

    nodes = [world.attempts(name)[0].nodes for name in world.states() if world.attempts(name)[0].nodes]
    close(world, nodes[0], after_s=12 * HOUR)
    minutes(world, 3)
    untouched = world.attempts(task_name(world, waiting[0]))
    world.pass_time(HOUR * 7)
    minutes(world, 3)
    close(world, nodes[1])
    minutes(world, 3)

    assert len(untouched) == 1
    assert_sound(world)


def task_name(world: World, attempt: Attempt) -> str:
    return next(name for name, task in world.tasks().items() if task.id == attempt.task)


def test_the_sites_own_closures_hold_like_those_of_people(tmp_path: Path) -> None:
    begins, ends = "2026-03-02T10:00:00Z", "2026-03-02T12:00:00Z"
    world = a_world(tmp_path / "home", closures=[{"backend": "sim", "from": begins, "until": ends}])
    world.submit(long())

    rounds(world, 3, 600)
    waited = world.attempts("long") == ()
    world.run(step_s=600)

    assert waited
    [attempt] = world.attempts("long")
    assert attempt.intended_at.isoformat() >= "2026-03-02T12"


def test_whoever_ticks_until_idle_waits_until_the_sites_own_closure_is_over(tmp_path: Path) -> None:
    begins, ends = "2026-03-02T10:00:00Z", "2026-03-02T12:00:00Z"
    world = a_world(tmp_path / "home", closures=[{"backend": "sim", "from": begins, "until": ends}])
    world.submit(long())

    until_idle(world.workspace())

    assert world.is_over()


def test_a_node_that_nobody_has_closes_nothing(tmp_path: Path) -> None:
    begins, ends = "2026-03-02T08:00:00Z", "2026-03-03T12:00:00Z"
    rules = [{"backend": "sim", "nodes": "typo", "from": begins, "until": ends}]
    world = a_world(tmp_path / "home", closures=rules)
    world.submit(*(long(f"long{number}", lasts_s=HOUR) for number in range(6)))

    world.run(step_s=600)

    assert {len(world.attempts(name)) for name in world.states()} == {1}
    assert_sound(world)


@pytest.mark.slow
@pytest.mark.parametrize(("least", "tries", "first_s"), [("1h", 2, 110 * 60), ("3h", 1, 6 * HOUR), ("0s", 1, 6 * HOUR)])
def test_work_that_saves_fills_the_time_before_a_closure_where_the_site_lets_it(
    tmp_path: Path, least: str, tries: int, first_s: int
) -> None:
    world = a_world(tmp_path / "home", shortened_run=least)
    close(world, after_s=2 * HOUR, lasts_s=HOUR)
    world.submit(long())

    world.run(step_s=300)

    attempts = world.attempts("long")
    assert (len(attempts), attempts[0].request.walltime_s) == (tries, first_s)
    assert world.tasks()["long"].failures == 0
    if tries == 2:
        assert attempts[0].last_checkpoint is not None
        assert attempts[1].resume_from == attempts[0].last_checkpoint
        assert attempts[1].request.walltime_s == 6 * HOUR
    assert_sound(world)


def test_work_that_cannot_save_gets_the_time_it_asks_for_or_waits(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", shortened_run="1h")
    close(world, after_s=2 * HOUR, lasts_s=HOUR)
    world.submit(long(saves_every_s=None))

    world.tick()

    assert world.states()["long"] is TaskState.READY
    assert world.attempts("long") == ()
