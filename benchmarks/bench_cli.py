"""How long a user waits for a command: whole processes, beside bare Python and a minimal tool over the same database."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.figure import Figure, median_of, process_cpu_ms, process_ms
from elisa.model import layout
from elisa.model.changes import PipelineAdded
from elisa.model.ids import ProjectName, new_pipeline_id, new_task_id
from elisa.model.pipeline import Need, Pipeline, TaskSpec
from elisa.model.ports import RandomSource
from elisa.model.states import TaskState
from elisa.model.task import PipelineRecord, Task
from elisa.store.writer import Writer

__all__ = ["FIGURES", "measure"]

FIGURES = ("help_ms", "status_10k_ms", "tick_idle_ms", "tick_idle_cpu_s")
_RUNS = 9
_TASKS = 10_000
_CHAIN = 10
# What `squeue` does, in Python: read the rows of unfinished work and print them.
_MINIMAL = """
import sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute("SELECT id, name, state FROM task WHERE state != 'succeeded' LIMIT 40")
for row in rows: print(*row)
"""


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    bare = _ms([sys.executable, "-c", "pass"])
    yield _figure("help_ms", _ms([*_elisa(), "--help"]), goal="<=250")
    yield _figure("help_ms/python", bare)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _fill(home)
        yield _figure("status_10k_ms", _ms([*_elisa(), "status", "--home", folder]), goal="<=120")
        minimal = [sys.executable, "-c", _MINIMAL, str(layout.database(home))]
        yield _figure("status_10k_ms/sqlite3", _ms(minimal))
        yield _figure("status_10k_ms/python", bare)
    yield from _idle_ticks()


def _idle_ticks() -> Iterator[Figure]:
    """Yield what it costs when cron starts a tick and nothing is left to do."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*_elisa(), "init", "--home", folder], check=True, capture_output=True)
        tick = [*_elisa(), "tick", "--home", folder]
        yield _figure("tick_idle_ms", _ms(tick), goal="<=1000")
        cpu_s = median_of(lambda: process_cpu_ms(tick), runs=_RUNS) / 1000
        yield Figure(figure="tick_idle_cpu_s", value=cpu_s, unit="s", goal="<=0.7", runs=_RUNS)


def _figure(name: str, value: float, goal: str = "") -> Figure:
    return Figure(figure=name, value=value, unit="ms", goal=goal, runs=_RUNS)


def _elisa() -> list[str]:
    return [str(Path(sys.executable).with_name("elisa"))]


def _ms(command: list[str]) -> float:
    return median_of(lambda: process_ms(command), runs=_RUNS)


class _Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


class _Chance:
    def __init__(self) -> None:
        self._random = Random(0)

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def uniform(self) -> float:
        return self._random.random()


def _fill(home: Path) -> None:
    """Store a pipeline of chains, ten tasks each."""
    chance = _Chance()
    with Writer.create(home, clock=_Now(), random=chance, actor="bench") as writer:
        writer.apply([_pipeline(chance)])


def _pipeline(chance: RandomSource) -> PipelineAdded:
    specs = tuple(
        TaskSpec(name=f"t{number}", command=("true",), needs=_needs(number), group=f"t{number}")
        for number in range(_TASKS)
    )
    pipeline = Pipeline(name="bench", project=ProjectName("bench"), tasks=specs)
    now = datetime.now(UTC)
    record = PipelineRecord(id=new_pipeline_id(chance), pipeline=pipeline, owner_uid=0, owner="bench", submitted_at=now)
    tasks = tuple(
        Task(
            id=new_task_id(chance),
            pipeline=record.id,
            project=pipeline.project,
            owner_uid=0,
            spec=spec,
            state=TaskState.WAITING if spec.needs else TaskState.READY,
            request=spec.resources,
            submitted_at=now,
        )
        for spec in specs
    )
    return PipelineAdded(record=record, tasks=tasks)


def _needs(number: int) -> tuple[Need, ...]:
    return (Need(tasks=(f"t{number - 1}",)),) if number % _CHAIN else ()
