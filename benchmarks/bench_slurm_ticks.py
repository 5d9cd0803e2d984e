"""What a tick asks of slurmctld, counted by slurmctld itself (`sdiag`), and what it costs elisa; a day made of 60 ticks."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.figure import Figure
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

FIGURES = ("slurm_tick_rpcs", "slurm_tick_rpcs_ready", "slurm_day_rpcs", "slurm_day_cpu_s")

TICKS = 60
TICKS_A_DAY = 1440
LIVE = 100
# Rows such as `REQUEST_JOB_INFO ( 2003) count:12 ave_time:98 total_time:1176`, first by kind and then by user.
_KIND = re.compile(r"^\s*([A-Z_]+)\s*\(\s*\d+\)\s+count:(\d+)", re.MULTILINE)
# Not elisa's: this benchmark's own question, and what slurmctld and its nodes say to each other.
_OTHERS = re.compile(r"STATS|NODE_REGISTRATION|COMPLETE|PING|EPILOG|STEP|PROLOG")


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
        before = _counted(cluster)
        cluster.run(["squeue", "-h", "-o", "%i"])
        squeue = sum(_counted(cluster).values()) - sum(before.values())
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
    before, used = _counted(elisa.cluster), os.times()
    for _ in range(TICKS):
        elisa.cli("tick").wait()
    after, now = _counted(elisa.cluster), os.times()
    asked = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    print(f"  {asked}", file=sys.stderr)
    cpu_s = now.children_user + now.children_system - used.children_user - used.children_system
    return _Cost(sum(asked.values()) / TICKS, cpu_s / TICKS)


def _counted(cluster: SlurmCluster) -> dict[str, int]:
    """Return how often slurmctld was asked each kind of question that a client asks."""
    by_kind = cluster.run(["sdiag"]).stdout.partition("Remote Procedure Call statistics by user")[0]
    return {kind: int(count) for kind, count in _KIND.findall(by_kind) if not _OTHERS.search(kind)}
