from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elisa.runtime.start import StartError, start_program
from tests.runtime.agent_cases import Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def started(tmp_path: Path, *argv: str, **env: str) -> tuple[int, str]:
    """Start a program from here; return its status and what it printed."""
    with (tmp_path / "out").open("wb") as out:
        pid = start_program(argv, workdir=str(tmp_path), env=env, stdout=out, stderr=out)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, (tmp_path / "out").read_text()


def a_program(folder: Path, says: str, mode: int = 0o700) -> None:
    folder.mkdir()
    (folder / "program").write_text(f"#!/bin/sh\necho {says}\n")
    (folder / "program").chmod(mode)


def test_a_program_is_found_on_its_own_path(tmp_path: Path) -> None:
    a_program(tmp_path / "denied", "no", mode=0o600)
    a_program(tmp_path / "first", "first")
    a_program(tmp_path / "second", "second")
    path = ":".join(str(tmp_path / name) for name in ("absent", "denied", "first", "second"))

    assert started(tmp_path, "program", PATH=path) == (0, "first\n")


@pytest.mark.parametrize(("folder", "why"), [("denied", "Permission denied"), ("absent", "No such file or directory")])
def test_a_program_that_is_nowhere_to_be_executed_is_told(tmp_path: Path, folder: str, why: str) -> None:
    a_program(tmp_path / "denied", "no", mode=0o600)

    with pytest.raises(StartError, match=f"^program cannot be started: {why}$"):
        started(tmp_path, "program", PATH=f"{tmp_path / folder}:{tmp_path / 'absent'}")


def test_a_program_inherits_no_file_that_was_open(tmp_path: Path) -> None:
    os.dup2(1, 77)
    try:
        assert os.get_inheritable(77)
        assert started(tmp_path, "/bin/sh", "-c", "[ ! -e /proc/$$/fd/77 ]") == (0, "")
    finally:
        os.close(77)


def test_an_agent_without_standard_files_gives_its_program_all_three(case: Case) -> None:
    script = 'read word; echo "out $word"; echo err >&2'
    job = case.job(argv=["sh", "-c", script], stderr=str(case.task_dir / "stderr.log"))
    agent = f'exec "{sys.executable}" -m elisa.runtime run --job "$0" <&- >&- 2>&-'

    assert subprocess.run(["sh", "-c", agent, str(job)], check=False, timeout=60).returncode == 0
    assert (case.printed, (case.task_dir / "stderr.log").read_text()) == ("out \n", "err\n")
