"""Work of several time limits on a real Slurm, whose next attempt has queued while the present one ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from elisa.model.states import EndReason
from tests.real.elisa_on_slurm import ElisaOnSlurm, a_state_folder
from tests.real.long_work import gaps_s, run_without_ticks, steps, submit_long_work
from tests.real.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.slow]

GAP_S = 10.0


@pytest.fixture
def elisa(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ElisaOnSlurm:
    monkeypatch.setenv("SLURM_CONF", slurm.env()["SLURM_CONF"])
    return a_state_folder(slurm, tmp_path)


def test_work_of_several_time_limits_goes_on_without_a_tick_and_does_no_step_twice(elisa: ElisaOnSlurm) -> None:
    submit_long_work(elisa, 18, expected_s=16)

    run_without_ticks(elisa)
    elisa.tick_to_the_end()
    elisa.tick_until(lambda: all(one.end is not None for one in elisa.attempts("long")))

    own = [one.end and one.end.reason for one in elisa.attempts("long") if one.continues is None]
    assert own == [EndReason.TIMEOUT] * (len(own) - 1) + [EndReason.COMPLETED]
    assert len(own) >= 3
    assert steps(elisa.folder) == list(range(18))
    assert (elisa.folder / "sum").read_text().split() == [str(sum(range(18)))]
    assert all(0 <= gap < GAP_S for gap in gaps_s(elisa.folder)), gaps_s(elisa.folder)
    assert elisa.states() == {"long": "succeeded"}
    assert elisa.cluster.run(["squeue", "-h"]).stdout == ""
