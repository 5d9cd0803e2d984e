"""What is foretold of new work, held against what becomes of it when it is really submitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.foretelling import Foretold
from elisa.engine.projects import change
from elisa.engine.reserving import reserve
from elisa.engine.submit import submit
from elisa.engine.whatif import Called, Supposition, suppose
from elisa.model.affinity import Affinity
from elisa.model.ids import PipelineId, ProjectName, TaskId
from elisa.model.pipeline import Gang, Pipeline, SitePlacement, TaskSpec
from elisa.model.site import BackfillTimes
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Task
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import START, World

NLP, VISION = ProjectName("nlp"), ProjectName("vision")
STEP = timedelta(minutes=10)
NOISY = (("kind", "noisy"),)
BESIDE = SitePlacement(affinity=(Affinity(tasks=("server",)),))
APART = SitePlacement(affinity=(Affinity(labels=NOISY, apart=True),))

Course = tuple[float, float]
"""When a task begins and ends, in steps from the start of the world."""


def a_world(tmp_path: Path, nodes: int = 4, *, queue: bool = False) -> World:
    config = {
        "backends": {"sim": {"kind": "simulated"}},
        "jobs": {"self_fence": "60s"},
        "fusion": {"enabled": False},
        "power": {"cpu": 100},
    }
    node = NodeType(name="node", count=nodes, cpus=8, per_switch=2)
    spec = ClusterSpec(nodes=(node,), heartbeat_s=30, queue=queue)
    return World.make(tmp_path / "home", spec=spec, site=Site.model_validate(config))


def keep(world: World, nodes: int, begins: timedelta, ends: timedelta, **more: Any) -> None:
    ws = world.workspace()
    now = ws.clock.now()
    reserve(ws, VISION, "sim", {"nodes": str(nodes)}, begin=now + begins, end=now + ends, **more)


def work(project: ProjectName, *tasks: TaskSpec) -> Pipeline:
    return Pipeline(name=f"of-{project}", project=project, tasks=tasks)


def one(name: str, steps: int, *needs: Any, cpus: int = 8, nodes: int = 1, switches: int = 0, **more: Any) -> TaskSpec:
    """Return a task that lasts some steps, as its author says, and asks for one more of walltime."""
    lasts_s = steps * int(STEP.total_seconds())
    made = job(name, *needs, lasts_s=lasts_s, walltime_s=lasts_s + 600, expected_s=lasts_s, **more)
    request = replace(made.resources, cpus_per_task=cpus, nodes=nodes, switches=switches)
    return replace(made, resources=request)


def foretold(world: World, *pipelines: Pipeline) -> Mapping[str, Course]:
    played = suppose(world.workspace(), Supposition(project=NLP, settings={}, pipelines=pipelines)).after.played
    assert dict(played.never) == {}
    return {
        task.partition("/")[2]: ((course.begins_at - START) / STEP, (course.ends_at - START) / STEP)
        for task, course in played.courses.items()
        if "/" in task
    }


def come_true(world: World, *pipelines: Pipeline, step: timedelta = STEP) -> Mapping[str, Course]:
    """Submit the work and let it run to its end; in each step ticks come as long as they start anything."""
    ids = [submit(world.workspace(), pipeline).pipeline_id for pipeline in pipelines]
    for _ in range(200):
        while world.tick().submitted:
            pass
        if world.is_over() and all(task.state in FINAL_TASK_STATES for task in tasks_of(world, ids)):
            break
        world.pass_time(step.total_seconds())
    assert_sound(world)
    return {task.spec.name: course_of(world, task.id) for task in tasks_of(world, ids)}


def tasks_of(world: World, pipelines: Iterable[PipelineId]) -> Sequence[Task]:
    with Reader.open(world.home) as reader:
        return [task for pipeline in pipelines for task in reader.tasks_of(pipeline)]


def course_of(world: World, task: TaskId) -> Course:
    with Reader.open(world.home) as reader:
        attempts = reader.attempts_of(task)
    first, last = attempts[0], attempts[-1]
    assert first.started_at is not None
    assert last.ended_at is not None
    return (first.started_at - START) / STEP, (last.ended_at - START) / STEP


def course(world: World, name: str) -> Course:
    return course_of(world, world.tasks()[name].id)


def a_mix(seed: int) -> Sequence[Pipeline]:
    """Return work of all kinds. No two tasks are of equal importance but members of a gang, which are all alike."""
    dice = Random(seed)
    ranks: Iterator[int] = iter(dice.sample(range(100), 12))

    def some(name: str, *needs: Any, **more: Any) -> TaskSpec:
        return one(name, dice.randint(2, 9), *needs, importance=float(next(ranks)), **more)

    whole = some("whole0", gang=Gang(name="whole"))
    loose = some("loose0", gang=Gang(name="loose", minimum=2))
    noisy: Mapping[str, Any] = {"placement": APART, "labels": NOISY, "cpus": 4}
    return (
        work(
            NLP,
            some("server", cpus=4),
            some("client", placement=BESIDE, cpus=2),
            *(some(name, **noisy) for name in ("loud", "louder", "loudest")),
            *(replace(whole, name=f"whole{number}") for number in range(3)),
            *(replace(loose, name=f"loose{number}") for number in range(4)),
            some("behind", after("whole0", "whole1", "whole2"), nodes=2, switches=1),
            some("alone"),
        ),
        work(VISION, some("held"), some("held-too", after("held"))),
    )


def by_kind(courses: Mapping[str, Course]) -> Mapping[str, Sequence[Course]]:
    """Return the courses of tasks that only their ids tell apart together, in order."""
    kinds = {name.rstrip("0123456789") for name in courses}
    return {kind: sorted(at for name, at in courses.items() if name.rstrip("0123456789") == kind) for kind in kinds}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_reservations_ties_and_gangs_come_true_as_they_were_foretold(tmp_path: Path, seed: int) -> None:
    world = a_world(tmp_path)
    keep(world, 2, timedelta(hours=1), timedelta(hours=4))
    world.submit(job("old", cpus=8, lasts_s=3000, walltime_s=3000))
    world.tick()
    world.pass_time(STEP.total_seconds())
    world.tick()
    mix = a_mix(seed)

    told = foretold(world, *mix)

    assert by_kind(come_true(world, *mix)) == by_kind(told)


def begun(world: World, project: ProjectName, *tasks: TaskSpec) -> None:
    """Submit work, and look on until it is known what of it runs."""
    submit(world.workspace(), work(project, *tasks))
    world.tick()
    world.pass_time(STEP.total_seconds())
    world.tick()


def exact(task: TaskSpec) -> TaskSpec:
    """Have a task ask for just the time that it takes: nothing else tells when one ends that runs already."""
    return replace(task, resources=replace(task.resources, walltime_s=task.expected_s or 0))


@pytest.mark.slow
@pytest.mark.parametrize("queue", [True, False], ids=["in a queue", "ready"])
def test_a_gang_of_which_some_run_and_one_waits_goes_on_as_it_is(tmp_path: Path, *, queue: bool) -> None:
    world = a_world(tmp_path, 2, queue=queue)
    member = exact(one("loose", 6, gang=Gang(name="loose", minimum=2), labels=NOISY, importance=2.0))
    begun(world, NLP, *(replace(member, name=f"loose{number}") for number in range(3)))
    new = work(NLP, one("quiet", 2, placement=APART, importance=1.0))

    told = foretold(world, new)

    assert come_true(world, new) == told
    assert told == {"quiet": (6.0, 8.0)}
    assert sorted(course(world, f"loose{number}") for number in range(3)) == [(0.0, 6.0), (0.0, 6.0), (6.0, 12.0)]


@pytest.mark.slow
def test_a_guest_is_foretold_to_leave_lent_room_and_to_come_back_as_it_does_within_some_ticks(tmp_path: Path) -> None:
    world = a_world(tmp_path, 2)
    keep(world, 2, timedelta(0), timedelta(hours=9), lend=True)
    guests = work(NLP, one("guest", 3, saves_every_s=60))
    holders = work(VISION, one("ahead", 1), one("behind", 1, after("ahead"), nodes=2))

    told = foretold(world, guests, holders)
    came = come_true(world, guests, holders, step=timedelta(minutes=1))

    assert told == {"ahead": (0, 1), "behind": (1, 2), "guest": (0, 4)}
    assert came == {name: pytest.approx(at, abs=0.5) for name, at in told.items()}
    assert len(world.attempts("guest")) > 1


@pytest.mark.slow
def test_a_guest_that_runs_already_is_foretold_to_leave_lent_room_at_once(tmp_path: Path) -> None:
    world = a_world(tmp_path, 1)
    keep(world, 1, timedelta(0), timedelta(hours=9), lend=True)
    begun(world, NLP, one("guest", 4, saves_every_s=60))
    new = work(VISION, one("holder", 1))

    told = foretold(world, new)
    came = come_true(world, new, step=timedelta(minutes=1))

    assert told == {"holder": (1, 2)}
    assert came == {"holder": pytest.approx((1, 2), abs=0.5)}


def queue_of(seed: int) -> Sequence[Pipeline]:
    """Return chains of two projects, some due at the same time: only what is behind a task tells which is more urgent."""
    dice = Random(seed)

    def chain(project: ProjectName, name: str, *, due_h: int = 0) -> Pipeline:
        tasks: list[TaskSpec] = []
        for number in range(3):
            behind = [after(tasks[-1].name)] if tasks else []
            tasks.append(one(f"{name}{number}", dice.randint(2, 7), *behind, nodes=dice.choice([1, 2])))
        deadline = START + timedelta(hours=due_h) if due_h else None
        return Pipeline(name=name, project=project, tasks=tuple(tasks), deadline=deadline)

    return (
        chain(NLP, "early", due_h=7),
        chain(NLP, "free"),
        chain(VISION, "late", due_h=7),
        chain(NLP, "soon", due_h=7),
        chain(VISION, "vast", due_h=7),
    )


def all_courses(world: World, found: Foretold, called: Mapping[TaskId, Called]) -> Mapping[str, Course]:
    """Return what is foretold, by the names of tasks, of those that run."""
    return {
        called[task].name: ((course.begins_at - START) / STEP, (course.ends_at - START) / STEP)
        for task, course in found.played.courses.items()
    }


def until_nothing_moves(world: World) -> Mapping[str, Course]:
    """Let all run that can; return when."""
    idle = 0
    while not world.is_over() and idle < 3:
        while world.tick().submitted:
            pass
        idle = 0 if any(state is TaskState.ACTIVE for state in world.states().values()) else idle + 1
        world.pass_time(STEP.total_seconds())
    assert_sound(world)
    return {name: course(world, name) for name, task in world.tasks().items() if task.state is TaskState.SUCCEEDED}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_queue_and_what_runs_come_true_as_foretold_as_things_stand_and_under_a_cut_budget(
    tmp_path: Path, seed: int
) -> None:
    world = a_world(tmp_path, 3)
    for pipeline in queue_of(seed):
        submit(world.workspace(), pipeline)
    while world.tick().submitted:
        pass
    world.pass_time(STEP.total_seconds())
    world.tick()
    settings = {"budget.energy_kwh": "3"}
    ws = world.workspace()

    found = suppose(ws, Supposition(project=NLP, settings=settings))
    for path, value in settings.items():
        change(ws, NLP, {path: value})
    came = until_nothing_moves(world)

    assert came == all_courses(world, found.after, found.called)
    assert came.keys() < all_courses(world, found.before, found.called).keys()
    assert {short.reason.facts["project"] for short in found.after.played.short} == {NLP}
    ends = {end.name: end.ends_at for end in found.after.due.values()}
    ended = {name.rstrip("012"): task.ended_at for name, task in sorted(world.tasks().items())}
    assert (ends["late"], ends["vast"]) == (ended["late"], ended["vast"])


def learnt(name: str, steps: int, walltime: int, **more: Any) -> TaskSpec:
    """Return a task of which its author says nothing but what it asks for."""
    task = replace(one(name, steps, **more), expected_s=None)
    return replace(task, resources=replace(task.resources, walltime_s=walltime * int(STEP.total_seconds())))


@pytest.mark.slow
def test_what_past_runs_let_one_expect_fills_gaps_as_it_does_in_ticks(tmp_path: Path) -> None:
    world = a_world(tmp_path, 2)
    world.site = world.site.model_copy(update={"backfill_times": BackfillTimes.PREDICTED})
    long, short = learnt("long", 4, 12, importance=3), learnt("short", 2, 14, importance=1)
    for _ in range(3):
        come_true(world, work(NLP, long, short))
    new = work(NLP, long, one("wide", 2, nodes=2, importance=2.0), short)
    began = (world.clock.now() - START) / STEP

    told = foretold(world, new)

    assert come_true(world, new) == told
    assert told == {"long": (began, began + 4), "wide": (began + 4, began + 6), "short": (began, began + 2)}
