from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from elisa.runtime.evidence import processes_of
from tests.runtime.agent_cases import AS_FILE, TASK, Case, names, python

ATTEMPT = f"{TASK}.1"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def wait_for(path: Path, timeout_s: float = 20) -> None:
    """Return when the program has made `path`."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


def test_a_program_that_succeeds_is_told_from_claim_to_exit(case: Case) -> None:
    status = case.run(case.job(argv=["echo", "hello"]), SLURM_JOB_ID="42")

    assert status == 0
    assert [kind for kind in case.kinds() if kind != "heartbeat"] == ["claimed", "started", "exited"]
    assert case.said("claimed")["native_id"] == "42"
    exited = case.said("exited")
    assert (exited["exit_code"], exited["signal"], exited["why"]) == (0, None, "")
    assert case.printed == "hello\n"
    assert names(case.home / "claims" / TASK) == ["done", "fence", ATTEMPT, f"{ATTEMPT}.released"]


def test_the_agent_makes_the_folders_that_its_submission_left_to_it(case: Case) -> None:
    own = [case.home / "spool" / ATTEMPT / "events", case.task_dir / "checkpoints"]
    job = case.job(argv=["sh", "-c", "cd $ELISA_EVENTS && cd $ELISA_CHECKPOINT_DIR"])
    there_before = [folder.exists() for folder in own]

    status = case.run(job)

    assert (there_before, status) == ([False, False], 0)
    assert [folder.stat().st_mode & 0o777 for folder in own] == [0o700, 0o700]


def test_restart_files_need_no_folder_from_the_submission(case: Case) -> None:
    rules = {"pattern": "restart.*.state", "signal": "USR1"}

    status = case.run(case.job(argv=["sh", "-c", "echo state >$ELISA_TASK_DIR/restart.7.state"], checkpoint=rules))

    assert status == 0
    assert case.said("checkpoint")["step"] == 7


def test_a_folder_that_cannot_be_made_is_told(case: Case) -> None:
    job = case.job()
    (case.task_dir / "checkpoints").write_text("in the way")

    status = case.run(job)

    assert (status, case.said("exited")["why"]) == (73, "cannot_start")
    assert f"the folder {case.task_dir / 'checkpoints'} cannot be made: File exists" == case.said("exited")["detail"]


def test_the_agent_ends_with_the_programs_status(case: Case) -> None:
    assert case.run(case.job(argv=["sh", "-c", "exit 3"])) == 3
    assert case.said("exited")["exit_code"] == 3
    assert "done" not in names(case.home / "claims" / TASK)


def test_a_program_killed_by_a_signal_is_told_so(case: Case) -> None:
    assert case.run(case.job(argv=["sh", "-c", "kill -9 $$"])) == 137
    exited = case.said("exited")
    assert (exited["exit_code"], exited["signal"]) == (None, 9)


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ({"argv": ["no-such-program"]}, "no-such-program cannot be started: No such file or directory"),
        ({"workdir": "/no/such/folder"}, "the working folder /no/such/folder does not exist"),
        ({"stdout": "/proc/no/stdout"}, "/proc/no/stdout cannot be written"),
    ],
)
def test_a_program_that_cannot_be_started_has_an_exit_record(case: Case, options: dict[str, Any], detail: str) -> None:
    assert case.run(case.job(**options)) == 73
    exited = case.said("exited")
    assert (exited["exit_code"], exited["why"]) == (None, "cannot_start")
    assert detail in exited["detail"]


def test_instructions_that_cannot_be_read_end_the_agent(case: Case) -> None:
    job = case.job()
    job.write_text("{")
    assert case.run(job) == 73


def test_a_task_that_is_done_is_not_run_again(case: Case) -> None:
    job = case.job(argv=["echo", "once"])
    case.run(job, SLURM_JOB_ID="42")

    assert case.run(job, SLURM_JOB_ID="42", SLURM_RESTART_COUNT="1") == 75
    assert case.said("refused") == {"why": "the task is done", "native_id": "42"}
    assert case.printed == "once\n"


def test_a_requeued_job_runs_as_the_next_incarnation_and_appends_to_the_logs(case: Case) -> None:
    job = case.job(argv=["sh", "-c", "echo $ELISA_INCARNATION; exit 1"])
    case.run(job, SLURM_JOB_ID="42")
    case.run(job, SLURM_JOB_ID="42", SLURM_RESTART_COUNT="1")

    assert case.printed == "0\n1\n"
    assert [event.incarnation for event in case.events() if event.kind == "exited"] == [0, 1]


def test_the_environment_is_what_was_named_and_nothing_else(case: Case) -> None:
    job = case.job(
        argv=["env", "-0"],
        env={"SET": 'a\'; echo "$HOME"\n'},
        pass_env=["NAMED", "GROUP_*"],
        parameters={"lr": 0.1, "name": "a b", "batch-size": 32},
        walltime_s=600,
        resume={"path": "/c/7", "step": 7},
    )
    case.run(job, NAMED="1", GROUP_A="2", SECRET="3", SLURM_NODELIST="n1", LC_ALL="C")

    env = dict(line.split("=", 1) for line in case.printed.split("\0") if line)
    assert env["SET"] == 'a\'; echo "$HOME"\n'
    assert (env["NAMED"], env["GROUP_A"], env["SLURM_NODELIST"], env["LC_ALL"]) == ("1", "2", "n1", "C")
    assert "SECRET" not in env
    assert (env["ELISA_PARAM_LR"], env["ELISA_PARAM_NAME"], env["ELISA_PARAM_BATCH_SIZE"]) == ("0.1", "a b", "32")
    assert (env["ELISA_RESUME_FROM"], env["ELISA_RESUME_STEP"]) == ("/c/7", "7")
    assert float(env["ELISA_DEADLINE"]) == pytest.approx(time.time() + 600, abs=30)
    assert env["ELISA_JOB"] == str(job)


@pytest.mark.parametrize("word", ["$(touch x)", "`touch x`", "'; touch x; '", "-rf", "a\nb", "*", "\udce4", ""])
def test_hostile_words_reach_the_program_as_they_are(case: Case, word: str) -> None:
    script = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    case.run(case.job(argv=[sys.executable, "-c", script, word]))

    assert (case.task_dir / "stdout.log").read_bytes() == os.fsencode(word)
    assert not (case.task_dir / "x").exists()


def test_a_shell_runs_only_where_one_was_asked_for(case: Case) -> None:
    case.run(case.job(argv=["echo $((1 + 1)) | cat"], shell=True))

    assert case.printed == "2\n"


def test_the_program_has_no_input_and_a_session_of_its_own(case: Case) -> None:
    case.run(case.job(argv=python("import os, sys; print(sys.stdin.read() == '', os.getsid(0) == os.getpid())")))

    assert case.printed == "True True\n"


def test_the_program_does_not_inherit_blocked_signals(case: Case) -> None:
    case.run(case.job(argv=python("import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))")))

    assert case.printed == "set()\n"


def test_a_child_that_hides_by_forking_twice_is_ended_with_the_program(case: Case) -> None:
    case.run(
        case.job(
            argv=[
                "sh",
                "-c",
                "(setsid sh -c 'trap \"\" TERM; touch up; sleep 600' &) ; while [ ! -e up ]; do sleep 0.02; done",
            ]
        )
    )

    assert (case.task_dir / "up").exists()
    assert processes_of(str(case.home), ATTEMPT) == []


class TestLimits:
    def test_memory_over_the_declaration_is_stopped(self, case: Case) -> None:
        hog = "import time\nx = []\nwhile True: x.append(bytearray(2**24)); time.sleep(0.005)"
        status = case.run(case.job(argv=python(hog), memory_mib=150, sample_s=5))

        assert status in {137, 143}
        assert case.said("over_limit")["resource"] == "memory"
        assert case.said("exited")["why"] == "out_of_memory"
        assert case.said("exited")["max_memory_mib"] > 150

    @pytest.mark.parametrize(
        ("said", "status", "why"),
        [
            ("srun: error: n1: task 0: Out Of Memory", 1, "out_of_memory"),
            ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of your processes", 1, "out_of_memory"),
            ("slurmstepd-n1: error: StepId=1.0 exceeded memory limit (427433984 > 157286400)", 137, "out_of_memory"),
            ("srun: error: n1: task 0: Killed", 137, ""),
            ("srun: error: n1: task 0: Out Of Memory", 0, ""),
            ("so it says: srun: error: n1: task 0: Out Of Memory", 1, ""),
        ],
    )
    def test_memory_that_only_slurms_launcher_knows_of_is_told_by_its_words(
        self, case: Case, said: str, status: int, why: str
    ) -> None:
        argv = ["sh", "-c", f"echo before >&2; echo '{said}' >&2; echo after >&2; exit {status}"]

        assert case.run(case.job(argv=argv)) == status
        assert case.said("exited")["why"] == why

    def test_memory_shared_by_many_processes_counts_once(self, case: Case) -> None:
        sharing = (
            "import os, time\nx = bytearray(os.urandom(1)) * (100 * 2**20)\n"
            "for _ in range(4):\n    if os.fork() == 0: time.sleep(1.5); os._exit(0)\n"
            "for _ in range(4): os.wait()"
        )
        assert case.run(case.job(argv=python(sharing), memory_mib=300, sample_s=0.2)) == 0

    def test_past_its_walltime_a_program_is_asked_and_then_killed(self, case: Case) -> None:
        stubborn = ["sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.05; done"]
        status = case.run(case.job(argv=stubborn, walltime_s=1.5, grace_s=0.5))

        assert status == 137
        assert case.printed == "asked\n"
        assert case.said("over_limit")["resource"] == "walltime"
        assert (case.said("exited")["why"], case.said("exited")["signal"]) == ("timeout", 9)

    def test_a_program_that_leaves_with_success_when_its_time_is_over_has_not_succeeded(self, case: Case) -> None:
        polite = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]

        assert case.run(case.job(argv=polite, walltime_s=1.5)) == 143
        assert (case.said("exited")["why"], case.said("exited")["exit_code"]) == ("timeout", 0)

    def test_a_flood_of_output_is_stopped_and_its_beginning_kept(self, case: Case) -> None:
        case.run(case.job(argv=["yes", "flood"], output_limit_mib=1))

        assert case.said("over_limit")["resource"] == "output"
        assert case.said("exited")["why"] == "output_limit"
        assert (case.task_dir / "stdout.log").stat().st_size < 2**20 + 100
        assert "the rest is cut off" in case.printed


@pytest.fixture
def ignored_hangup() -> Iterator[None]:
    """Ignore SIGHUP as `nohup` does: whatever is started meanwhile begins like that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


class TestSignals:
    SAYS = (
        "import pathlib, signal, sys, time\n"
        "said = []\n"
        "def say(number, frame): print(signal.Signals(number).name, flush=True); said.append(number)\n"
        "for name in sys.argv[1:]: signal.signal(getattr(signal, name), say)\n"
        "pathlib.Path('up').touch()\n"
        "while 'SIGTERM' not in sys.argv or not said: time.sleep(0.02)\n"
    )

    def started(self, case: Case, *caught: str, **options: Any) -> subprocess.Popen[bytes]:
        process = case.start(case.job(argv=[*python(self.SAYS), *caught], **options))
        wait_for(case.task_dir / "up")
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        process.communicate(timeout=60)
        return process.returncode

    def test_program_whose_job_somebody_deletes_has_his_name_in_its_last_word(self, case: Case) -> None:
        qstat = case.home / "bin" / "qstat"
        qstat.parent.mkdir()
        qstat.write_text("#!/bin/sh\nsleep 0.2\necho '    comment = Job run at noon and terminated by ada@login'\n")
        qstat.chmod(0o755)
        with case.start(
            case.job(argv=["sleep", "60"]), PBS_JOBID="7.vm", PATH=f"{qstat.parent}:/bin:/usr/bin"
        ) as agent:
            while "started" not in case.kinds():
                time.sleep(0.01)
            agent.send_signal(signal.SIGTERM)
            agent.communicate(timeout=20)
        exited = case.said("exited")

        assert (exited["why"], exited["signal"]) == ("stopped", signal.SIGTERM)
        assert (exited["taken"], exited["detail"]) == ("cancelled", "terminated by ada@login")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_a_request_to_end_reaches_the_program(self, case: Case, number: int) -> None:
        process = self.started(case)
        process.send_signal(number)

        assert self.ended(process) == 128 + number or number == signal.SIGINT
        assert case.said("stopping") == {"signal": int(number), "why": "asked"}
        assert case.said("exited")["why"] == "stopped"

    @pytest.mark.usefixtures("ignored_hangup")
    def test_what_the_agents_starter_ignored_the_program_hears(self, case: Case) -> None:
        process = self.started(case)
        process.send_signal(signal.SIGHUP)

        assert self.ended(process) == 128 + signal.SIGHUP

    def test_a_request_that_comes_when_the_program_has_ended_takes_nothing_from_its_success(self, case: Case) -> None:
        """On a machine with much to do, the agent hears of both at once, and of the request first."""
        process = case.start(
            case.job(argv=["sh", "-c", "echo $$ >new; mv new pid; while [ ! -e end ]; do sleep 0.02; done"])
        )
        wait_for(case.task_dir / "pid")
        process.send_signal(signal.SIGSTOP)
        (case.task_dir / "end").touch()
        program = int((case.task_dir / "pid").read_text())
        while psutil.Process(program).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        process.terminate()
        process.send_signal(signal.SIGCONT)

        assert self.ended(process) == 0
        assert (case.said("exited")["exit_code"], case.said("exited")["why"]) == (0, "")
        assert (case.home / "claims" / TASK / "done").exists()

    def test_a_program_that_ignores_the_request_is_killed_after_its_grace(self, case: Case) -> None:
        process = case.start(
            case.job(argv=["sh", "-c", "trap '' TERM; touch up; while :; do sleep 0.1; done"], grace_s=0.3)
        )
        wait_for(case.task_dir / "up")
        process.terminate()

        assert self.ended(process) == 137

    def test_a_warning_asks_for_a_checkpoint_by_signal_and_file(self, case: Case) -> None:
        process = self.started(case, "SIGUSR1", "SIGTERM", checkpoint={"signal": "USR1"})
        process.send_signal(signal.SIGUSR2)
        assert self.ended(process) == 0

        assert case.printed == "SIGUSR1\n"
        assert case.said("stopping") == {"signal": int(signal.SIGUSR2), "why": "warned"}
        assert (case.home / "spool" / ATTEMPT / "stop").exists()

    @pytest.mark.parametrize("steps", [3, 10], ids=["all steps done", "steps left"])
    def test_who_leaves_with_success_when_warned_has_finished_only_if_no_steps_are_left(
        self, case: Case, steps: int
    ) -> None:
        code = (
            f"import pathlib, time; from elisa.runtime import progress, should_stop; progress(3, {steps})\n"
            "pathlib.Path('up').touch()\n"
            "while not should_stop(): time.sleep(0.02)"
        )
        process = case.start(case.job(argv=python(code), walltime_s=600, checkpoint={}))
        wait_for(case.task_dir / "up")
        process.send_signal(signal.SIGUSR2)

        assert self.ended(process) == (0 if steps == 3 else 143)
        assert (case.said("exited")["exit_code"], case.said("exited")["why"]) == (0, "" if steps == 3 else "stopped")
        assert (case.home / "claims" / TASK / "done").exists() == (steps == 3)

    def test_a_warning_does_not_kill_a_program_that_does_not_listen(self, case: Case) -> None:
        process = self.started(case)
        process.send_signal(signal.SIGUSR2)
        wait_for(case.home / "spool" / ATTEMPT / "stop")
        time.sleep(0.1)
        assert process.poll() is None
        process.terminate()

        assert self.ended(process) == 143

    def test_the_end_of_the_walltime_is_announced(self, case: Case) -> None:
        saver = "import signal, sys\nsignal.signal(signal.SIGUSR2, lambda *a: sys.exit(9))\nsignal.pause()"
        job = case.job(argv=python(saver), walltime_s=2, checkpoint={"lead_s": 1})
        status = case.run(job)

        assert status == 9
        assert case.said("exited")["why"] == "timeout"
        assert case.said("exited")["run_s"] == pytest.approx(1, abs=0.9)

    def test_a_stopped_program_goes_on(self, case: Case) -> None:
        process = self.started(case, "SIGCONT", "SIGTERM")
        process.send_signal(signal.SIGCONT)

        assert self.ended(process) == 0
        assert case.printed == "SIGCONT\n"


class TestFencing:
    def test_an_attempt_that_was_superseded_is_killed(self, case: Case) -> None:
        process = case.start(case.job(argv=["sh", "-c", "touch up; sleep 600"], heartbeat_s=0.1, sample_s=0.1))
        wait_for(case.task_dir / "up")
        (case.home / "claims" / TASK / "fence").write_text("2")

        process.communicate(timeout=30)
        assert (case.said("exited")["why"], case.said("exited")["signal"]) == ("fenced", 9)

    def test_a_node_that_is_cut_off_kills_its_program(self, case: Case) -> None:
        job = case.job(argv=["sh", "-c", "touch up; sleep 600"], heartbeat_s=0.1, sample_s=0.1, self_fence_s=1)
        process = case.start(job)
        wait_for(case.task_dir / "up")
        case.home.joinpath("claims").rename(case.home / "gone")
        (case.home / "claims").write_text("no folder any more")
        case.home.joinpath("spool", ATTEMPT, "events").rename(case.home / "gone2")

        process.communicate(timeout=30)
        assert process.returncode == 76

    def test_a_heartbeat_as_rare_as_the_fence_allows_ends_no_program_whose_folder_is_in_reach(self, case: Case) -> None:
        job = case.job(argv=["sleep", "1.5"], heartbeat_s=600, sample_s=0.05, self_fence_s=0.4)

        assert case.run(job) == 0

    def test_a_program_whose_agent_looks_at_nothing_for_long_is_ended_all_the_same(self, case: Case) -> None:
        job = case.job(argv=["sh", "-c", "touch up; exec sleep 600"], self_fence_s=1, sample_s=600, heartbeat_s=600)
        process = case.start(job)
        wait_for(case.task_dir / "up")
        (case.home / "claims" / TASK / ATTEMPT).unlink()

        process.communicate(timeout=30)
        assert (case.said("exited")["why"], case.said("exited")["signal"]) == ("fenced", 9)

    def test_nothing_is_started_by_an_agent_that_was_superseded_while_it_made_ready(self, case: Case) -> None:
        job, fence = case.job(argv=["touch", "ran"]), case.home / "claims" / TASK / "fence"
        meanwhile = (
            "import sys; from pathlib import Path; from elisa.runtime import agent; ready = agent._open_outputs;"
            "agent._open_outputs = lambda job: (Path(sys.argv[2]).write_text('2'), ready(job))[1];"
            "sys.exit(agent.run_job(sys.argv[1]))"
        )
        done = subprocess.run([*python(meanwhile), str(job), str(fence)], check=False, timeout=60)

        assert (done.returncode, case.said("exited")["why"]) == (76, "fenced")
        assert not (case.task_dir / "ran").exists()

    @pytest.mark.parametrize(("self_fence_s", "is_left"), [(600, False), (0, True)])
    def test_a_sign_of_life_is_left_before_the_start_unless_the_claim_is_as_good_as_one(
        self, case: Case, self_fence_s: float, *, is_left: bool
    ) -> None:
        job, claim = case.job(self_fence_s=self_fence_s), case.home / "claims" / TASK / ATTEMPT
        meanwhile = (
            "import os, sys; from elisa.runtime import agent; ready, start = agent._open_outputs, agent._start;"
            "agent._open_outputs = lambda job: (os.utime(sys.argv[2], (1, 1)), ready(job))[1];"
            "agent._start = lambda *given: (print(os.stat(sys.argv[2]).st_mtime > 1), start(*given))[1];"
            "agent.run_job(sys.argv[1])"
        )
        done = subprocess.run([*python(meanwhile), str(job), str(claim)], check=False, timeout=60, capture_output=True)

        assert done.stdout.decode().split() == [str(is_left)]


class TestFiles:
    def test_outputs_are_checked_and_told(self, case: Case) -> None:
        outputs = [
            {"name": "good", "path": "good.json", "format": "json"},
            {"name": "absent", "path": "absent", "format": "json", "optional": True},
        ]
        assert case.run(case.job(argv=["sh", "-c", "echo {} > good.json"], outputs=outputs)) == 0

        told = {event.data["name"]: event.data["ok"] for event in case.events() if event.kind == "output"}
        assert told == {"good": True, "absent": False}

    def test_a_bad_output_fails_the_attempt(self, case: Case) -> None:
        outputs = [{"name": "model", "path": "model.npy", "format": "npy"}]
        assert case.run(case.job(argv=["sh", "-c", "echo no > model.npy"], outputs=outputs)) == 74

        assert case.said("exited")["why"] == "invalid_data"
        assert "output model" in case.said("exited")["detail"]
        assert "done" not in names(case.home / "claims" / TASK)

    def test_a_bad_input_keeps_the_program_from_starting(self, case: Case) -> None:
        (case.home / "in.csv").write_text("a,b\n1\n")
        inputs = [{"name": "data", "path": str(case.home / "in.csv"), "format": "csv", "columns": ["a"]}]
        assert case.run(case.job(argv=["touch", "ran"], inputs=inputs)) == 74

        assert "input data" in case.said("exited")["detail"]
        assert "line 2 has 1 fields" in case.said("exited")["detail"]
        assert not (case.task_dir / "ran").exists()


def test_a_program_dies_with_its_agent(case: Case) -> None:
    process = case.start(case.job(argv=["sh", "-c", "touch up; exec sleep 600"]))
    wait_for(case.task_dir / "up")
    process.kill()
    process.communicate()

    deadline = time.monotonic() + 10
    while processes_of(str(case.home), ATTEMPT) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes_of(str(case.home), ATTEMPT) == []


PROGRAM = """
import os, pathlib
try: os.mkdir("running")
except FileExistsError: pathlib.Path("overlap").touch()
with open("runs", "a") as f: f.write("x")
os.rmdir("running")
"""


@pytest.mark.slow
def test_killed_at_any_point_the_agent_recovers_without_a_double_run(tmp_path: Path) -> None:
    """Two crashes in a row too: the second hits the recovery."""
    number, was_hit = 0, True
    while was_hit:
        number += 1
        case = Case(tmp_path / str(number))
        job = case.job(argv=python(PROGRAM))
        was_hit = case.run(job, SLURM_JOB_ID="42", ELISA_CRASH_AT=f"*:{number}") == 137
        again = case.run(
            job, SLURM_JOB_ID="42", SLURM_RESTART_COUNT="1", ELISA_CRASH_AT=f"*:{3 + number % 7}" if was_hit else "-:1"
        )
        statuses = [again, case.run(job, SLURM_JOB_ID="42", SLURM_RESTART_COUNT="2")]

        assert statuses[-1] in {0, 75}
        assert not (case.task_dir / "overlap").exists(), number
        assert 1 <= len((case.task_dir / "runs").read_text()) <= 3
        assert case.said("exited")["exit_code"] == 0
        if not was_hit:
            assert len((case.task_dir / "runs").read_text()) == 1
    assert number > 15


def test_a_full_disk_delays_the_record_and_loses_nothing(case: Case) -> None:
    """The limit on the size of files stands in for a full disk: it refuses to let the event file grow."""
    job = case.job(argv=["sh", "-c", "sleep 0.5"], heartbeat_s=0.05, sample_s=0.05)
    limited = (
        "import resource, signal, sys, threading, time\n"
        "from elisa.runtime.__main__ import main\n"
        "def room(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "room(900)\n"
        # The agent waits for signals: a thread that it did not make must not catch one.
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "threading.Timer(2, room, [resource.RLIM_INFINITY]).start()\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())\n"
        "from elisa.runtime import agent, start\n"
        "sys.exit(main(['run', '--job', sys.argv[1]]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", limited, str(job)]) as process:
        assert process.wait(30) == 0

    assert case.said("exited")["exit_code"] == 0
    assert names(case.home / "spool" / ATTEMPT / "events") == ["0-0-0.jsonl", "0-0-1.jsonl"]


def test_a_call_gets_what_other_tasks_returned(case: Case) -> None:
    (case.home / "steps.py").write_text(
        "import pathlib\n"
        "def first(n): return {'n': n, 'file': pathlib.Path('data.bin'), 'raw': b'x' * 9000, 'pair': (1, 2)}\n"
        "def second(one, many, label): return [one['n'], [item['pair'] for item in many], label, str(one['file'])]\n"
    )
    one = str(case.home / "one.json")
    two = str(case.home / "two.json")
    call = {"file": str(case.home / "steps.py"), "function": "first", "arguments": {"n": "5"}, "result_path": one}
    assert case.run(case.job(argv=None, call=call)) == 0

    results = {"one": {"paths": [one], "many": False}, "many": {"paths": [one, one], "many": True}}
    call = {**call, "function": "second", "arguments": {"label": '"x"'}, "results": results, "result_path": two}
    assert case.run(case.job(2, argv=None, call=call)) == 75  # done, as the engine would not have asked again
    (case.home / "claims" / TASK / "done").unlink()
    assert case.run(case.job(3, argv=None, call=call)) == 0

    value = json.loads(Path(two).read_text())["value"]
    pair = {"$": "tuple", "v": [1, 2]}
    assert value == [5, [pair, pair], "x", str(case.task_dir / "data.bin")]


def test_a_call_has_the_packages_of_its_python_that_its_agent_does_without(case: Case) -> None:
    (case.home / "steps.py").write_text("def first():\n    import psutil\n    return psutil.__name__\n")
    result = case.home / "result.json"
    call = {"file": str(case.home / "steps.py"), "function": "first", "arguments": {}, "result_path": str(result)}

    assert case.run(case.job(argv=None, call=call), as_file=True) == 0
    assert "psutil" in result.read_text()


def test_a_call_that_raises_shows_its_traceback(case: Case) -> None:
    (case.home / "steps.py").write_text("def bad(): raise ValueError('on purpose')\n")
    call = {"file": str(case.home / "steps.py"), "function": "bad", "result_path": str(case.home / "r.json")}

    assert case.run(case.job(argv=None, call=call)) == 1
    assert "ValueError: on purpose" in (case.task_dir / "stderr.log").read_text()
    assert not (case.home / "r.json").exists()


@pytest.mark.parametrize(
    ("file", "function"), [("steps.py", "missing"), ("none.py", "f")], ids=["no such function", "no such file"]
)
def test_a_call_of_nothing_says_so(case: Case, file: str, function: str) -> None:
    (case.home / "steps.py").write_text("")
    call = {"file": str(case.home / file), "function": function, "result_path": str(case.home / "r.json")}

    assert case.run(case.job(argv=None, call=call)) == 73
    assert "elisa: " in (case.task_dir / "stderr.log").read_text()


def test_started_as_a_file_the_agent_takes_nothing_for_a_module_but_its_own(case: Case, tmp_path: Path) -> None:
    job = case.job(argv=["echo", "hello"])
    for name in ("elisa.py", "os.py", "zlib.py"):
        (tmp_path / name).write_text("raise SystemExit(9)")

    done = subprocess.run([*AS_FILE, "run", "--job", job], check=False, cwd=tmp_path, env={})

    assert (done.returncode, case.printed) == (0, "hello\n")


def test_other_words_on_the_command_line_are_a_mistake() -> None:
    done = subprocess.run([sys.executable, "-m", "elisa.runtime", "walk"], capture_output=True, check=False)

    assert (done.returncode, done.stderr[:6]) == (64, b"usage:")


BAD_GPUS = [["n1", "0", 4e9]]
ON_SLURM = {"SLURM_JOB_ID": "42", "SLURMD_NODENAME": "n1"}


def test_a_job_that_was_given_a_bad_gpu_and_no_other_is_given_back_unrun(case: Case) -> None:
    job = case.job(argv=["echo", "hello"], gpus_per_node=1, bad_gpus=BAD_GPUS)

    status = case.run(job, **ON_SLURM, SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="0")

    assert status == 77
    assert case.kinds() == ["claimed", "exited"]
    exited = case.said("exited")
    assert (exited["why"], exited["node"], exited["run_s"]) == ("bad_gpu", "n1", 0.0)
    assert exited["detail"].startswith("given GPU 0 of node n1, which is excluded until ")
    assert f"{ATTEMPT}.released" in names(case.home / "claims" / TASK)


def test_a_bad_gpu_is_hidden_from_a_program_that_was_given_more_than_it_asked_for(case: Case) -> None:
    job = case.job(argv=["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], gpus_per_node=2, bad_gpus=BAD_GPUS)

    status = case.run(job, **ON_SLURM, SLURM_JOB_GPUS="0,2,3", CUDA_VISIBLE_DEVICES="0,1,2")

    assert (status, case.printed) == (0, "1,2\n")
    assert case.said("exited")["gpus"] == "2,3"
