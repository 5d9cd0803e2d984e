from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("slurm_installed")]


def wait_until_gone(folder: Path, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while folder.exists() or processes_naming(folder):
        assert time.monotonic() < deadline, f"left behind: {folder.exists()} {processes_naming(folder)}"
        time.sleep(0.05)


def processes_naming(folder: Path) -> list[str]:
    """Return the command lines of processes that name `folder` in their arguments or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words:
            found.append(words.decode(errors="replace")[:80])
    return found


def test_job_runs_and_completes(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("--output=hello.out", wrap="echo hello from $SLURM_JOB_PARTITION")

    slurm.wait_for(job, "COMPLETED")

    assert (slurm.folder / "hello.out").read_text() == "hello from low\n"


def test_gpus_are_granted_and_counted(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("--gres=gpu:a100:3", "--output=gpus.out", wrap="echo $SLURM_GPUS_ON_NODE")
    too_many = slurm.run(["sbatch", "--gres=gpu:a100:5", "--wrap", "true"], check=False)

    slurm.wait_for(job, "COMPLETED")

    assert (slurm.folder / "gpus.out").read_text() == "3\n"
    assert "Requested node configuration is not available" in too_many.stderr


def test_high_partition_requeues_a_low_job(slurm: SlurmCluster) -> None:
    low = slurm.sbatch("--nodes=4", "--exclusive", wrap="sleep 600")
    slurm.wait_for(low, "RUNNING")

    high = slurm.sbatch("--nodes=4", "--exclusive", "--partition=high", wrap="sleep 600")

    slurm.wait_for(high, "RUNNING", within_s=60)
    assert slurm.job_state(low) == "PENDING"


def test_job_on_a_failed_node_is_told_so(slurm: SlurmCluster) -> None:
    job = slurm.sbatch("--no-requeue", "--nodelist=n2", wrap="sleep 600")
    slurm.wait_for(job, "RUNNING")

    slurm.node_down("n2")

    slurm.wait_for(job, "NODE_FAIL")
    assert slurm.node_state("n2").startswith("down")
    slurm.node_up("n2")
    assert slurm.node_state("n2") in {"idle", "planned"}


def test_submission_to_a_paused_controller_times_out_and_happens_all_the_same(slurm: SlurmCluster) -> None:
    slurm.pause_controller()
    answer = slurm.run(["sbatch", "--job-name=late", "--wrap", "sleep 600"], check=False)
    slurm.resume_controller()

    assert answer.returncode == 1
    assert "Socket timed out" in answer.stderr
    deadline = time.monotonic() + 20
    while not slurm.run(["squeue", "-h", "--name=late"], check=False).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_controller_comes_back_with_its_jobs(slurm: SlurmCluster) -> None:
    job = slurm.sbatch(wrap="sleep 600")
    slurm.wait_for(job, "RUNNING")
    slurm.wait_for_saved_state()

    slurm.kill_controller()
    assert slurm.run(["squeue"], check=False).returncode == 1
    slurm.restart_controller()

    assert slurm.wait_for(job, "RUNNING") == "RUNNING"


def test_sacct_remembers_what_the_controller_forgot(slurm_with_accounting: SlurmCluster) -> None:
    cluster = slurm_with_accounting
    job = cluster.sbatch("--job-name=remember", wrap="exit 3")

    cluster.wait_for(job, "", within_s=60)

    listed = cluster.run(["sacct", "-X", "-n", "-P", "-j", str(job), "-o", "JobName,State,ExitCode"]).stdout
    assert listed == "remember|FAILED|3:0\n"


def test_limits_of_an_association_are_enforced() -> None:
    enforce = "AccountingStorageEnforce=associations,limits,qos"
    with SlurmCluster(accounting=True, extra=[enforce]) as cluster:
        cluster.sacctmgr("modify", "account", "science", "set", "MaxSubmitJobs=1")
        cluster.sbatch(wrap="sleep 600")

        second = cluster.run(["sbatch", "--wrap", "true"], check=False)

    assert "AssocMaxSubmitJobLimit" in second.stderr


def test_two_clusters_live_side_by_side_and_leave_nothing() -> None:
    with SlurmCluster() as one, SlurmCluster() as other:
        job = one.sbatch(wrap="sleep 600")
        one.wait_for(job, "RUNNING")

        assert one.name != other.name
        assert other.run(["squeue", "-h"]).stdout == ""
        folders = one.folder, other.folder

    for folder in folders:
        wait_until_gone(folder)


def test_killed_test_process_takes_its_cluster_along() -> None:
    program = """
        import time
        from tests.real.slurm_cluster import SlurmCluster
        cluster = SlurmCluster()
        cluster.start()
        cluster.wait_for(cluster.sbatch(wrap="trap '' TERM; sleep 600"), "RUNNING")
        print(cluster.folder, flush=True)
        time.sleep(600)
    """
    top = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=top, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert processes_naming(folder)

        owner.send_signal(signal.SIGKILL)

    wait_until_gone(folder)


def test_cluster_that_cannot_start_says_why_and_leaves_nothing() -> None:
    cluster = SlurmCluster(extra=["SelectType=select/nonsense"])

    with pytest.raises(AssertionError, match="select/nonsense"):
        cluster.start()

    wait_until_gone(cluster.folder)
