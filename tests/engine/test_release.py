from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from elisa.engine.release import JobRules, Source, sources_of
from elisa.model import layout
from elisa.model.ids import TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import NeedKind, Output, PythonCall, ResultOf
from elisa.model.states import TaskState
from elisa.runtime.job import parse_job
from tests.builders import a_task
from tests.reliability.specs import after, job
from tests.reliability.world import World

ITEMS = Output(name="items", path="items.json", format="json")


def document(world: World, name: str) -> dict[str, object]:
    attempt = world.attempts(name)[-1].id
    content: dict[str, object] = json.loads(layout.job_file(world.home, attempt).read_text())
    return content


def test_the_agent_understands_what_it_is_told(world: World) -> None:
    hostile = ("a'; echo foo", "--flag=$(x)", "ünï", "line\nfeed", "")
    world.submit(replace(job("a b", saves_every_s=60), command=hostile, environment=(("X", "${task_dir}"),)))
    world.tick()

    told = parse_job(document(world, "a b"))

    [attempt] = world.attempts("a b")
    folder = str(layout.task_dir(world.home, world.tasks()["a b"].pipeline, "a b"))
    assert told.argv == hostile
    assert (told.attempt, told.task, told.number) == (attempt.id, attempt.task, 1)
    assert told.env["X"] == told.task_dir == told.workdir == folder
    assert told.checkpoint is not None
    assert told.walltime_s == 3600


def test_outputs_of_what_a_task_needs_are_its_inputs(world: World) -> None:
    world.submit(job("a", leaves={"items": [1]}), job("b", after("a")), job("c", after("a", kind=NeedKind.COMPLETION)))
    world.tick()
    world.pass_time(300)
    world.tick()

    path = str(layout.task_dir(world.home, world.tasks()["a"].pipeline, "a") / "items.json")
    assert [(one.name, one.path) for one in parse_job(document(world, "b")).inputs] == [("items", path)]
    assert parse_job(document(world, "c")).inputs == ()


def test_results_of_functions_are_found_under_the_attempt_that_completed(world: World) -> None:
    made = PythonCall(file="f.py", function="make")
    taken = PythonCall(file="f.py", function="take", results=(("x", ResultOf(tasks=("a",))),))
    world.submit(replace(job("a"), command=(), call=made), replace(job("b", after("a")), command=(), call=taken))
    world.tick()
    world.pass_time(300)
    world.tick()

    call = document(world, "b")["call"]
    pipeline, attempt = world.tasks()["a"].pipeline, world.attempts("a")[0].id
    path = str(layout.result_file(world.home, pipeline, "a", attempt))
    assert isinstance(call, dict)
    assert call["results"] == {"x": {"paths": [path], "many": False}}


def test_a_second_attempt_knows_where_to_resume_and_which_one_has_ended(world: World) -> None:
    world.submit(job("a", lasts_s=900, saves_every_s=60))
    world.tick()
    world.pass_time(400)
    world.tick()
    first = world.attempts("a")[0]
    assert first.native_id is not None
    world.cluster.preempt(first.native_id)
    for _ in range(6):
        world.pass_time(60)
        world.tick()

    told = parse_job(document(world, "a"))

    assert told.number == 2
    assert told.confirmed_ended == (first.id,)
    assert told.resume_step is not None
    assert told.resume_step >= 300


def a_target(state: TaskState, **outputs: bool) -> tuple[Target, TaskId]:
    task = a_task("source").build()
    return Target(id=task.id, name="source", state=state, outputs=outputs), task.id


def sources(need_kind: NeedKind, state: TaskState, output: str = "", **outputs: bool) -> tuple[Source, ...]:
    target, key = a_target(state, **outputs)
    task = a_task("source").build()
    task = replace(task, spec=replace(task.spec, outputs=(ITEMS,)))
    need = after("source", kind=need_kind, output=output)
    return sources_of([ResolvedNeed(need=need, targets=(target,))], {key: task}, {key: Path("/result")})


def test_only_what_came_is_promised_to_a_task() -> None:
    found = [
        sources(NeedKind.SUCCESS, TaskState.SUCCEEDED),
        sources(NeedKind.SUCCESS, TaskState.FAILED),
        sources(NeedKind.COMPLETION, TaskState.SUCCEEDED),
        sources(NeedKind.DATA, TaskState.ACTIVE, "items", items=True),
        sources(NeedKind.DATA, TaskState.ACTIVE, "items", items=False),
        sources(NeedKind.DATA, TaskState.ACTIVE, "other", items=True),
    ]

    assert [[output.name for source in one for output in source.outputs] for one in found] == [
        ["items"], [], [], ["items"], [], []
    ]  # fmt: skip


def test_a_site_tells_agents_nothing_that_makes_a_successor_too_early() -> None:
    rules = JobRules()

    assert rules.heartbeat_s < rules.self_fence_s
