"""Percents of a GPU on a real Slurm, which gives them out as gres/mps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def test_program_sees_the_percents_that_its_task_asks_for(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit("""
        name: small
        tasks:
          train:
            command: [sh, -c, 'echo $CUDA_MPS_ACTIVE_THREAD_PERCENTAGE >"$ELISA_TASK_DIR/got"']
            resources: {gpus: {mps: 40}}
            retry: 0
    """)

    elisa.tick_until(lambda: elisa.states() == {"train": "succeeded"}, every_s=0.1)

    assert (elisa.task_dir(pipeline, "train") / "got").read_text() == "40\n"
    (attempt,) = elisa.attempts("train")
    assert (attempt.request.gpus.types, attempt.request.gpus.per_node, attempt.request.gpu_parts) == (("mps",), 40, 100)
