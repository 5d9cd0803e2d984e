"""What others take for the same work on the same cluster: a plain loop, submitit, snakemake's Slurm executor."""

from __future__ import annotations

import os
import resource
import subprocess
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.slurm_cost import Cost, cost_of
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["Peers", "children_cpu_s"]

_UNTIL_DONE = 'while [ -n "$(squeue -h)" ]; do sleep 0.1; done'
# submitit warns its jobs 90 s before their limit: one of a minute would be at once.
_SUBMITIT = """
    import submitit, sys
    from submitit.slurm.slurm import SlurmExecutor
    executor = SlurmExecutor(folder=sys.argv[1])
    executor.update_parameters(time=5, cpus_per_task=1)
    for number in range(int(sys.argv[2])):
        executor.submit(int, 1)
"""
_SUBMITIT_ARRAY = """
    import submitit, sys
    from submitit.slurm.slurm import SlurmExecutor
    executor = SlurmExecutor(folder=sys.argv[1])
    executor.update_parameters(time=5, cpus_per_task=1, array_parallelism=1000)
    executor.map_array(int, range(1000))
"""
# Its own wait asks sacct, which this cluster has not.
_SUBMITIT_ARRAY_DONE = (
    _SUBMITIT_ARRAY
    + """
    import glob, time
    while len(glob.glob(sys.argv[1] + "/*_result.pkl")) < 1000:
        time.sleep(0.05)
"""
)
_SUBMITIT_DAG = """
    import glob, submitit, sys, time
    from submitit.slurm.slurm import SlurmExecutor
    for chain in range(10):
        before = {}
        for step in range(10):
            executor = SlurmExecutor(folder=sys.argv[1])
            executor.update_parameters(time=5, cpus_per_task=1, additional_parameters=before)
            job = executor.submit(int, 1)
            before = {"dependency": f"afterok:{job.job_id}"}
    # its own wait asks sacct, which this cluster has not
    while len(glob.glob(sys.argv[1] + "/*_result.pkl")) < 100:
        time.sleep(0.05)
"""
_SUBMITIT_ONE = """
    import submitit, sys
    from submitit.core.utils import DelayedSubmission
    from pathlib import Path
    DelayedSubmission(int, 1).dump(Path(sys.argv[1]) / "1_submitted.pkl")
"""
_SNAKEFILE = """
    localrules: all

    rule all:
        input: {wanted}

    rule first:
        output: "c{{chain}}.s0"
        resources: runtime=1, mem_mb=500, slurm_partition="low", slurm_account="none"
        shell: "touch {{output}}"

    rule step:
        input: lambda w: f"c{{w.chain}}.s{{int(w.step) - 1}}"
        output: "c{{chain}}.s{{step,[1-9][0-9]*}}"
        resources: runtime=1, mem_mb=500, slurm_partition="low", slurm_account="none"
        shell: "touch {{output}}"
"""


def _alone(count: int) -> str:
    return ", ".join(f'"c{chain}.s0"' for chain in range(count))


def children_cpu_s() -> float:
    """Return the processor time of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers on one cluster; `programs` is the folder of their environment, `folder` where they may write."""

    programs: Path
    folder: Path
    cluster: SlurmCluster

    # Submission

    def loop_accept(self, count: int) -> Cost:
        """Return what a shell loop takes to have so many jobs accepted."""
        return self._shell(f"for i in $(seq {count}); do sbatch -Q -t 1 -o /dev/null --wrap true; done")

    def sbatch_array_1000(self) -> Cost:
        """Return what one sbatch takes to have an array of 1,000 accepted."""
        return self._shell("sbatch -Q -t 1 -o /dev/null -a 0-999 --wrap true")

    def loop_done(self, count: int) -> Cost:
        """Return what a shell loop takes until so many jobs are done."""
        return self._shell(f"for i in $(seq {count}); do sbatch -Q -t 1 -o /dev/null --wrap true; done; {_UNTIL_DONE}")

    def sbatch_array_done(self, count: int) -> Cost:
        """Return what one sbatch takes until all elements of its array are done."""
        return self._shell(f"sbatch -Q -t 1 -o /dev/null -a 0-{count - 1} --wrap true; {_UNTIL_DONE}")

    def submitit_accept(self, count: int) -> Cost:
        """Return what submitit takes to have so many jobs accepted, its start included."""
        return self._python(_SUBMITIT, self._fresh(), count)

    def submitit_array_1000(self) -> Cost:
        """Return what submitit takes to have an array of 1,000 accepted, its start included."""
        return self._python(_SUBMITIT_ARRAY, self._fresh())

    def submitit_array_done_1000(self, *, within_s: float) -> tuple[Cost, int]:
        """Return what submitit takes until an array of 1,000 is done, or is killed, and how many of its elements are."""
        folder, deadline = self._fresh(), time.monotonic() + within_s
        cost = self._python(_SUBMITIT_ARRAY_DONE, folder, enough=lambda: time.monotonic() > deadline)
        return cost, sum(1 for _ in folder.glob("*_result.pkl"))

    def snakemake_accept(self, count: int) -> Cost:
        """Return what snakemake takes from its start until so many independent jobs are accepted; then it is killed."""
        accepted = self._fresh() / "accepted"
        accepted.touch()
        # noted as it answers: to ask slurmctld would count as snakemake's own questions
        sbatch = f'/usr/bin/sbatch "$@" && echo x >>{accepted}'
        return self._snakemake(
            self._fresh(), _alone(count), {"sbatch": sbatch}, enough=lambda: accepted.stat().st_size >= 2 * count
        )

    def snakemake_done(self, count: int, *, within_s: float) -> tuple[Cost, int]:
        """Return what snakemake takes until so many independent jobs are done, or is killed, and how many are."""
        folder, deadline = self._fresh(), time.monotonic() + within_s
        cost = self._snakemake(folder, _alone(count), enough=lambda: time.monotonic() > deadline)
        return cost, sum(1 for _ in folder.glob("c*.s0"))

    # A graph of ten chains of ten

    def loop_dag(self) -> Cost:
        """Return what a shell loop with dependencies takes until all 100 jobs are done."""
        return self._shell(
            """
            for chain in $(seq 10); do
              job=$(sbatch --parsable -t 1 -o /dev/null --wrap true)
              for step in $(seq 2 10); do
                job=$(sbatch --parsable -t 1 -o /dev/null -d afterok:$job --wrap true)
              done
            done
            """
            + _UNTIL_DONE
        )

    def submitit_dag(self) -> Cost:
        """Return what submitit takes until all 100 jobs are done."""
        return self._python(_SUBMITIT_DAG, self._fresh())

    def snakemake_dag(self) -> Cost:
        """Return what snakemake takes until all 100 jobs are done."""
        return self._snakemake(self._fresh(), ", ".join(f'"c{chain}.s9"' for chain in range(10)))

    # In a job

    def sbatch_cpu_s(self) -> float:
        """Return the processor time of a plain script that runs `true`."""
        return self._cpu_s(["/bin/sh", "-c", "/bin/true; exit"], times=20)

    def submitit_cpu_s(self) -> float:
        """Return the processor time of submitit's process in a job, for a function that does nothing."""
        folder = self._fresh()
        environment = {**os.environ, "SLURM_JOB_ID": "1", "SUBMITIT_EXECUTOR": "slurm", "SLURM_PROCID": "0"}
        self._python(_SUBMITIT_ONE, folder)
        return self._cpu_s(
            [str(self.programs / "python"), "-u", "-m", "submitit.core._submit", str(folder)], env=environment
        )

    def snakemake_cpu_s(self) -> float:
        """Return the processor time of snakemake's processes in a job, for a rule that touches a file.

        In place of srun a script starts the same program here, where it can be counted.
        """
        folder = self._fresh()
        srun = folder / "srun"
        srun.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n', encoding="utf-8")
        srun.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:{self.programs}:{os.environ['PATH']}"}
        (folder / "Snakefile").write_text(textwrap.dedent(_SNAKEFILE.format(wanted='"c0.s0"')), encoding="utf-8")
        words = ["--mode", "remote", "--executor", "slurm-jobstep", "--jobs", "1", "--cores", "1", "--nolock", "c0.s0"]
        where = ["-d", str(folder), "-s", str(folder / "Snakefile")]
        return self._cpu_s([str(self.programs / "snakemake"), *where, *words], env=environment)

    def _cpu_s(self, argv: list[str], *, env: dict[str, str] | None = None, times: int = 1) -> float:
        before = children_cpu_s()
        for _ in range(times):
            done = subprocess.run(argv, check=False, env=env, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{argv[0]}: {done.stderr[-500:]}")
        return (children_cpu_s() - before) / times

    # Means

    def _fresh(self) -> Path:
        folder = self.folder / f"run-{time.monotonic_ns()}"
        folder.mkdir()
        return folder

    def _shell(self, script: str) -> Cost:
        argv = ["/bin/sh", "-e", "-c", textwrap.dedent(script)]
        return cost_of(self.cluster, argv, folder=self._fresh(), env=self._env())

    def _python(self, script: str, folder: Path, *more: int, enough: Callable[[], bool] = lambda: False) -> Cost:
        argv = [str(self.programs / "python"), "-c", textwrap.dedent(script), str(folder), *map(str, more)]
        return cost_of(self.cluster, argv, folder=folder, env=self._env(), enough=enough)

    def _snakemake(
        self,
        folder: Path,
        wanted: str,
        programs: Mapping[str, str] = {},
        enough: Callable[[], bool] = lambda: False,
    ) -> Cost:
        """Run a workflow. `programs` are shell commands that stand in for programs of these names."""
        (folder / "Snakefile").write_text(textwrap.dedent(_SNAKEFILE.format(wanted=wanted)), encoding="utf-8")
        argv = [str(self.programs / "snakemake"), "--executor", "slurm", "--jobs", "1000", "--latency-wait", "20"]
        # by itself it asks sacct, which this cluster has not, and 40 s after a job was submitted for the first time
        argv += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
        env = self._env()
        # in a job it takes all SLURM variables away, and with them where this cluster's configuration is
        srun = f'SLURM_CONF={env["SLURM_CONF"]} exec /usr/bin/srun "$@"'
        for name, command in {"srun": srun, **programs}.items():
            (folder / name).write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
        env["PATH"] = f"{folder}:{env['PATH']}"
        return cost_of(self.cluster, argv, folder=folder, env=env, enough=enough)

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.cluster.env(), "PATH": f"{self.programs}:{os.environ['PATH']}"}
