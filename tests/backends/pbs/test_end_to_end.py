"""Whole pipelines above a pretended PBS: through lost answers, lost nodes and servers without a memory to one end each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench
from tests.backends.pbs.elisa_on_pbs import COUNTING, COUNTING_TO_10, ElisaOnPbs, a_state_folder

pytestmark = pytest.mark.slow

MATRIX = """
name: matrix
project: demo
tasks:
  each: {command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"'], matrix: {n: [1, 2, 3, 4]}, retry: 0}
  after: {command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"'], needs: [each], retry: 0}
"""
MEMBERS = [f"each-n={number}" for number in range(1, 5)]
EVERYTHING = dict.fromkeys(("before", "count", "after"), "succeeded")
TO_20 = [str(step) for step in range(1, 21)]


def elisa_on(bench: Bench, **options: object) -> ElisaOnPbs:
    return a_state_folder(bench.folder, path=bench.pbs.bin, query_timeout_s=5, pause_s=0.2, **options)


def number_of_the_running_job(bench: Bench) -> str:
    (number,) = [number for number, job in bench.pbs.jobs().items() if job["state"] == "R"]
    return number


@pytest.mark.parametrize(
    "kind",
    [{}, {"history": False}, {"dialect": "torque", "express": False}],
    ids=["history", "no history", "torque"],
)
def test_pipeline_runs_to_its_end_once(kind: dict[str, object], a_bench: Callable[..., Bench]) -> None:
    elisa = elisa_on(a_bench(**kind))
    pipeline = elisa.submit(COUNTING)
    elisa.tick_to_the_end()

    assert elisa.states() == EVERYTHING
    assert elisa.lines(pipeline, "count", "steps") == TO_20
    assert [elisa.lines(pipeline, task, "runs") for task in ("before", "after")] == [["ran"], ["ran"]]


@pytest.mark.parametrize("history", [True, False], ids=["history", "no history"])
def test_work_goes_on_from_its_checkpoint_when_its_node_is_lost(history: bool, a_bench: Callable[..., Bench]) -> None:  # noqa: FBT001 - of a table
    bench = a_bench(history=history)
    elisa = elisa_on(bench)
    pipeline = elisa.submit(COUNTING_TO_10)
    elisa.tick_until(lambda: len(elisa.lines(pipeline, "count", "steps")) == 10)
    bench.pbs.end(number_of_the_running_job(bench), -20)
    elisa.tick_to_the_end()

    began = elisa.lines(pipeline, "count", "began")
    assert elisa.states() == EVERYTHING
    assert elisa.lines(pipeline, "count", "steps") == TO_20
    assert began == ["0", "10"]
    if history:
        ends = [attempt.end.reason for attempt in elisa.handed_over("count") if attempt.end]
        assert ends == [EndReason.NODE_FAILURE, EndReason.COMPLETED]


@pytest.mark.parametrize("fault", ["lose_answer", "lose_number", "die"])
def test_a_lost_answer_doubles_nothing(fault: str, bench: Bench) -> None:
    elisa = elisa_on(bench, submit_timeout_s=1)
    bench.pbs.fault("qsub", fault, times=3)
    pipeline = elisa.submit(COUNTING)
    elisa.tick_to_the_end()

    assert elisa.states() == EVERYTHING
    assert elisa.lines(pipeline, "count", "steps") == TO_20
    assert [len(elisa.handed_over(task)) for task in EVERYTHING] == [1, 1, 1]
    assert len(bench.pbs.jobs()) == 3


def test_an_outage_is_outlived(bench: Bench) -> None:
    elisa = elisa_on(bench)
    pipeline = elisa.submit(COUNTING_TO_10)
    elisa.tick_until(lambda: len(elisa.lines(pipeline, "count", "steps")) == 10)
    bench.pbs.down()
    for _ in range(4):
        elisa.tick()
    during = elisa.states()["count"]
    (Path(layout.task_dir(elisa.home, pipeline, "count")) / "go").touch()
    bench.pbs.up()
    elisa.tick_to_the_end()

    assert during == "active"
    assert elisa.states() == EVERYTHING
    assert elisa.lines(pipeline, "count", "steps") == TO_20


@pytest.mark.parametrize("fault", ["", "lose_answer"])
def test_a_matrix_is_one_array_and_a_lost_answer_doubles_none_of_it(fault: str, bench: Bench) -> None:
    elisa = elisa_on(bench, submit_timeout_s=2)
    if fault:
        bench.pbs.fault("qsub", fault, times=1)
    pipeline = elisa.submit(MATRIX)
    elisa.tick_to_the_end()

    assert set(elisa.states().values()) == {"succeeded"}
    assert [elisa.lines(pipeline, task, "runs") for task in (*MEMBERS, "after")] == [["ran"]] * 5
    assert [len(elisa.handed_over(task)) for task in MEMBERS] == [1] * 4
    assert [number for number in bench.pbs.jobs() if number.endswith("[]")] == ["1[]"]
