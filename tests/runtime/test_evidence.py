from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elisa.runtime import evidence, sample
from elisa.runtime.evidence import has_ended, kill_all, own_identity, start_ticks
from elisa.runtime.sample import catches_signal, descendants


def test_this_process_lives() -> None:
    me = own_identity()

    assert me.pid == os.getpid()
    assert not has_ended(me, me)


def test_the_remains_of_a_process_are_no_process() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_ticks(process.pid) is None
        process.wait()
    assert start_ticks(process.pid) is None


def test_who_is_gone_or_another_users_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def kill(pid: int, _number: int) -> None:
        asked.append(pid)
        raise ProcessLookupError if pid == 1 else PermissionError

    monkeypatch.setattr(os, "kill", kill)
    kill_all([1, 2])

    assert asked == [1, 2]


def test_where_the_system_does_not_tell_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> str:
        raise OSError("no /proc here")

    monkeypatch.setattr(evidence, "open", silent, raising=False)
    monkeypatch.setattr(os, "readlink", silent)
    me = own_identity()

    assert (me.boot_id, me.namespace, me.started) == ("", "", 0)
    assert not has_ended(me, me)


class TestSampling:
    def test_children_of_children_are_found(self) -> None:
        code = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            grandchild = int(process.stdout.readline())
            found = descendants(os.getpid())
            kill_all([grandchild])

        assert {process.pid, grandchild} <= set(found)

    def test_a_process_that_ended_meanwhile_uses_nothing(self) -> None:
        assert descendants(2**22) == []
        assert sample._resident_mib(2**22) == sample._proportional_mib(2**22) == sample._cpu_s(2**22) == 0.0
        assert not catches_signal(2**22, 15)

    def test_what_ended_children_used_is_not_forgotten(self) -> None:
        work = "x = bytearray(80 * 2**20); s = 0\nfor i in range(10**6): s += i"
        sampler = sample.Sampler()
        subprocess.run([sys.executable, "-c", work], check=True)

        final = sampler.final()

        assert final.cpu_s > 0.02
        assert (final.memory_mib, final.processes) == (0.0, 0)


def test_marks_are_read_from_the_environment_of_others(tmp_path: Path) -> None:
    job = tmp_path / "spool" / "t000000009.1" / "job.json"
    env = {**os.environ, "ELISA_JOB": str(job), "ELISA_INCARNATION": "0"}
    with subprocess.Popen(["sleep", "60"], env=env) as process:
        found = evidence.processes_of(str(tmp_path), "t000000009.1")
        elsewhere = evidence.processes_of(str(tmp_path / "copy"), "t000000009.1")
        process.kill()

    assert (found, elsewhere) == ([process.pid], [])
