"""What a program costs: seconds, processor time and memory of itself and its children, and questions to slurmctld."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real.slurm_cluster import SlurmCluster

__all__ = ["Cost", "cost_of", "questions", "wait_for"]

_LONGEST_S = 900.0
_USED = str(Path(__file__).with_name("used.py"))
# Rows such as `REQUEST_JOB_INFO ( 2003) count:12 ave_time:98 total_time:1176`, first by kind and then by user.
_KIND = re.compile(r"^\s*([A-Z_]+)\s*\(\s*\d+\)\s+count:(\d+)", re.MULTILINE)
# Nobody's who asks: the benchmark's own question, and what slurmctld and its nodes say to each other.
_OTHERS = re.compile(r"STATS|NODE_REGISTRATION|COMPLETE|PING|EPILOG|STEP|PROLOG")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one program until it ended or was done with: memory is that of its largest process; `calls` are RPCs."""

    seconds: float
    cpu_s: float
    peak_mib: float
    calls: int


def questions(cluster: SlurmCluster) -> dict[str, int]:
    """Return how often slurmctld was asked each kind of question that a client asks."""
    by_kind = cluster.run(["sdiag"]).stdout.partition("Remote Procedure Call statistics by user")[0]
    return {kind: int(count) for kind, count in _KIND.findall(by_kind) if not _OTHERS.search(kind)}


def cost_of(
    cluster: SlurmCluster,
    argv: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    enough: Callable[[], bool] = lambda: False,
) -> Cost:
    """Run a program in `folder` to its end, or until it has done `enough`: then it is killed with all it started.

    What it says goes to the file `log`. Raises RuntimeError if it fails or takes longer than a quarter of an hour.
    """
    before, began = sum(questions(cluster).values()), time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _USED, *argv],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        has_ended = _watch(process, program, enough)
        seconds = time.monotonic() - began
        if not has_ended:
            os.killpg(program, signal.SIGKILL)
        status, cpu_s, peak_kib = process.stdout.readline().split()
    if has_ended and status != b"0":
        words = (folder / "log").read_text(errors="replace")[-500:]
        raise RuntimeError(f"{argv[0]} ended with {int(status)}: {words}")
    return Cost(
        seconds=seconds,
        cpu_s=float(cpu_s),
        peak_mib=float(peak_kib) / 1024,
        calls=sum(questions(cluster).values()) - before,
    )


def _watch(process: subprocess.Popen[bytes], program: int, enough: Callable[[], bool]) -> bool:
    """Wait until a program has done enough or has ended; tell whether it has ended."""
    deadline = time.monotonic() + _LONGEST_S
    while process.poll() is None:
        if enough():
            return False
        if time.monotonic() > deadline:
            os.killpg(program, signal.SIGKILL)
            raise RuntimeError("it does not come to its end")
        time.sleep(0.005)
    return True


def wait_for(claim: Callable[[], bool], *, every_s: float = 0.05) -> None:
    """Wait until a claim is true; raises RuntimeError after a quarter of an hour."""
    deadline = time.monotonic() + _LONGEST_S
    while not claim():
        if time.monotonic() > deadline:
            raise RuntimeError("it does not come to its end")
        time.sleep(every_s)
