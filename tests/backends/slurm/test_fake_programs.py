"""The backend over pretended Slurm programs that run jobs for real, for faults that a real Slurm won't show on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import Answered, CancelOutcome, Gone, JobRequest, NativeState, Observation, Seen, Unreachable
from elisa.model.resources import Resources
from elisa.model.states import EndReason
from tests.backends.slurm.jobs import FIRST, INSTANCE, attempt
from tests.builders import FakeClock
from tests.fakes.slurm.fake_slurm import FakeSlurm

pytestmark = pytest.mark.slow

REFUSED = "sbatch: error: Batch job submission failed: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A pretended cluster with a backend on it."""

    cluster: FakeSlurm
    backend: SlurmBackend

    def request(self, *argv: str, name: AttemptId = FIRST, after: tuple[NativeId, ...] = ()) -> JobRequest:
        here = str(self.cluster.home)
        return JobRequest(
            attempt=name,
            argv=argv,
            workdir=here,
            stdout=f"{here}/{name}.log",
            stderr=f"{here}/{name}.log",
            resources=Resources(walltime_s=60),
            environment=(("PATH", "/usr/bin:/bin"),),
            after=after,
        )

    def see(self, native_id: NativeId) -> Observation:
        poll = self.backend.poll([native_id])
        assert isinstance(poll, Answered), poll
        return poll.observations[native_id]

    def wait_for(self, native_id: NativeId, state: NativeState) -> Seen:
        return wait_for(lambda: seen if isinstance(seen := self.see(native_id), Seen) and seen.state is state else None)


def wait_for(look: Callable[[], Seen | None], within_s: float = 60.0) -> Seen:
    deadline = time.monotonic() + within_s
    while (seen := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    cluster = FakeSlurm(tmp_path / "slurm")
    backend = SlurmBackend(
        name=BackendName("slurm"),
        instance=INSTANCE,
        options=SlurmOptions(path=str(cluster.bin), submit_timeout_s=2, query_timeout_s=2),
        runner=SubprocessRunner(environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}),
        clock=FakeClock(),
        uid=1000,
    )
    yield Bench(cluster=cluster, backend=backend)
    cluster.stop()


def number_of(native_id: NativeId) -> str:
    return native_id.partition(".")[0]


def test_job_runs_its_program_and_completes(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("sh", "-c", 'echo "$ELISA_NATIVE_ID at work"'))

    seen = bench.wait_for(native_id, NativeState.ENDED)

    assert (seen.end_reason, seen.exit_code) == (EndReason.COMPLETED, 0)
    assert (bench.cluster.home / "t000000001.1.log").read_text() == f"{native_id} at work\n"


def test_exit_code_of_a_failure_is_kept(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("sh", "-c", "exit 3"))

    seen = bench.wait_for(native_id, NativeState.ENDED)

    assert (seen.end_reason, seen.exit_code) == (EndReason.FAILED, 3)


# Submission


def test_job_whose_answer_was_lost_is_found_by_its_tag(bench: Bench) -> None:
    bench.cluster.fault("sbatch", "lose_answer")

    with pytest.raises(SubmitUncertain, match="Socket timed out"):
        bench.backend.submit(bench.request("sleep", "60"))

    assert bench.backend.find([attempt("1")]).ids == {attempt("1"): (NativeId("1.t000000001.1"),)}


def test_job_without_a_number_in_the_answer_is_found_by_its_tag(bench: Bench) -> None:
    bench.cluster.fault("sbatch", "lose_number")

    with pytest.raises(SubmitUncertain, match="no job number"):
        bench.backend.submit(bench.request("sleep", "60"))

    assert bench.backend.find([attempt("1")]).ids == {attempt("1"): (NativeId("1.t000000001.1"),)}


def test_job_that_was_accepted_late_appears_later(bench: Bench) -> None:
    bench.cluster.fault("sbatch", "late")

    with pytest.raises(SubmitUncertain):
        bench.backend.submit(bench.request("sleep", "60"))

    assert bench.backend.find([attempt("1")]).ids == {}
    bench.cluster.let_late_in()
    assert bench.backend.find([attempt("1")]).ids == {attempt("1"): (NativeId("1.t000000001.1"),)}


def test_job_that_was_accepted_twice_is_found_twice(bench: Bench) -> None:
    bench.cluster.fault("sbatch", "twice")
    bench.backend.submit(bench.request("sleep", "60"))

    found = bench.backend.find([attempt("1")]).ids

    assert found == {attempt("1"): (NativeId("1.t000000001.1"), NativeId("2.t000000001.1"))}


def test_sbatch_that_hangs_is_killed_and_uncertain(bench: Bench) -> None:
    bench.cluster.fault("sbatch", "hang")

    with pytest.raises(SubmitUncertain, match="no answer within 2 s"):
        bench.backend.submit(bench.request("sleep", "60"))

    assert bench.cluster.jobs() == {}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("Resource temporarily unavailable", Unavailable),
        ("Unable to contact slurm controller (connect failure)", Unavailable),
        ("Invalid partition name specified", Rejected),
    ],
)
def test_refusal_submits_nothing(bench: Bench, words: str, error: type[Exception]) -> None:
    bench.cluster.fault("sbatch", "fail", words=REFUSED + words)

    with pytest.raises(error, match="Slurm"):
        bench.backend.submit(bench.request("sleep", "60"))

    assert bench.cluster.jobs() == {}


# Polling


@pytest.mark.parametrize("kind", ["garbage", "cut", "fail", "hang"])
def test_outage_of_the_listing_concludes_nothing_and_heals(bench: Bench, kind: str) -> None:
    native_id = bench.backend.submit(bench.request("sleep", "60"))
    bench.wait_for(native_id, NativeState.RUNNING)
    bench.cluster.fault("squeue", kind, words="slurm_load_jobs error: Socket timed out on send/recv operation")

    assert isinstance(bench.backend.poll([native_id]), Unreachable)
    bench.wait_for(native_id, NativeState.RUNNING)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("BOOT_FAIL", EndReason.BOOT_FAILURE),
        ("OUT_OF_MEMORY", EndReason.OUT_OF_MEMORY),
        ("NODE_FAIL", EndReason.NODE_FAILURE),
        ("PREEMPTED", EndReason.PREEMPTED),
        ("TIMEOUT", EndReason.TIMEOUT),
        ("DEADLINE", EndReason.TIMEOUT),
    ],
)
def test_end_is_told_the_same_by_squeue_and_by_sacct(bench: Bench, state: str, reason: EndReason) -> None:
    native_id = bench.backend.submit(bench.request("sleep", "60"))
    bench.wait_for(native_id, NativeState.RUNNING)

    bench.cluster.end(number_of(native_id), state)
    listed = bench.wait_for(native_id, NativeState.ENDED)
    bench.cluster.purge(number_of(native_id))
    recalled = bench.see(native_id)

    assert listed.end_reason is reason
    assert isinstance(recalled, Seen)
    assert (recalled.end_reason, recalled.exit_code, recalled.signal) == (reason, listed.exit_code, listed.signal)


def test_job_that_the_controller_forgot_is_gone_but_not_finished(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("sleep", "60"))
    bench.wait_for(native_id, NativeState.RUNNING)

    bench.cluster.lose(number_of(native_id))

    assert bench.see(native_id) == Gone(native_id=native_id)
    assert bench.backend.find([attempt("1")]).ids == {}


def test_purged_job_is_unknown_while_accounting_is_down(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("true"))
    bench.wait_for(native_id, NativeState.ENDED)
    bench.cluster.purge(number_of(native_id))
    bench.cluster.fault("sacct", "fail", words="sacct: error: Problem talking to the database: Connection refused")

    during, after = bench.see(native_id), bench.see(native_id)

    assert isinstance(during, Seen)
    assert isinstance(after, Seen)
    assert (during.state, after.end_reason) == (NativeState.UNKNOWN, EndReason.COMPLETED)


def test_requeued_job_runs_on_under_its_number(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("sleep", "60"))
    bench.wait_for(native_id, NativeState.RUNNING)

    bench.cluster.end(number_of(native_id), "REQUEUE")

    seen = wait_for(lambda: now if isinstance(now := bench.see(native_id), Seen) and now.restarts else None)
    assert seen.state in {NativeState.QUEUED, NativeState.RUNNING}


# Cancelling, chains


def test_cancelled_job_ends_cancelled(bench: Bench) -> None:
    native_id = bench.backend.submit(bench.request("sleep", "60"))
    bench.wait_for(native_id, NativeState.RUNNING)

    assert bench.backend.cancel([native_id]) == {native_id: CancelOutcome.ASKED}

    assert bench.wait_for(native_id, NativeState.ENDED).end_reason is EndReason.CANCELLED
    assert bench.backend.cancel([native_id]) == {native_id: CancelOutcome.ALREADY_GONE}


def test_successor_starts_when_its_predecessor_has_succeeded(bench: Bench) -> None:
    first = bench.backend.submit(bench.request("sleep", "60"))
    second = bench.backend.submit(bench.request("true", name=attempt("2"), after=(first,)))
    bench.wait_for(first, NativeState.RUNNING)
    waiting = bench.see(second)

    bench.cluster.end(number_of(first), "COMPLETED")

    assert isinstance(waiting, Seen)
    assert (waiting.state, waiting.detail) == (NativeState.QUEUED, "Dependency")
    assert bench.wait_for(second, NativeState.ENDED).end_reason is EndReason.COMPLETED


def test_successor_of_a_failure_says_that_it_will_never_start(bench: Bench) -> None:
    first = bench.backend.submit(bench.request("false"))
    second = bench.backend.submit(bench.request("true", name=attempt("2"), after=(first,)))
    bench.wait_for(first, NativeState.ENDED)

    seen = wait_for(lambda: now if isinstance(now := bench.see(second), Seen) and "never" in now.detail else None)

    assert (seen.state, seen.detail) == (
        NativeState.QUEUED,
        "DependencyNeverSatisfied: it will never start as it is",
    )
