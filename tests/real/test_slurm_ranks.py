"""A program of many ranks on two nodes of a real Slurm: one generation of all, a rank that dies, and the way on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elisa.model.states import EndReason
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

# In its first life the last rank dies after step 4, before it saved that step.
RANKS = """
import os, signal
from pathlib import Path
from elisa import checkpoint

rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
task = Path(os.environ["ELISA_TASK_DIR"])
with checkpoint.run(interval_s=0) as ckpt:
    total = (ckpt.load() or {"total": 0})["total"]
    for step in ckpt.steps(8):
        total += step * (rank + 1)
        if step == 4 and rank == size - 1 and os.environ["ELISA_ATTEMPT"].endswith(".1"):
            os.kill(os.getpid(), signal.SIGKILL)
        ckpt.save(step, {"total": total})
(task / f"rank{rank}").write_text(f"{total} {os.environ['ELISA_HOSTS']} {os.environ['SLURMD_NODENAME']}")
"""
PIPELINE = f"""
name: together
tasks:
  train:
    command: [{sys.executable}, -m, elisa.runtime, launch, mpi, {sys.executable}, ranks.py]
    checkpoint: {{}}
    retry: {{limit: 1, backoff: {{initial: 1s, jitter: 0}}}}
    resources: {{nodes: 2, tasks_per_node: 2, cpus: 1, memory: 2GiB, walltime: 10m}}
"""


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def test_the_death_of_a_rank_ends_all_of_them_and_they_go_on_from_what_they_saved_together(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(PIPELINE, {"ranks.py": RANKS})

    elisa.tick_to_the_end()

    first, second = elisa.attempts("train")
    assert (first.end and first.end.reason, second.end and second.end.reason) == (
        EndReason.FAILED,
        EndReason.COMPLETED,
    )
    assert second.resume_from is not None
    assert second.resume_from.step < 4
    told = [(elisa.task_dir(pipeline, "train") / f"rank{rank}").read_text() for rank in range(4)]
    assert told == [f"{28 * (rank + 1)} n1,n2 n{1 + rank // 2}" for rank in range(4)]
    generations = sorted((elisa.task_dir(pipeline, "train") / "checkpoints").glob("g*"))
    assert generations
    assert all(
        {path.name.partition("-")[0] for path in one.iterdir()} >= {f"rank0000{n}" for n in range(4)}
        for one in generations
    )
