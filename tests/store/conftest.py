"""A store in a folder of its own, and the clock it goes by."""

from __future__ import annotations

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
