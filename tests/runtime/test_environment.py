"""What a program is told of its job."""

from __future__ import annotations

import pytest

from elisa.runtime.environment import deadline_of
from elisa.runtime.job import Job

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("walltime_s", "told", "ends_at"),
    [
        (600.0, "", NOW + 600),
        # the native job began before the agent did
        (600.0, "1000590", NOW + 590),
        # Slurm rounds up to minutes: the walltime that was asked for holds
        (90.0, "1000120", NOW + 90),
        # another job's, or a clock that is wrong
        (600.0, "999000", NOW + 600),
        (600.0, "soon", NOW + 600),
        (0.0, "1000120", NOW + 120),
        (0.0, "", None),
    ],
)
def test_time_is_over_with_the_walltime_or_sooner_if_slurm_says_so(
    walltime_s: float, told: str, ends_at: float | None
) -> None:
    job = Job(attempt="t1.1", task="t1", number=1, home="/", key=b"", walltime_s=walltime_s)

    assert deadline_of(job, {"SLURM_JOB_END_TIME": told}, NOW) == ends_at
