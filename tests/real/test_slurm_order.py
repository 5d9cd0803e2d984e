"""What waits in a real Slurm's queue follows elisa's order when somebody changes that."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from elisa.engine.commands import hold, release
from elisa.engine.prioritize import Urgency, prioritize
from elisa.engine.workspace import open_workspace
from elisa.model.pipeline import PriorityClass
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

WHOLE = "resources: {nodes: 4, cpus: 8}, placement: {partition: low}, fuse: false"


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def nice(elisa: ElisaOnSlurm) -> dict[str, int]:
    """Return the nice value of each job that waits, by its task's name."""
    rows = elisa.cluster.run(["squeue", "-h", "-r", "-t", "PD", "-o", "%i %y"]).stdout.split()
    if not all(elisa.attempts(name) for name in "abc"):
        return {}
    values = dict(zip(rows[::2], map(int, rows[1::2]), strict=True))
    names = {name: str(elisa.attempts(name)[-1].native_id).partition(".")[0] for name in "abc"}
    return {name: values[number] for name, number in names.items() if number in values}


def element(elisa: ElisaOnSlurm, name: str) -> int:
    """Return which element of its array a task is."""
    return int(str(elisa.attempts(name)[-1].native_id).partition(".")[0].partition("_")[2])


def running(elisa: ElisaOnSlurm) -> int:
    return len(elisa.cluster.run(["squeue", "-h", "-t", "R", "-o", "%i"]).stdout.split())


def test_queued_elements_of_an_array_are_served_in_the_order_that_somebody_asks_for_later(elisa: ElisaOnSlurm) -> None:
    lines = ["name: queue", "project: demo", "tasks:", f"  first: {{command: [sleep, '7'], importance: 1, {WHOLE}}}"]
    lines += [f"  {name}: {{command: [sh, -c, 'echo {name} >>ran'], {WHOLE}}}" for name in "abc"]
    elisa.submit("\n".join(lines))
    elisa.tick_until(lambda: len(nice(elisa)) == 3 and running(elisa) == 1, every_s=0.2)
    before = nice(elisa)
    # Equals go in the order of their ids, which chance gives.
    *firsts, last = sorted("abc", key=lambda name: element(elisa, name))

    with Reader.open(elisa.home) as reader:
        (task,) = [row.id for row in reader.task_rows() if row.name == last]
    with open_workspace(elisa.home) as ws:
        prioritize(ws, [task], Urgency(priority=PriorityClass.HIGH))
    elisa.tick()
    after = nice(elisa)
    deadline = time.monotonic() + 60
    while not (elisa.folder / "ran").exists():
        assert time.monotonic() < deadline, elisa.cluster.run(["squeue"]).stdout
        time.sleep(0.2)

    assert len(set(before.values())) == 1
    assert after[last] < after[firsts[0]] == after[firsts[1]]
    assert (elisa.folder / "ran").read_text().split()[0] == last


def reasons(elisa: ElisaOnSlurm) -> dict[str, str]:
    """Return what Slurm says of each job of elisa's that waits, by its number."""
    rows = elisa.cluster.run(["squeue", "-h", "-r", "-t", "PD", "-o", "%i %r"]).stdout.splitlines()
    return dict(row.split(maxsplit=1) for row in rows)


def test_a_held_task_is_held_in_the_queue_and_released_there_but_no_hold_of_an_operator(elisa: ElisaOnSlurm) -> None:
    lines = ["name: queue", "project: demo", "tasks:", f"  first: {{command: [sleep, '2'], importance: 1, {WHOLE}}}"]
    lines += [f"  {name}: {{command: [sh, -c, 'echo {name} >>ran'], {WHOLE}}}" for name in "ab"]
    elisa.submit("\n".join(lines))
    elisa.tick_until(lambda: len(reasons(elisa)) == 2 and running(elisa) == 1, every_s=0.2)
    number = {name: str(elisa.attempts(name)[-1].native_id).partition(".")[0] for name in "ab"}
    with Reader.open(elisa.home) as reader:
        (task,) = [row.id for row in reader.task_rows() if row.name == "a"]
    elisa.cluster.run(["scontrol", "hold", number["b"]])
    with open_workspace(elisa.home) as ws:
        hold(ws, [task])
    elisa.tick()
    elisa.tick_until(lambda: elisa.states()["first"] == "succeeded", every_s=0.2)
    held = reasons(elisa)
    with open_workspace(elisa.home) as ws:
        release(ws, [task])
    elisa.tick_until(lambda: elisa.states()["a"] == "succeeded", every_s=0.2)

    assert held == {number["a"]: "JobHeldUser", number["b"]: "JobHeldAdmin"}
    assert reasons(elisa) == {number["b"]: "JobHeldAdmin"}
    assert (elisa.folder / "ran").read_text().split() == ["a"]
