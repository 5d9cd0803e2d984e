"""How long the store takes: large transactions with all their audit rows, and the reads that grow with the queue.

Each store is new, on the disk of the machine's temporary folder, and synchronous as always.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.figure import Figure, median_of, seconds_of
from elisa.model.changes import AttemptIntended, Charge, PipelineAdded, TaskMoved
from elisa.model.ids import BackendName, ProjectName, attempt_id, new_pipeline_id, new_task_id
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, PipelineRecord, Task
from elisa.store.reader import Reader
from elisa.store.writer import Writer

FIGURES = ("store_moves_10k_s", "store_intents_10k_s", "store_status_10k_ms", "store_ready_100k_ms")

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    moves = median_of(lambda: _changing_s(TaskState.WAITING), runs=3)
    yield Figure(figure="store_moves_10k_s", value=moves, unit="s", goal="<=1", runs=3)
    intents = median_of(lambda: _changing_s(TaskState.READY), runs=3)
    yield Figure(figure="store_intents_10k_s", value=intents, unit="s", goal="<=2", runs=3)
    with _store(10_000, TaskState.READY) as (home, writer, _):
        writer.close()
        yield Figure(figure="store_status_10k_ms", value=_status_ms(home), unit="ms", goal="<=100", runs=9)
    with _store(100_000, TaskState.READY) as (home, writer, _):
        writer.close()
        with Reader.open(home) as reader:
            ready = median_of(lambda: seconds_of(reader.ready_columns), runs=5)
        yield Figure(figure="store_ready_100k_ms", value=1000 * ready, unit="ms", goal="<=500", runs=5)


class _Clock:
    def now(self) -> datetime:
        return NOW


class _Chance:
    def __init__(self) -> None:
        self._random = Random(0)  # a load is no secret

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def uniform(self) -> float:
        return self._random.random()


@contextmanager
def _store(count: int, state: TaskState) -> Iterator[tuple[Path, Writer, Sequence[Task]]]:
    """Give a new store with one pipeline of `count` tasks, all in one state."""
    chance = _Chance()
    specs = tuple(TaskSpec(name=f"t{n}", command=("train", f"--seed={n}"), resources=_asked(n)) for n in range(count))
    pipeline = Pipeline(name="load", project=ProjectName("bench"), tasks=specs)
    key = new_pipeline_id(chance)
    record = PipelineRecord(id=key, pipeline=pipeline, owner_uid=1000, owner="ada", submitted_at=NOW)
    tasks = tuple(
        Task(
            id=new_task_id(chance),
            pipeline=key,
            project=pipeline.project,
            owner_uid=1000,
            spec=spec,
            state=state,
            request=spec.resources,
            submitted_at=NOW,
        )
        for spec in specs
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Writer.create(home, clock=_Clock(), random=chance, actor="ada") as writer:
            writer.apply((PipelineAdded(record=record, tasks=tasks),))
            yield home, writer, tasks


def _asked(number: int) -> Resources:
    return Resources(nodes=1 + number % 5, cpus_per_task=1 + number % 8)


def _changing_s(state: TaskState) -> float:
    """Return the seconds of one transaction that makes 10,000 tasks ready, or makes an attempt at each."""
    with _store(10_000, state) as (_, writer, tasks):
        change = _move if state is TaskState.WAITING else _intent
        changes = [change(task) for task in tasks]
        return seconds_of(lambda: writer.apply(changes))


def _move(task: Task) -> TaskMoved:
    reason = because(ReasonCode.NEEDS_MET)
    return TaskMoved(task=task.id, before=TaskState.WAITING, after=TaskState.READY, reason=reason)


def _intent(task: Task) -> AttemptIntended:
    attempt = Attempt(
        id=attempt_id(task.id, 1),
        task=task.id,
        number=1,
        backend=BackendName("cluster"),
        partition="",
        request=task.request,
        state=AttemptState.INTENDED,
        intended_at=NOW,
    )
    return AttemptIntended(attempt=attempt, reserve=Charge(node_s=3600), reason=because(ReasonCode.CHOSEN, rank=1))


def _status_ms(home: Path) -> float:
    """Return the milliseconds of opening a store and reading a row for each of its tasks."""

    def read() -> None:
        with Reader.open(home) as reader:
            assert len(reader.task_rows()) == 10_000

    return 1000 * median_of(lambda: seconds_of(read), runs=9)
