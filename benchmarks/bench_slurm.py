"""elisa above a real Slurm: a private cluster of four nodes, started for the measurement and gone after it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["FIGURES", "measure"]

FIGURES = ("slurm_chain_gap_s",)
_RUNS = 3
_STAGES = 10
_TICK_S = 60.0


def measure() -> Iterator[Figure]:
    """Yield the figures, what plain Slurm takes beside them."""
    gaps = [_chain_gap_s() for _ in range(_RUNS)]
    yield Figure(figure="slurm_chain_gap_s", value=median(gaps), unit="s", goal="<=3", runs=_RUNS)
    with SlurmCluster(message_timeout_s=10) as cluster:
        plain = [_plain_gap_s(cluster) for _ in range(_RUNS)]
    yield Figure(figure="slurm_chain_gap_s/sbatch", value=median(plain), unit="s", runs=_RUNS)


@contextmanager
def _elisa() -> Iterator[ElisaOnSlurm]:
    """Give a state folder above a cluster of its own."""
    with SlurmCluster(message_timeout_s=10) as cluster, tempfile.TemporaryDirectory() as folder:
        os.environ["SLURM_CONF"] = cluster.env()["SLURM_CONF"]
        try:
            yield a_state_folder(cluster, Path(folder))
        finally:
            del os.environ["SLURM_CONF"]


def _chain_gap_s() -> float:
    """Return the longest time between two of ten stages while elisa ticks once a minute."""
    with _elisa() as elisa:
        elisa.submit(_chain(elisa.folder))
        deadline = time.monotonic() + 2 * _STAGES * _TICK_S
        while not _is_done(elisa.folder):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the chain does not end: {elisa.states()}")
            elisa.tick()
            _wait(_TICK_S, elisa.folder)
        return _longest_gap_s(elisa.folder)


def _chain(folder: Path) -> str:
    lines = ["name: chain", "project: demo", "tasks:"]
    for number in range(_STAGES):
        needs = f", needs: [s{number - 1}]" if number else ""
        lines.append(f"  s{number}: {{command: ['sh', '-c', '{_stage(folder, number)}']{needs}}}")
    return "\n".join(lines)


def _stage(folder: Path, number: int) -> str:
    return f"date +%s.%N >{folder}/began.{number}; sleep 1; date +%s.%N >{folder}/ended.{number}"


def _is_done(folder: Path) -> bool:
    last = folder / f"ended.{_STAGES - 1}"
    return last.exists() and last.read_text(encoding="utf-8").endswith("\n")


def _wait(longest_s: float, folder: Path) -> None:
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline and not _is_done(folder):
        time.sleep(0.1)


def _longest_gap_s(folder: Path) -> float:
    def moment(kind: str, number: int) -> float:
        return float((folder / f"{kind}.{number}").read_text(encoding="utf-8"))

    return max(moment("began", after) - moment("ended", before) for before, after in pairwise(range(_STAGES)))


def _plain_gap_s(cluster: SlurmCluster) -> float:
    """Return the same for ten jobs that a shell loop submits, each after the one before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before: list[str] = []
        for number in range(_STAGES):
            job = cluster.sbatch("--output=/dev/null", *before, wrap=_stage(folder, number))
            before = [f"--dependency=afterok:{job}"]
        _wait(_STAGES * _TICK_S, folder)
        return _longest_gap_s(folder)
