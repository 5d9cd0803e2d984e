"""What `elisa tick` prints of what it did."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from elisa.cli.commands.tick import print_report
from elisa.engine.outcome import TickReport
from elisa.model.ids import AttemptId

ONE, TWO, THREE = (AttemptId(f"t{number}.1") for number in range(3))
REPORT = TickReport(
    at=datetime(2026, 1, 1, tzinfo=UTC), submitted=(ONE,), held=(ONE, TWO), released=(THREE,), reordered=(TWO, THREE)
)


def test_what_became_of_waiting_jobs_is_told_beside_what_was_submitted(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(REPORT, json=False)

    words = capsys.readouterr().out.partition(" ")[2]
    assert words == "1 submitted, 2 held, 1 released, 2 reordered; 0 live, 0 waiting\n"


def test_a_program_reads_how_many_and_which(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(REPORT, json=True)

    told, names = json.loads(capsys.readouterr().out), ("held", "released", "reordered", "stopped")
    assert (told["schema"], [told[name] for name in names]) == ("elisa.tick/1", [2, 1, 2, 0])
    assert [told["ids"][name] for name in names] == [[ONE, TWO], [THREE], [TWO, THREE], []]
