"""submitit and snakemake on a real Slurm, in an environment of their own that is made when it is first needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.real.slurm_cluster import SlurmCluster

__all__ = ["all_nodes_taken", "peers_folder", "snakemake_doubles", "submitit_doubles"]

_HERE = Path(__file__).resolve().parent.parent / ".cache" / "peers"
_PACKAGES = ("submitit==1.5.4", "snakemake==9.27.1", "snakemake-executor-plugin-slurm==2.8.0")
_PATIENCE_S = 240.0
_MANY, _HALF = 100, 50

_SUBMITIT = """\
import submitit
executor = submitit.SlurmExecutor(folder="logs")
executor.update_parameters(time=5, cpus_per_task=1, mem="100MB")
for number in range(100):
    executor.submit(print, number)
"""
_SNAKEFILE = """\
rule all:
    input: expand("out/{n}", n=range(100))
rule one:
    output: "out/{n}"
    resources: runtime=5, mem_mb=100, slurm_account="science", slurm_partition="low"
    shell: "touch {output}"
"""
_SNAKEMAKE = ("snakemake", "--executor", "slurm", "--jobs", "100")


def peers_folder() -> Path:
    """Return the folder with the peers' programs; the first call installs them, which takes a minute or two."""
    programs = _HERE / "bin"
    if not (programs / "snakemake").exists():
        subprocess.run([sys.executable, "-m", "venv", str(_HERE)], check=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        subprocess.run([str(programs / "python"), "-m", "pip", "install", *quiet, *_PACKAGES], check=True)
    return programs


def submitit_doubles(cluster: SlurmCluster, folder: Path) -> int:
    """Kill a program that submits 100 jobs after 50 of them, run it again, and return how many came twice."""
    (folder / "submit.py").write_text(_SUBMITIT, encoding="utf-8")
    argv = (str(peers_folder() / "python"), "submit.py")
    return _killed_and_again(cluster, folder, argv)


def snakemake_doubles(cluster: SlurmCluster, folder: Path) -> int:
    """Do the same with a workflow of 100 jobs, unlocked in between; the cluster must keep accounts."""
    (folder / "Snakefile").write_text(_SNAKEFILE, encoding="utf-8")
    argv = (str(peers_folder() / _SNAKEMAKE[0]), *_SNAKEMAKE[1:])
    return _killed_and_again(cluster, folder, argv, unlock=(*argv, "--unlock"))


def _killed_and_again(cluster: SlurmCluster, folder: Path, argv: Sequence[str], unlock: Sequence[str] = ()) -> int:
    """Return how many jobs there are beyond a hundred. None of them is let run, so that none is done before."""
    env = {**cluster.env(), "PATH": f"{peers_folder()}:{cluster.env()['PATH']}", "HOME": str(folder)}
    with all_nodes_taken(cluster):
        before = _accepted(cluster)
        _run_until(cluster, argv, folder, env, before + _HALF)
        if unlock:
            subprocess.run(unlock, cwd=folder, env=env, capture_output=True, check=True)
        first = _accepted(cluster)
        _run_until(cluster, argv, folder, env, first + _MANY)
        return _accepted(cluster) - before - _MANY


class all_nodes_taken:  # noqa: N801 - reads as a function: `with all_nodes_taken(cluster):`
    """No job begins meanwhile; at the end every job is taken away."""

    def __init__(self, cluster: SlurmCluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> None:
        job = self._cluster.sbatch("--partition=high", "--nodes=4", "--exclusive", wrap="sleep 3600")
        self._cluster.wait_for(job, "RUNNING")

    def __exit__(self, *error: object) -> None:
        self._cluster.clear()


def _run_until(cluster: SlurmCluster, argv: Sequence[str], folder: Path, env: Mapping[str, str], jobs: int) -> None:
    """Run a program until the cluster has so many jobs or it ends, then kill it and all it started."""
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + _PATIENCE_S
    while running.poll() is None and _accepted(cluster) < jobs and time.monotonic() < deadline:
        time.sleep(0.05)
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _accepted(cluster: SlurmCluster) -> int:
    return cluster.run(["squeue", "-h", "-t", "all", "-o", "%i"]).stdout.count("\n")
