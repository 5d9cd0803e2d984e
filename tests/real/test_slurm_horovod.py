"""Horovod over two nodes of a real Slurm: its ranks meet, save together, end with the one that dies, and go on.

Collected where Python has Horovod (`conftest.py`), or when this file is named: no package index has it built.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elisa.model.states import EndReason
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

# The weight goes towards the mean of what the ranks want. In its first life the last rank dies in step 4.
TRAINING = """
import os, signal
from pathlib import Path
import torch
import horovod.torch as hvd
from elisa import checkpoint

hvd.init()
rank = hvd.rank()
model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.zeros_(model.weight)
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.25), named_parameters=model.named_parameters())
with checkpoint.run(interval_s=0) as ckpt:
    saved = ckpt.load()
    if saved:
        model.load_state_dict(saved["model"])
    began = ckpt.step
    for step in ckpt.steps(8):
        if step == 4 and rank == hvd.size() - 1 and os.environ["ELISA_ATTEMPT"].endswith(".1"):
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.zero_grad()
        (0.5 * (model(torch.ones(1, 1)) - rank) ** 2).sum().backward()
        optimizer.step()
        ckpt.save(step, lambda: {"rank": rank, "model": model.state_dict()})
told = f"{rank} of {hvd.size()}, {hvd.local_rank()} on {os.environ['SLURMD_NODENAME']}: {model.weight.item():.9f} from {began}"
(Path(os.environ["ELISA_TASK_DIR"]) / f"rank{rank}").write_text(told)
"""
PIPELINE = """
name: together
tasks:
  train:
    command: [{python}, -W, ignore, -m, elisa.runtime, launch, {launcher}, {python}, -W, ignore, training.py]
    environment: {{{environment}}}
    checkpoint: {{}}
    retry: {{limit: 1, backoff: {{initial: 1s, jitter: 0}}}}
    resources: {{nodes: 2, tasks_per_node: 2, cpus: 1, memory: 4GiB, walltime: 10m}}
"""
# 1.5 is the mean of the ranks' wishes; each step leaves three quarters of the way.
WEIGHT = f"{1.5 * (1 - 0.75**8):.9f}"
# Horovod built with MPI, started by Slurm's own launcher. The fixture's nodes are one machine: see `test_slurm_ranks.py`.
BY_MPI = 'SLURM_MPI_TYPE: pmix, OMPI_MCA_btl: "self,tcp", OMPI_MCA_btl_tcp_if_include: lo'


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    require_real("horovod")
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


@pytest.mark.parametrize(("launcher", "environment"), [("horovod", ""), ("mpi", BY_MPI)])
def test_a_rank_that_dies_ends_all_and_they_go_on_from_what_they_saved_together(
    elisa: ElisaOnSlurm, launcher: str, environment: str
) -> None:
    text = PIPELINE.format(python=sys.executable, launcher=launcher, environment=environment)
    pipeline = elisa.submit(text, {"training.py": TRAINING})

    elisa.tick_to_the_end(within_s=240)

    first, second = elisa.attempts("train")
    assert (first.end and first.end.reason, second.end and second.end.reason) == (
        EndReason.FAILED,
        EndReason.COMPLETED,
    )
    assert second.resume_from is not None
    assert second.resume_from.step < 4
    folder = elisa.task_dir(pipeline, "train")
    began = second.resume_from.step
    assert [(folder / f"rank{rank}").read_text() for rank in range(4)] == [
        f"{rank} of 4, {rank % 2} on n{1 + rank // 2}: {WEIGHT} from {began}" for rank in range(4)
    ]
    generations = sorted((folder / "checkpoints").glob("g*"))
    assert generations
    assert all(
        {path.name.partition("-")[0] for path in one.iterdir()} >= {f"rank0000{n}" for n in range(4)}
        for one in generations
    )
