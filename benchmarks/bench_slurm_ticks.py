"""What a tick asks of slurmctld, counted by slurmctld itself (`sdiag`), and what it costs elisa; a day made of 60 ticks."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.figure import Figure
from benchmarks.slurm_cost import questions
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

FIGURES = ("slurm_tick_rpcs", "slurm_tick_rpcs_ready", "slurm_day_rpcs", "slurm_day_cpu_s")

TICKS = 60
TICKS_A_DAY = 1440
LIVE = 100


class _Cost(NamedTuple):
    rpcs: float
    cpu_s: float


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
    yield Figure(figure="slurm_tick_rpcs", value=live.rpcs, unit="RPCs", goal="<=2", runs=TICKS)
    yield Figure(figure="slurm_tick_rpcs/squeue", value=squeue, unit="RPCs")
    yield Figure(figure="slurm_tick_rpcs_ready", value=ready.rpcs, unit="RPCs", runs=TICKS)
    yield Figure(figure="slurm_day_rpcs", value=live.rpcs * TICKS_A_DAY, unit="RPCs", runs=TICKS)
    yield Figure(figure="slurm_day_cpu_s", value=live.cpu_s * TICKS_A_DAY, unit="s", runs=TICKS)


def _submit(elisa: ElisaOnSlurm, count: int, name: str) -> None:
    tasks = "\n".join(f"  {name}{n}: {{command: [sleep, '3600'], resources: {{cpus: 8}}}}" for n in range(count))
    elisa.submit(f"name: {name}\nproject: demo\ntasks:\n{tasks}\n")


def _ticks(elisa: ElisaOnSlurm) -> _Cost:
    """Return what one of 60 ticks costs on average, each in a process of its own, as cron starts them."""
    elisa.tick()
    before, used = questions(elisa.cluster), os.times()
    for _ in range(TICKS):
        elisa.cli("tick").wait()
    after, now = questions(elisa.cluster), os.times()
    asked = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    print(f"  {asked}", file=sys.stderr)
    cpu_s = now.children_user + now.children_system - used.children_user - used.children_system
    return _Cost(sum(asked.values()) / TICKS, cpu_s / TICKS)
