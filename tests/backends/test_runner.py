from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from elisa.backends.local.supervisor import start_ticks
from elisa.backends.protocol import tag_of
from elisa.backends.runner import Completed, SubprocessRunner
from elisa.model.ids import AttemptId

PATH = os.environ["PATH"]


def test_a_program_s_words_and_status_come_back() -> None:
    done = SubprocessRunner().run(["/bin/sh", "-c", "cat; echo oops >&2; exit 3"], timeout_s=10, input="in\n")

    assert done == Completed(exit_code=3, stdout="in\n", stderr="oops\n")
    assert not done.ok
    assert SubprocessRunner().run(["/bin/true"], timeout_s=10).ok


def test_without_input_a_program_reads_nothing() -> None:
    assert SubprocessRunner().run(["/bin/cat"], timeout_s=10) == Completed(exit_code=0)


def test_a_user_s_settings_do_not_reach_the_resource_manager() -> None:
    foreign = {
        "SBATCH_TIMELIMIT": "7",
        "SQUEUE_FORMAT": "x",
        "SLURM_JOB_ID": "1",
        "PBS_DPREFIX": "#",
        "LC_ALL": "de_DE",
    }
    kept = {"SLURM_CONF": "/etc/slurm.conf", "PBS_CONF_FILE": "/etc/pbs.conf", "PATH": PATH, "HOME": "/home/u"}
    done = SubprocessRunner(environment={**foreign, **kept}).run(["env"], timeout_s=10, env={"EXTRA": "1"})

    got = dict(line.split("=", 1) for line in done.stdout.splitlines() if not line.startswith("_="))
    assert got == {**kept, "LC_ALL": "C", "EXTRA": "1"}


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert SubprocessRunner().run(["printf", r"a\377b"], timeout_s=10).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_a_program_that_is_not_there_is_no_exception() -> None:
    done = SubprocessRunner().run(["/no/such/program"], timeout_s=10)

    assert (done.exit_code, done.timed_out) == (None, False)
    assert "No such file or directory" in done.stderr


def test_an_argument_with_a_nul_is_no_exception() -> None:
    assert SubprocessRunner().run(["/bin/true", "a\0b"], timeout_s=10).exit_code is None


@pytest.mark.slow
def test_a_program_that_does_not_answer_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > '{tmp_path}/pid'; echo said; wait"
    began = time.monotonic()
    done = SubprocessRunner().run(["/bin/sh", "-c", script], timeout_s=0.3)

    assert time.monotonic() - began < 5
    assert done == Completed(exit_code=None, stdout="said\n", stderr="no answer within 0.3 s", timed_out=True)
    child = int((tmp_path / "pid").read_text(encoding="ascii"))
    while start_ticks(child):  # a process takes a moment to die
        assert time.monotonic() - began < 10
        time.sleep(0.01)


@pytest.mark.slow
def test_a_grandchild_that_keeps_the_pipes_open_is_not_waited_for() -> None:
    began = time.monotonic()
    done = SubprocessRunner().run(["/bin/sh", "-c", "setsid sleep 3 & exit 0"], timeout_s=0.2)

    assert time.monotonic() - began < 2.5
    assert done.timed_out


def test_a_tag_names_the_instance_and_the_attempt() -> None:
    assert tag_of("4f2a", AttemptId("t7k2m9qx4t.1")) == "el.4f2a.t7k2m9qx4t.1"
