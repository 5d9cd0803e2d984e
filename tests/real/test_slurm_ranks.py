"""A program of many ranks on two nodes of a real Slurm: one generation of all, a rank that dies, and the way on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elisa.model.states import EndReason
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

# Ranks that step together, as those do that exchange something. In its first life the last one dies in step 4.
RANKS = """
import os, signal, time
from pathlib import Path
from elisa import checkpoint

rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
task = Path(os.environ["ELISA_TASK_DIR"])
with checkpoint.run(interval_s=0) as ckpt:
    total = (ckpt.load() or {"total": 0})["total"]
    for step in ckpt.steps(8):
        total += step * (rank + 1)
        mark = f"{os.environ['ELISA_ATTEMPT']}-{step}-"
        (task / f"{mark}{rank}").touch()
        while not all((task / f"{mark}{other}").exists() for other in range(size)):
            time.sleep(0.005)
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


# Adds up with MPI what each rank brings, from C without a compiler. Nodes of the fixture are one machine: by shared memory
# ranks of both would take each other for neighbours, so that is left out.
SUMS = """
import ctypes, os
from pathlib import Path
from elisa import checkpoint

mpi = ctypes.CDLL("libmpi.so.40", mode=ctypes.RTLD_GLOBAL)
world, integer, plus = (
    ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(mpi, f"ompi_mpi_{name}"))) for name in ("comm_world", "int", "op_sum")
)
rank, size, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
assert mpi.MPI_Init(None, None) == 0
mpi.MPI_Comm_rank(world, ctypes.byref(rank))
mpi.MPI_Comm_size(world, ctypes.byref(size))
with checkpoint.run(interval_s=0) as ckpt:
    for step in ckpt.steps(3):
        mine = ctypes.c_int(step + rank.value)
        mpi.MPI_Allreduce(ctypes.byref(mine), ctypes.byref(total), 1, integer, plus, world)
        ckpt.save(step, {"total": total.value})
mpi.MPI_Finalize()
told = f"{rank.value} of {size.value}: {total.value} on {os.environ['SLURMD_NODENAME']}"
(Path(os.environ["ELISA_TASK_DIR"]) / f"rank{rank.value}").write_text(told)
"""
WITH_MPI = f"""
name: sums
tasks:
  add:
    command: [{sys.executable}, -m, elisa.runtime, launch, mpi, {sys.executable}, sums.py]
    environment: {{SLURM_MPI_TYPE: pmix, OMPI_MCA_btl: "self,tcp", OMPI_MCA_btl_tcp_if_include: lo}}
    checkpoint: {{}}
    resources: {{nodes: 2, tasks_per_node: 2, cpus: 1, memory: 2GiB, walltime: 10m}}
"""

TOO_MUCH = f"""
name: much
tasks:
  take:
    command: [{sys.executable}, -m, elisa.runtime, launch, mpi, {sys.executable}, much.py]
    retry: 0
    resources: {{nodes: 1, tasks_per_node: 2, cpus: 1, memory: 150MiB, walltime: 10m}}
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


def test_a_rank_that_takes_too_much_memory_is_told_from_one_that_failed(elisa: ElisaOnSlurm) -> None:
    elisa.submit(TOO_MUCH, {"much.py": "import time\nmuch = bytearray(400 << 20)\ntime.sleep(60)\n"})

    elisa.tick_to_the_end()

    (only,) = elisa.attempts("take")
    assert only.end
    assert only.end.reason is EndReason.OUT_OF_MEMORY


def test_open_mpi_runs_over_two_nodes_and_its_ranks_save_together(elisa: ElisaOnSlurm) -> None:
    require_real("openmpi")
    pipeline = elisa.submit(WITH_MPI, {"sums.py": SUMS})

    elisa.tick_to_the_end()

    folder = elisa.task_dir(pipeline, "add")
    assert elisa.states() == {"add": "succeeded"}
    assert [(folder / f"rank{rank}").read_text() for rank in range(4)] == [
        f"{rank} of 4: 14 on n{1 + rank // 2}" for rank in range(4)
    ]
    assert [path.name[-1] for path in sorted((folder / "checkpoints").glob("g*"))] == ["1", "2"]
