from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.engine.config import Site
from elisa.engine.submit import own_environment, read_environment, submit
from elisa.model import layout
from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import Pipeline, PriorityClass, SitePlacement
from elisa.model.states import TaskState
from tests.reliability.specs import after, job
from tests.reliability.world import World, scratch_folder

CANARY = "c4n4ry-5ecret"


def pipeline(*tasks: object, **more: object) -> Pipeline:
    return Pipeline(name="study", project=ProjectName("nlp"), tasks=tasks, **more)  # type: ignore[arg-type]


def with_rules(folder: str, **project: object) -> World:
    site = {"backends": {"sim": {"kind": "simulated"}}, "projects": {"nlp": project}}
    return World.make(Path(folder) / "home", site=Site.model_validate(site))


def test_a_pipeline_is_stored_with_its_owner_and_tasks_that_wait_for_nothing_are_ready(world: World) -> None:
    done = submit(world.workspace(), pipeline(job("a"), job("b", after("a"))), source="/somewhere/study.yaml")

    assert world.states() == {"a": TaskState.READY, "b": TaskState.WAITING}
    assert done.tasks == {name: task.id for name, task in world.tasks().items()}
    assert done.warnings == ()


def test_a_class_above_the_projects_highest_is_refused() -> None:
    with scratch_folder() as folder:
        world = with_rules(folder, highest="normal")

        with pytest.raises(PolicyError) as caught:
            submit(world.workspace(), pipeline(replace(job("a"), priority=PriorityClass.CRITICAL)))

        assert "critical" in caught.value.what
        assert world.tasks() == {}


def test_more_unfinished_tasks_than_the_project_may_have_are_refused() -> None:
    with scratch_folder() as folder:
        world = with_rules(folder, queue_limit=3)
        submit(world.workspace(), pipeline(job("a"), job("b")))

        with pytest.raises(PolicyError) as caught:
            submit(world.workspace(), pipeline(job("a"), job("b")))

        assert caught.value.why == "it has 2, and this pipeline would add 2"


def test_a_backend_that_nobody_configured_is_warned_of(world: World) -> None:
    placed = replace(job("a"), placement=SitePlacement(backend="moon"))

    assert submit(world.workspace(), pipeline(placed)).warnings == (
        "no backend is called `moon`: its tasks will wait until site.yaml has one",
    )


def test_a_project_beside_those_in_the_rules_is_warned_of() -> None:
    with scratch_folder() as folder:
        world = with_rules(folder)
        stray = replace(pipeline(job("a")), project=ProjectName("other"))

        assert submit(world.workspace(), stray).warnings == (
            "site.yaml knows no project `other`: the rules for unlisted projects hold",
        )


def test_only_named_variables_are_kept_and_only_for_tasks_that_name_them(world: World) -> None:
    environment = {"PATH": "/bin", "TOKEN": CANARY, "OTHER": "x"}
    ours = replace(world.workspace(), environment=environment)
    open_, closed = replace(job("open"), pass_environment=("TOKEN", "ABSENT")), job("closed")

    done = submit(ours, pipeline(open_, closed))

    kept = read_environment(ours, done.pipeline_id)
    assert own_environment(kept, open_) == {"PATH": "/bin", "TOKEN": CANARY}
    assert own_environment(kept, closed) == {"PATH": "/bin"}


def test_a_secret_reaches_its_job_and_nothing_that_others_read(world: World) -> None:
    ours = replace(world.workspace(), environment={"PATH": "/bin", "TOKEN": CANARY})
    done = submit(ours, pipeline(replace(job("a"), pass_environment=("TOKEN",))))
    world.run()

    holders = {
        path.relative_to(world.home)
        for path in world.home.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    }

    attempt = world.attempts("a")[0].id
    kept = (layout.environment_file(world.home, done.pipeline_id), layout.job_file(world.home, attempt))
    assert holders == {path.relative_to(world.home) for path in kept}
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    assert json.loads(kept[1].read_text())["env"]["TOKEN"] == CANARY
