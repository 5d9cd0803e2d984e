"""Words as Slurm 22.05.8 and 24.11.5 printed them, unless a comment says otherwise."""

from __future__ import annotations

import pytest

from elisa.backends.runner import Completed
from elisa.backends.slurm.refusals import refusal
from elisa.model.errors import AtLimit, BackendError, Rejected, SubmitUncertain, Unavailable

FAILED = "sbatch: error: Batch job submission failed: "


def meaning(stderr: str, exit_code: int | None = 1, *, timed_out: bool = False) -> type[BackendError]:
    return type(refusal(Completed(exit_code=exit_code, stderr=stderr, timed_out=timed_out)))


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: invalid partition specified: nope\n" + FAILED + "Invalid partition name specified\n",
        FAILED + "Requested node configuration is not available\n",
        "sbatch: error: Invalid generic resource (gres) specification\n",
        "sbatch: error: Memory specification can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available\n",
        FAILED + "Invalid feature specification\n",
        FAILED + "Requested reservation is invalid\n",
        FAILED + "Job dependency problem\n",
        FAILED + "Invalid license specification\n",
        FAILED + "Invalid node name specified\n",
        "sbatch: error: Invalid --time specification\n",
        "sbatch: unrecognized option '--nosuch'\nTry \"sbatch --help\" for more information\n",
        # a site's job_submit plugin
        "sbatch: error: this cluster wants a project code\n" + FAILED + "Unspecified error\n",
        # one job that is over a limit by itself
        "sbatch: error: QOSMaxWallDurationPerJobLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
    ],
)
def test_answer_that_says_no_for_good_is_a_rejection(words: str) -> None:
    assert meaning(words) is Rejected


@pytest.mark.parametrize(
    "words",
    [
        FAILED + "Invalid job array specification\n",
        "sbatch: error: AssocMaxSubmitJobLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
        FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        + FAILED
        + "Resource temporarily unavailable\n",
    ],
)
def test_limit_is_back_pressure_and_fewer_jobs_may_do(words: str) -> None:
    assert meaning(words) is AtLimit


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n",
        # a partition that is INACTIVE
        FAILED + "Required partition not available (inactive or drain)\n",
    ],
)
def test_manager_that_takes_nothing_now_is_unavailable(words: str) -> None:
    assert meaning(words) is Unavailable


@pytest.mark.parametrize(
    "words",
    [
        FAILED + "Unable to contact slurm controller (connect failure)\n",
        "sbatch: fatal: Could not establish a configuration source\n",
        "sbatch: error: No cluster 'other' known by database.\n",
        FAILED + "Invalid authentication credential\n",
    ],
)
def test_controller_that_was_never_asked_took_nothing(words: str) -> None:
    assert meaning(words) is Unavailable


def test_program_that_could_not_be_started_took_nothing() -> None:
    assert meaning("sbatch: [Errno 2] No such file or directory", None) is Unavailable


@pytest.mark.parametrize(
    "words",
    [
        FAILED + "Socket timed out on send/recv operation\n",
        FAILED + "Zero Bytes were transmitted or received\n",
        FAILED + "Unable to contact slurm controller (receive failure)\n",
        FAILED + "Unexpected message received\n",
        "sbatch: error: slurm_msg_sendto: address:port=127.0.0.1:6817 msg_type=4003: Unexpected missing socket error\n"
        + FAILED
        + "Unexpected missing socket error\n",
        "",
        "Terminated\n",
    ],
)
def test_lost_answer_is_uncertain(words: str) -> None:
    assert meaning(words) is SubmitUncertain


def test_own_timeout_is_uncertain_whatever_was_said_before() -> None:
    assert meaning(FAILED + "Invalid partition name specified", None, timed_out=True) is SubmitUncertain


def test_killed_sbatch_is_uncertain() -> None:
    assert meaning("", -9) is SubmitUncertain


def test_its_own_words_are_carried_in_one_line() -> None:
    answer = Completed(
        exit_code=1,
        stderr="sbatch: error: invalid partition specified: x\n" + FAILED + "Invalid partition name specified\n",
    )

    assert refusal(answer).why == (
        "invalid partition specified: x; Batch job submission failed: Invalid partition name specified"
    )
