"""A folder that may only be read, a disk without room, and other processes at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("using_store.py")
ROOT = Path(__file__).parents[2]
NOBODY = 65534


def started(home: Path, verb: str, argument: str = "", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(home), verb, argument],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def said(home: Path, verb: str, argument: str = "", **environment: str) -> tuple[int, str]:
    """Return a process's exit status and what it printed; it must not have failed in an unexpected way."""
    process = started(home, verb, argument, **environment)
    out, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, out.strip()


@pytest.fixture
def store(home: Path) -> Path:
    """A closed store with a hundred ready tasks."""
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(100))).added(),))
    return home


@pytest.fixture
def foreign(store: Path) -> Iterator[Path]:
    """The store where a user without the rights of root can reach it: their own, and read-only."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp(prefix="elisa-test-"))
    folder.chmod(0o755)
    home = folder / "home"
    shutil.copytree(store, home)
    for path in (home, *home.iterdir()):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o500 if path.is_dir() else 0o400)
    yield home
    shutil.rmtree(folder)


def test_a_read_only_store_can_be_read(foreign: Path) -> None:
    assert said(foreign, "read", AS_USER=str(NOBODY)) == (0, "100")


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_read_only_store_says_why_it_is_not_written(foreign: Path, mode: int) -> None:
    layout.database(foreign).chmod(mode)

    code, words = said(foreign, "write", "1", AS_USER=str(NOBODY))

    assert code == 1
    assert words == (
        "the database cannot be written\n"
        f"  why: {layout.database(foreign)}: attempt to write a readonly database\n"
        "hint: check the permissions of the state folder, and that its filesystem is not mounted read-only"
    )


def test_a_full_disk_changes_nothing_and_says_so(store: Path) -> None:
    code, words = said(store, "write-into-little-room", "500")

    assert (code, words.splitlines()[0]) == (1, "the filesystem failed under the database; nothing was changed")
    with Reader.open(store) as reader:
        assert len(reader.task_rows()) == 100
        assert reader.verify_audit().problems == ()
    assert said(store, "write", "500") == (0, "written")


def test_two_processes_never_claim_the_same_task(store: Path) -> None:
    claimers = [started(store, "claim", name) for name in ("one", "two")]

    claimed = [claimer.communicate(timeout=60)[0].split() for claimer in claimers]

    assert [claimer.returncode for claimer in claimers] == [0, 0]
    everything = claimed[0] + claimed[1]
    assert (len(everything), len(set(everything))) == (100, 100)
    with Reader.open(store) as reader:
        assert {attempt.task: attempt.backend for attempt in reader.live_attempts()} == {
            task: name for name, tasks in zip(("one", "two"), claimed, strict=True) for task in tasks
        }
        assert {row.state for row in reader.task_rows()} == {TaskState.ACTIVE}
        assert reader.verify_audit().problems == ()
