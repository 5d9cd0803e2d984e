"""Whatever stands at the other end of a command's output, it ends with the right status and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

TASKS = "  first: {command: [echo, 'hello there'], matrix: {rate: [0.1, 0.01]}}\n"


@pytest.fixture
def finished(home: Path, elisa: Elisa, tmp_path: Path) -> Path:
    """A state folder in which a pipeline has ended."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(f"name: study\ntasks:\n{TASKS}", encoding="utf-8")
    assert elisa("submit", str(file), "--wait").code == 0
    return home


def in_a_shell(line: str, **environment: str) -> tuple[int, str, str]:
    """Run a line in which `elisa` is the command, as a user would."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "PYTHONIOENCODING"}}
    elisa = f'elisa() {{ "{sys.executable}" -m elisa.cli "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", elisa + line], capture_output=True, text=True, env=kept | environment, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("elisa status --all | head -1; exit ${PIPESTATUS[0]}", 0),
        ("elisa status --all --json | head -c 5; exit ${PIPESTATUS[0]}", 0),
        ("elisa status --all >&-", 0),
        ("elisa status --all >/dev/full", 1),
        ("elisa status --all --json >/dev/full", 1),
        ("elisa explain nothing 2>/dev/full", 2),
        ("elisa validate --schema >/dev/full", 1),
    ],
)
def test_output_that_goes_nowhere_is_no_traceback(finished: Path, line: str, code: int) -> None:
    status, _, err = in_a_shell(line)

    assert (status, err.count("Traceback"), err.count("Exception ignored")) == (code, 0, 0)


def test_a_full_disk_behind_the_output_is_told_in_three_lines(finished: Path) -> None:
    _, _, err = in_a_shell("elisa status --all >/dev/full")

    assert [line.partition(":")[0].strip() for line in err.splitlines()] == ["error", "why", "hint"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters_gets_a_timeline_it_can_show(finished: Path, encoding: str) -> None:
    status, out, err = in_a_shell("elisa report study", PYTHONIOENCODING=encoding)

    assert (status, err) == (0, "")
    assert out.isascii()
    assert "completed" in out


def test_lines_in_a_pipe_are_neither_folded_nor_padded(finished: Path) -> None:
    _, out, _ = in_a_shell("elisa explain study/first-rate=0.01")

    assert [line for line in out.splitlines() if "it was chosen" in line and not line.endswith(" for local")] == []
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("width", ["30", "60", "80"])
def test_ids_stay_whole_on_a_narrow_screen(finished: Path, elisa: Elisa, width: str) -> None:
    ids = [task["id"] for task in elisa("status", "--all", "--json").data["tasks"]]

    _, out, _ = in_a_shell("elisa status --all", COLUMNS=width)

    assert [name for name in ids if name not in out] == []


@pytest.mark.parametrize("words", ["status", "tick", "plan", "init", "submit {file}", "cancel t1", "doctor"])
def test_a_file_in_the_place_of_the_state_folder_is_no_traceback(tmp_path: Path, words: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(f"name: study\ntasks:\n{TASKS}", encoding="utf-8")

    status, out, err = in_a_shell(f"elisa {words.format(file=file)} --home {file}")

    assert status in {1, 2}
    assert "Traceback" not in err
    assert (out + err).count("hint:") >= 1


@pytest.mark.parametrize("environment", [{}, {"HOME": "/nonexistent"}, {"LC_ALL": "C"}], ids=str)
def test_hardly_any_environment_is_enough(environment: Mapping[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elisa.cli", "status", "--home", str(tmp_path / "none")]

    done = subprocess.run(command, capture_output=True, text=True, env=dict(environment), check=False)

    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        f"error: there is no elisa state in {tmp_path / 'none'}",
    )
