"""Jobs that Slurm cancels before they begin, where nobody can tell that from a person's `scancel`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from elisa.report.explain import read_explanation
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

# Every job that comes while this file is there is cancelled by Slurm itself.
PROLOG = "#!/bin/sh\n[ ! -e {broken} ]\n"


def test_task_whose_prolog_fails_is_tried_once_more_then_held_for_a_person_and_runs_once_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_installed: None
) -> None:
    broken, prolog = tmp_path / "broken", tmp_path / "prolog"
    broken.touch()
    prolog.write_text(PROLOG.format(broken=broken))
    prolog.chmod(0o755)
    with SlurmCluster(extra=(f"PrologSlurmctld={prolog}",)) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.env()["SLURM_CONF"])
        elisa = without_accounts(a_state_folder(cluster, tmp_path))
        elisa.submit("name: unlucky\nproject: demo\ntasks:\n  t0: {command: [sh, -c, 'echo 0 >>ran'], retry: 0}\n")

        elisa.tick_until(lambda: elisa.states() == {"t0": "held"}, every_s=0.2)
        told = f"{explained(elisa)}; {noted(elisa)}"
        broken.unlink()
        released = elisa.cli("release", "unlucky").wait()
        elisa.tick_to_the_end()

    attempts = elisa.attempts("t0")
    numbers = [str(attempt.native_id) for attempt in attempts]
    assert (released, len({attempt.nodes for attempt in attempts}), elisa.runs()) == (0, 3, [0])
    assert told.count(f"its native jobs {numbers[0]} and {numbers[1]} were cancelled before its program began") == 2


def without_accounts(elisa: ElisaOnSlurm) -> ElisaOnSlurm:
    """Say that this site keeps none, so that nobody waits for them."""
    site = elisa.home / "site.yaml"
    site.write_text(site.read_text().replace("options: {", "options: {accounting: no, "))
    return elisa


def explained(elisa: ElisaOnSlurm) -> str:
    with Reader.open(elisa.home) as reader:
        return read_explanation(reader, "unlucky/t0", datetime.now(UTC)).now


def noted(elisa: ElisaOnSlurm) -> str:
    with Reader.open(elisa.home) as reader:
        (task,) = read_status(reader, datetime.now(UTC)).tasks
    return task.note
