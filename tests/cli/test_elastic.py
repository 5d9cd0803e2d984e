"""Work with a range of nodes: what `plan`, `explain` and `budget` tell of its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa
from tests.cli.test_parking import unwrapped

SITE = """\
backends:
  dream: {kind: simulated, options: {nodes: {n: {count: 8, cpus: 4}}}}
projects:
  vision: {budget: {node_hours: 100}}
"""
TASKS = """\
  side:
    command: [run]
    resources: {nodes: 3, cpus: 4, walltime: 1h}
    metadata: {sim_duration: 30m}
  train:
    command: [run]
    resources: {nodes: {min: 2, max: 8}, cpus: 4, walltime: 10h}
    metadata: {sim_duration: 8h, sim_nodes: 2}
"""


@pytest.mark.slow
def test_it_starts_on_what_the_others_leave_and_pays_for_that(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    elisa("submit", write(TASKS))

    would = elisa("plan", "--json").data["decisions"]
    elisa("tick")
    held = elisa("budget", "vision").out
    done = elisa("tick", "--until-idle")
    explained = unwrapped(elisa("explain", "study/train").out)

    facts = {one["name"]: one["reason"]["facts"] for one in would}
    assert (facts["train"]["size"], facts["train"]["least"], facts["train"]["most"]) == (5, 2, 8)
    assert "node-h  53" in held
    assert done.code == 0
    assert "for batch of dream, with 5 of 2 to 8 nodes" in explained
    assert "completed at step 28800" in explained
