"""The demonstration shows what it says, and its own death loses nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.errors import StoreError
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.cli.conftest import Elisa

pytestmark = pytest.mark.slow

DEMO = [sys.executable, "-m", "examples.digits.demo"]


def small(seeds: str, epochs: int) -> list[str]:
    return ["--set", f"seeds={seeds}", "--set", f"epochs={epochs}", "--set", "threshold=0.5"]


def test_the_demonstration_kills_a_training_that_goes_on_from_its_checkpoint(
    tmp_path: Path, project_root: Path
) -> None:
    command = [*DEMO, str(tmp_path / "home"), *small("[1]", 24)]

    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert ">>> kill -9" in done.stderr
    assert "was killed and went on from step" in done.stdout
    assert "Best accuracy above" in done.stdout


def test_a_killed_demonstration_is_finished_by_a_tick(tmp_path: Path, project_root: Path, elisa: Elisa) -> None:
    home = tmp_path / "home"
    with subprocess.Popen([*DEMO, str(home), *small("[1]", 12)], cwd=project_root, stderr=subprocess.DEVNULL) as demo:
        wait_until_it_trains(home)
        demo.kill()

    assert elisa("status", "--home", str(home)).code == 0
    assert elisa("tick", "--until-idle", "--home", str(home)).code == 0
    with Reader.open(home) as reader:
        [summary] = reader.pipelines()
    assert set(summary.counts) == {TaskState.SUCCEEDED}


def wait_until_it_trains(home: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if layout.database(home).exists() and _trains(home):
            return
        time.sleep(0.1)
    raise AssertionError("no training began")


def _trains(home: Path) -> bool:
    with suppress(StoreError), Reader.open(home) as reader:  # it may just be coming into being
        return any(row.group == "train" and row.state is TaskState.ACTIVE for row in reader.task_rows())
    return False
