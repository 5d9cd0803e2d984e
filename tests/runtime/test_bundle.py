"""Bundles run as their native job runs them: a process of its own, real programs, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime.bundle import Bundle, parse_bundle
from elisa.runtime.eventfile import Record, read_records
from elisa.runtime.job import Job, JobError

pytestmark = pytest.mark.slow

KEY = bytes(range(32))
LOOK = 'while [ ! -e "$ELISA_PIPELINE_DIR/go" ]; do sleep 0.02; done'


def attempt_of(name: str) -> str:
    return f"t00000000{name}.1"


@dataclass
class Folder:
    """A state folder with tasks `a`, `b`, ... each of which notes in `ran` that it runs."""

    home: Path

    @property
    def runs(self) -> Path:
        return self.home / "runs" / "p000000001"

    def task(self, name: str, script: str = "true", *behind: str, **options: Any) -> str:
        attempt = attempt_of(name)
        spool, task_dir = self.home / "spool" / attempt, self.runs / name
        for folder in (spool / "events", task_dir, self.home / "claims" / attempt[:-2]):
            folder.mkdir(parents=True)
        content = {
            "v": 1,
            "attempt": attempt,
            "task": attempt[:-2],
            "number": 1,
            "home": str(self.home),
            "key": KEY.hex(),
            "argv": [f'echo {name} >>"$ELISA_PIPELINE_DIR/ran"; {script}'],
            "shell": True,
            "task_dir": str(task_dir),
            "pipeline_dir": str(self.runs),
            "stdout": str(task_dir / "out"),
            "stderr": str(task_dir / "err"),
            "walltime_s": 60,
            "grace_s": 2,
            "behind": [attempt_of(one) for one in behind],
            **options,
        }
        (spool / "job.json").write_text(json.dumps(content))
        return str(spool / "job.json")

    def start(self, jobs: list[str], *, walltime_s: float = 0, lanes: int = 1, **env: str) -> subprocess.Popen[bytes]:
        path = self.home / "bundle.json"
        path.write_text(json.dumps({"v": 1, "jobs": jobs, "walltime_s": walltime_s, "lanes": lanes}))
        return subprocess.Popen(
            [sys.executable, "-m", "elisa.runtime", "bundle", "--job", str(path)],
            env={**os.environ, "ELISA_NATIVE_ID": "7", **env},
            start_new_session=True,
        )

    def run(self, jobs: list[str], **options: Any) -> int:
        with self.start(jobs, **options) as process:
            return process.wait(timeout=60)

    def ran(self) -> str:
        file = self.runs / "ran"
        return "".join(file.read_text().split()) if file.exists() else ""

    def events(self, name: str) -> list[Record]:
        records = read_records(str(self.home / "spool" / attempt_of(name) / "events"), KEY)
        return sorted(records, key=lambda record: (record.incarnation, record.rank, record.seq))

    def kinds(self, name: str) -> list[str]:
        return [record.kind for record in self.events(name)]

    def end(self, name: str) -> dict[str, Any]:
        (exited,) = [record for record in self.events(name) if record.kind == "exited"]
        return dict(exited.data)

    def go(self) -> None:
        (self.runs / "go").touch()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def wait_until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_members_run_one_after_another_each_with_its_own_claim_log_and_end(folder: Folder) -> None:
    jobs = [folder.task(name, f"echo {name} says; exit 0") for name in "abc"]

    assert folder.run(jobs) == 0

    assert folder.ran() == "abc"
    for name in "abc":
        assert [kind for kind in folder.kinds(name) if kind != "heartbeat"] == ["claimed", "started", "exited"]
        assert folder.end(name)["exit_code"] == 0
        assert (folder.runs / name / "out").read_text() == f"{name} says\n"
        assert folder.events(name)[0].data["native_id"] == "7"
    claims = sorted(path.name for path in (folder.home / "claims").rglob("*.1"))
    assert claims == [attempt_of(name) for name in "abc"]


def test_a_chain_is_run_in_its_order_whatever_the_order_of_the_list(folder: Folder) -> None:
    jobs = [folder.task("c", "true", "b"), folder.task("b", "true", "a"), folder.task("a")]

    assert folder.run(jobs) == 0

    assert folder.ran() == "abc"


def test_a_failure_keeps_back_only_what_follows_from_it(folder: Folder) -> None:
    jobs = [
        folder.task("a", "exit 3"),
        folder.task("b", "true", "a"),
        folder.task("c", "true", "b"),
        folder.task("d"),
    ]

    assert folder.run(jobs) == 1

    assert folder.ran() == "ad"
    assert folder.end("a")["exit_code"] == 3
    for name in "bc":
        assert folder.kinds(name) == ["claimed", "exited"]
        assert folder.end(name)["why"] == "not_begun"
        assert folder.end(name)["detail"] == "what it was to follow in the same job did not finish"


def test_members_run_side_by_side_in_lanes(folder: Folder) -> None:
    meet = 'until [ "$(wc -l <"$ELISA_PIPELINE_DIR/ran")" -ge 2 ]; do sleep 0.02; done'
    jobs = [folder.task("a", meet), folder.task("b", meet), folder.task("c")]

    assert folder.run(jobs, lanes=2) == 0

    assert sorted(folder.ran()) == ["a", "b", "c"]


def test_nobody_begins_whose_walltime_is_not_left(folder: Folder) -> None:
    jobs = [folder.task("a", walltime_s=3), folder.task("b", walltime_s=60), folder.task("c", walltime_s=1)]

    assert folder.run(jobs, walltime_s=30) == 1

    assert folder.ran() == "ac"
    assert folder.end("b")["detail"] == "its job had no time left for it"


def test_the_first_begins_however_late_its_job_came_up(folder: Folder) -> None:
    assert folder.run([folder.task("a", walltime_s=60)], walltime_s=60) == 0


def test_a_job_that_is_asked_to_leave_lets_the_running_save_and_begins_no_other(folder: Folder) -> None:
    jobs = [folder.task("a", f"trap 'exit 0' TERM; {LOOK}"), folder.task("b"), folder.task("c")]
    process = folder.start(jobs)
    wait_until(folder.ran)
    wait_until(lambda: "started" in folder.kinds("a"))

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=30) == 1
    assert folder.ran() == "a"
    assert "stopping" in folder.kinds("a")
    for name in "bc":
        assert folder.kinds(name) == ["claimed", "stopping", "exited"]
        assert folder.end(name)["detail"] == "its job was asked to leave before its turn"


def test_members_that_did_not_begin_tell_who_deletes_their_job(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    qstat = folder.home / "bin" / "qstat"
    qstat.parent.mkdir()
    qstat.write_text("#!/bin/sh\necho '    comment = Job run at noon and terminated by ada@login'\n")
    qstat.chmod(0o755)
    monkeypatch.setenv("PBS_JOBID", "7.vm")
    monkeypatch.setenv("PATH", f"{qstat.parent}:/bin:/usr/bin")
    process = folder.start([folder.task("a", LOOK), folder.task("b")])
    wait_until(lambda: "started" in folder.kinds("a"))
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)

    told = [(folder.end(name)["why"], folder.end(name)["taken"], folder.end(name)["detail"]) for name in "ab"]
    assert told == [(why, "cancelled", "terminated by ada@login") for why in ("stopped", "not_begun")]


def test_killed_in_the_middle_the_rest_is_not_claimed_and_nothing_goes_on(folder: Folder) -> None:
    jobs = [folder.task("a"), folder.task("b", 'echo $$ >"$ELISA_TASK_DIR/pid"; sleep 60'), folder.task("c")]
    process = folder.start(jobs)
    pid = folder.runs / "b" / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().strip())

    process.kill()
    process.wait()

    wait_until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    assert folder.end("a")["exit_code"] == 0
    assert folder.kinds("c") == []
    assert "exited" not in folder.kinds("b")


def test_a_requeued_job_goes_on_where_it_was_killed(folder: Folder) -> None:
    slow = 'if [ -e "$ELISA_TASK_DIR/again" ]; then exit 0; fi; touch "$ELISA_TASK_DIR/again"; sleep 60'
    jobs = [folder.task("a"), folder.task("b", slow, "a"), folder.task("c", "true", "b")]
    process = folder.start(jobs, SLURM_JOB_ID="7")
    wait_until((folder.runs / "b" / "again").exists)
    process.kill()
    process.wait()

    assert folder.run(jobs, SLURM_JOB_ID="7", SLURM_RESTART_COUNT="1") == 0

    assert folder.ran() == "abbc"
    assert [record.incarnation for record in folder.events("b") if record.kind == "claimed"] == [0, 1]


def test_one_that_is_not_wanted_any_more_does_not_begin_and_a_running_one_is_stopped(folder: Folder) -> None:
    jobs = [folder.task("a", LOOK), folder.task("b"), folder.task("c")]
    (folder.home / "spool" / attempt_of("b") / "leave").touch()
    process = folder.start(jobs)
    wait_until(lambda: "started" in folder.kinds("a"))

    (folder.home / "spool" / attempt_of("a") / "leave").touch()

    assert process.wait(timeout=30) == 1
    assert folder.ran() == "ac"
    assert folder.end("b")["detail"] == "it was withdrawn before its turn"
    assert folder.end("a")["signal"] == signal.SIGTERM


def test_the_shares_of_all_members_add_up_to_the_whole_seconds_of_the_job(folder: Folder) -> None:
    jobs = [folder.task(name, f"sleep {seconds}") for name, seconds in (("a", 0.7), ("b", 0.7), ("c", 0.8), ("d", 0))]
    began = time.monotonic()

    assert folder.run(jobs) == 0

    took_s = time.monotonic() - began
    shares = [folder.end(name)["share_s"] for name in "abcd"]
    assert all(isinstance(share, int) and share >= 0 for share in shares)
    assert 2 <= sum(shares) <= took_s


def test_a_second_job_of_the_same_bundle_runs_nothing_twice(folder: Folder) -> None:
    jobs = [folder.task("a", LOOK), folder.task("b")]
    first = folder.start(jobs)
    wait_until(lambda: "started" in folder.kinds("a"))

    with folder.start(jobs, ELISA_NATIVE_ID="8") as second:
        assert second.wait(timeout=30) == 1
    folder.go()

    first.wait(timeout=30)
    assert folder.ran() == "ab"


def test_instructions_that_make_no_sense_start_nothing(folder: Folder) -> None:
    assert folder.run([str(folder.home / "missing.json")]) == 73

    with pytest.raises(JobError):
        parse_bundle({"jobs": []})


def test_a_bundle_knows_who_follows_whom_in_it() -> None:
    def read(path: str) -> Job:
        behind = {"x": (), "y": ("x", "elsewhere")}[path]
        return Job(attempt=path, task=path, number=1, home="/h", key=KEY, argv=("true",), behind=behind)

    bundle = parse_bundle({"jobs": ["x", "y"], "walltime_s": 60, "lanes": 2}, read)

    assert bundle == Bundle((read("x"), read("y")), ((), (0,)), 60.0, 2)
