from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime import claim as claims
from elisa.runtime import evidence
from elisa.runtime.claim import (
    Claim,
    NativeJob,
    RefusedError,
    claim_task,
    is_superseded,
    look_at_fence,
    native_job,
    release,
    write_done,
)
from elisa.runtime.evidence import own_identity
from elisa.runtime.job import Job, read_job
from tests.runtime.agent_cases import TASK, Case, names

SLURM = NativeJob("77", 0)


def no_wait(_seconds: float) -> None:
    """Do not sleep."""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def a_job(case: Case, number: int = 1, **options: Any) -> Job:
    return read_job(str(case.job(number, **options)))


def hold(case: Case, attempt: str = f"{TASK}.1", native: NativeJob = SLURM, **who: Any) -> None:
    """Leave a claim as another process would: alive here unless `who` says otherwise."""
    me = {**own_identity()._asdict(), **who}
    content = {"native_id": native.native_id, **me, "incarnation": 0, "restarts": native.restarts, "at": 1.0}
    folder = case.home / "claims" / TASK
    folder.mkdir(parents=True, exist_ok=True)
    (folder / attempt).write_text(json.dumps(content))


def a_dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_the_first_job_claims(case: Case) -> None:
    claim = claim_task(a_job(case), SLURM)

    assert (claim.native_id, claim.incarnation) == ("77", 0)
    assert names(case.home / "claims" / TASK) == ["fence", f"{TASK}.1"]


def test_another_job_of_the_same_attempt_is_refused(case: Case) -> None:
    hold(case)

    with pytest.raises(RefusedError, match=r"job 77 on .* holds the claim"):
        claim_task(a_job(case), NativeJob("78", 0))


def test_another_job_is_refused_even_after_the_first_has_ended(case: Case) -> None:
    job = a_job(case)
    release(job, claim_task(job, SLURM))

    with pytest.raises(RefusedError, match="the attempt is over"):
        claim_task(job, NativeJob("78", 0))


def test_the_same_job_restarted_is_the_next_incarnation(case: Case) -> None:
    hold(case, host="another-node")

    claim = claim_task(a_job(case), NativeJob("77", 1))

    assert claim.incarnation == 1
    assert Path(claim.path).name == f"{TASK}.1.r1"


def test_the_same_job_not_restarted_is_refused(case: Case) -> None:
    hold(case, host="another-node")

    with pytest.raises(RefusedError):
        claim_task(a_job(case), NativeJob("77", 0))


@pytest.mark.parametrize("restarts", [None, 0])
def test_a_job_that_elisa_itself_started_twice_is_refused(case: Case, restarts: int | None) -> None:
    hold(case, native=NativeJob("", restarts, is_managed=False))

    with pytest.raises(RefusedError, match="without an id"):
        claim_task(a_job(case), NativeJob("", restarts, is_managed=False))


def test_a_manager_that_counts_no_restarts_is_believed_when_the_job_is_elsewhere(case: Case) -> None:
    pbs = NativeJob("9.server", None)
    hold(case, native=pbs, host="another-node")

    assert claim_task(a_job(case), pbs).incarnation == 1


@pytest.mark.parametrize(
    "who",
    [{"pid": 2**22 - 1}, {"started": 1}, {"boot_id": "another-boot", "pid": 1}],
    ids=["no such process", "another process of this number", "before a reboot"],
)
def test_a_holder_known_to_be_dead_is_succeeded(case: Case, who: dict[str, Any]) -> None:
    hold(case, **who)

    assert claim_task(a_job(case), NativeJob("78", 0)).incarnation == 1


@pytest.mark.parametrize(
    "who",
    [
        {"pid": 2**22 - 1, "host": "another-node"},
        {"pid": 2**22 - 1, "boot_id": ""},
        {"pid": 2**22 - 1, "namespace": "pid:[1]"},
    ],
    ids=["elsewhere", "boot unknown", "in a container"],
)
def test_a_holder_nobody_here_can_see_is_not_declared_dead(case: Case, who: dict[str, Any]) -> None:
    hold(case, **who)

    with pytest.raises(RefusedError):
        claim_task(a_job(case), NativeJob("78", 0))


def test_hosts_that_call_themselves_localhost_prove_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "host_name", lambda: "localhost")
    hold(case, pid=2**22 - 1)

    with pytest.raises(RefusedError):
        claim_task(a_job(case), NativeJob("78", 0))


def test_a_claim_that_cannot_be_read_is_held(case: Case) -> None:
    job = a_job(case)
    (case.home / "claims" / TASK / job.attempt).write_text("{")

    with pytest.raises(RefusedError, match="cannot be read"):
        claim_task(job, SLURM)


def test_an_attempt_behind_the_fence_is_refused(case: Case) -> None:
    job = a_job(case)
    (case.home / "claims" / TASK / "fence").write_text("2\n")

    with pytest.raises(RefusedError, match="attempt 2 was allowed after this one"):
        claim_task(job, SLURM)
    assert names(case.home / "claims" / TASK) == ["fence"]


def test_an_attempt_older_than_a_claim_is_refused(case: Case) -> None:
    job = a_job(case)
    hold(case, f"{TASK}.2")

    with pytest.raises(RefusedError, match=f"{TASK}.2 has begun"):
        claim_task(job, SLURM)


def test_a_fence_raised_after_the_first_look_is_seen_at_the_second(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(case)
    take = claims._take

    def take_late(job: Job, native: NativeJob) -> Claim:
        claim = take(job, native)
        (case.home / "claims" / TASK / "fence").write_text("2")
        return claim

    monkeypatch.setattr(claims, "_take", take_late)

    with pytest.raises(RefusedError, match="attempt 2"):
        claim_task(job, SLURM)
    assert f"{TASK}.1.released" in names(case.home / "claims" / TASK)


def test_only_under_a_mark_that_is_on_the_disk_a_release_may_be_lost_with_the_power(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: dict[str, bool] = {}
    monkeypatch.setattr(claims, "leave_mark", lambda path, *, is_durable: durable.update({path: is_durable}))
    job = a_job(case)
    claim = claim_task(job, SLURM)

    was_first = write_done(job, claim, {"exit_code": 0})
    release(job, claim, is_done=was_first)
    was_first_again = write_done(job, claim, {"exit_code": 0})
    release(job, claim._replace(incarnation=1), is_done=was_first_again)

    ends = (f"{TASK}.1.released", f"{TASK}.1.r1.released")
    assert durable == {str(case.home / "claims" / TASK / name): name == ends[1] for name in ends}


def test_without_a_fence_the_first_attempt_may_start(case: Case) -> None:
    job = a_job(case)
    (case.home / "claims" / TASK / "fence").unlink()

    assert claim_task(job, SLURM).incarnation == 0


def test_a_fence_is_looked_for_by_opening_its_folder(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS may say for a minute that there is none; about a folder that is opened it asks its server."""
    job = a_job(case)
    fence = case.home / "claims" / TASK / "fence"
    fence.unlink()
    claim = claim_task(job, SLURM)
    monkeypatch.setattr(claims.os.path, "exists", lambda _: False)
    monkeypatch.setattr(claims.os.path, "lexists", lambda _: False)
    assert not is_superseded(job, claim)

    fence.write_text("2\n")

    assert is_superseded(job, claim)


def test_a_holder_learns_that_it_was_superseded(case: Case) -> None:
    job = a_job(case)
    claim = claim_task(job, SLURM)
    assert not is_superseded(job, claim)

    (case.home / "claims" / TASK / f"{TASK}.1.r1").write_text("{}")
    assert is_superseded(job, claim)
    (case.home / "claims" / TASK / f"{TASK}.1.r1").unlink()
    (case.home / "claims" / TASK / "fence").write_text("2")
    assert is_superseded(job, claim)


def test_a_holder_that_looks_at_the_fence_leaves_a_sign_of_life(case: Case) -> None:
    job = a_job(case)
    claim = claim_task(job, SLURM)
    os.utime(claim.path, (1, 1))

    assert not look_at_fence(job, claim)
    assert Path(claim.path).stat().st_mtime > 1
    Path(claim.path).unlink()
    with pytest.raises(FileNotFoundError):
        look_at_fence(job, claim)


class TestOlderAttempts:
    def test_one_that_released_its_claim_is_no_obstacle(self, case: Case) -> None:
        old = a_job(case)
        release(old, claim_task(old, SLURM))

        assert claim_task(a_job(case, 2), NativeJob("78", 0)).incarnation == 0

    def test_one_whose_end_is_confirmed_is_no_obstacle(self, case: Case) -> None:
        hold(case, host="another-node")

        assert claim_task(a_job(case, 2, confirmed_ended=[f"{TASK}.1"]), SLURM).incarnation == 0

    def test_one_alive_here_is(self, case: Case) -> None:
        hold(case)

        with pytest.raises(RefusedError, match=rf"{TASK}.1 still runs here"):
            claim_task(a_job(case, 2), NativeJob("78", 0))

    def test_one_dead_here_is_not(self, case: Case) -> None:
        hold(case, pid=a_dead_pid())

        assert claim_task(a_job(case, 2), NativeJob("78", 0)).incarnation == 0

    def test_one_elsewhere_is_given_time_to_fence_itself(self, case: Case) -> None:
        hold(case, host="another-node")
        waited: list[float] = []

        claim_task(a_job(case, 2), NativeJob("78", 0), waited.append)

        assert waited == [pytest.approx(35, abs=1)]

    def test_one_long_silent_is_not_waited_for(self, case: Case) -> None:
        hold(case, host="another-node")
        os.utime(case.home / "claims" / TASK / f"{TASK}.1", (1, 1))
        waited: list[float] = []

        claim_task(a_job(case, 2), NativeJob("78", 0), waited.append)

        assert waited == [0.0]

    def test_one_that_writes_meanwhile_is_alive(self, case: Case) -> None:
        job = a_job(case, 2)
        events = case.home / "spool" / f"{TASK}.1" / "events"
        events.mkdir(parents=True)
        hold(case, host="another-node")

        def write(_seconds: float) -> None:
            (events / "0-0-0.jsonl").write_text("\n")
            os.utime(events / "0-0-0.jsonl", (4e9, 4e9))

        with pytest.raises(RefusedError, match="still alive on another-node"):
            claim_task(job, NativeJob("78", 0), write)


def test_what_a_dead_holder_left_running_is_killed_first(case: Case) -> None:
    hold(case, pid=2**22 - 1)
    with started_for(case.home, "60") as left, started_for(case.home / "another", "1") as foreign:
        claim_task(a_job(case), NativeJob("78", 0))

        assert left.wait(10) == -9
        assert foreign.wait(10) == 0


def started_for(home: Path, seconds: str) -> subprocess.Popen[bytes]:
    """Start a program as an agent over that state folder would have started it."""
    job = home / "spool" / f"{TASK}.1" / "job.json"
    env = {**os.environ, "ELISA_JOB": str(job), "ELISA_INCARNATION": "0"}
    return subprocess.Popen(["sleep", seconds], env=env, start_new_session=True)


def test_a_leftover_that_cannot_be_killed_forbids_to_run(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(case)
    hold(case, pid=a_dead_pid())
    monkeypatch.setattr(claims, "processes_of", lambda _home, _attempt: [os.getpid()])
    monkeypatch.setattr(claims, "kill_all", lambda _pids: None)
    monkeypatch.setattr(claims, "_KILL_WAIT_S", 0.0)

    with pytest.raises(RefusedError, match="cannot be killed"):
        claim_task(job, NativeJob("78", 0))


@pytest.mark.parametrize(("number", "earlier", "looked_for"), [(1, "", []), (1, "1", [1]), (2, "1", [1, 2])])
def test_leftovers_are_looked_for_only_where_somebody_claimed_before(
    case: Case, monkeypatch: pytest.MonkeyPatch, number: int, earlier: str, looked_for: list[int]
) -> None:
    job = a_job(case, number)
    if earlier:
        hold(case, f"{TASK}.{earlier}", pid=a_dead_pid())
    looked: list[str] = []
    monkeypatch.setattr(claims, "processes_of", lambda _home, attempt: looked.append(attempt) or [])

    claim_task(job, NativeJob("78", 0))

    assert looked == [f"{TASK}.{one}" for one in looked_for]


def test_of_eight_processes_one_wins(case: Case) -> None:
    job = case.job()
    code = (
        "import sys\n"
        "from elisa.runtime.claim import *\n"
        "from elisa.runtime.job import read_job\n"
        "job = read_job(sys.argv[1])\n"
        "sys.stdin.read()\n"
        "try: claim_task(job, NativeJob(sys.argv[2], 0)); print('won')\n"
        "except RefusedError: print('refused')\n"
        "sys.stdout.flush(); sys.stdin.close(); import time; time.sleep(60)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(job), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()

    said = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]

    for racer in racers:
        racer.kill()
        racer.wait()
        assert racer.stdout is not None
        racer.stdout.close()
    assert sorted(said) == ["refused"] * 7 + ["won"]


def test_two_successors_of_a_dead_holder_do_not_both_win(case: Case) -> None:
    hold(case, pid=2**22 - 1)
    job = a_job(case)
    barrier = threading.Barrier(4)
    won: list[int] = []

    def race() -> None:
        barrier.wait()
        try:
            won.append(claim_task(job, NativeJob("78", 0)).incarnation)
        except RefusedError:
            return

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [1]


@pytest.mark.parametrize(
    ("env", "native"),
    [
        ({"SLURM_JOB_ID": "5"}, NativeJob("5", 0)),
        ({"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "2"}, NativeJob("5", 2)),
        ({"SLURM_JOB_ID": "5", "ELISA_NATIVE_ID": "5.t7k2m9qx4t.1"}, NativeJob("5.t7k2m9qx4t.1", 0)),
        ({"PBS_JOBID": "7.server"}, NativeJob("7.server", None)),
        ({"PBS_JOBID": "7.server", "PBS_RUN_COUNT": "3"}, NativeJob("7.server", 3)),
        ({"ELISA_NATIVE_ID": "local-1-2"}, NativeJob("local-1-2", None, is_managed=False)),
        ({}, NativeJob("", None, is_managed=False)),
    ],
)
def test_the_environment_names_the_native_job(env: dict[str, str], native: NativeJob) -> None:
    assert native_job(env) == native
