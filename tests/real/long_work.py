"""One program that takes several time limits, on a real Slurm or PBS: when each part of it began and left, and what it did."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

from tests.backends.pbs.elisa_on_pbs import ElisaOnPbs
from tests.real.elisa_on_slurm import ElisaOnSlurm

__all__ = ["LEAD_S", "WALLTIME_S", "gaps_s", "is_done", "run_without_ticks", "steps", "submit_long_work"]

# Writes down when it begins and leaves, and each step that it does; saves every one, and goes on from the newest.
_PROGRAM = """\
import time
from elisa import checkpoint

def note(file, *words):
    with open(file, "a") as stream:
        print(*words, file=stream)

note("parts", time.time())
try:
    with checkpoint.run(interval_s=0) as ckpt:
        state = ckpt.load() or {"sum": 0}
        for step in ckpt.steps(%d):
            time.sleep(0.25)
            state["sum"] += step
            note("steps", step)
            ckpt.save(step, state)
    note("sum", state["sum"])
finally:
    note("parts", time.time())
"""
WALLTIME_S = 3
LEAD_S = 1


def submit_long_work(elisa: ElisaOnSlurm | ElisaOnPbs, count: int, *, expected_s: int) -> None:
    """Submit work of `count` steps, four a second, in parts of three seconds at most."""
    text = f"""
        name: long
        project: demo
        tasks:
          long:
            command: ["{sys.executable}", long.py]
            expected: {expected_s}s
            checkpoint: {{lead: {LEAD_S}s, keep: 100}}
            resources: {{walltime: {WALLTIME_S}s}}
    """
    elisa.submit(text, files={"long.py": _PROGRAM % count})


def run_without_ticks(elisa: ElisaOnSlurm | ElisaOnPbs, within_s: float = 120.0) -> None:
    """Tick until the first part runs and others are queued behind it, then no more until the work is done."""
    elisa.tick_until(lambda: len(elisa.attempts("long")) > 1, within_s=within_s)
    deadline = time.monotonic() + within_s
    while not is_done(elisa.folder):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the work does not end: {elisa.attempts('long')}")
        time.sleep(0.2)


def is_done(folder: Path) -> bool:
    return (folder / "sum").exists() and len(_moments(folder)) % 2 == 0


def _moments(folder: Path) -> list[float]:
    return [float(line) for line in (folder / "parts").read_text(encoding="utf-8").split()]


def gaps_s(folder: Path) -> list[float]:
    """Return the seconds from the end of each part to the beginning of the next."""
    moments = _moments(folder)
    return [began - left for left, began in pairwise(moments)][1::2]


def steps(folder: Path) -> list[int]:
    """Return the steps that were done, in order."""
    return [int(line) for line in (folder / "steps").read_text(encoding="utf-8").split()]
