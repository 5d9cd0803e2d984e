"""A GPU that breaks work, on a node of a real Slurm, which cannot be told to leave it out."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from elisa.engine.avoidance import learnt
from elisa.model.states import EndReason
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

# GPU 0 of n1 is broken; all run there, so that as many of them meet it as it takes to be found out.
PROBES = """
name: probes
tasks:
  probe:
    command: [sh, -c, 'test "$SLURM_JOB_GPUS" != 0 || exit 3; sleep 0.2']
    matrix: {number: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}
    resources: {gpus: 1}
    placement: {extras: {nodelist: n1}}
    retry: 0
"""
AFTER = """
name: after
tasks:
  one:
    command: [sh, -c, 'echo $SLURM_JOB_NODELIST $CUDA_VISIBLE_DEVICES >"$ELISA_TASK_DIR/got"']
    resources: {gpus: 1}
    retry: 0
  whole:
    command: [sh, -c, 'echo $SLURM_JOB_NODELIST $CUDA_VISIBLE_DEVICES >"$ELISA_TASK_DIR/got"']
    needs: [one]
    resources: {gpus: 3, exclusive: true}
    placement: {extras: {nodelist: n1}}
    retry: 0
"""


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def words_of(elisa: ElisaOnSlurm, *words: str) -> str:
    argv = [sys.executable, "-m", "elisa.cli", *words, "--home", str(elisa.home)]
    wide = {**os.environ, "COLUMNS": "300"}
    return subprocess.run(argv, env=wide, capture_output=True, text=True, check=True, timeout=60).stdout


def finish(elisa: ElisaOnSlurm) -> None:
    elisa.tick_until(lambda: not set(elisa.states().values()) & {"waiting", "ready", "active"}, every_s=0.1)


def test_bad_gpu_is_given_back_or_hidden_and_its_node_stays_in_use(elisa: ElisaOnSlurm) -> None:
    elisa.submit(PROBES)
    finish(elisa)
    after = elisa.submit(AFTER)
    finish(elisa)

    with Reader.open(elisa.home) as reader:
        (avoided,) = learnt(reader, datetime.now(UTC))
    assert avoided.place == "GPU 0 of n1 of slurm"
    first, _second = elisa.attempts("one")
    assert first.end is not None
    assert (first.nodes, first.end.reason) == ("n1", EndReason.BAD_GPU)
    assert first.end.detail.startswith("given GPU 0 of node n1, which is excluded until ")
    node, gpu = (elisa.task_dir(after, "one") / "got").read_text().split()
    assert (node != "n1", gpu) == (True, "0")
    assert (elisa.task_dir(after, "whole") / "got").read_text() == "n1 1,2,3\n"
    assert "GPU 0 of n1 of slurm is avoided until" in words_of(elisa, "status")
    told = words_of(elisa, "explain", "after/one")
    assert "given GPU 0 of node n1, which is excluded until" in told
    assert "but not on n1" in told
