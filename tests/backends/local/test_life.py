from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.local import supervisor
from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.job import Life, LocalJob
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import NativeId
from elisa.model.native import CancelOutcome, JobRequest, NativeState
from elisa.model.states import EndReason
from tests.backends.worlds import SLOTS

RequestFor = Callable[..., JobRequest]
JobOf = Callable[[str], LocalJob]
WaitUntil = Callable[[Callable[[], object]], None]


def _pid(job: LocalJob, file: str) -> int:
    fields = supervisor.read_fields(f"{job.folder}/{file}")
    assert fields is not None
    return int(fields["pid"])


def _orphan(world: BackendUnderTest, job: LocalJob, request: JobRequest, wait_until: WaitUntil) -> NativeId:
    """Start a job and kill its supervisor once that has let the program go."""
    native_id = world.backend.submit(request)
    wait_until(Path(request.stdout).exists)
    os.kill(_pid(job, "job"), signal.SIGKILL)
    wait_until(lambda: job.life() is not Life.SUPERVISED)
    return native_id


def test_what_the_agent_leaves_behind_is_killed_with_it(
    world: BackendUnderTest, request_for: RequestFor, wait_until: WaitUntil, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = (
        f'setsid sh -c \'echo $$ > "{pid_file}.new"; mv "{pid_file}.new" "{pid_file}"; exec sleep 300\' & sleep 300'
    )
    native_id = world.backend.submit(request_for("leftover", script))
    wait_until(pid_file.exists)
    escaped = int(pid_file.read_text(encoding="ascii"))
    os.kill(int(native_id.partition(".")[0]), 0)
    os.kill(_agent_of(tmp_path), signal.SIGKILL)
    seen = world.end_of(native_id)

    assert (seen.end_reason, seen.signal) == (EndReason.FAILED, 9)
    assert supervisor.start_ticks(escaped) == 0


def _agent_of(tmp_path: Path) -> int:
    (program,) = (tmp_path / "home" / "local").glob("el.*/program")
    return int((supervisor.read_fields(str(program)) or {})["pid"])


def test_a_job_whose_supervisor_was_killed_runs_on_and_can_be_cancelled(
    world: BackendUnderTest, request_for: RequestFor, job_of: JobOf, wait_until: WaitUntil
) -> None:
    native_id = _orphan(world, job_of("orphan"), request_for("orphan"), wait_until)

    assert world.wait_for(native_id, NativeState.RUNNING).raw == "orphaned"
    assert world.backend.cancel([native_id]) == {native_id: CancelOutcome.ASKED}
    seen = world.end_of(native_id)
    assert (seen.end_reason, seen.exit_code, seen.ended_at) == (EndReason.CANCELLED, None, None)


def test_an_orphan_that_ends_unseen_is_lost_unless_it_speaks_for_itself(
    world: BackendUnderTest, request_for: RequestFor, job_of: JobOf, wait_until: WaitUntil
) -> None:
    native_id = _orphan(world, job_of("orphan"), request_for("orphan"), wait_until)
    os.kill(_pid(job_of("orphan"), "program"), signal.SIGKILL)
    seen = world.end_of(native_id)

    assert (seen.end_reason, seen.detail) == (EndReason.LOST, "its processes are gone and nobody saw them end")


def test_a_poll_holds_an_orphan_to_its_time_limit_and_kills_it_after_its_grace(
    world: BackendUnderTest, request_for: RequestFor, job_of: JobOf, wait_until: WaitUntil, tmp_path: Path
) -> None:
    request = request_for("orphan", "trap '' TERM; while :; do sleep 0.05; done", walltime_s=60)
    native_id = _orphan(world, job_of("orphan"), request, wait_until)
    clock = VirtualClock(datetime.now(UTC))
    later = LocalBackend(tmp_path / "home", "4f2a", SLOTS, clock)
    later.poll([native_id])
    assert supervisor.read_fields(f"{job_of('orphan').folder}/cancel") is None
    clock.advance(61)
    later.poll([native_id])
    assert (supervisor.read_fields(f"{job_of('orphan').folder}/cancel") or {})["why"] == "walltime"
    clock.advance(3)
    later.poll([native_id])

    assert world.end_of(native_id).end_reason is EndReason.TIMEOUT


def test_leftovers_of_a_job_without_supervisor_and_agent_are_killed_by_a_poll(
    world: BackendUnderTest, request_for: RequestFor, job_of: JobOf, wait_until: WaitUntil, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = (
        f'setsid sh -c \'echo $$ > "{pid_file}.new"; mv "{pid_file}.new" "{pid_file}"; exec sleep 300\' & sleep 300'
    )
    native_id = _orphan(world, job_of("orphan"), request_for("orphan", script), wait_until)
    wait_until(pid_file.exists)
    os.kill(_pid(job_of("orphan"), "program"), signal.SIGKILL)

    assert world.end_of(native_id).end_reason is EndReason.LOST
    wait_until(lambda: supervisor.start_ticks(int(pid_file.read_text(encoding="ascii"))) == 0)


@pytest.mark.parametrize(
    ("changed", "state", "reason", "detail"),
    [
        ({"boot": "another"}, NativeState.ENDED, EndReason.NODE_FAILURE, "the machine was restarted"),
        ({"boot": "another", "host": "far"}, NativeState.UNKNOWN, None, "started on far: ask there"),
        ({"start": "1"}, NativeState.ENDED, EndReason.LOST, "its processes are gone and nobody saw them end"),
    ],
    ids=["after a restart", "on another machine", "its number given to another process"],
)
def test_processes_are_never_taken_for_others(
    changed: dict[str, str],
    state: NativeState,
    reason: EndReason | None,
    detail: str,
    world: BackendUnderTest,
    job_of: JobOf,
) -> None:
    job = job_of("other")
    job.folder.mkdir(parents=True)
    me = os.getpid()
    record = {"pid": me, "start": supervisor.start_ticks(me), "boot": supervisor.boot_id()}
    supervisor.write_fields(f"{job.folder}/job", {**record, "host": supervisor.host_name(), "at": 1.5, **changed})
    native_id = NativeId(f"{me}.{attempt('other')}")
    seen = world.observe(native_id)

    assert (seen.state, seen.end_reason, seen.detail) == (state, reason, detail)
    expected = CancelOutcome.FAILED if state is NativeState.UNKNOWN else CancelOutcome.ALREADY_GONE
    assert world.backend.cancel([native_id]) == {native_id: expected}


@pytest.mark.parametrize(
    ("last", "reason", "exit_code", "number"),
    [
        ({"status": 9, "stopped": "", "oom": 1}, EndReason.OUT_OF_MEMORY, None, 9),
        ({"status": 0, "stopped": "walltime", "oom": 0}, EndReason.TIMEOUT, 0, None),
        ({"status": 15, "stopped": "outside", "oom": 0}, EndReason.NODE_FAILURE, None, 15),
        ({"status": 0, "stopped": "cancel", "oom": 0}, EndReason.CANCELLED, 0, None),
        ({"status": 256, "stopped": "", "oom": 0}, EndReason.FAILED, 1, None),
    ],
)
def test_the_supervisor_s_last_word_tells_why_a_job_ended(
    last: dict[str, object],
    reason: EndReason,
    exit_code: int | None,
    number: int | None,
    world: BackendUnderTest,
    job_of: JobOf,
) -> None:
    job = job_of("ended")
    job.folder.mkdir(parents=True)
    supervisor.write_fields(f"{job.folder}/job", {"pid": 7, "start": 1, "boot": "x", "host": "h", "at": 1.5})
    supervisor.write_fields(f"{job.folder}/program", {"pid": 8, "start": 1, "at": 2.5})
    supervisor.write_fields(f"{job.folder}/exit", {**last, "at": 4.0})
    seen = world.observe(NativeId(f"7.{attempt('ended')}"))

    assert (seen.end_reason, seen.exit_code, seen.signal) == (reason, exit_code, number)
    assert (seen.queued_at, seen.started_at, seen.ended_at) == tuple(
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (1.5, 2.5, 4.0)
    )


def test_a_supervisor_told_to_stop_by_the_machine_is_no_cancellation(
    world: BackendUnderTest, request_for: RequestFor, wait_until: WaitUntil, job_of: JobOf
) -> None:
    native_id = world.backend.submit(request_for("shutdown"))
    wait_until((job_of("shutdown").folder / "program").exists)
    os.kill(int(native_id.partition(".")[0]), signal.SIGTERM)

    assert world.end_of(native_id).end_reason is EndReason.NODE_FAILURE


def test_a_supervisor_is_small(world: BackendUnderTest, request_for: RequestFor) -> None:
    native_id = world.backend.submit(request_for("small"))
    status = Path(f"/proc/{native_id.partition('.')[0]}/status").read_text(encoding="ascii")
    resident_kib = int(status.split("VmRSS:")[1].split()[0])

    assert resident_kib < 12 * 1024
