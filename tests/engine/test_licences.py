"""Licences that a manager counts apart from its nodes: asked for where a task asks for one, and for nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.model.errors import Unavailable
from elisa.model.ids import BackendName
from elisa.model.native import ClusterView
from elisa.model.pipeline import TaskSpec
from tests.reliability.specs import job
from tests.reliability.world import World

SIM = BackendName("sim")


class CountsApart:
    """The simulated cluster as one that tells its licences only where they are asked for."""

    def __init__(self, cluster: SimulatedBackend) -> None:
        self._cluster = cluster
        self.asked = 0
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def cluster(self) -> ClusterView:
        return replace(self._cluster.cluster(), licences={})

    def licences(self) -> Mapping[str, int]:
        self.asked += 1
        if self.is_away:
            raise Unavailable("scontrol failed")
        return self._cluster.cluster().licences


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a cluster with one licence of matlab."""
    spec = ClusterSpec(nodes=(NodeType(name="node", count=4, cpus=4),), licences=(("matlab", 1),), heartbeat_s=30)
    made = World.make(tmp_path / "home", spec=spec)
    made.extra["sim"] = CountsApart(made.cluster)  # type: ignore[assignment]
    return made


def apart(world: World) -> CountsApart:
    found = world.extra["sim"]
    assert isinstance(found, CountsApart)
    return found


def licensed(name: str) -> TaskSpec:
    spec = job(name)
    return replace(spec, resources=replace(spec.resources, licences=(("matlab", 1),)))


def test_nobody_is_asked_for_licences_that_no_task_wants(world: World) -> None:
    world.submit(job("a"), job("b"))

    report = world.tick()

    assert (len(report.submitted), apart(world).asked) == (2, 0)


def test_they_are_asked_for_once_where_tasks_want_them(world: World) -> None:
    world.submit(job("plain"), licensed("a"), licensed("b"))

    report = world.tick()

    assert apart(world).asked == 1
    assert len(report.submitted) == 3


def test_manager_that_does_not_tell_them_gets_nothing_in_that_tick(world: World) -> None:
    apart(world).is_away = True
    world.submit(job("plain"), licensed("a"))

    report = world.tick()

    assert (report.submitted, dict(report.unreachable)) == ((), {"sim": "scontrol failed"})


def test_who_wants_them_later_gets_them_beside_what_is_known(world: World) -> None:
    ws = world.workspace()
    managers = Managers(ws.backends, HealthBook(ws.files, ws.home), ws.random, ws.clock.now())

    without = managers.clusters()
    with_them = managers.clusters(licences=True)

    assert ([view.licences for view in without], [view.licences for view in with_them]) == ([{}], [{"matlab": 1}])
    assert [view.nodes for view in without] == [view.nodes for view in with_them]
    assert managers.clusters(licences=True) is with_them
