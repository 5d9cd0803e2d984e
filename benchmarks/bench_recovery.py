"""From the failure of a node of a real Slurm cluster until its work runs again elsewhere, with a tick every ten seconds.

In one series the node's slurmd is killed and the node set down: Slurm can neither reach it nor end what runs there. In the
other the node is dead: slurmd, slurmstepd, agent and program are killed, and nobody can say that anything has stopped.
"""

from __future__ import annotations

import os
import random
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["FIGURES", "measure"]

FIGURES = ("node_failure_to_running_s", "node_failure_to_running_s/dead_node")
_RUNS = 7
_TICK_EVERY_S = 10.0
_LONGEST_S = 300.0
_GOAL = "<=60"

# Saves a number twice a second, goes on from the newest that it finds, and writes down when each life of it began.
_PROGRAM = """
import os, pathlib, time
saves = pathlib.Path(os.environ["ELISA_CHECKPOINT_DIR"])
step = max((int(path.suffixes[0][1:]) for path in saves.glob("restart.*.dat")), default=0)
with open(os.path.join(os.environ["ELISA_TASK_DIR"], "lives"), "a") as lives:
    lives.write(f"{time.time()} {step}\\n")
while True:
    time.sleep(0.5)
    step += 1
    (saves / f"restart.{step}.new").write_text(str(step))
    os.rename(saves / f"restart.{step}.new", saves / f"restart.{step}.dat")
"""
_PIPELINE = """
name: endless
tasks:
  count:
    command: [python3, count.py]
    checkpoint: {pattern: "restart.*.dat", keep: 3}
    resources: {cpus: 8, walltime: 1h}
"""
_SITE = "backends:\n  slurm: {kind: slurm, options: {path: %s}}\n"
_SHORT_FENCE = "jobs: {self_fence: 30s}\n"
_Fault = Callable[[SlurmCluster, str], None]


def measure() -> Iterator[Figure]:
    """Yield the seconds of both series, as a median and at worst."""
    for name, site, fail in (
        (FIGURES[0], _SITE, SlurmCluster.kill_node),
        (FIGURES[1], _SITE + _SHORT_FENCE, SlurmCluster.lose_node),
    ):
        with SlurmCluster() as cluster:
            seconds = _seconds(cluster, site, fail)
        yield Figure(figure=name, value=median(seconds), unit="s", goal=_GOAL, runs=len(seconds))
        yield Figure(figure=f"{name}/max", value=max(seconds), unit="s", goal=_GOAL, runs=len(seconds))


def _seconds(cluster: SlurmCluster, site: str, fail: _Fault) -> list[float]:
    """Run one task through one failure after another, each at a random moment between two ticks."""
    chance = random.Random(5)
    with tempfile.TemporaryDirectory(prefix="el-") as folder, _slurm_conf(cluster):
        elisa = a_state_folder(cluster, Path(folder))
        (elisa.home / "site.yaml").write_text(site % (elisa.folder / "bin"))
        (elisa.folder / "count.py").write_text(_PROGRAM)
        lives = elisa.task_dir(elisa.submit(textwrap.dedent(_PIPELINE)), "count") / "lives"
        with _ticking(elisa):
            found = [_one_failure(elisa, lives, chance, fail) for _ in range(_RUNS)]
        cluster.clear()
    return found


@contextmanager
def _slurm_conf(cluster: SlurmCluster) -> Iterator[None]:
    """Let every client that elisa starts talk to this cluster."""
    os.environ["SLURM_CONF"] = cluster.env()["SLURM_CONF"]
    try:
        yield
    finally:
        del os.environ["SLURM_CONF"]


@contextmanager
def _ticking(elisa: ElisaOnSlurm) -> Iterator[None]:
    """Tick every ten seconds in a process of its own, as cron would."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(_TICK_EVERY_S):
            elisa.cli("tick").wait()

    ticker = threading.Thread(target=go_on)
    ticker.start()
    try:
        yield
    finally:
        is_over.set()
        ticker.join()


def _one_failure(elisa: ElisaOnSlurm, lives: Path, chance: random.Random, fail: _Fault) -> float:
    before = len(_begun(lives))
    _wait_for(lives, max(before, 1))
    time.sleep(2 * _TICK_EVERY_S + chance.uniform(0, 3 * _TICK_EVERY_S))
    node = elisa.cluster.run(["squeue", "-h", "-t", "R", "-o", "%N"]).stdout.strip()
    failed_at = time.time()
    fail(elisa.cluster, node)
    elisa.cluster.node_down(node)
    begun = _wait_for(lives, max(before, 1) + 1)
    assert begun[-1][1] > 0, "it began from nothing"
    elisa.cluster.start_node(node)
    elisa.cluster.node_up(node)
    return begun[-1][0] - failed_at


def _begun(lives: Path) -> list[tuple[float, int]]:
    lines = lives.read_text().splitlines() if lives.exists() else []
    return [(float(at), int(step)) for at, step in map(str.split, lines)]


def _wait_for(lives: Path, count: int) -> list[tuple[float, int]]:
    """Wait until the program has begun so many times."""
    deadline = time.monotonic() + _LONGEST_S
    while len(begun := _begun(lives)) < count:
        assert time.monotonic() < deadline, f"it has begun {len(begun)} times, not {count}"
        time.sleep(0.1)
    return begun
