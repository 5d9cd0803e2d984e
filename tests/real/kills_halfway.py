"""elisa killed after about half of 100 submissions to a real Slurm and started again: what is missing, what came twice."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter

from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.kills import Tally, counted, wait_for_lines

__all__ = ["killed_halfway"]

MANY, ABOUT_HALF = 100, (45, 55)
RETRY = "retry: {backoff: {initial: 0s}}"


def killed_halfway(elisa: ElisaOnSlurm, times: int, seed: int = 7) -> Tally:
    """Kill `elisa tick` so often with SIGKILL after about 50 of 100 submissions, each time over a state folder of its own.

    All nodes are taken meanwhile, so that every job that was accepted can be counted: beyond one a task, each is doubled.
    """
    chance, cluster = random.Random(seed), elisa.cluster
    taken = cluster.sbatch("--partition=high", "--nodes=4", "--exclusive", wrap="sleep 86400")
    cluster.wait_for(taken, "RUNNING")
    troubles = tasks = lost = double = 0
    while troubles < times:
        folder = elisa.folder / f"round-{tasks // MANY}"
        folder.mkdir()
        one = a_state_folder(cluster, folder)
        _give_up_soon(one)
        _submit(one)
        troubles += _kill_at(one, chance.randint(*ABOUT_HALF))
        one.tick_until(lambda one=one: _all_accepted(one), every_s=0.2)  # type: ignore[misc]  # bound at once
        jobs = _jobs_of_each(one)
        tasks += MANY
        lost += MANY - len(jobs)
        double += sum(count - 1 for count in jobs.values())
        cluster.run(["scancel", "--user", str(os.getuid()), "--state=PENDING"])
    cluster.run(["scancel", str(taken)])
    return Tally(troubles=troubles, tasks=tasks, lost=lost, double=double)


def _give_up_soon(elisa: ElisaOnSlurm) -> None:
    """Wait less for answers that come late: a round is as long as that."""
    site = elisa.home / "site.yaml"
    site.write_text(site.read_text().replace("grace: 4s", "grace: 1s"))


def _submit(elisa: ElisaOnSlurm) -> None:
    """Queue tasks that all ask for something else, so that each is a submission of its own."""
    lines = "\n".join(
        f"  t{number}: {{command: ['true'], {RETRY}, resources: {{memory: {100 + number}MiB}}}}"
        for number in range(MANY)
    )
    elisa.submit(f"name: many\nproject: demo\ntasks:\n{lines}\n")


def _kill_at(elisa: ElisaOnSlurm, count: int) -> bool:
    """Kill a tick at its `count`-th submission; tell whether it still lived then."""
    asked = counted(elisa)
    ticking = elisa.cli("tick")
    wait_for_lines(asked, count, ticking)
    is_alive = ticking.poll() is None
    if is_alive:
        os.killpg(ticking.pid, signal.SIGKILL)
    ticking.wait()
    elisa.before_sbatch("")
    return is_alive


def _all_accepted(elisa: ElisaOnSlurm) -> bool:
    with Reader.open(elisa.home) as reader:
        live = reader.live_attempts()
    return len(live) == MANY and all(attempt.native_id is not None for attempt in live)


def _jobs_of_each(elisa: ElisaOnSlurm) -> Counter[str]:
    """Return how many jobs Slurm was given for each task: the name of each job tells the state folder and the task."""
    with Reader.open(elisa.home) as reader:
        mine = f"el.{reader.meta().instance}."
    names = elisa.cluster.run(["squeue", "-h", "-t", "all", "-o", "%j"]).stdout.split()
    return Counter(name.split(".")[2] for name in names if name.startswith(mine))
