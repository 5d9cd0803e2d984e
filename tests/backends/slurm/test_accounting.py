from __future__ import annotations

import pytest

from elisa.backends.runner import Completed
from elisa.backends.slurm.accounting import by_job_argv, by_name_argv, is_disabled, parse_accounts
from elisa.backends.slurm.identity import JobKey
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import describe
from elisa.model.ids import NativeId
from elisa.model.states import EndReason
from tests.backends.slurm.jobs import INSTANCE, VERSIONS, attempt, recording

FORMAT = "--format=JobID,State,ExitCode,Submit,Start,End,NodeList,JobName"


def test_question_about_numbers_names_them_and_the_user() -> None:
    assert by_job_argv("sacct", 1000, {"12", "7"}, SlurmOptions()) == (
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        "--duplicates",
        FORMAT,
        "--uid=1000",
        "--jobs=12,7",
    )


def test_question_about_names_says_how_far_back() -> None:
    argv = by_name_argv("sacct", 1000, ["el.ab12.t000000001.1"], SlurmOptions(cluster="big", history_days=3))

    assert argv[1] == "--clusters=big"
    assert argv[-2:] == ("--starttime=now-3days", "--name=el.ab12.t000000001.1")


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_accounts_tell_the_ends_apart(version: str) -> None:
    accounts = parse_accounts(recording("sacct", version), INSTANCE, uid=0)

    ends = {of: describe(record, NativeId("x")).end_reason for (_, of), record in accounts.items()}
    assert ends | dict.fromkeys(map(attempt, "67km")) == {
        attempt("1"): EndReason.FAILED,
        attempt("2"): EndReason.FAILED,
        attempt("3"): EndReason.TIMEOUT,
        attempt("4"): EndReason.CANCELLED,
        attempt("6"): None,
        attempt("7"): None,
        attempt("a"): EndReason.NODE_FAILURE,
        attempt("b"): EndReason.REJECTED,
        attempt("c"): EndReason.FAILED,
        attempt("d"): None,
        attempt("e"): EndReason.TIMEOUT,
        attempt("f"): EndReason.COMPLETED,
        attempt("g"): EndReason.PREEMPTED,
        attempt("h"): EndReason.COMPLETED,
        attempt("j"): None,
        attempt("k"): None,
        attempt("m"): None,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_elements_of_an_array_have_records_of_their_own(version: str) -> None:
    accounts = parse_accounts(recording("sacct", version), INSTANCE, uid=0)

    ended = {
        key.number.partition("_")[2]: record.exit_code for key, record in accounts.items() if key.tag == attempt("k")
    }
    assert (ended["0"], ended["1"]) == (0, 1)


def test_launch_failure_is_told_from_a_failure() -> None:
    accounts = parse_accounts(recording("sacct", "22.05.8"), INSTANCE, uid=0)

    record = accounts[JobKey("6", attempt("6"))]
    assert describe(record, NativeId("x")).end_reason is EndReason.BOOT_FAILURE


def test_who_cancelled_it_is_kept() -> None:
    accounts = parse_accounts(recording("sacct", "24.11.5"), INSTANCE, uid=0)

    assert describe(accounts[JobKey("4", attempt("4"))], NativeId("x")).detail == "CANCELLED by root"


def test_newest_record_of_a_requeued_job_counts() -> None:
    name = "el.ab12.t000000001.1"
    text = (
        f"7|NODE_FAIL|0:0|2026-11-24T02:00:00|2026-11-24T02:00:01|2026-11-24T02:10:00|n1|{name}\n"
        f"7|COMPLETED|0:0|2026-11-24T02:10:00|2026-11-24T02:12:00|2026-11-24T02:20:00|n2|{name}\n"
    )

    assert parse_accounts(text, INSTANCE, uid=0)[JobKey("7", attempt("1"))].state == "COMPLETED"


def test_number_that_was_used_again_is_not_ours() -> None:
    text = "7|COMPLETED|0:0|2026-11-24T02:00:00|2026-11-24T02:00:01|2026-11-24T02:10:00|n1|somebody|else\n\nb|c\n"

    assert parse_accounts(text, INSTANCE, uid=0) == {}


def test_site_without_accounting_is_told_from_one_that_does_not_answer() -> None:
    disabled = Completed(exit_code=1, stderr="Slurm accounting storage is disabled\n")
    down = Completed(exit_code=1, stderr="sacct: error: Problem talking to the database: Connection refused\n")

    assert (is_disabled(disabled), is_disabled(down)) == (True, False)


@pytest.mark.parametrize(
    ("state", "nodes", "uid", "expected"),
    [
        ("CANCELLED by 0", "n1", 1000, True),
        ("CANCELLED by 0", "None assigned", 1000, False),
        ("CANCELLED by 1000", "n1", 1000, False),
        ("CANCELLED by 0", "n1", 0, False),
    ],
    ids=["with nodes", "while it waited", "its owner's wish", "root's own wish"],
)
def test_job_with_nodes_that_root_cancelled_is_its_managers_doing(
    state: str, nodes: str, uid: int, *, expected: bool
) -> None:
    name = "el.ab12.t000000001.1"
    text = f"7|{state}|0:0|2026-11-24T02:00:00|2026-11-24T02:00:01|2026-11-24T02:00:01|{nodes}|{name}\n"

    (record,) = parse_accounts(text, INSTANCE, uid).values()

    assert describe(record, NativeId("x")).is_managers_doing == expected
