from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.world import World, scratch_folder


@pytest.fixture
def world() -> Iterator[World]:
    with scratch_folder() as folder:
        yield World.make(Path(folder) / "home")
