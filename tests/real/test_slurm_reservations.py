"""Reservations of a real Slurm that stand for those of elisa: named, used by whom they are for, and gone one day."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from elisa.engine.reserving import release_reserved, reserve
from elisa.engine.workspace import open_workspace
from elisa.model.errors import UsageError
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def on_slurm(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def keep(on_slurm: ElisaOnSlurm, native: str) -> str:
    """Reserve a node for the project of that name, as a reservation of Slurm's own; return the id."""
    with open_workspace(on_slurm.home) as ws:
        now = ws.clock.now()
        made = reserve(ws, native, "slurm", {"nodes": "1"}, begin=now, end=now + timedelta(minutes=9), native=native)
    return str(made.reservations[0].id)


def submit(on_slurm: ElisaOnSlurm, project: str, name: str) -> None:
    on_slurm.submit(f"""
        name: {name}
        project: {project}
        tasks:
          {name}:
            command: [sh, -c, "echo $SLURM_JOB_RESERVATION $SLURM_JOB_NODELIST > {on_slurm.folder}/{name}"]
            resources: {{walltime: 1min}}
    """)


def test_jobs_run_in_a_reservation_that_is_theirs_and_beside_one_that_is_not_or_that_is_gone(
    on_slurm: ElisaOnSlurm, slurm: SlurmCluster
) -> None:
    made = {"ours": ("root", "n1"), "theirs": ("nobody", "n2"), "gone": ("root", "n3")}
    for name, (user, node) in made.items():
        about = (f"reservation={name}", f"users={user}", "starttime=now", "duration=10", f"nodes={node}")
        slurm.run(["scontrol", "create", "reservation", *about])
    try:
        with pytest.raises(UsageError) as unknown:
            keep(on_slurm, "nosuch")
        ours, *_ = [keep(on_slurm, name) for name in made]
        slurm.run(["scontrol", "delete", "ReservationName=gone"])
        for project in (*made, "others"):
            submit(on_slurm, project, f"{project}-1")
        on_slurm.tick()
        on_slurm.tick_until(lambda: set(on_slurm.states().values()) == {"succeeded"}, every_s=0.2)
        with open_workspace(on_slurm.home) as ws:
            release_reserved(ws, ours)
    finally:
        slurm.run(["scontrol", "delete", "ReservationName=theirs"])
        slurm.run(["scontrol", "delete", "ReservationName=ours"])

    where = {path.name: path.read_text().split() for path in on_slurm.folder.glob("*-1")}
    assert (unknown.value.what, unknown.value.why) == ("slurm has no reservation nosuch", "it has gone, ours, theirs")
    assert where.pop("ours-1") == ["ours", "n1"]
    assert sorted(where) == ["gone-1", "others-1", "theirs-1"]
    assert {node for (node,) in where.values()} <= {"n3", "n4"}
