"""A pipeline of 300 tasks on a real Slurm, through preemptions, node failures and time limits to its end. Minutes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure
from elisa.model.states import EndReason
from tests.real.elisa_on_slurm import a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real.storm import weather

FIGURES = ("slurm_storm_not_once", "slurm_storm_s")

LONG = 12
TASKS = int(os.environ.get("ELISA_STORM_TASKS", "300")) - LONG


def measure() -> Iterator[Figure]:
    """Yield how many tasks did not finish exactly once, and how long the storm took."""
    with (
        SlurmCluster(message_timeout_s=2) as cluster,
        patch.dict(os.environ, cluster.env()),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        seen = weather(a_state_folder(cluster, Path(folder)), TASKS, long=LONG)
    print(f"  {seen}", file=sys.stderr)
    troubles = sum(seen.ends.values()) - seen.ends[EndReason.COMPLETED]
    bad = seen.not_once + seen.redone
    yield Figure(figure="slurm_storm_not_once", value=bad, unit="tasks", goal="<=0", runs=troubles)
    yield Figure(figure="slurm_storm_s", value=seen.seconds, unit="s")
