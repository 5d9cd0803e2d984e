"""Two gangs that each need three of four nodes, beside elastic work, on a real Slurm: `python -m tests.real.gang_soak`.

Whichever members Slurm starts first, all of it must finish. It takes minutes, so it is no part of the tests.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real.test_slurm_end_to_end import COUNTER

__all__ = ["main"]

RULES = "preemption: {minimum_run: 5s, restart: 0s}\n"
ELASTIC = """
name: wide
project: demo
tasks:
  train:
    shell: true
    command: 'exec sh counter.sh'
    checkpoint: {pattern: "restart.*.dat", complete_when: "{}.done", keep: 50}
    environment: {LAST: "200"}
    resources: {nodes: {min: 1, max: 4}, cpus: 8, walltime: 30m}
"""
GANGS = """
name: gangs
project: demo
tasks:
  one:
    command: [sleep, "8"]
    matrix: {part: [1, 2, 3]}
    gang: one
    resources: {nodes: 1, cpus: 8, walltime: 10m}
  other:
    command: [sleep, "8"]
    matrix: {part: [1, 2, 3]}
    gang: other
    resources: {nodes: 1, cpus: 8, walltime: 10m}
"""


def main() -> int:
    """Return 1 if something did not finish; print the sizes of the elastic work and how often a gang began anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1)
    bad = sum(not _finishes() for _ in range(parser.parse_args().times))
    return int(bad > 0)


def _finishes() -> bool:
    with SlurmCluster(message_timeout_s=2) as cluster, tempfile.TemporaryDirectory() as folder:
        os.environ["SLURM_CONF"] = cluster.env()["SLURM_CONF"]
        (Path(folder) / "counter.sh").write_text(COUNTER)
        elisa = a_state_folder(cluster, Path(folder))
        with (elisa.home / "site.yaml").open("a") as site:
            site.write(RULES)
        return _trial(elisa)


def _trial(elisa: ElisaOnSlurm) -> bool:
    began = time.monotonic()
    wide = elisa.submit(ELASTIC)
    elisa.tick_until((elisa.task_dir(wide, "train") / "steps").exists)
    elisa.submit(GANGS)
    try:
        elisa.tick_to_the_end(within_s=480)
    except AssertionError as error:
        sys.stderr.write(f"not finished: {error}\n")
        return False
    states = elisa.states()
    sizes = [one.request.nodes for one in elisa.attempts("train")]
    tries = {name: len(elisa.attempts(name)) for name in states if name != "train"}
    print(f"{time.monotonic() - began:.0f} s, sizes {sizes}, attempts {tries}")  # noqa: T201 - its result
    return set(states.values()) == {"succeeded"}


if __name__ == "__main__":
    sys.exit(main())
