"""A store in a folder of its own, and the clock it goes by."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def writer(home: Path, clock: FakeClock) -> Iterator[Writer]:
    with Writer.create(home, clock=clock, random=SeededRandom(), actor="ada") as opened:
        yield opened


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which syncing costs nothing, for tests of processes that die: the kernel forgets nothing of theirs."""
    device = Path("/dev/shm")
    if not os.access(device, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    folder = Path(tempfile.mkdtemp(prefix="elisa-test-", dir=device))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def in_memory(memory: Path) -> Path:
    """A folder of the test's own there."""
    return Path(tempfile.mkdtemp(dir=memory))
