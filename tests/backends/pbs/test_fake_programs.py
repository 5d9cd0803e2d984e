"""The backend over pretended PBS programs that run jobs for real, for faults that a real PBS won't show on demand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Found, Gone, NativeState, Seen, Unreachable
from elisa.model.resources import Resources
from elisa.model.states import EndReason
from tests.backends.pbs.bench import Bench, attempt, observed, wait_until

pytestmark = pytest.mark.slow

SLEEP = "sleep 300"


def running(bench: Bench, script: str = SLEEP, name: str = "1", **more: object) -> NativeId:
    native_id = bench.backend().submit(bench.job(script, name, **more))
    bench.world().wait_for(native_id, NativeState.RUNNING)
    return native_id


# submission


@pytest.mark.parametrize("fault", ["lose_answer", "die", "lose_number"])
def test_an_answer_lost_after_acceptance_is_uncertain_and_found(bench: Bench, fault: str) -> None:
    bench.pbs.fault("qsub", fault)
    backend = bench.backend(submit_timeout_s=2.0)

    with pytest.raises(SubmitUncertain):
        backend.submit(bench.job("exit 0"))
    assert backend.find([attempt("1")]) == Found(ids={attempt("1"): (NativeId("1.vm.t000000001.1"),)}, complete=True)


def test_acceptance_after_the_time_out_is_found_when_it_comes(bench: Bench) -> None:
    bench.pbs.fault("qsub", "late")
    backend = bench.backend(submit_timeout_s=0.5)

    with pytest.raises(SubmitUncertain):
        backend.submit(bench.job("exit 0"))
    before = backend.find([attempt("1")])
    bench.pbs.let_late_in()

    assert before == Found(ids={}, complete=True)
    assert backend.find([attempt("1")]).ids[attempt("1")] == (NativeId("1.vm.t000000001.1"),)


def test_every_native_job_of_an_attempt_is_found(bench: Bench) -> None:
    backend = bench.backend()
    ids = tuple(backend.submit(bench.job(SLEEP)) for _ in range(3))

    assert backend.find([attempt("1")]).ids == {attempt("1"): ids}


def test_many_attempts_are_found_at_once(bench: Bench) -> None:
    backend = bench.backend()
    bench.pbs.pause()
    submitted = {attempt(name): (backend.submit(bench.job(SLEEP, name)),) for name in "123456789abc"}

    assert backend.find([*submitted, attempt("z")]).ids == submitted


@pytest.mark.parametrize("queue", ["nosuch", "short"])
def test_a_queue_that_is_not_there_or_too_short_rejects(bench: Bench, queue: str) -> None:
    with pytest.raises(Rejected):
        bench.backend().submit(bench.job(SLEEP, partition=queue, resources=Resources(walltime_s=601)))
    assert bench.pbs.jobs() == {}


@pytest.mark.parametrize("queue", ["closed", "full"])
def test_a_closed_or_full_queue_is_back_pressure(bench: Bench, queue: str) -> None:
    with pytest.raises(Unavailable):
        bench.backend().submit(bench.job(SLEEP, partition=queue))


def test_short_names_are_found_too(bench: Bench) -> None:
    native_id = bench.backend(name_limit=15).submit(bench.job(SLEEP))

    assert bench.pbs.jobs()["1"]["name"] == "t000000001.1"
    assert bench.backend(name_limit=15).find([attempt("1")]).ids == {attempt("1"): (native_id,)}


# ends


@pytest.mark.parametrize(
    ("status", "reason"),
    [(-20, EndReason.NODE_FAILURE), (-27, EndReason.OUT_OF_MEMORY), (-1, EndReason.BOOT_FAILURE)],
)
def test_an_end_that_pbs_made_has_its_reason(bench: Bench, status: int, reason: EndReason) -> None:
    native_id = running(bench)
    bench.pbs.end("1", status)

    assert bench.end_of(native_id).end_reason is reason


def test_a_successor_runs_after_success_and_never_after_failure(bench: Bench) -> None:
    backend = bench.backend()
    bench.pbs.pause()
    good, bad = backend.submit(bench.job("exit 0", "1")), backend.submit(bench.job("exit 3", "2"))
    after_good = backend.submit(bench.job("exit 0", "3", after=(good,)))
    after_bad = backend.submit(bench.job("exit 0", "4", after=(bad,)))
    bench.pbs.resume()
    ends = [bench.end_of(native_id) for native_id in (after_good, after_bad)]

    assert [end.end_reason for end in ends] == [EndReason.COMPLETED, EndReason.LOST]
    assert ends[1].detail == "never ran: what it waited for failed or is unknown (afterok:2.vm)"


def test_a_job_whose_folder_is_missing_is_a_launch_failure(bench: Bench) -> None:
    native_id = bench.backend().submit(bench.job("exit 0", workdir=str(bench.folder / "none")))

    assert bench.end_of(native_id).end_reason is EndReason.BOOT_FAILURE


def test_without_history_an_ended_job_is_gone_and_a_live_one_is_not(a_bench: Callable[..., Bench]) -> None:
    bench = a_bench(history=False)
    backend = bench.backend()
    done, alive = backend.submit(bench.job("exit 0", "1")), running(bench, name="2")
    wait_until(lambda: "1" not in bench.pbs.jobs())
    poll = backend.poll([done, alive])

    assert isinstance(poll, Answered)
    assert poll.observations[done] == Gone(native_id=done)
    assert isinstance(poll.observations[alive], Seen)
    assert backend.find([attempt("1"), attempt("2")]) == Found(ids={attempt("2"): (alive,)}, complete=True)


def test_history_switched_off_meanwhile_is_noticed(bench: Bench) -> None:
    native_id, backend = running(bench), bench.backend()
    before = observed(backend, native_id)
    bench.pbs.forget_history()

    assert isinstance(before, Seen)
    assert isinstance(observed(backend, native_id), Seen)


# outages and stale numbers


def test_an_outage_changes_nothing_and_heals(bench: Bench) -> None:
    native_id, backend = running(bench), bench.backend()
    backend.cluster()
    bench.pbs.down()

    assert isinstance(backend.poll([native_id]), Unreachable)
    assert backend.cancel([native_id]) == {native_id: CancelOutcome.FAILED}
    for ask in (lambda: backend.submit(bench.job(SLEEP, "2")), lambda: backend.find([attempt("1")]), backend.cluster):
        with pytest.raises(Unavailable):
            ask()
    bench.pbs.up()
    assert isinstance(backend.poll([native_id]), Answered)
    assert len(bench.pbs.jobs()) == 1


@pytest.mark.parametrize("fault", ["hang", "garbage", "cut"])
def test_a_sick_qstat_concludes_nothing(bench: Bench, fault: str) -> None:
    native_id, backend = running(bench), bench.backend(query_timeout_s=0.5, dialect="openpbs")
    bench.pbs.fault("qstat", fault, words="<html>")

    assert isinstance(backend.poll([native_id]), Unreachable)
    assert isinstance(observed(backend, native_id), Seen)


def test_numbers_given_out_again_are_not_taken_for_the_old_jobs(bench: Bench) -> None:
    backend = bench.backend()
    old = running(bench)
    backend.cancel([old])
    bench.end_of(old)
    bench.pbs.lose("1")
    bench.pbs.next_number(1)
    new = running(bench, name="2")

    assert (old, new) == ("1.vm.t000000001.1", "1.vm.t000000002.1")
    assert observed(backend, old) == Gone(native_id=old)
    assert backend.cancel([old]) == {old: CancelOutcome.ALREADY_GONE}
    assert isinstance(observed(backend, new), Seen)


def test_jobs_of_another_state_folder_are_left_alone(bench: Bench) -> None:
    native_id = running(bench)
    stranger = bench.backend(instance="cd34")

    assert observed(stranger, native_id) == Gone(native_id=native_id)
    assert stranger.cancel([native_id]) == {native_id: CancelOutcome.ALREADY_GONE}
    assert stranger.find([attempt("1")]).ids == {}


def test_a_job_on_a_lost_node_can_not_be_cancelled_now(bench: Bench) -> None:
    native_id = running(bench)
    bench.pbs.fault("qdel", "mom_down")

    assert bench.backend().cancel([native_id]) == {native_id: CancelOutcome.FAILED}
    assert bench.backend().cancel([native_id]) == {native_id: CancelOutcome.ASKED}
