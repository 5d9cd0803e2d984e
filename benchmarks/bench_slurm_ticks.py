"""What a tick asks of slurmctld, counted by slurmctld itself (`sdiag`)."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure
from benchmarks.slurm_cost import questions
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

FIGURES = ("slurm_tick_rpcs", "slurm_tick_rpcs_ready")

TICKS = 60
LIVE = 100


def measure() -> Iterator[Figure]:
    """Yield the cost of a tick while jobs run and wait, and while tasks are ready beside them."""
    with (
        SlurmCluster() as cluster,
        patch.dict(os.environ, cluster.env()),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        elisa = a_state_folder(cluster, Path(folder))
        _submit(elisa, LIVE, "live")
        elisa.tick_until(lambda: set(elisa.states().values()) == {"active"})
        live = _ticks(elisa)
        site = elisa.home / "site.yaml"
        site.write_text(site.read_text().replace("window: 200", "window: 1"))
        _submit(elisa, 1, "ready")
        ready = _ticks(elisa)
        before = questions(cluster)
        cluster.run(["squeue", "-h", "-o", "%i"])
        squeue = sum(questions(cluster).values()) - sum(before.values())
        cluster.clear()
    # one squeue, which asks for jobs and for partitions, whatever its options
    yield Figure(figure="slurm_tick_rpcs", value=live, unit="RPCs", goal="<=2", runs=TICKS)
    yield Figure(figure="slurm_tick_rpcs/squeue", value=squeue, unit="RPCs")
    yield Figure(figure="slurm_tick_rpcs_ready", value=ready, unit="RPCs", runs=TICKS)


def _submit(elisa: ElisaOnSlurm, count: int, name: str) -> None:
    tasks = "\n".join(f"  {name}{n}: {{command: [sleep, '3600'], resources: {{cpus: 8}}}}" for n in range(count))
    elisa.submit(f"name: {name}\nproject: demo\ntasks:\n{tasks}\n")


def _ticks(elisa: ElisaOnSlurm) -> float:
    """Return how much one of 60 ticks asks on average, each in a process of its own, as cron starts them."""
    elisa.tick()
    before = questions(elisa.cluster)
    for _ in range(TICKS):
        elisa.cli("tick").wait()
    after = questions(elisa.cluster)
    asked = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    print(f"  {asked}", file=sys.stderr)
    return sum(asked.values()) / TICKS
