from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from elisa.backends.slurm.states import Record, describe, parse_exit, parse_time
from elisa.model.ids import NativeId
from elisa.model.native import NativeState
from elisa.model.states import EndReason

ID = NativeId("7.t000000001.1")


def record(state: str, **more: str | int) -> Record:
    return Record(job="7", name="x", state=state, **more)  # type: ignore[arg-type]  # a builder passes on what it is given


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("COMPLETED", EndReason.COMPLETED),
        ("TIMEOUT", EndReason.TIMEOUT),
        ("PREEMPTED", EndReason.PREEMPTED),
        ("NODE_FAIL", EndReason.NODE_FAILURE),
        ("OUT_OF_MEMORY", EndReason.OUT_OF_MEMORY),
        ("CANCELLED", EndReason.CANCELLED),
        ("BOOT_FAIL", EndReason.BOOT_FAILURE),
        ("DEADLINE", EndReason.TIMEOUT),
    ],
)
def test_every_way_to_end_is_told_apart(state: str, reason: EndReason) -> None:
    seen = describe(record(state, nodes="n1"), ID)

    assert (seen.state, seen.end_reason) == (NativeState.ENDED, reason)


def test_failure_keeps_its_exit_code() -> None:
    seen = describe(record("FAILED", nodes="n1", exit_code=3), ID)

    assert (seen.end_reason, seen.exit_code, seen.signal) == (EndReason.FAILED, 3, None)


def test_status_that_slurm_itself_made_is_no_exit_code_of_the_program() -> None:
    seen = describe(record("NODE_FAIL", nodes="n1", signal=1), ID)

    assert (seen.exit_code, seen.signal) == (None, None)


def test_job_that_could_not_be_launched_blames_the_node() -> None:
    seen = describe(record("FAILED", nodes="n3", signal=53, reason="JobLaunchFailure"), ID)

    assert seen.end_reason is EndReason.BOOT_FAILURE
    assert "n3" in seen.detail


def test_death_by_its_own_signal_is_a_failure_although_slurm_calls_it_a_launch_failure() -> None:
    seen = describe(record("FAILED", nodes="n1", signal=9, reason="JobLaunchFailure"), ID)

    assert (seen.end_reason, seen.signal) == (EndReason.FAILED, 9)


def test_job_that_failed_without_ever_having_a_node_was_rejected() -> None:
    seen = describe(record("FAILED", reason="BadConstraints", exit_code=1), ID)

    assert (seen.end_reason, seen.exit_code) == (EndReason.REJECTED, None)
    assert "BadConstraints" in seen.detail


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "launch failed requeued held"])
def test_held_job_is_not_just_queued(reason: str) -> None:
    seen = describe(record("PENDING", reason=reason), ID)

    assert (seen.state, seen.detail) == (NativeState.HELD, reason)


def test_pending_reason_is_carried() -> None:
    seen = describe(record("PENDING", reason="QOSMaxJobsPerUserLimit"), ID)

    assert (seen.state, seen.detail) == (NativeState.QUEUED, "QOSMaxJobsPerUserLimit")


def test_hopeless_pending_reason_says_so() -> None:
    seen = describe(record("PENDING", reason="PartitionTimeLimit"), ID)

    assert seen.detail == "PartitionTimeLimit: it will never start as it is"


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"])
def test_job_that_holds_its_nodes_runs(state: str) -> None:
    assert describe(record(state), ID).state is NativeState.RUNNING


@pytest.mark.parametrize(
    ("state", "is_given"), [("RUNNING", True), ("COMPLETING", False), ("SUSPENDED", False), ("CONFIGURING", False)]
)
def test_only_of_a_job_that_runs_a_sign_is_expected(state: str, *, is_given: bool) -> None:
    began = datetime(2026, 3, 1, 12, tzinfo=UTC)

    seen = describe(Record(job="7", name="x", state=state, started_at=began), ID)

    assert seen.given_at == (began if is_given else None)


def test_requeued_job_is_alive_and_counts_its_restarts() -> None:
    seen = describe(record("PENDING", reason="BeginTime", restarts=2), ID)

    assert (seen.state, seen.restarts) == (NativeState.QUEUED, 2)


def test_expected_start_of_a_waiting_job_is_no_start() -> None:
    moment = parse_time("2026-11-24T02:27:33")
    waiting = Record(job="7", name="x", state="PENDING", started_at=moment)

    assert describe(waiting, ID).started_at is None


def test_state_that_nobody_knows_changes_nothing_and_is_kept() -> None:
    seen = describe(record("QUANTUM"), ID)

    assert (seen.state, seen.end_reason, seen.raw) == (NativeState.UNKNOWN, None, "QUANTUM")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, None)),
        ("768", (3, None)),
        ("32512", (127, None)),
        ("9", (None, 9)),
        ("139", (None, 11)),  # with a core file
        ("4021", (None, 53)),
        ("0:0", (0, None)),
        ("3:0", (3, None)),
        ("0:15", (None, 15)),
        ("", (None, None)),
        ("3:x", (None, None)),
        ("-", (None, None)),
    ],
)
def test_exit_status_is_read_in_both_of_its_forms(text: str, expected: tuple[int | None, int | None]) -> None:
    assert parse_exit(text) == expected


def test_time_that_was_printed_in_this_process_is_of_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EAST-2")
    time.tzset()
    try:
        assert parse_time("2026-11-24T02:27:33", zone=None) == parse_time("2026-11-24T00:27:33")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["N/A", "NONE", "None", "Unknown", ""])
def test_absent_time_is_none(text: str) -> None:
    assert parse_time(text) is None
