"""Submissions to a real Slurm in trouble: what elisa loses and doubles, and what others double. Minutes each.

`ELISA_KILLS` sets how often `elisa tick` is killed (200), while it submits, after about half of 100 submissions, and while
attempts are queued ahead; sbatch and the controller get their share.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure
from benchmarks.slurm_peers import snakemake_doubles, submitit_doubles
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.kills import Tally, controller_in_trouble, elisa_killed, elisa_killed_in_bulk, sbatch_killed
from tests.real.kills_ahead import killed_while_queued_ahead
from tests.real.kills_halfway import killed_halfway
from tests.real.slurm_cluster import SlurmCluster

FIGURES = ("slurm_kill_lost", "slurm_kill_double")

KILLS = int(os.environ.get("ELISA_KILLS", "200"))
CAMPAIGNS: tuple[tuple[Callable[[ElisaOnSlurm, int], Tally], int], ...] = (
    (elisa_killed, KILLS),
    (elisa_killed_in_bulk, max(1, KILLS // 4)),
    (sbatch_killed, max(1, KILLS // 4)),
    (controller_in_trouble, max(1, KILLS // 10)),
    (killed_halfway, KILLS),
    (killed_while_queued_ahead, KILLS),
)
PEERS: Mapping[str, Callable[[SlurmCluster, Path], int]] = {
    "submitit": submitit_doubles,
    "snakemake": snakemake_doubles,
}


def measure() -> Iterator[Figure]:
    """Yield the sums over all campaigns, each of which has a state folder of its own on one cluster."""
    with SlurmCluster(message_timeout_s=2) as cluster, patch.dict(os.environ, cluster.env()):
        tallies = [_one(cluster, campaign, times) for campaign, times in CAMPAIGNS]
    runs = sum(tally.troubles for tally in tallies)
    yield Figure(figure="slurm_kill_lost", value=sum(t.lost for t in tallies), unit="tasks", goal="<=0", runs=runs)
    yield Figure(figure="slurm_kill_double", value=sum(t.double for t in tallies), unit="runs", goal="<=0", runs=runs)
    # killed after 50 of 100 submissions and started again, as their authors say
    with SlurmCluster(accounting=True) as cluster:
        for peer, doubles in PEERS.items():
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                yield Figure(figure=f"slurm_kill_double/{peer}", value=doubles(cluster, Path(folder)), unit="runs")


def _one(cluster: SlurmCluster, campaign: Callable[[ElisaOnSlurm, int], Tally], times: int) -> Tally:
    # whatever still writes there is gone once the cluster is clear
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tally = campaign(a_state_folder(cluster, Path(folder)), times)
        print(f"  {campaign.__name__}: {tally}", file=sys.stderr, flush=True)
        cluster.clear()
    return tally
