"""Stages that follow each other on a real Slurm with no tick between, and chains that break."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from elisa.engine.commands import hold
from elisa.engine.workspace import open_workspace
from elisa.model.states import EndReason
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

# An aim of 3 s: see slurm_chain_gap_s. Here a machine that does much else at the same time must do.
GAP_S = 10.0
STAMP = "date +%s.%N"


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def a_chain(stages: int, commands: Sequence[str] = ()) -> str:
    """Return a pipeline of stages that each write down when they began and ended; `commands` come between."""
    lines = ["name: chain", "project: demo", "tasks:"]
    for number in range(stages):
        command = commands[number] if number < len(commands) else "true"
        script = f"({STAMP}; {command}; {STAMP}) >>s{number}.times"
        needs = f", needs: [s{number - 1}]" if number else ""
        lines.append(
            f"  s{number}: {{command: ['sh', '-ec', \"{script}\"]{needs}, retry: {{backoff: {{initial: 1s}}}}}}"
        )
    return "\n".join(lines)


def times(elisa: ElisaOnSlurm, name: str) -> list[float]:
    file = elisa.folder / f"{name}.times"
    return [float(line) for line in file.read_text().split()] if file.exists() else []


def wait_without_ticks(elisa: ElisaOnSlurm, name: str, within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while len(times(elisa, name)) < 2:
        assert time.monotonic() < deadline, elisa.cluster.run(["squeue"]).stdout
        time.sleep(0.2)


def pending(elisa: ElisaOnSlurm) -> int:
    return len(elisa.cluster.run(["squeue", "-h", "-t", "PD", "-o", "%i"]).stdout.split())


def test_stages_follow_one_another_without_a_tick(elisa: ElisaOnSlurm) -> None:
    elisa.submit(a_chain(4))

    report = elisa.tick()
    wait_without_ticks(elisa, "s3")
    elisa.tick_to_the_end()

    stamps = [times(elisa, f"s{number}") for number in range(4)]
    gaps = [after[0] - before[1] for before, after in pairwise(stamps)]
    assert len(report.submitted) == 4
    assert all(0 <= gap < GAP_S for gap in gaps), gaps
    assert set(elisa.states().values()) == {"succeeded"}
    assert [len(elisa.attempts(f"s{number}")) for number in range(4)] == [1, 1, 1, 1]


def test_stage_that_fails_takes_its_successors_back_and_they_follow_its_next_attempt(elisa: ElisaOnSlurm) -> None:
    elisa.submit(a_chain(3, ["[ -e again ] || { touch again; sleep 1; exit 4; }"]))

    elisa.tick()
    elisa.tick_to_the_end()

    assert set(elisa.states().values()) == {"succeeded"}
    ends = [[attempt.end and attempt.end.reason for attempt in elisa.attempts(f"s{number}")] for number in range(3)]
    assert ends == [
        [EndReason.FAILED, EndReason.COMPLETED],
        [EndReason.CANCELLED, EndReason.COMPLETED],
        [EndReason.CANCELLED, EndReason.COMPLETED],
    ]
    assert elisa.attempts("s1")[1].behind == (elisa.attempts("s0")[1].id,)
    assert [len(times(elisa, f"s{number}")) for number in (1, 2)] == [2, 2]
    with Reader.open(elisa.home) as reader:
        failures = {
            task.spec.name: task.failures for task in reader.tasks([row.id for row in reader.task_rows()]).values()
        }
    assert failures == {"s0": 1, "s1": 0, "s2": 0}


def test_chained_job_is_withdrawn_when_its_task_is_held_or_its_budget_is_cut(elisa: ElisaOnSlurm) -> None:
    rules = (elisa.home / "site.yaml").read_text()
    (elisa.home / "site.yaml").write_text(f"{rules}projects: {{demo: {{budget: {{cpu_hours: 4}}}}}}\n")
    elisa.submit(a_chain(4, ["sleep 15"]))
    elisa.tick_until(lambda: pending(elisa) == 3)

    with Reader.open(elisa.home) as reader:
        (last,) = [row.id for row in reader.task_rows() if row.name == "s3"]
    with open_workspace(elisa.home) as ws:
        hold(ws, [last])
    elisa.tick_until(lambda: elisa.states()["s3"] == "held")
    after_hold = pending(elisa)
    (elisa.home / "site.yaml").write_text(f"{rules}projects: {{demo: {{budget: {{cpu_hours: 2}}}}}}\n")
    elisa.tick_until(lambda: elisa.states()["s2"] == "waiting")

    assert (after_hold, pending(elisa)) == (2, 1)
    elisa.tick_until(lambda: elisa.states()["s2"] == "succeeded")
    assert elisa.states() == {"s0": "succeeded", "s1": "succeeded", "s2": "succeeded", "s3": "held"}


def test_chained_job_that_was_lost_on_the_way_is_found_by_its_tag(elisa: ElisaOnSlurm) -> None:
    elisa.submit(a_chain(2, ["sleep 4"]))
    elisa.before_sbatch('case "$*" in *--dependency*) /usr/bin/sbatch "$@" >/dev/null; kill -9 $$;; esac')

    report = elisa.tick()
    elisa.before_sbatch("")
    elisa.tick_to_the_end()

    assert (len(report.submitted), len(report.unsettled)) == (1, 1)
    assert set(elisa.states().values()) == {"succeeded"}
    assert [len(times(elisa, name)) for name in ("s0", "s1")] == [2, 2]


def test_stage_behind_a_whole_array_begins_when_all_of_it_is_done(elisa: ElisaOnSlurm) -> None:
    elisa.submit("""
        name: fan
        project: demo
        tasks:
          prep: {command: [sh, -c, "sleep 1; echo prep >>log"]}
          each: {command: [sh, -c, "sleep 0.$((RANDOM % 5)); echo each >>log"], needs: [prep], matrix: {n: [1, 2, 3]}}
          join: {command: [sh, -c, "echo join >>log"], needs: [each]}
    """)

    report = elisa.tick()
    deadline = time.monotonic() + 60
    while "join" not in (elisa.folder / "log").read_text().split() if (elisa.folder / "log").exists() else True:
        assert time.monotonic() < deadline, elisa.cluster.run(["squeue"]).stdout
        time.sleep(0.2)
    elisa.tick_to_the_end()

    assert len(report.submitted) == 5
    assert (elisa.folder / "log").read_text().split() == ["prep", "each", "each", "each", "join"]
    assert len({str(elisa.attempts(f"each-n={n}")[0].native_id).partition("_")[0] for n in (1, 2, 3)}) == 1
    assert set(elisa.states().values()) == {"succeeded"}


def test_urgent_task_gets_the_place_that_a_chained_job_holds(elisa: ElisaOnSlurm) -> None:
    rules = (elisa.home / "site.yaml").read_text()
    (elisa.home / "site.yaml").write_text(rules.replace("window: 200", "window: 2") + "order: [importance, fifo]\n")
    whole = "resources: {nodes: 4, cpus: 8}, placement: {partition: low}"
    lines = ["name: chain", "project: demo", "tasks:", f"  s0: {{command: [sleep, '10'], {whole}}}"]
    lines += [f"  s{n}: {{command: [sh, -c, 'echo s{n} >>ran'], needs: [s{n - 1}], {whole}}}" for n in (1, 2)]
    elisa.submit("\n".join(lines))
    elisa.tick_until(lambda: pending(elisa) == 2)

    what = f"command: [sh, -c, 'echo urgent >>ran'], importance: 9, {whole}"
    elisa.submit(f"name: urgent\nproject: demo\ntasks:\n  urgent: {{{what}}}\n")
    elisa.tick_until(lambda: elisa.states()["urgent"] == "active", within_s=20)
    states = elisa.states()
    elisa.tick_to_the_end()

    assert (states["s1"], states["s2"]) == ("active", "waiting")
    assert (elisa.folder / "ran").read_text().split() == ["urgent", "s1", "s2"]
