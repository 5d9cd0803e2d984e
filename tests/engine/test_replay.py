"""Replays in a simulation: what is taken as it was, what runs again, and for how long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.engine.config import Site
from elisa.engine.replay import Replayed, replay
from elisa.engine.replay_plan import Place, adapted, below, fitted, taken_over
from elisa.model import layout
from elisa.model.errors import PolicyError, UsageError
from elisa.model.ids import BackendName, PipelineId
from elisa.model.native import NodeView
from elisa.model.pipeline import CheckpointPolicy, NeedKind, TaskSpec
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Task
from elisa.store.reader import Reader
from tests.builders import a_task
from tests.reliability.specs import after, job
from tests.reliability.world import UID, World, scratch_folder

SITE = {"backends": {"sim": {"kind": "simulated"}}}
SAVES = CheckpointPolicy(interval_s=60)
DONE, SKIPPED = TaskState.SUCCEEDED, TaskState.SKIPPED


@pytest.fixture
def world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home", site=Site.model_validate(SITE))


def a_saving_job(name: str, *needs: object, **more: object) -> TaskSpec:
    spec = job(name, *needs, lasts_s=600, **more)  # type: ignore[arg-type]
    return replace(spec, checkpoint=SAVES, metadata=(*spec.metadata, ("sim_steps", "100")))


def tasks_of(world: World, pipeline: PipelineId) -> dict[str, Task]:
    with Reader.open(world.home) as reader:
        return {task.spec.name: task for task in reader.tasks_of(pipeline)}


def states_of(world: World, pipeline: PipelineId) -> dict[str, TaskState]:
    return {name: task.state for name, task in tasks_of(world, pipeline).items()}


def run(world: World, pipeline: PipelineId) -> None:
    """Tick until a pipeline is over."""
    for _ in range(200):
        world.tick()
        if set(states_of(world, pipeline).values()) <= FINAL_TASK_STATES:
            return
        world.pass_time(60)
    raise AssertionError(states_of(world, pipeline))


def a_step_of(world: World, pipeline: PipelineId, name: str) -> int:
    with Reader.open(world.home) as reader:
        steps = sorted(one.step for one in reader.checkpoints_of(tasks_of(world, pipeline)[name].id))
    return steps[len(steps) // 2]


def replayed(world: World, pipeline: PipelineId, name: str, *, rerun: bool = False) -> Replayed:
    step = a_step_of(world, pipeline, name)
    return replay(world.workspace(), pipeline, str(step), task=name, rerun=rerun)


def test_the_chosen_task_resumes_and_only_what_follows_it_runs_again(world: World) -> None:
    old = world.submit(
        job("a"),
        a_saving_job("b", after("a")),
        job("c", after("b")),
        job("side", after("a")),
        job("last", after("c", "side")),
    )
    world.run()

    made = replayed(world, old, "b")
    run(world, made.pipeline)

    assert (made.taken, made.again) == (("a", "side"), ("b", "c", "last"))
    assert set(states_of(world, made.pipeline).values()) == {DONE}
    with Reader.open(world.home) as reader:
        (attempt,) = reader.attempts_of(tasks_of(world, made.pipeline)["b"].id)
        assert reader.verify_audit().is_sound
    assert attempt.resume_from is not None
    assert attempt.resume_from.step == made.step
    assert len(world.recorder.accepted) == 5 + 3


def test_metrics_and_outputs_of_what_was_taken_still_decide(world: World) -> None:
    measured = job("a", leaves={"data": [1, 2]})
    measured = replace(measured, metadata=(*measured.metadata, ("sim_metrics", json.dumps({"score": 0.9}))))
    old = world.submit(
        measured,
        a_saving_job("b", after("a", kind=NeedKind.DATA, output="data")),
        job("good", after("a", "b"), when="a.score > 0.5"),
        job("bad", after("a", "b"), when="a.score < 0.5"),
    )
    world.run()

    made = replayed(world, old, "b")
    run(world, made.pipeline)

    assert states_of(world, made.pipeline) == {"a": DONE, "b": DONE, "good": DONE, "bad": SKIPPED}
    assert (layout.task_dir(world.home, made.pipeline, "a") / "data.json").read_text() == "[1, 2]"


def test_one_task_of_an_expanded_template_is_replayed_beside_its_finished_siblings(world: World) -> None:
    old = world.submit(
        job("list", leaves={"items": [1, 2]}),
        a_saving_job("each", after("list"), foreach="list"),
        job("join", after("each")),
    )
    world.run()
    children = sorted(name for name, task in tasks_of(world, old).items() if task.parent is not None)

    made = replayed(world, old, children[0])
    run(world, made.pipeline)

    assert made.again == (children[0], "join")
    assert set(states_of(world, made.pipeline).values()) == {DONE}
    assert len(world.recorder.accepted) == 4 + 2
    with pytest.raises(UsageError, match="cannot be replayed with everything before it"):
        replayed(world, old, children[0], rerun=True)


def test_a_task_that_was_skipped_stays_skipped(world: World) -> None:
    measured = job("a")
    measured = replace(measured, metadata=(*measured.metadata, ("sim_metrics", json.dumps({"score": 0.1}))))
    old = world.submit(measured, job("never", after("a"), when="a.score > 0.5"), a_saving_job("b", after("a")))
    world.run()

    made = replayed(world, old, "b")

    assert made.taken == ("a", "never")
    assert states_of(world, made.pipeline)["never"] is SKIPPED


def test_a_task_still_at_work_in_the_original_runs_in_the_replay(world: World) -> None:
    old = world.submit(a_saving_job("b"), job("long", lasts_s=50_000, walltime_s=60_000))
    for _ in range(8):
        world.tick()
        world.pass_time(60)
    world.tick()

    made = replayed(world, old, "b")

    assert made.again == ("b", "long")


def test_a_simulated_task_lasts_as_long_as_it_really_did(world: World) -> None:
    old = world.submit(a_saving_job("b"), job("c", after("b")))
    world.run()
    task = tasks_of(world, old)["c"]
    unsaid = replace(task, spec=replace(task.spec, metadata=()))

    spec, _ = adapted(unsaid, Place(backend="sim", is_simulated=True), world.attempts("c"))

    told = dict(spec.metadata)
    assert 110 <= json.loads(told["sim_duration"]) <= 130
    assert spec.placement.backend == "sim"


def test_somebody_elses_pipeline_is_not_replayed(world: World) -> None:
    old = world.submit(a_saving_job("b"))
    world.run()
    workspace = replace(world.workspace(), uid=UID + 1)

    with pytest.raises(PolicyError, match="belongs to ada"):
        replay(workspace, old, "50")


def test_a_replay_that_the_rules_forbid_leaves_no_files_behind(world: World) -> None:
    old = world.submit(a_saving_job("b"), job("c", after("b")))
    world.run()
    world.site = Site.model_validate({**SITE, "projects": {"nlp": {"queue_limit": 1}}})

    with pytest.raises(PolicyError):
        replayed(world, old, "b")

    assert [folder.name for folder in layout.runs(world.home).iterdir()] == [old]


def test_two_tasks_with_a_checkpoint_of_the_step_must_be_told_apart(world: World) -> None:
    old = world.submit(a_saving_job("one"), a_saving_job("two"))
    world.run()

    with pytest.raises(UsageError, match="more than one checkpoint"):
        replay(world.workspace(), old, str(a_step_of(world, old, "one")))


def test_what_follows_is_found_over_many_steps_and_through_groups() -> None:
    tasks = [
        a_task("a").build(),
        a_task("m-1").specified(group="m").needing("a").build(),
        a_task("m-2").specified(group="m").needing("a").build(),
        a_task("end").needing("m").build(),
        a_task("other").build(),
    ]

    names = {task.id: task.spec.name for task in tasks}
    assert {names[one] for one in below(tasks, tasks[0])} == {"m-1", "m-2", "end"}
    assert {names[one] for one in below(tasks, tasks[1])} == {"end"}
    assert taken_over(tasks, tasks[0], rerun=False) == frozenset()


def test_a_request_is_cut_down_to_one_node() -> None:
    asked = Resources(
        nodes=4,
        tasks_per_node=8,
        cpus_per_task=4,
        memory_mib_per_node=9999,
        gpus=GpuRequest(per_node=8, types=("a100", "h100"), memory_mib=80_000),
        features=("infiniband", "ssd"),
        licences=(("matlab", 1),),
        constraint="x",
    )
    node = NodeView(
        name="n", cpus=8, memory_mib=4000, free_cpus=8, free_memory_mib=4000, gpus=(("h100", 2),), features=("ssd",)
    )

    assert fitted(asked, node) == Resources(
        tasks_per_node=2,
        cpus_per_task=4,
        memory_mib_per_node=4000,
        gpus=GpuRequest(per_node=2, types=("h100",)),
        features=("ssd",),
    )
    assert fitted(asked, replace(node, gpus=())).gpus == GpuRequest()
    assert fitted(Resources(), node) == Resources()


def test_whoever_asks_for_parts_of_a_gpu_gets_a_whole_one_where_none_is_shared() -> None:
    asked = Resources(gpus=GpuRequest(per_node=40, types=("mps",), parts=100))
    node = NodeView(name="n", cpus=8, memory_mib=0, free_cpus=8, free_memory_mib=0, gpus=(("a100", 2), ("mps:2", 100)))

    assert fitted(asked, node).gpus == GpuRequest(per_node=40, types=("mps:2",), parts=100)
    assert fitted(asked, replace(node, gpus=(("a100", 2),))).gpus == GpuRequest(per_node=1)
    assert fitted(asked, replace(node, gpus=(("shard", 2),))).gpus == GpuRequest()


def test_a_place_whose_nodes_nobody_knows_cuts_nothing_down() -> None:
    task = a_task("wide").build()

    spec, words = adapted(task, Place(backend=BackendName("slurm"), is_simulated=False, largest=None), ())

    assert (spec.resources, spec.placement.backend, words) == (task.spec.resources, "slurm", "")


def test_the_task_of_a_checkpoint_may_be_named_by_its_id_but_not_be_another_pipelines(world: World) -> None:
    old = world.submit(a_saving_job("one"))
    world.run()
    other = world.submit(a_saving_job("two"))
    one, two = tasks_of(world, old)["one"], tasks_of(world, other)["two"]
    step = str(a_step_of(world, old, "one"))

    made = replay(world.workspace(), old, step, task=one.id)

    assert "one" in states_of(world, made.pipeline)
    with pytest.raises(UsageError, match="this pipeline has no task"):
        replay(world.workspace(), old, step, task=two.id)
