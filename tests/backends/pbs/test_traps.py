"""Each way in which a real PBS was seen to mislead whoever trusts it, and that the backend is not misled."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from elisa.backends.pbs.refusals import refusal
from elisa.backends.runner import Completed
from elisa.model.errors import AtLimit, Rejected, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, Gone, JobRequest, NativeState, Seen
from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench, observed, wait_until
from tests.fakes.pbs.recorded import RECORDINGS, Recording

pytestmark = pytest.mark.slow

STUBBORN = "trap 'exit 42' TERM; while :; do sleep 0.05; done"


def waiting(bench: Bench, *requests: JobRequest) -> list[NativeId]:
    bench.pbs.pause()
    return [bench.backend().submit(request) for request in requests]


def running(bench: Bench, script: str, name: str = "1") -> NativeId:
    native_id = bench.backend().submit(bench.job(f": >began; {script}", name))
    wait_until((bench.folder / "began").exists)
    return native_id


def as_json(bench: Bench, *words: str) -> str:
    return bench.pbs.run("qstat", ["-x", "-f", "-F", "json", *words])[1]


def test_json_with_only_the_first_of_several_ids_is_not_what_is_read(bench: Bench) -> None:
    ids = waiting(bench, *(bench.job("exit 0", name) for name in "123"))
    poll = bench.backend().poll(ids)

    assert list(json.loads(as_json(bench, "1", "2", "3"))["Jobs"]) == ["1.vm"]
    assert isinstance(poll, Answered)
    assert [type(poll.observations[native_id]) for native_id in ids] == [Seen, Seen, Seen]


def test_one_job_that_makes_the_json_of_all_invalid_hides_no_other(bench: Bench) -> None:
    bench.pbs.become({"release": True})
    ids = waiting(bench, bench.job("exit 0"), bench.job("printf 'back\\slash'", "2"), bench.job("exit 0", "3"))
    poll = bench.backend().poll(ids)

    with pytest.raises(json.JSONDecodeError):
        json.loads(as_json(bench))
    assert isinstance(poll, Answered)
    assert [type(poll.observations[native_id]) for native_id in ids] == [Seen, Seen, Seen]


def test_values_keep_their_form_where_json_takes_them_for_numbers(bench: Bench) -> None:
    bench.pbs.become({"release": True})
    waiting(bench, bench.job("exit 0", extras=(("project", "007"),)))
    text = bench.pbs.run("qstat", ["-f", "1"])[1]

    assert json.loads(as_json(bench, "1"))["Jobs"]["1.vm"]["project"] == 7
    assert "    project = 007\n" in text


def test_a_job_in_state_f_without_an_exit_status_did_not_succeed(bench: Bench) -> None:
    (before,) = waiting(bench, bench.job("exit 0", "3"))
    deleted, refused = waiting(bench, bench.job("exit 0"), bench.job("exit 0", "2", after=(before,)))
    bench.pbs.lose("1")
    bench.backend().cancel([deleted])
    ends = [observed(bench.backend(), native_id) for native_id in (deleted, refused)]

    assert [bench.pbs.jobs()[number].get("exit_status") for number in ("2", "3")] == [None, None]
    assert [end.end_reason for end in ends if isinstance(end, Seen)] == [EndReason.CANCELLED, EndReason.LOST]


@pytest.mark.parametrize("status", [271, 143, 265, 0, 42])
def test_a_deletion_is_one_whatever_status_it_left(status: int, bench: Bench) -> None:
    native_id = running(bench, "sleep 300")
    bench.backend().cancel([native_id])
    bench.end_of(native_id)
    bench.pbs.set("1", exit_status=status)

    assert bench.end_of(native_id).end_reason is EndReason.CANCELLED


def test_walltime_is_over_whatever_the_program_said(bench: Bench) -> None:
    native_id = running(bench, STUBBORN)
    bench.pbs.end("1", -29)
    end = bench.end_of(native_id)

    assert (end.end_reason, end.exit_code) == (EndReason.TIMEOUT, None)


def test_a_job_that_waits_again_after_its_node_was_lost_has_not_ended(bench: Bench) -> None:
    (native_id,) = waiting(bench, bench.job("exit 0"))
    bench.pbs.set("1", exit_status=-20, runs=2)
    seen = observed(bench.backend(), native_id)

    assert isinstance(seen, Seen)
    assert (seen.state, seen.end_reason, seen.restarts) == (NativeState.QUEUED, None, 1)


def test_an_unknown_predecessor_is_accepted_by_pbs_and_refused_before_it_is_asked(bench: Bench) -> None:
    words = ["-W", "depend=afterok:999", "-l", "select=1:ncpus=1", "-l", "walltime=60", "--", "/bin/true"]
    accepted = bench.pbs.run("qsub", words)

    assert accepted == (0, "1.vm\n", "")
    assert (bench.pbs.jobs()["1"]["state"], bench.pbs.jobs()["1"].get("exit_status")) == ("F", None)
    with pytest.raises(Rejected, match="is not known"):
        bench.backend().submit(bench.job("exit 0", after=(NativeId("999.vm.t00000000z.1"),)))


def test_a_successor_that_pbs_ended_unrun_is_told_from_a_failure(bench: Bench) -> None:
    first, second = waiting(bench, bench.job("exit 0")), bench.job("exit 0", "2")
    native_id = bench.backend().submit(replace(second, after=tuple(first)))
    bench.pbs.lose("1")
    bench.pbs.resume()
    end = bench.end_of(native_id)

    assert (end.end_reason, end.started_at) == (EndReason.LOST, None)
    assert end.detail == "never ran: what it waited for failed or is unknown (afterok:1.vm)"


def test_no_login_shell_stands_between_a_signal_and_the_program(bench: Bench) -> None:
    native_id = running(bench, STUBBORN)
    argv, script = bench.backend().preview(bench.job(STUBBORN))
    bench.backend().cancel([native_id])
    end = bench.end_of(native_id)

    assert argv[argv.index("--") + 1] == "/bin/sh"
    assert "; exec env " in argv[-1]
    assert script == ""
    assert (end.end_reason, end.exit_code) == (EndReason.CANCELLED, 42)


def test_a_server_without_history_says_nothing_which_is_no_absence(a_bench: Callable[..., Bench]) -> None:
    bench = a_bench(history=False)
    alive, ended = waiting(bench, bench.job("exit 0"), bench.job("exit 0", "2"))
    bench.pbs.lose("2")
    asked = bench.pbs.run("qstat", ["-x", "-f", "1.vm", "2.vm"])
    poll = bench.backend().poll([alive, ended])

    assert asked[:2] == (0, "")
    assert isinstance(poll, Answered)
    assert isinstance(poll.observations[alive], Seen)
    assert poll.observations[ended] == Gone(native_id=ended)


REFUSED = [one for one in RECORDINGS.values() if "qsub" in one.name and one.status and "qstat" not in one.name]
# The server was not reached, or will take the job later: everything else that was recorded is a no for good.
NOT_NOW = {
    "qsuberr_queue_disabled",
    "qsuberr_qsub_refused",
    "qsuberr_server_down",
    "qsuberr_server_host",
    "serverdown_qsub",
}
# As single jobs they may be taken.
NOT_SO = {f"qsuberr_array_{kind}" for kind in ("bad", "big", "list", "one")}


@pytest.mark.parametrize("recording", REFUSED, ids=str)
def test_every_status_of_a_refusal_says_that_nothing_was_accepted(recording: Recording) -> None:
    error = refusal(Completed(exit_code=recording.status, stdout=recording.stdout, stderr=recording.stderr))

    wanted = Unavailable if recording.name in NOT_NOW else AtLimit if recording.name in NOT_SO else Rejected
    assert type(error) is wanted
