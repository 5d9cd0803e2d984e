"""Work with a range of nodes on a real Slurm: smaller for others, larger when they have gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real.test_slurm_end_to_end import COUNTER

pytestmark = [pytest.mark.real, pytest.mark.slow]

WIDE = """
name: wide
project: demo
tasks:
  train:
    shell: true
    command: 'echo "$SLURM_NNODES $ELISA_NODES" >>"$ELISA_TASK_DIR/sizes"; exec sh counter.sh'
    checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 50}
    retry: 0
    environment: {LAST: "20"}
    resources: {nodes: {min: 1, max: 4}, cpus: 8}
"""
OTHER = """
name: other
project: demo
tasks:
  other:
    command: [sleep, "2"]
    resources: {nodes: 2, cpus: 8, walltime: 10m}
"""


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    (tmp_path / "counter.sh").write_text(COUNTER)
    made = a_state_folder(slurm, tmp_path)
    with (made.home / "site.yaml").open("a") as site:
        site.write("preemption: {minimum_run: 0s, restart: 0s}\n")
    return made


def test_its_size_follows_what_others_need_and_no_step_is_lost(elisa: ElisaOnSlurm) -> None:
    wide = elisa.submit(WIDE)
    steps = elisa.task_dir(wide, "train") / "steps"
    elisa.tick_until(steps.exists)
    elisa.submit(OTHER)

    elisa.tick_to_the_end()

    sizes = [one.request.nodes for one in elisa.attempts("train")]
    told = (elisa.task_dir(wide, "train") / "sizes").read_text().split()
    assert sizes[:2] == [4, 2]
    assert told == [str(size) for size in sizes for _ in ("Slurm's", "elisa's")]
    assert [int(step) for step in steps.read_text().split()] == list(range(1, 21))
    assert set(elisa.states().values()) == {"succeeded"}
