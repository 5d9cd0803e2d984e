"""Nodes that take only work which tolerates them, from `site.yaml` to the simulated cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site, parse_site
from elisa.engine.hopeless import hopeless_tasks
from elisa.model.ids import BackendName, ProjectName
from elisa.model.pipeline import Pipeline
from elisa.model.site import Taint
from tests.reliability.specs import job
from tests.reliability.world import World

TWO = ClusterSpec(nodes=(NodeType(name="n", count=2, cpus=4),))
RULES = {"backends": {"sim": {"kind": "simulated", "taints": {"interactive": "n0001"}}}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "home", spec=TWO, site=Site.model_validate(RULES))


def test_only_work_that_tolerates_a_taint_gets_a_node_that_has_it(world: World) -> None:
    tolerant = job("tolerant", cpus=4)
    tolerant = replace(tolerant, resources=replace(tolerant.resources, tolerations=("interactive",)))
    world.submit(job("shy", cpus=4), tolerant)

    world.tick()
    world.pass_time(60)
    world.tick()

    assert {name: [one.nodes for one in world.attempts(name)] for name in ("shy", "tolerant")} == {
        "shy": ["n0002"],
        "tolerant": ["n0001"],
    }


def test_work_that_no_node_will_take_is_told_when_it_is_submitted(world: World) -> None:
    wide = job("wide", cpus=4)
    wide = replace(wide, resources=replace(wide.resources, nodes=2))

    found = dict(hopeless_tasks(world.workspace(), Pipeline(name="p", project=ProjectName("nlp"), tasks=(wide,))))

    assert found["wide"].facts["largest"] == 1


def test_taints_stand_in_the_sites_file_by_name_with_their_nodes() -> None:
    text = "backends: {cluster: {kind: slurm, taints: {new-driver: 'gpu[1-2],gpu7'}}}"

    assert parse_site(text, "site.yaml").policy().taints == (
        Taint(name="new-driver", backend=BackendName("cluster"), nodes=("gpu1", "gpu2", "gpu7")),
    )
