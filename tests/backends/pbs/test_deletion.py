from __future__ import annotations

import pytest

from elisa.backends.pbs.deletion import delete_argv, parse_delete
from elisa.backends.runner import Completed
from elisa.model.native import CancelOutcome
from tests.backends.pbs.bench import recorded

ASKED, GONE, FAILED = CancelOutcome.ASKED, CancelOutcome.ALREADY_GONE, CancelOutcome.FAILED


def test_all_ids_go_into_one_request() -> None:
    assert delete_argv("/opt/bin/qdel", ["1.vm", "2.vm"]) == ("/opt/bin/qdel", "1.vm", "2.vm")


@pytest.mark.parametrize(
    ("name", "ids", "outcomes"),
    [
        ("qdel_running", ["16.vm", "17.vm", "18.vm"], {"16.vm": ASKED, "17.vm": ASKED, "18.vm": ASKED}),
        ("qdel_finished", ["2.vm"], {"2.vm": GONE}),
        ("qdel_unknown", ["99999"], {"99999": GONE}),
        # the deleted 5 is not spoken of, nor is the unknown 88888
        ("qdel_mixed", ["99999", "5.vm", "2.vm", "88888"], {"99999": GONE, "2.vm": GONE}),
        ("qdel-mixed", ["999999", "2035.vm", "888888", "2021.vm"], {"999999": GONE, "888888": GONE, "2021.vm": GONE}),
        ("qdel_while_momdown", ["236.vm"], {"236.vm": FAILED}),
        ("qdel_other_user", ["19.vm"], {"19.vm": FAILED}),
        ("serverdown_qdel", ["216", "217"], {"216": FAILED, "217": FAILED}),
    ],
)
def test_recorded_answer_is_understood(name: str, ids: list[str], outcomes: dict[str, CancelOutcome]) -> None:
    assert parse_delete(recorded(name), ids) == outcomes


@pytest.mark.parametrize("words", ["Request invalid for state of job", "job deletion in progress"])
def test_a_job_that_is_ending_already_was_asked(words: str) -> None:
    assert parse_delete(Completed(exit_code=168, stderr=f"qdel: {words} 7.vm\n"), ["7.vm"]) == {"7.vm": ASKED}


def test_silence_is_a_failure() -> None:
    answer = Completed(exit_code=None, timed_out=True, stderr="no answer within 60 s")

    assert parse_delete(answer, ["60.vm", "7.vm"]) == {"60.vm": FAILED, "7.vm": FAILED}


def test_torque_calls_the_unknown_nonexistent() -> None:
    answer = Completed(exit_code=153, stderr="qdel: nonexistent job id: 99999\n")

    assert parse_delete(answer, ["99999.vm"]) == {"99999.vm": GONE}
