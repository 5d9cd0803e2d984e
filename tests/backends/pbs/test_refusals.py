from __future__ import annotations

import pytest

from elisa.backends.pbs.refusals import refusal, words_of
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from tests.backends.pbs.bench import recorded

RECORDED = {
    "qsuberr_unknown_queue": (Rejected, "qsub: Unknown queue"),
    "qsuberr_unknown_resource": (Rejected, "qsub: Unknown resource Resource_List.nosuch"),
    "qsuberr_queue_max_walltime": (Rejected, "qsub: Job violates queue and/or server resource limits"),
    "qsuberr_bad_walltime": (Rejected, "qsub: Illegal attribute or resource value Resource_List.walltime"),
    "qsuberr_badname_space": (Rejected, "qsub: illegal -N value"),
    "qsuberr_queue_acl": (Rejected, "qsub: Unauthorized Request"),
    "qsuberr_mixed_l": (
        Rejected,
        'qsub: "-lresource=" cannot be used with "select" or "place", resource is: ncpus',
    ),
    "qsub_unauthorized_root": (Rejected, "qsub: Bad UID for job execution"),
    "qsuberr_queue_disabled": (Unavailable, "qsub: Queue is not enabled"),
    "qsuberr_server_host": (Unavailable, "Unknown Host.; qsub: cannot connect to server vm (errno=15008)"),
    "serverdown_qsub": (Unavailable, "Connection refused; qsub: cannot connect to server vm (errno=15010)"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_failure_is_understood(name: str) -> None:
    got = refusal(recorded(name))

    assert (type(got), got.why) == RECORDED[name]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (38, "qsub: would exceed queue generic's per-user limit"),
        (161, "qsub: Job with requested ID already exists"),
        (171, "qsub: Invalid credential"),
        (198, "qsub: Maximum number of jobs already in queue"),
        (212, "qsub: Server shutdown in progress"),
        (
            188,
            "qsub: Maximum number of jobs already in queue MSG=total number of current user's jobs exceeds the queue limit",
        ),
    ],
)
def test_limits_and_outages_are_back_pressure(status: int, words: str) -> None:
    got = refusal(Completed(exit_code=status, stderr=f"{words}\n"))

    assert (type(got), got.why) == (Unavailable, words)


# what Torque 6.1-dev answered to a qsub; the same statuses are other errors of OpenPBS. 175, 228 and the status of a time out
# were read in its source.
TORQUE = {
    (172, "Unknown queue MSG=requested queue not found"): Rejected,
    (189, "Unknown resource type  Resource_List.nosuch"): Rejected,
    (168, "Illegal attribute or resource value for Resource_List.walltime"): Rejected,
    (190, "Job exceeds queue resource limits MSG=cannot locate feasible nodes (nodes file is empty, ...)"): Rejected,
    (177, "Bad UID for job execution MSG=User 'a' is attempting to submit a proxy job for user 'b'"): Rejected,
    (175, "Queue is not enabled"): Unavailable,
    (228, "Maximum number of jobs already in queue for user"): Unavailable,
    (237, "Time out"): SubmitUncertain,
}


@pytest.mark.parametrize(("status", "words"), TORQUE)
def test_torque_is_understood_by_its_words(status: int, words: str) -> None:
    got = refusal(Completed(exit_code=status, stderr=f"qsub: submit error ({words})\n"))

    assert type(got) is TORQUE[status, words]


@pytest.mark.parametrize(
    "answer",
    [
        Completed(exit_code=None, timed_out=True, stderr="no answer within 60 s"),
        Completed(exit_code=-9),
        Completed(exit_code=183, stderr="qsub: Protocol (ASN.1) error\n"),
        Completed(exit_code=162, stderr="qsub: System error\n"),
        Completed(exit_code=163, stderr="qsub: Server internal error\n"),
        Completed(exit_code=127),
    ],
)
def test_what_proves_nothing_is_uncertain(answer: Completed) -> None:
    assert type(refusal(answer)) is SubmitUncertain


def test_a_program_that_is_not_there_took_nothing() -> None:
    got = refusal(Completed(exit_code=None, stderr="qsub: [Errno 2] No such file or directory: 'qsub'"))

    assert type(got) is Unavailable


def test_no_words_are_an_exit_status() -> None:
    assert words_of(Completed(exit_code=7)) == "exit status 7"


def test_usage_is_not_repeated() -> None:
    assert "usage" not in words_of(recorded("qsuberr_badname_space"))
