"""Simulated nodes promised more than once: what they say they have, what they take, and when they are short of memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.simulated.spec import ClusterSpec
from elisa.engine.config import Site
from elisa.model.errors import UsageError
from elisa.model.native import NodeState
from elisa.model.pipeline import TaskSpec
from elisa.model.resources import Resources
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600


def described(**node: Any) -> ClusterSpec:
    kind = {"cpus": 4, "memory": 1000, "overcommit": {"cpus": 2, "memory": 1.5}, **node}
    return parse_cluster({"nodes": {"fat": kind}, "queue": False, "heartbeat": 30})


def a_world(tmp_path: Path) -> World:
    projects = {"sure": {"service": "guaranteed"}, "spare": {"service": "best_effort"}}
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "projects": projects})
    return World.make(tmp_path / "home", spec=described(), site=site)


def using(name: str, used_mib: int, *, cpus: int = 4, asked_mib: int = 700) -> TaskSpec:
    made = job(name, lasts_s=2 * HOUR, walltime_s=3 * HOUR, saves_every_s=600)
    request = Resources(cpus_per_task=cpus, memory_mib_per_node=asked_mib, walltime_s=3 * HOUR)
    return replace(made, resources=request, metadata=(*made.metadata, ("sim_memory", json.dumps(used_mib))))


def test_jobs_together_get_what_is_promised_and_one_what_is_there(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(using("a", 1), using("b", 1))
    world.tick()
    world.submit(using("c", 1, cpus=1, asked_mib=1))
    world.tick()

    assert world.states() == {"a": TaskState.ACTIVE, "b": TaskState.ACTIVE, "c": TaskState.READY}
    (node,) = world.cluster.cluster().nodes
    assert (node.cpus, node.free_cpus, node.memory_mib, node.promised) == (8, 0, 1500, (200, 150))
    assert world.cluster.capabilities.overcommits


def test_guaranteed_work_takes_its_part_of_all_that_is_promised(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(using("sure", 1, cpus=3, asked_mib=100), project="sure")
    world.tick()

    world.submit(using("a", 1, cpus=2, asked_mib=1), using("b", 1, cpus=1, asked_mib=1))
    world.tick()

    assert world.states() == {"sure": TaskState.ACTIVE, "a": TaskState.READY, "b": TaskState.ACTIVE}


@pytest.mark.slow
def test_best_effort_work_leaves_when_programs_use_nearly_all_memory(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(using("spare", 480), project="spare")
    world.submit(using("burst", 490))
    world.run(step_s=600)

    with Reader.open(world.home) as reader:
        pressed = [row for row in reader.audit() if row.facts.get("reason") == "pressed"]
    assert {row.subject for row in pressed} <= {attempt.id for attempt in world.attempts("spare")}
    assert pressed[0].facts["because"]["short_mib"] == 20  # type: ignore[index]  # a mapping
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    assert world.tasks()["spare"].failures == 0
    assert_sound(world)


def test_memory_that_is_scarce_closes_a_node_and_plain_ones_never_do(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(using("a", 450), using("b", 460))
    world.tick()

    (node,) = world.cluster.cluster().nodes
    assert (node.state, node.short_mib) == (NodeState.DRAINED, 0)
    assert not parse_cluster({}).overcommits


@pytest.mark.parametrize("wrong", [2, {"cpus": 0.5}, {"gpus": 2}])
def test_what_is_no_ratio_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"`nodes\.fat\.overcommit` of the simulated cluster is wrong"):
        described(overcommit=wrong)


def test_a_cluster_with_a_queue_does_not_overcommit() -> None:
    with pytest.raises(UsageError, match="with a queue does not overcommit"):
        parse_cluster({"nodes": {"n": {"overcommit": {"cpus": 2}}}})
