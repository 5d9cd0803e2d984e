"""Switches and named nodes on a real Slurm with a tree of switches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.model.hostlist import expand_hosts
from elisa.model.native import NativeState
from elisa.model.resources import Resources
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import a_world

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("slurm_installed")]

TREE = "SwitchName=leaf1 Nodes=n[1,3]\nSwitchName=leaf2 Nodes=n[2,4]\nSwitchName=top Switches=leaf[1-2]\n"
LEAVES = {"n1": "leaf1", "n2": "leaf2", "n3": "leaf1", "n4": "leaf2"}


def test_switches_are_learnt_once_and_bound_jobs_as_named_nodes_do(tmp_path: Path) -> None:
    with SlurmCluster(topology=TREE) as cluster:
        world = a_world(cluster, tmp_path)
        world = replace(world, backend=replace(world.backend, topology=tmp_path / "topology.json"))

        learnt = {node.name: node.switch for node in world.backend.cluster().nodes}
        wide = world.submit("sleep 600", resources=Resources(nodes=2, switches=1, switches_wait_s=60))
        named = world.submit("sleep 600", resources=Resources(nodes=2, nodelist=("n2", "n3")))
        on = [expand_hosts(world.wait_for(one, NativeState.RUNNING).nodes) for one in (wide, named)]

    assert learnt == LEAVES
    assert "leaf2" in (tmp_path / "topology.json").read_text()
    assert len({LEAVES[node] for node in on[0]}) == 1
    assert on[1] == ("n2", "n3")
