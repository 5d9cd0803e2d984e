"""Work with a range of nodes through whole ticks on a simulated cluster: smaller for others, larger when they have gone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.model.pipeline import Gang, TaskSpec
from elisa.model.resources import Elastic, GpuRequest
from elisa.model.states import AttemptState, TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

from .test_preemption import minutes

HOUR = 3600
EIGHT = ClusterSpec(nodes=(NodeType(name="n", count=8, cpus=4),), heartbeat_s=30)

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(
        tmp_path / "home", spec=EIGHT, site=Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})
    )


def elastic(name: str = "train", *, lasts_s: int = 16 * HOUR, **fields: Any) -> TaskSpec:
    """Two to eight nodes of work, `lasts_s` of it on two."""
    spec = job(name, cpus=4, lasts_s=lasts_s, walltime_s=20 * HOUR, saves_every_s=HOUR, **fields)
    asked = replace(spec.resources, nodes=2, elastic=Elastic(least=2, most=8))
    return replace(spec, resources=asked, metadata=(*spec.metadata, ("sim_nodes", json.dumps(2))))


def fixed(name: str, nodes: int, **fields: Any) -> TaskSpec:
    spec = job(name, cpus=4, **fields)
    return replace(spec, resources=replace(spec.resources, nodes=nodes))


GPUS = ClusterSpec(nodes=(NodeType(name="g", count=1, cpus=32, gpus=(("a100", 8),)),), heartbeat_s=30)


def of_gpus(name: str, least: int, most: int, **fields: Any) -> TaskSpec:
    """Work with a number of GPUs between two bounds; with a range, 16 hours of it on the least."""
    known = {"lasts_s": 16 * HOUR, "walltime_s": 20 * HOUR, "saves_every_s": HOUR} if least < most else {}
    spec = job(name, cpus=4, **{**known, **fields})
    bounds = Elastic(least=least, most=most, of_gpus=True) if least < most else None
    asked = replace(spec.resources, gpus=GpuRequest(per_node=least, types=("a100",)), elastic=bounds)
    return replace(spec, resources=asked, metadata=(*spec.metadata, ("sim_gpus", json.dumps(least))))


def test_the_number_of_gpus_follows_what_others_need_and_is_paid_for_to_the_second(tmp_path: Path) -> None:
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}})
    world = World.make(tmp_path / "home", spec=GPUS, site=site)
    world.submit(of_gpus("train", 2, 8))
    minutes(world, 30)
    world.submit(of_gpus("other", 5, 5, lasts_s=HOUR, walltime_s=2 * HOUR))
    minutes(world, 80)
    world.run(step_s=600)

    first, second, third = world.attempts("train")
    assert [one.request.gpus.per_node for one in (first, second, third)] == [8, 3, 8]
    assert second.resume_from is not None
    assert world.states() == {"train": TaskState.SUCCEEDED, "other": TaskState.SUCCEEDED}
    assert world.tasks()["train"].failures == 0
    told = json.loads((world.home / "spool" / first.id / "job.json").read_text())
    assert told["gpus_per_node"] == 8
    assert_sound(world)


def sizes(world: World, name: str = "train") -> list[int]:
    return [one.request.nodes for one in world.attempts(name)]


def test_it_shrinks_for_one_of_its_class_and_grows_when_that_has_gone(world: World) -> None:
    world.submit(elastic())
    minutes(world, 30)
    world.submit(fixed("other", 4, lasts_s=HOUR, walltime_s=2 * HOUR))

    minutes(world, 4)

    assert [one.state for one in world.attempts("other")] == [AttemptState.RUNNING]
    assert sizes(world) == [8, 4]
    minutes(world, 75)
    assert sizes(world) == [8, 4, 8]
    first, second, third = world.attempts("train")
    assert third.resume_from is not None
    assert first.last_checkpoint is not None
    assert (second.resume_from, third.resume_from.step > first.last_checkpoint.step) == (first.last_checkpoint, True)
    world.run(step_s=600)
    assert world.states() == {"train": TaskState.SUCCEEDED, "other": TaskState.SUCCEEDED}
    assert world.tasks()["train"].failures == 0
    assert_sound(world)


@pytest.mark.parametrize(
    ("other", "became", "state"), [(3, [8, 2], AttemptState.RUNNING), (4, [8], AttemptState.QUEUED)]
)
def test_it_shrinks_once_for_all_of_a_gang_and_not_for_a_part(
    world: World, other: int, became: list[int], state: AttemptState
) -> None:
    world.submit(elastic())
    minutes(world, 30)
    longer: Any = {"gang": Gang(name="pair"), "lasts_s": HOUR, "walltime_s": 2 * HOUR}
    world.submit(fixed("a", 3, **longer), fixed("b", other, **longer))

    minutes(world, 5)

    assert sizes(world) == became
    assert [world.attempts(name)[-1].state for name in ("a", "b")] == [state] * 2
    assert_sound(world)


def test_a_member_of_a_gang_grows_and_shrinks_while_the_other_runs_on(world: World) -> None:
    gang = Gang(name="pair")
    world.submit(
        fixed("filler", 3, lasts_s=1500),
        elastic(gang=gang),
        fixed("head", 1, gang=gang, lasts_s=9 * HOUR, walltime_s=12 * HOUR),
    )
    minutes(world, 60)
    assert sizes(world) == [4, 7]
    world.submit(fixed("other", 4, lasts_s=HOUR, walltime_s=2 * HOUR))
    minutes(world, 5)

    assert sizes(world) == [4, 7, 3]
    assert [one.state for name in ("head", "other") for one in world.attempts(name)] == [AttemptState.RUNNING] * 2
    assert world.tasks()["train"].failures == 0
    assert_sound(world)


def test_a_young_one_is_left_alone_and_its_class_waits(world: World) -> None:
    world.submit(elastic())
    minutes(world, 2)
    world.submit(fixed("other", 4))

    minutes(world, 5)

    assert sizes(world) == [8]
    minutes(world, 10)
    assert sizes(world) == [8, 4]


def test_without_a_checkpoint_it_keeps_the_size_that_it_started_with(world: World) -> None:
    world.submit(replace(elastic(), checkpoint=None))
    minutes(world, 30)
    world.submit(fixed("other", 4))

    minutes(world, 30)

    assert sizes(world) == [8]
    assert [one.state for one in world.attempts("other")] == [AttemptState.QUEUED]


def test_room_is_noted_once_and_ticks_without_news_change_nothing(world: World) -> None:
    world.submit(fixed("other", 6, lasts_s=1500), elastic(lasts_s=200 * HOUR))
    minutes(world, 25)
    world.tick()
    with Reader.open(world.home) as reader:
        noted = [row.kind for row in reader.audit(subject=world.attempts("train")[0].id)]
        before = len(reader.audit())
    world.tick()
    with Reader.open(world.home) as reader:
        after = len(reader.audit())

    assert noted.count("noted.room_to_grow") == 1
    assert before == after


def test_elastic_work_that_waits_together_gets_its_least_first_and_never_stands_in_each_others_way(
    world: World,
) -> None:
    world.submit(*(elastic(f"train{number}", lasts_s=2 * HOUR) for number in range(6)))

    world.run(step_s=120)

    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert all(2 <= size <= 8 for name in world.states() for size in sizes(world, name))
    assert_sound(world)
