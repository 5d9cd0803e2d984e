"""What can never start is told when it is submitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.hopeless import hopeless_tasks
from elisa.model.ids import ProjectName
from elisa.model.pipeline import Gang, Pipeline, TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.report.words import in_words
from tests.reliability.specs import after, job
from tests.reliability.world import World

TWO = ClusterSpec(nodes=(NodeType(name="n", count=2, cpus=4),))


def found(tmp_path: Path, *tasks: TaskSpec, spec: ClusterSpec = TWO) -> dict[str, Reason]:
    world = World.make(tmp_path / "home", spec=spec)
    return dict(hopeless_tasks(world.workspace(), Pipeline(name="p", project=ProjectName("nlp"), tasks=tasks)))


def fleet(count: int, cpus: int, minimum: int = 0) -> list[TaskSpec]:
    gang = Gang(name="fleet", minimum=minimum)
    return [replace(job(f"m{number}", cpus=cpus), gang=gang) for number in range(count)]


@pytest.mark.parametrize("spec", [TWO, replace(TWO, queue=False)])
def test_a_gang_larger_than_the_empty_cluster_can_never_start(tmp_path: Path, spec: ClusterSpec) -> None:
    reason = because(ReasonCode.GANG_TOO_LARGE, gang="fleet", needed=5, largest=4)

    assert found(tmp_path, *fleet(5, cpus=2), spec=spec) == {"m0": reason}
    assert in_words(reason) == (
        "its gang fleet can never start: 5 members must run at once, and were all nodes free, 4 would fit"
    )


@pytest.mark.parametrize(("count", "minimum"), [(4, 0), (9, 4)])
def test_a_gang_that_just_fits_is_not_hopeless_however_busy_the_cluster_is(
    tmp_path: Path, count: int, minimum: int
) -> None:
    world = World.make(tmp_path / "home", spec=TWO)
    world.submit(*[job(f"busy{number}", cpus=4) for number in range(2)])
    world.tick()
    world.pass_time(60)
    pipeline = Pipeline(name="p", project=ProjectName("nlp"), tasks=tuple(fleet(count, cpus=2, minimum=minimum)))

    assert dict(hopeless_tasks(world.workspace(), pipeline)) == {}


def test_of_a_gang_with_a_member_that_fits_nowhere_only_that_is_told(tmp_path: Path) -> None:
    told = found(tmp_path, *fleet(4, cpus=2), replace(job("wide", cpus=9), gang=Gang(name="fleet")))

    assert {name: reason.code for name, reason in told.items()} == {"wide": ReasonCode.NEVER_FITS}


def test_a_gang_whose_members_are_still_to_be_found_is_left_alone(tmp_path: Path) -> None:
    source = job("list", leaves={"items": list(range(9))})
    each = replace(job("each", after("list"), cpus=4, foreach="list"), gang=Gang(name="fleet"))

    assert found(tmp_path, source, each, *fleet(3, cpus=4)) == {}
