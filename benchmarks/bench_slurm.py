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
from tests.real.long_work import LEAD_S, WALLTIME_S, gaps_s, run_without_ticks, submit_long_work
from tests.real.slurm_cluster import SlurmCluster

__all__ = ["FIGURES", "measure"]

FIGURES = ("slurm_chain_gap_s", "slurm_segment_gap_s")
_RUNS = 3
_STAGES = 10
_PARTS = 4
_TICK_S = 60.0


def measure() -> Iterator[Figure]:
    """Yield the figures, what plain Slurm takes beside them."""
    gaps = [_chain_gap_s() for _ in range(_RUNS)]
    yield Figure(figure="slurm_chain_gap_s", value=median(gaps), unit="s", goal="<=3", runs=_RUNS)
    with SlurmCluster(message_timeout_s=10) as cluster:
        plain = [_plain_gap_s(cluster) for _ in range(_RUNS)]
    yield Figure(figure="slurm_chain_gap_s/sbatch", value=median(plain), unit="s", runs=_RUNS)
    parts = [_segment_gap_s() for _ in range(_RUNS)]
    yield Figure(figure="slurm_segment_gap_s", value=median(parts), unit="s", goal="<=10", runs=_RUNS)
    with SlurmCluster(message_timeout_s=10) as cluster:
        plain = [_plain_gap_s(cluster, stages=_PARTS, kind="afterany") for _ in range(_RUNS)]
    yield Figure(figure="slurm_segment_gap_s/sbatch", value=median(plain), unit="s", runs=_RUNS)


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


def _segment_gap_s() -> float:
    """Return the longest time between two of about four parts of one long run, with no tick between them."""
    with _elisa() as elisa:
        submit_long_work(elisa, 4 * (_PARTS - 1) * (WALLTIME_S - LEAD_S), expected_s=(_PARTS + 2) * WALLTIME_S)
        run_without_ticks(elisa)
        return max(gaps_s(elisa.folder))


def _chain(folder: Path) -> str:
    lines = ["name: chain", "project: demo", "tasks:"]
    for number in range(_STAGES):
        needs = f", needs: [s{number - 1}]" if number else ""
        lines.append(f"  s{number}: {{command: ['sh', '-c', '{_stage(folder, number)}']{needs}}}")
    return "\n".join(lines)


def _stage(folder: Path, number: int) -> str:
    return f"date +%s.%N >{folder}/began.{number}; sleep 1; date +%s.%N >{folder}/ended.{number}"


def _is_done(folder: Path, stages: int = _STAGES) -> bool:
    last = folder / f"ended.{stages - 1}"
    return last.exists() and last.read_text(encoding="utf-8").endswith("\n")


def _wait(longest_s: float, folder: Path, stages: int = _STAGES) -> None:
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline and not _is_done(folder, stages):
        time.sleep(0.1)


def _longest_gap_s(folder: Path, stages: int = _STAGES) -> float:
    def moment(kind: str, number: int) -> float:
        return float((folder / f"{kind}.{number}").read_text(encoding="utf-8"))

    return max(moment("began", after) - moment("ended", before) for before, after in pairwise(range(stages)))


def _plain_gap_s(cluster: SlurmCluster, *, stages: int = _STAGES, kind: str = "afterok") -> float:
    """Return the same for jobs that a shell loop submits, each after the one before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before: list[str] = []
        for number in range(stages):
            job = cluster.sbatch("--output=/dev/null", *before, wrap=_stage(folder, number))
            before = [f"--dependency={kind}:{job}"]
        _wait(stages * _TICK_S, folder, stages)
        return _longest_gap_s(folder, stages)
