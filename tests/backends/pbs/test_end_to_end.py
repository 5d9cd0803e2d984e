"""Whole pipelines above a pretended PBS: through lost answers, lost nodes and servers without a memory to one end each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.states import AttemptState, EndReason
from elisa.runtime.agent import REFUSED
from tests.backends.pbs.bench import Bench, wait_until
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


ENDLESS = """
name: endless
project: demo
tasks:
  endless: {command: [sleep, "600"], retry: {backoff: {initial: 0s}}%s}
"""


@pytest.mark.parametrize("history", [True, False], ids=["history", "no history"])
def test_whoever_deletes_a_running_job_is_not_fought(
    history: bool,  # noqa: FBT001 - of a table
    a_bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = a_bench(history=history)
    monkeypatch.setenv("PATH", f"{bench.pbs.bin}:{os.environ['PATH']}")
    elisa = elisa_on(bench)
    elisa.submit(ENDLESS % "")
    elisa.tick_until(lambda: "running" in [one.state for one in elisa.attempts("endless")])
    delete(bench, number_of_the_running_job(bench))
    elisa.tick_to_the_end()
    (attempt,) = elisa.attempts("endless")

    assert elisa.states() == {"endless": "cancelled"}
    assert attempt.end is not None
    assert attempt.end.reason is EndReason.CANCELLED
    assert attempt.end.detail.startswith("terminated by ")


def test_job_that_is_taken_out_of_the_queue_of_a_server_without_memory_runs_again_once(
    a_bench: Callable[..., Bench],
) -> None:
    bench = a_bench(history=False)
    elisa = elisa_on(bench)
    elisa.submit(ENDLESS % ", placement: {extras: {begin: '12312359'}}")
    for times in (1, 2):
        elisa.tick_until(lambda times=times: waiting(elisa, times))  # type: ignore[misc]  # bound at once
        delete(bench, *(number for number, job in bench.pbs.jobs().items() if job["state"] != "F"))
    elisa.tick_until(lambda: elisa.states() == {"endless": "held"})

    assert [one.end and one.end.reason for one in elisa.attempts("endless")] == [EndReason.LOST] * 2


def waiting(elisa: ElisaOnPbs, times: int) -> bool:
    attempts = elisa.attempts("endless")
    return len(attempts) == times and attempts[-1].state is AttemptState.QUEUED


def delete(bench: Bench, *numbers: str) -> None:
    subprocess.run([bench.pbs.bin / "qdel", *numbers], check=True)


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


@pytest.mark.parametrize("arrays", [True, False], ids=["an element", "a job"])
def test_what_pbs_calls_running_for_ever_is_shut_out_and_done_once(arrays: bool, bench: Bench) -> None:  # noqa: FBT001 - of a table
    elisa = elisa_on(bench, **({} if arrays else {"array_size": 1}))
    site = elisa.home / "site.yaml"
    site.write_text(site.read_text().replace("recovery: {", "recovery: {unheard: 3s, "))
    bench.pbs.strand()
    pipeline = elisa.submit(MATRIX.replace("retry: 0", "retry: {limit: 0, backoff: {initial: 1s, maximum: 2s}}"))
    elisa.tick_to_the_end()
    (stuck,) = [number for number, job in bench.pbs.jobs().items() if job["substate"] == 41]
    was_deleted = bench.pbs.jobs()[stuck].get("deleted")
    bench.pbs.begin_late(stuck)
    wait_until(lambda: "exit_status" in bench.pbs.jobs()[stuck])

    assert set(elisa.states().values()) == {"succeeded"}
    assert [elisa.lines(pipeline, task, "runs") for task in (*MEMBERS, "after")] == [["ran"]] * 5
    assert (was_deleted, bench.pbs.jobs()[stuck]["exit_status"]) == (True, REFUSED)
    (given_up,) = [one for task in MEMBERS for one in elisa.attempts(task) if one.state is AttemptState.LOST]
    assert str(given_up.native_id).startswith(stuck)
    assert not given_up.claimed


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
