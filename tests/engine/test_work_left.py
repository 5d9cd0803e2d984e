"""What past runs make of orders, ends and room, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.engine.config import Site
from elisa.engine.facts_work import WorkLeft
from elisa.engine.plan import preview
from elisa.engine.submit import submit
from elisa.model.ids import PipelineId, ProjectName
from elisa.model.native import Capabilities
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.rows import TaskRow
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.report.deadlines import read_judged_one
from elisa.store.reader import Reader
from tests.reliability.specs import after, job
from tests.reliability.world import World

from .test_preemption import HOUR, ONE_NODE

pytestmark = pytest.mark.slow

PROMPT = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "order": ["fifo"]})


def a_world(home: Path, site: Site = PROMPT) -> World:
    return World.make(home, spec=ONE_NODE, site=site)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_world(tmp_path / "home")


def learn(world: World, *specs: TaskSpec, times: int = 3) -> None:
    """Let the same work finish so often that its run time is known."""
    for _ in range(times):
        pipeline = world.submit(*specs)
        for _ in range(50):
            world.tick()
            world.pass_time(300)
            if all(row.state in FINAL_TASK_STATES for row in rows_of(world, pipeline)):
                break
        assert {row.state for row in rows_of(world, pipeline)} == {TaskState.SUCCEEDED}


def rows_of(world: World, pipeline: PipelineId) -> Sequence[TaskRow]:
    with Reader.open(world.home) as reader:
        return reader.task_rows(pipeline=pipeline)


def short(name: str = "fit", **fields: object) -> TaskSpec:
    return job(name, cpus=4, lasts_s=600, walltime_s=10 * HOUR, **fields)  # type: ignore[arg-type]


def left_of_ready(world: World) -> list[tuple[float, bool]]:
    with Reader.open(world.home) as reader:
        known = WorkLeft(reader, reader.live_attempts(), world.clock.now())
        return [(one.run_s, one.estimate is not None) for one in known.ready.values()]


def test_work_that_finished_thrice_is_known_and_other_work_counts_with_its_walltime(world: World) -> None:
    learn(world, short())
    world.submit(short(), short("other"))

    assert sorted(left_of_ready(world)) == [(600, True), (10 * HOUR, False)]


def test_a_deadline_counts_with_what_past_runs_took_and_not_with_walltimes(world: World) -> None:
    learn(world, short("first"), short("second"))
    workspace = world.workspace()
    deadline = workspace.clock.now() + timedelta(hours=1)
    second = replace(short("second"), needs=(after("first"),))
    due = Pipeline(name="study", project=ProjectName("nlp"), tasks=(short("first"), second), deadline=deadline)
    pipeline = submit(workspace, due).pipeline_id

    world.tick()

    with Reader.open(world.home) as reader:
        judged = read_judged_one(reader, pipeline, world.clock.now())
        assert judged is not None
        assert (judged.verdict.slack_s, judged.critical, judged.lost_at) == (HOUR - 1200, ("first", "second"), None)
        assert reader.lost_deadlines([pipeline]) == {}


def test_the_moment_a_deadline_is_lost_is_kept_once_and_taken_back_when_it_can_be_met_again(world: World) -> None:
    workspace = world.workspace()
    began = workspace.clock.now()
    late = job("late", cpus=1, lasts_s=600, walltime_s=10 * HOUR)
    gate = job("gate", cpus=1, lasts_s=2 * HOUR, walltime_s=2 * HOUR)
    waits = replace(late, needs=(after("gate"),))
    due = Pipeline(name="study", project=ProjectName("nlp"), tasks=(gate, waits), deadline=began + timedelta(hours=5))
    pipeline = submit(workspace, due).pipeline_id

    for _ in range(3):
        world.tick()
        world.pass_time(60)

    assert turns(world, pipeline) == (["noted.deadline_lost"], {pipeline: began})
    learn(world, late)  # now it is known that it takes ten minutes
    world.tick()
    assert turns(world, pipeline) == (["noted.deadline_lost", "noted.deadline_regained"], {})


def turns(world: World, pipeline: PipelineId) -> tuple[list[str], Mapping[PipelineId, datetime]]:
    with Reader.open(world.home) as reader:
        notes = [row.kind for row in reader.audit(subject=pipeline) if row.kind.startswith("noted.")]
        return notes, reader.lost_deadlines([pipeline])


class NoQueue(SimulatedBackend):
    """A cluster that keeps no queue of its own: elisa alone decides who starts."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, queues=False)


def no_queue(home: Path, times: str = "requested") -> World:
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "order": ["fifo"], "backfill_times": times})
    world = a_world(home, site)
    world.cluster = NoQueue(ONE_NODE, world.clock, name="sim")
    return world


@pytest.mark.parametrize(("times", "small"), [("requested", TaskState.READY), ("predicted", TaskState.ACTIVE)])
def test_a_small_task_passes_a_blocked_one_by_what_it_asks_for_or_by_what_is_expected(
    tmp_path: Path, times: str, small: TaskState
) -> None:
    world = no_queue(tmp_path / "home", times)
    filler = job("small", cpus=1, lasts_s=600, walltime_s=10 * HOUR)
    learn(world, filler)
    world.submit(job("running", cpus=2, lasts_s=2 * HOUR, walltime_s=2 * HOUR))
    world.tick()
    world.submit(job("blocked", cpus=4, lasts_s=HOUR, walltime_s=HOUR))
    world.tick()
    again = world.submit(filler)

    world.tick()

    assert [world.states()[name] for name in ("running", "blocked")] == [TaskState.ACTIVE, TaskState.READY]
    assert [row.state for row in rows_of(world, again)] == [small]


def test_expected_ends_of_running_jobs_count_only_where_the_site_says_so(tmp_path: Path) -> None:
    world = no_queue(tmp_path / "home", "predicted")
    learn(world, short())
    again = world.submit(short())
    world.tick()
    world.submit(short("next"))
    world.pass_time(60)
    world.tick()

    seen = preview(world.workspace())

    [row] = rows_of(world, again)
    assert row.started_at is not None
    ends = {name: end_s - row.started_at.timestamp() for name, end_s in seen.plan.snapshot.ends.items()}
    assert ends == {row.attempt: 600}


def test_room_that_was_kept_is_kept_in_the_next_tick(tmp_path: Path) -> None:
    world = no_queue(tmp_path / "home")
    world.submit(job("running", cpus=2, lasts_s=HOUR, walltime_s=2 * HOUR))
    world.tick()
    world.submit(job("blocked", cpus=4, lasts_s=HOUR, walltime_s=HOUR))
    world.tick()
    [running] = world.attempts("running")
    world.pass_time(60)

    promised = preview(world.workspace()).plan.snapshot.promised

    [(task, kept)] = promised.items()
    assert task == world.tasks()["blocked"].id
    assert running.submitted_at is not None
    assert (kept.starts_s - running.submitted_at.timestamp(), kept.nodes) == (
        2 * HOUR,
        (running.nodes or kept.nodes[0],),
    )


def test_a_cluster_with_a_queue_of_its_own_is_promised_nothing(world: World) -> None:
    world.submit(*(job(f"t{number}", cpus=4) for number in range(30)))
    world.tick()

    assert preview(world.workspace()).plan.snapshot.promised == {}
