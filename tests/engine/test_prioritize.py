"""What becomes urgent all at once: the next tick follows it, in elisa's queue, in native queues and on the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine import projects
from elisa.engine.config import Site
from elisa.engine.prioritize import Urgency, prioritize
from elisa.engine.submit import submit
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.errors import PolicyError, UsageError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import Pipeline, PriorityClass
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from tests.engine.test_places import Reordering, native
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600
MANAGER, MEMBER = 4001, 4002


def a_world(home: Path, *, nodes: int = 1, **rules: Any) -> World:
    base = {"backends": {"sim": {"kind": "simulated", "window": 2}}, "jobs": {"self_fence": "60s"}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=nodes, cpus=4),), heartbeat_s=30)
    return World.make(home, spec=spec, site=Site.model_validate({**base, **rules}))


def whole(name: str, **more: Any) -> Any:
    return job(name, **{"cpus": 4, "lasts_s": 4 * HOUR, "walltime_s": 6 * HOUR, **more})


def rank(world: World, name: str, **urgency: Any) -> None:
    prioritize(world.workspace(), [world.tasks()[name].id], Urgency(**urgency))


def stages(world: World) -> Mapping[str, str]:
    """Tell of each task whether it waits with elisa, is queued natively, or runs."""
    found = {}
    for name, task in world.tasks().items():
        live = [one for one in world.attempts(name) if one.end is None]
        found[name] = live[-1].state.value if live else task.state.value
    return found


def minutes(world: World, count: int = 1) -> None:
    for _ in range(count):
        world.tick()
        world.pass_time(60)


CRITICAL = {"projects": {"rescue": {"highest": "critical"}}}
YIELDING = {"preemption": {"enabled": True, "minimum_run": "1m"}}


def test_a_new_critical_project_starts_within_a_tick_by_asking_what_runs_to_leave(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", **YIELDING)
    world.submit(*(whole(f"old{number}", saves_every_s=HOUR) for number in range(3)))
    minutes(world, 5)
    projects.change(world.workspace(), "rescue", {"highest": "critical", "shares": "10"})
    world.submit(whole("flood", lasts_s=HOUR), project="rescue")

    prioritize(world.workspace(), [world.tasks()["flood"].pipeline], Urgency(priority=PriorityClass.CRITICAL))
    report = world.tick()

    [runner] = [one for name in ("old0", "old1", "old2") for one in world.attempts(name) if one.started_at]
    assert runner.id in report.stopped
    minutes(world, 4)
    assert stages(world)["flood"] == "running"
    world.run(step_s=600)
    assert {one.failures for one in world.tasks().values()} == {0}
    assert [one.end and one.end.reason for one in world.attempts("flood")] == [EndReason.COMPLETED]
    assert_sound(world)


def test_without_preemption_what_is_queued_is_withdrawn_and_what_runs_is_left_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", **CRITICAL)
    world.submit(*(whole(f"old{number}") for number in range(5)))
    minutes(world, 3)
    before = stages(world)
    world.submit(whole("flood", lasts_s=HOUR), project="rescue")
    world.tick()
    assert stages(world)["flood"] == "ready"

    rank(world, "flood", priority=PriorityClass.CRITICAL)
    minutes(world, 3)

    after = stages(world)
    assert sorted(before.values()) == ["queued", "queued", "ready", "ready", "running"]
    assert after["flood"] in {"submitted", "queued"}
    assert [name for name, stage in before.items() if stage == "running"] == [
        name for name, stage in after.items() if stage == "running"
    ]
    assert list(after.values()).count("queued") + list(after.values()).count("submitted") == 2
    assert_sound(world)


def test_jobs_in_a_native_queue_are_reordered_in_the_tick_that_follows(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", **CRITICAL)
    queue = Reordering(world.cluster)
    world.extra["sim"] = queue  # type: ignore[assignment]
    world.submit(whole("busy"), project="rescue")
    minutes(world)
    world.submit(whole("first"), project="rescue")
    minutes(world)
    world.submit(whole("second"), project="rescue")
    minutes(world)
    quiet = list(queue.asked)

    rank(world, "second", priority=PriorityClass.CRITICAL)
    world.tick()

    assert quiet == []
    assert [list(asked) for asked in queue.asked] == [[native(world, "second")]]
    assert layout.queue_places(world.home).exists()


@pytest.mark.parametrize("moved", ["later", "earlier"])
def test_a_moved_deadline_changes_who_is_next(tmp_path: Path, moved: str) -> None:
    world = a_world(tmp_path / "home", projects={"nlp": {"at_once": {"jobs": 1}}})
    now = world.clock.now()
    for name in ("a", "b"):
        deadline = now + timedelta(hours=20 if name == "a" else 10)
        submit(
            world.workspace(),
            Pipeline(name=name, project=ProjectName("nlp"), tasks=(whole(name),), deadline=deadline),
        )

    hours = {"later": 30, "earlier": 8}[moved]
    rank(world, "b" if moved == "later" else "a", deadline=now + timedelta(hours=hours))
    world.tick()

    assert stages(world) == {"a": "submitted", "b": "ready"}
    with Reader.open(world.home) as reader:
        kinds = [row.facts["deadline"] for row in reader.audit() if row.kind == "pipeline.ranked"]
    assert kinds == [(now + timedelta(hours=hours)).isoformat()]
    assert_sound(world)


def test_a_cut_budget_takes_queued_jobs_back_and_has_what_runs_park_before_the_rest_is_used(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", nodes=2, projects={"nlp": {"budget": {"cpu_hours": 100}}})
    short = {"lasts_s": HOUR, "walltime_s": HOUR * 3 // 2, "saves_every_s": HOUR}  # six core hours each
    world.submit(*(whole(f"job{number}", **short) for number in range(4)))
    minutes(world, 3)
    before = sorted(stages(world).values())

    projects.change(world.workspace(), "nlp", {"budget.cpu_hours": "6.5"})
    minutes(world, 2)
    cut = sorted(stages(world).values())
    minutes(world, 10)

    assert before == ["queued", "queued", "running", "running"]
    assert cut == ["ready", "ready", "running", "running"]
    assert sorted(stages(world).values()) == ["ready", "ready", "ready", "running"]
    with Reader.open(world.home) as reader:
        rows = reader.usage(world.clock.now()).rows
    assert sum(row.reserved.cpu_s + row.spent.cpu_s for row in rows) <= 6.5 * HOUR
    assert_sound(world)


def test_a_task_keeps_its_class_when_only_its_importance_changes_and_the_pipelines_adds_to_it(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", **CRITICAL)
    pipeline = world.submit(job("one", importance=2.0), job("two"), project="rescue")

    prioritize(world.workspace(), [pipeline], Urgency(priority=PriorityClass.CRITICAL, importance=10.0))
    rank(world, "one", importance=5.0)
    rank(world, "two", priority=PriorityClass.NORMAL)
    rank(world, "two", importance=1.0)

    with Reader.open(world.home) as reader:
        ready = reader.ready_columns()
        words = [one.words for one in read_explanation(reader, world.tasks()["two"].id, world.clock.now()).history]
    by_name = {name: task.id for name, task in world.tasks().items()}
    ranked = {task: (ready.priority[row], ready.importance[row]) for row, task in enumerate(ready.task)}
    assert {name: ranked[id_] for name, id_ in by_name.items()} == {"one": (0, 15.0), "two": (2, 11.0)}
    assert words[-2:] == [
        "ada ranked it anew: class normal, importance 10.0",
        "ada ranked it anew: importance 11.0",
    ]
    assert_sound(world)


def seen_by(world: World, uid: int) -> Workspace:
    return replace(world.workspace(), uid=uid)


def test_only_managers_rank_the_work_of_others_and_what_they_say_counts(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", **CRITICAL)
    roles = f"managers: {{rescue: [{MANAGER}]}}\nclasses: {{critical: [{MANAGER}]}}\n"
    (world.home / "roles.yaml").write_text(roles)
    tasks = (job("theirs"),)
    made = submit(seen_by(world, MEMBER), Pipeline(name="theirs", project=ProjectName("rescue"), tasks=tasks))
    ids, critical = [made.pipeline_id], Urgency(priority=PriorityClass.CRITICAL)

    with pytest.raises(PolicyError, match=f"user {MEMBER} may not use class critical"):
        prioritize(seen_by(world, MEMBER), ids, critical)
    with pytest.raises(PolicyError, match="may not prioritize the work of project rescue"):
        prioritize(seen_by(world, 4003), ids, Urgency(importance=1.0))
    prioritize(seen_by(world, MANAGER), ids, critical)

    with Reader.open(world.home) as reader:
        ready = reader.ready_columns()
    assert (list(ready.priority), dict(ready.ranked_by)) == ([0], {ready.task[0]: MANAGER})


def test_a_class_above_the_projects_is_refused_and_what_is_over_is_left(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home")
    pipeline = world.submit(job("work"))
    with pytest.raises(PolicyError, match="project nlp may not submit work of class critical"):
        rank(world, "work", priority=PriorityClass.CRITICAL)
    with pytest.raises(UsageError, match="nothing is to change"):
        rank(world, "work")
    world.run()

    done = prioritize(world.workspace(), [pipeline], Urgency(importance=5.0, deadline=None))

    assert (done.changed, list(done.unchanged.values())) == ((), ["it is succeeded"])
    assert dict(done.moved) == {pipeline: None}
    assert world.states() == {"work": TaskState.SUCCEEDED}
    assert {one.state for one in world.attempts("work")} == {AttemptState.ENDED}
