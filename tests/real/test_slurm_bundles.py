"""Arrays from a tick, and several tasks in one native job, on a real Slurm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.engine.commands import cancel
from elisa.engine.workspace import open_workspace
from elisa.model import layout
from elisa.model.states import EndReason
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

LOST = '/usr/bin/sbatch "$@" >/dev/null; kill -9 $$'


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def wait_until(claim: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def chains(count: int, length: int, script: str = "true", more: str = "") -> str:
    """Return chains of tasks `c0s0`, `c0s1`, ... that note each run in the file `ran`."""
    lines = ["name: chains", "project: demo", "defaults: {retry: 0, resources: {walltime: 1m}}", "tasks:"]
    for chain in range(count):
        for step in range(length):
            name, needs = f"c{chain}s{step}", f", needs: [c{chain}s{step - 1}]" if step else ""
            lines.append(f"  {name}: {{command: ['sh', '-ec', 'echo {name} >>ran; {script}']{needs}{more}}}")
    return "\n".join(lines)


def ran(elisa: ElisaOnSlurm) -> list[str]:
    file = elisa.folder / "ran"
    return file.read_text().split() if file.exists() else []


def numbers(elisa: ElisaOnSlurm, *names: str) -> set[str]:
    return {str(attempt.native_id).partition(".")[0] for name in names for attempt in elisa.attempts(name)}


def test_matrix_is_one_array_whose_elements_end_each_by_themselves(elisa: ElisaOnSlurm) -> None:
    elisa.submit("""
        name: matrix
        project: demo
        tasks:
          t:
            command: [sh, -c, "exit ${n}"]
            matrix: {n: [0, 1, 2, 3]}
            fuse: false
            retry: 0
            placement: {at_once: 2}
    """)

    elisa.tick()

    names = [f"t-n={number}" for number in range(4)]
    (number,) = {one.partition("_")[0] for one in numbers(elisa, *names)}
    assert numbers(elisa, *names) == {f"{number}_{index}" for index in range(4)}
    throttle = elisa.cluster.run(["scontrol", "show", "job", number]).stdout
    assert "ArrayTaskThrottle=2" in throttle
    elisa.tick_to_the_end()
    assert list(elisa.states().values()) == ["succeeded", "failed", "failed", "failed"]
    assert [attempt.end and attempt.end.exit_code for name in names for attempt in elisa.attempts(name)] == [0, 1, 2, 3]


def test_chains_of_short_tasks_run_inside_the_elements_of_one_array(elisa: ElisaOnSlurm) -> None:
    pipeline = elisa.submit(chains(3, 4, "echo $ELISA_TASK"))

    elisa.tick()
    wait_until(lambda: len(ran(elisa)) == 12)
    elisa.tick_to_the_end()

    assert set(elisa.states().values()) == {"succeeded"}
    of_chain = [numbers(elisa, *(f"c{chain}s{step}" for step in range(4))) for chain in range(3)]
    assert [len(found) for found in of_chain] == [1, 1, 1]
    assert len({one.partition("_")[0] for found in of_chain for one in found}) == 1
    for chain in range(3):
        order = [name for name in ran(elisa) if name.startswith(f"c{chain}")]
        assert order == [f"c{chain}s{step}" for step in range(4)]
    (attempt,) = elisa.attempts("c1s2")
    log = layout.stdout_log(elisa.home, pipeline, "c1s2", attempt.id)
    assert log.read_text() == f"{attempt.task}\n"


def test_preemption_in_the_middle_of_a_shared_job_loses_nothing(elisa: ElisaOnSlurm) -> None:
    elisa.submit(chains(1, 4, "sleep 1.5", ", resources: {nodes: 1, cpus: 8}"))
    elisa.tick()
    wait_until(lambda: len(ran(elisa)) >= 2)

    elisa.cluster.sbatch("--partition=high", "--nodes=4", "--exclusive", wrap="sleep 1")
    elisa.tick_to_the_end()

    assert set(elisa.states().values()) == {"succeeded"}
    assert len(elisa.attempts("c0s0")) == 1
    assert sorted(set(ran(elisa))) == [f"c0s{step}" for step in range(4)]
    with Reader.open(elisa.home) as reader:
        tasks = reader.tasks([row.id for row in reader.task_rows()])
    assert {task.failures for task in tasks.values()} == {0}


def test_failure_in_a_shared_job_keeps_back_what_follows_and_nothing_else(elisa: ElisaOnSlurm) -> None:
    elisa.submit(chains(2, 3, "case $ELISA_TASK_DIR in */c0s1) exit 3;; esac"))

    elisa.tick_to_the_end()

    assert elisa.states() == {
        "c0s0": "succeeded",
        "c0s1": "failed",
        "c0s2": "skipped",
        "c1s0": "succeeded",
        "c1s1": "succeeded",
        "c1s2": "succeeded",
    }
    assert "c0s2" not in ran(elisa)


def test_one_task_is_cancelled_out_of_a_shared_job_and_the_others_go_on(elisa: ElisaOnSlurm) -> None:
    elisa.submit(chains(1, 3, "sleep 2"))
    elisa.tick()
    wait_until(lambda: ran(elisa))
    with Reader.open(elisa.home) as reader:
        (last,) = [row.id for row in reader.task_rows() if row.name == "c0s2"]

    with open_workspace(elisa.home) as ws:
        cancel(ws, [last])
    elisa.tick()

    assert elisa.states()["c0s2"] == "cancelled"
    elisa.tick_to_the_end()
    assert elisa.states() == {"c0s0": "succeeded", "c0s1": "succeeded", "c0s2": "cancelled"}
    assert ran(elisa) == ["c0s0", "c0s1"]


def test_job_that_somebody_cancels_cancels_all_that_had_not_ended_in_it(elisa: ElisaOnSlurm) -> None:
    elisa.submit(chains(1, 3, "sleep 3"))
    elisa.tick()
    wait_until(lambda: len(ran(elisa)) == 2)

    (number,) = numbers(elisa, "c0s0")
    elisa.cluster.run(["scancel", number])
    elisa.tick_to_the_end()

    assert elisa.states() == {"c0s0": "succeeded", "c0s1": "cancelled", "c0s2": "cancelled"}
    ends = [attempt.end.reason for attempt in elisa.attempts("c0s2") if attempt.end is not None]
    assert ends == [EndReason.CANCELLED]


def test_every_task_is_adopted_when_the_answer_about_an_array_of_shared_jobs_was_lost(elisa: ElisaOnSlurm) -> None:
    elisa.before_sbatch(LOST)
    elisa.submit(chains(2, 3))

    report = elisa.tick()
    elisa.before_sbatch("")

    assert len(report.unsettled) == 6
    elisa.tick_to_the_end()
    assert set(elisa.states().values()) == {"succeeded"}
    assert sorted(ran(elisa)) == sorted(f"c{chain}s{step}" for chain in range(2) for step in range(3))
    assert {len(elisa.attempts(name)) for name in elisa.states()} == {1}


def test_agent_killed_in_the_middle_leaves_the_rest_to_a_new_job(elisa: ElisaOnSlurm) -> None:
    elisa.submit(chains(1, 3, "sleep 2"))
    elisa.tick()
    wait_until(lambda: len(ran(elisa)) == 2)

    killed = [process for process in Path("/proc").glob("[0-9]*") if is_agent_of(elisa, process)]
    for process in killed:
        os.kill(int(process.name), signal.SIGKILL)
    assert killed
    elisa.tick_to_the_end()

    assert elisa.states()["c0s0"] == "succeeded"
    assert ran(elisa).count("c0s0") == 1


def is_agent_of(elisa: ElisaOnSlurm, process: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"bundle" in words and str(elisa.home).encode() in words[-2]
