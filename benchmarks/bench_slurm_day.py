"""What a day of elisa asks of slurmctld, counted by slurmctld itself (`sdiag`), and what it costs elisa: all its 1,440 ticks.

0.6 seconds stand for a minute, for ticks and for jobs alike, so that the day is over in a quarter of an hour. Every hour
somebody submits a sweep and a chain, and looks at them twice; the jobs leave a fifth of the cluster idle.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure
from benchmarks.slurm_cost import questions
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

FIGURES = ("slurm_day_rpcs", "slurm_day_cpu_s", "slurm_day_tasks")

TICKS_A_DAY = 1440
TICKS_AN_HOUR = 60
MINUTE_S = 0.6
LOOKS = (20, 40)
SWEEP = 12


def measure() -> Iterator[Figure]:
    """Yield what one day cost, and how many tasks it finished."""
    with (
        SlurmCluster() as cluster,
        patch.dict(os.environ, cluster.env()),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        elisa = a_state_folder(cluster, Path(folder))
        before, used = questions(cluster), os.times()
        _live_a_day(elisa)
        after, now = questions(cluster), os.times()
        with Reader.open(elisa.home) as reader:
            states = Counter(str(row.state) for row in reader.task_rows())
        cluster.clear()
    asked = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    print(f"  {asked}, {dict(states)}", file=sys.stderr)
    cpu_s = now.children_user + now.children_system - used.children_user - used.children_system
    yield Figure(figure="slurm_day_rpcs", value=sum(asked.values()), unit="RPCs")
    yield Figure(figure="slurm_day_cpu_s", value=cpu_s, unit="s")
    yield Figure(figure="slurm_day_tasks", value=states["succeeded"], unit="tasks")


def _live_a_day(elisa: ElisaOnSlurm) -> None:
    began = time.monotonic()
    for minute in range(TICKS_A_DAY):
        hour, of_hour = divmod(minute, TICKS_AN_HOUR)
        if of_hour == 0:
            _run(elisa, "submit", str(_work_of(elisa.folder, hour)))
        if of_hour in LOOKS:
            _run(elisa, "status")
        _run(elisa, "tick")
        time.sleep(max(0.0, began + (minute + 1) * MINUTE_S - time.monotonic()))


def _work_of(folder: Path, hour: int) -> Path:
    """Write down what is submitted in an hour: a sweep of tasks that take half of one each, and a chain after its first."""
    sweep = [_task(f"s{n}", 20 + 2 * n, ", fuse: false") for n in range(SWEEP)]
    chain = [_task(f"c{n}", 4, f", needs: [{f'c{n - 1}' if n else 's0'}]") for n in range(3)]
    file = folder / f"hour{hour}.yaml"
    file.write_text("\n".join([f"name: hour{hour}", "project: demo", "tasks:", *sweep, *chain, ""]))
    return file


def _task(name: str, minutes: int, more: str) -> str:
    return f"  {name}: {{command: [sleep, '{minutes * MINUTE_S:.1f}'], resources: {{cpus: 4, walltime: 5m}}{more}}}"


def _run(elisa: ElisaOnSlurm, *words: str) -> None:
    elisa.cli(*words).wait()
