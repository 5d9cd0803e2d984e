"""A running job is asked to end in its own time, wherever that surely does nothing else to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elisa.backends.pbs.leaving import leave_argv, may_be_signalled, parse_leave
from elisa.backends.runner import Completed
from elisa.model.ids import NativeId
from elisa.model.native import CancelOutcome, Gone, NativeState, Seen
from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench, ScriptedRunner, observed, recorded, scripted_backend, wait_until
from tests.fakes.pbs.recorded import RECORDINGS

RUNNING = NativeId("2035.vm.t00000000f.1")
QUEUED = NativeId("2040.vm.t00000000g.1")
SEEN = Seen(native_id=RUNNING, state=NativeState.RUNNING, raw="R")
# Longer than the pretended server waits before it kills, so that only a job that was not deleted comes to its end.
SAVES_SLOWLY = ": >began; trap 'sleep 1.5; echo saved; exit 85' TERM; while :; do sleep 0.05; done"


def test_one_request_asks_one_job() -> None:
    assert leave_argv("qsig", "7.vm") == ("qsig", "-s", "SIGTERM", "7.vm")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("qsig_ok", CancelOutcome.ASKED),
        ("qsig_subjob", CancelOutcome.ASKED),
        ("qsig_finished", CancelOutcome.ALREADY_GONE),
        ("qsig_unknown", CancelOutcome.ALREADY_GONE),
        ("qsig_queued", CancelOutcome.FAILED),
        ("qsig_suspend_owner", CancelOutcome.FAILED),
    ],
)
def test_answer_says_whether_the_signal_came(name: str, outcome: CancelOutcome) -> None:
    one = RECORDINGS[name]

    assert parse_leave(Completed(exit_code=one.status, stdout=one.stdout, stderr=one.stderr)) is outcome


def test_no_answer_is_no_certainty() -> None:
    assert parse_leave(Completed(exit_code=None, timed_out=True)) is CancelOutcome.FAILED


@pytest.mark.parametrize(
    ("seen", "user", "is_allowed"),
    [
        (SEEN, "ada", True),
        (SEEN, "root", False),
        (replace(SEEN, raw="S"), "ada", False),
        (replace(SEEN, raw="E"), "ada", False),
        (replace(SEEN, state=NativeState.QUEUED), "ada", False),  # sent to its node, which has not begun it
        (Gone(native_id=RUNNING), "ada", False),
    ],
    ids=["runs", "root", "suspended", "ending", "sent", "gone"],
)
def test_only_running_jobs_of_ordinary_users_are_signalled(seen: Seen | Gone, user: str, is_allowed: bool) -> None:  # noqa: FBT001 - of a table
    assert may_be_signalled(seen, user) is is_allowed


def test_what_can_not_be_signalled_is_deleted() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qsig": "", "qdel": ""})
    got = scripted_backend(runner, {"dialect": "openpbs"}).ask_to_leave([RUNNING, QUEUED])

    assert got == {RUNNING: CancelOutcome.ASKED, QUEUED: CancelOutcome.ASKED}
    assert [argv for argv in runner.asked if argv[0] != "qstat"] == [
        ("qsig", "-s", "SIGTERM", "2035.vm"),
        ("qdel", "2040.vm"),
    ]


def test_torque_is_asked_to_delete() -> None:
    text = "Job Id: 2035.vm\n    Job_Name = el.ab12.t00000000f.1\n    job_state = R\n\n"
    runner = ScriptedRunner({"qstat": text, "qdel": ""})
    got = scripted_backend(runner, {"dialect": "torque"}).ask_to_leave([RUNNING])

    assert got == {RUNNING: CancelOutcome.ASKED}
    assert runner.asked[-1] == ("qdel", "2035.vm")


def test_nobody_is_asked_during_an_outage() -> None:
    runner = ScriptedRunner({"qstat": Completed(exit_code=255, stderr="Connection refused\n")})

    assert scripted_backend(runner, {"dialect": "openpbs"}).ask_to_leave([RUNNING]) == {RUNNING: CancelOutcome.FAILED}
    assert [argv[0] for argv in runner.asked] == ["qstat"]


def began(bench: Bench, user: str) -> NativeId:
    native_id = bench.backend(user=user).submit(bench.job(SAVES_SLOWLY))
    wait_until((bench.folder / "began").exists)
    return native_id


@pytest.mark.slow
def test_job_has_more_time_to_save_than_a_deletion_would_leave_it(bench: Bench) -> None:
    bench.pbs.become({"user": "ada"})
    native_id = began(bench, "ada")
    outcome = bench.backend(user="ada").ask_to_leave([native_id])
    end = bench.end_of(native_id)

    assert outcome == {native_id: CancelOutcome.ASKED}
    assert (end.end_reason, end.exit_code) == (EndReason.FAILED, 85)
    assert (bench.folder / "1.out").read_text() == "saved\n"


@pytest.mark.slow
def test_job_of_root_that_is_signalled_is_called_finished_while_it_runs_on(bench: Bench) -> None:
    bench.pbs.become({"user": "root"})
    native_id = began(bench, "root")
    bench.pbs.run("qsig", ["-s", "SIGTERM", "1.vm"])
    seen = observed(bench.backend(), native_id)

    assert isinstance(seen, Seen)
    assert (seen.end_reason, seen.exit_code) == (EndReason.COMPLETED, 0)
    wait_until((bench.folder / "1.out").read_text)  # it saves all the same
