"""Switches as scontrol tells them, and as they are remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.topology import parse_topology, remembered, topology_argv

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TREE = """\
SwitchName=leaf1 Level=0 LinkSpeed=1 Nodes=n[1-2]
SwitchName=leaf2 Level=0 LinkSpeed=1 Nodes=n3,gpu7
SwitchName=top Level=1 LinkSpeed=1 Nodes=n[1-3],gpu7 Switches=leaf[1-2]
"""
LEAVES = {"n1": "leaf1", "n2": "leaf1", "n3": "leaf2", "gpu7": "leaf2"}


class Asked:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        return TREE


def test_leaf_switches_are_read_and_no_others() -> None:
    assert parse_topology(TREE) == LEAVES


def test_a_site_without_a_tree_has_none() -> None:
    assert parse_topology("") == {}


def test_the_cluster_is_named_where_there_are_several() -> None:
    assert topology_argv("scontrol", SlurmOptions()) == ("scontrol", "--oneliner", "show", "topology")
    assert "--cluster=big" in topology_argv("scontrol", SlurmOptions(cluster="big"))


def test_it_is_asked_once_a_day_and_whenever_the_nodes_are_others(tmp_path: Path) -> None:
    memory, ask = tmp_path / "topology.json", Asked()

    for hours, nodes, times in ((0, ["n1", "n2"], 1), (23, ["n2", "n1"], 1), (25, ["n1", "n2"], 2), (26, ["n1"], 3)):
        assert remembered(memory, nodes, NOW + timedelta(hours=hours), ask) == LEAVES
        assert ask.times == times


@pytest.mark.parametrize("text", ["", "[]", '{"nodes": ["n1"]}', '{"nodes": ["n1"], "at": "x", "switches": {}}'])
def test_what_cannot_be_read_is_asked_again(tmp_path: Path, text: str) -> None:
    memory = tmp_path / "topology.json"
    memory.write_text(text)

    assert remembered(memory, ["n1"], NOW, Asked()) == LEAVES


def test_where_nothing_can_be_written_it_is_asked_each_time(tmp_path: Path) -> None:
    assert remembered(tmp_path / "missing" / "topology.json", ["n1"], NOW, Asked()) == LEAVES
