"""Switches and named nodes on a real Slurm with a tree of switches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elisa.model.hostlist import expand_hosts
from elisa.model.native import NativeState
from elisa.model.resources import Resources
from tests.real.elisa_on_slurm import a_state_folder
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


# On four nodes, two to a leaf, `client` may have but one: the other on the leaf of `main`.
TIED = """
name: tied
defaults: {resources: {cpus: 1, memory: 64MiB}}
tasks:
  main: {command: [sleep, "600"]}
  other:
    command: [sleep, "600"]
    placement: {anti_affinity: {tasks: main, over: switch}}
  client:
    command: [sleep, "600"]
    placement: {affinity: {tasks: main, over: switch}, anti_affinity: main}
"""


def test_tasks_tied_over_switches_run_where_their_ties_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SlurmCluster(topology=TREE) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env()["SLURM_CONF"])
        elisa = a_state_folder(cluster, tmp_path)
        elisa.submit(TIED)

        def nodes() -> list[str]:
            return [one.nodes for name in ("main", "other", "client") for one in elisa.attempts(name) if one.nodes]

        elisa.tick()
        elisa.tick_until(lambda: len(nodes()) == 3)

        main, other, client = nodes()
        assert LEAVES[main] != LEAVES[other]
        assert (LEAVES[client], client == main) == (LEAVES[main], False)
