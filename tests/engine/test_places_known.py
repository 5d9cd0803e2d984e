"""Where work goes that may run on several types of GPU, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.facts_places import expected_waits
from elisa.engine.plan import preview
from elisa.engine.site_sections import ExplorationConfig
from elisa.model.decisions import Submit
from elisa.model.pipeline import TaskSpec
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import TaskState
from elisa.report.words import in_words
from tests.reliability.specs import job
from tests.reliability.world import World

from .test_work_left import learn, rows_of

pytestmark = pytest.mark.slow

HOUR = 3600
TWO_KINDS = ClusterSpec(
    nodes=(
        NodeType(name="old", count=1, cpus=8, gpus=(("v100", 4),)),
        NodeType(name="new", count=1, cpus=8, gpus=(("h100", 4),), speed=4.0),
    ),
    heartbeat_s=30,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    weights = {"wish": 0, "cost": 0, "load": 0, "fit": 0}
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "placement": weights})
    return World.make(tmp_path / "home", spec=TWO_KINDS, site=site)


def on(*types: str, name: str = "train", lasts_s: int = HOUR) -> TaskSpec:
    wanted = Resources(cpus_per_task=1, walltime_s=2 * HOUR, gpus=GpuRequest(per_node=1, types=types))
    return replace(job(name, lasts_s=lasts_s), resources=wanted, group=name)


def wanted_types(world: World) -> Mapping[str, str]:
    seen = preview(world.workspace())
    starts = [one for one in seen.plan.decisions if isinstance(one, Submit)]
    return {seen.names[one.task]: str(one.reason.facts["gpu_type"]) for one in starts}


def test_work_goes_to_the_type_on_which_its_kind_was_measured_to_be_faster(world: World) -> None:
    learn(world, on("v100"))
    learn(world, on("h100"))
    world.submit(on("v100", "h100"), on("v100", "h100", name="other"))

    assert wanted_types(world) == {"train": "h100", "other": "v100"}


def test_speeds_of_one_kind_say_nothing_of_another_that_asks_for_the_same(world: World) -> None:
    learn(world, on("v100"))
    learn(world, on("h100"))
    world.submit(on("v100", "h100"), on("v100", "h100", name="other"))

    snapshot = preview(world.workspace()).plan.snapshot

    [(number, _), *_] = sorted(snapshot.outlook.speeds)
    assert {number for number, _ in snapshot.outlook.speeds} == {number}
    assert snapshot.outlook.speeds[number, "h100"] == pytest.approx(4.0, rel=0.05)
    assert len(snapshot.shapes) == 2


def test_where_waits_are_few_nothing_is_expected_else_the_middle_of_the_newest() -> None:
    waits = [("sim", "p", float(wait_s)) for wait_s in (10, 20, 30, 40, 5000)]

    assert expected_waits([*waits, ("sim", "q", 1.0)]) == {("sim", "p"): 30.0}
    assert expected_waits([("sim", "p", 1.0)] * 50 + waits) == {("sim", "p"): 1.0}


def test_what_a_gpu_draws_comes_from_the_sites_own_file(world: World) -> None:
    world.site = world.site.model_copy(update={"gpu_watts": {"h100": 700.0}})
    world.submit(on("h100"))

    assert preview(world.workspace()).plan.snapshot.outlook.watts == {"h100": 700.0}


def saving(name: str, lasts_s: int) -> TaskSpec:
    return replace(on("v100", "h100", name=name, lasts_s=lasts_s), **_saves(name, lasts_s))


def _saves(name: str, lasts_s: int) -> dict[str, Any]:
    spec = job(name, lasts_s=lasts_s, saves_every_s=60)
    return {"checkpoint": spec.checkpoint, "metadata": spec.metadata}


def test_work_tries_a_type_once_is_measured_by_its_steps_and_the_next_goes_where_it_was_faster(world: World) -> None:
    world.site = world.site.model_copy(update={"exploration": ExplorationConfig(enabled=True)})
    learn(world, saving("train", 2400), times=1)
    pipeline = world.submit(saving("train", 2400), saving("other", 2400))

    wanted = wanted_types(world)
    told = [in_words(one.reason) for one in preview(world.workspace()).plan.decisions if isinstance(one, Submit)]
    world.tick()
    world.pass_time(200)
    world.tick()
    world.submit(saving("train", 2400))

    assert wanted == {"train": "h100", "other": "v100"}
    assert sum(one.endswith(", on h100 to measure how fast such work is there") for one in told) == 1
    assert {row.state for row in rows_of(world, pipeline)} == {TaskState.ACTIVE}
    snapshot = preview(world.workspace()).plan.snapshot
    assert {kind for _, kind in snapshot.outlook.speeds} == {"v100", "h100"}
    assert max(snapshot.outlook.speeds.values()) == pytest.approx(4.0, rel=0.1)
    assert not any(shape.tries for shape in snapshot.shapes)
    assert wanted_types(world) == {"train": "h100"}


def test_types_that_nobody_measured_are_compared_as_the_site_says(world: World) -> None:
    world.site = world.site.model_copy(update={"gpu_speeds": {"v100": 1.0, "h100": 3.0}})
    world.submit(on("v100", "h100"))

    assert wanted_types(world) == {"train": "h100"}


def makespan_s(home: Path, *, explores: bool) -> float:
    """Return how long a seeded mix of two kinds of work takes of which only the slower type was ever used."""
    weights = {"wish": 0, "cost": 0, "load": 0, "fit": 0}
    rules = {"backends": {"sim": {"kind": "simulated"}}, "placement": weights, "exploration": {"enabled": explores}}
    world = World.make(home, spec=TWO_KINDS, site=Site.model_validate(rules))
    random = Random(7)
    begun = world.clock.now()
    for _ in range(4):
        names = random.choices(("train", "tune"), k=3)
        specs = [saving(kind, random.randrange(600, 2400)) for kind in names]
        learn(world, *(replace(one, name=f"{one.name}-{number}") for number, one in enumerate(specs)), times=1)
    return (world.clock.now() - begun).total_seconds()


def test_a_mix_of_kinds_is_done_in_less_than_three_quarters_of_the_time_where_types_are_tried(tmp_path: Path) -> None:
    without, trying = (makespan_s(tmp_path / str(explores), explores=explores) for explores in (False, True))

    assert trying < 0.75 * without
