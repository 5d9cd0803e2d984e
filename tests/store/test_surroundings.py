"""A folder that may only be read, a disk without room, a writer that died, and other processes at the same time."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.errors import ExitCode, StaleChange
from elisa.model.ports import CrashPoint, no_crash
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task, an_attempt, intended
from tests.store.dying import Child, said

NOBODY = 65534


def read(home: Path) -> int:
    """Count the tasks."""
    with Reader.open(home) as reader:
        return len(reader.task_rows())


def write(home: Path, count: int, crash: CrashPoint = no_crash) -> str:
    """Submit a pipeline of `count` tasks with long commands, with little memory for what is not committed."""
    with Writer.open(home, clock=FakeClock(), actor="child", crash=crash) as writer:
        writer._db.run("PRAGMA cache_size = 20")
        tasks = (a_task(f"t{n}", "x" * 1000).in_pipeline("large") for n in range(count))
        writer.apply((a_pipeline(*tasks, name="large").added(),))
    return "written"


def write_into_little_room(home: Path, count: int) -> str:
    """Write where no file may grow beyond 200 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    return write(home, count)


def die_writing(home: Path, count: int) -> None:
    """Be killed when all is written but nothing committed."""

    def crash(point: str) -> None:
        if point == "store.commit":
            os.kill(os.getpid(), signal.SIGKILL)

    write(home, count, crash)


def claim(home: Path, name: str) -> str:
    """Make every ready task active that nobody else was faster with; return those."""
    claimed = []
    with Writer.open(home, clock=FakeClock(), actor=name) as writer:
        for row in writer.task_rows(states=[TaskState.READY]):
            try:
                writer.apply((intended(an_attempt(row.id).on(name)),))
                claimed.append(row.id)
            except StaleChange:
                pass
    return " ".join(claimed)


@pytest.fixture
def store(home: Path) -> Path:
    """A closed store with a hundred ready tasks."""
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(100))).added(),))
    return home


@pytest.fixture
def interrupted(store: Path) -> Path:
    """The store after somebody died in a transaction too large for the memory: half of it stands in the file."""
    assert said(lambda: die_writing(store, 1000)) == (-signal.SIGKILL, "")
    assert layout.database(store).with_name("elisa.db-journal").stat().st_size > 0
    assert layout.database(store).stat().st_size > 2**20
    return store


def given_to_nobody(store: Path) -> Iterator[Path]:
    """Copy the store to where a user without the rights of root can reach it: their own, and read-only."""
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


@pytest.fixture
def foreign(store: Path) -> Iterator[Path]:
    yield from given_to_nobody(store)


@pytest.fixture
def foreign_and_interrupted(interrupted: Path) -> Iterator[Path]:
    yield from given_to_nobody(interrupted)


def test_a_read_only_store_can_be_read(foreign: Path) -> None:
    assert said(lambda: read(foreign), NOBODY) == (0, "100")


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_read_only_store_says_why_it_is_not_written(foreign: Path, mode: int) -> None:
    layout.database(foreign).chmod(mode)

    status, words = said(lambda: write(foreign, 1), NOBODY)

    assert status == ExitCode.ERROR
    assert words == (
        "the database cannot be written\n"
        f"  why: {layout.database(foreign)}: attempt to write a readonly database\n"
        "hint: check the permissions of the state folder, and that its filesystem is not mounted read-only"
    )


def test_whoever_comes_first_undoes_what_a_dead_writer_left(interrupted: Path) -> None:
    with Reader.open(interrupted) as reader:
        assert len(reader.task_rows()) == 100
        assert reader.verify_audit().problems == ()
    assert not layout.database(interrupted).with_name("elisa.db-journal").exists()


def test_a_writer_undoes_it_too_and_goes_on(interrupted: Path) -> None:
    write(interrupted, 10)

    assert read(interrupted) == 110


def test_who_may_not_undo_it_is_told_why_nothing_can_be_read(foreign_and_interrupted: Path) -> None:
    home = foreign_and_interrupted

    status, words = said(lambda: read(home), NOBODY)

    assert status == ExitCode.ERROR
    assert words == (
        "the database cannot be read before it is mended\n"
        f"  why: a writer died in a transaction, which must be undone in {home}; you may not write there\n"
        "hint: have its owner run any elisa command, or ask for the right to write"
    )


def test_a_full_disk_changes_nothing_and_says_so(store: Path) -> None:
    status, words = said(lambda: write_into_little_room(store, 500))

    assert status == ExitCode.ERROR
    assert words.splitlines()[0] == "the filesystem failed under the database; nothing was changed"
    with Reader.open(store) as reader:
        assert len(reader.task_rows()) == 100
        assert reader.verify_audit().problems == ()
    assert write(store, 500) == "written"


@pytest.mark.slow
def test_two_processes_never_claim_the_same_task(store: Path) -> None:
    claimers = {name: Child(lambda name=name: claim(store, name)) for name in ("one", "two")}  # type: ignore[misc]

    outcomes = {name: claimer.outcome() for name, claimer in claimers.items()}

    assert {status for status, _ in outcomes.values()} == {0}
    claimed = [(task, name) for name, (_, words) in outcomes.items() for task in words.split()]
    assert (len(claimed), len(dict(claimed))) == (100, 100)
    with Reader.open(store) as reader:
        assert {attempt.task: attempt.backend for attempt in reader.live_attempts()} == dict(claimed)
        assert {row.state for row in reader.task_rows()} == {TaskState.ACTIVE}
        assert reader.verify_audit().problems == ()
