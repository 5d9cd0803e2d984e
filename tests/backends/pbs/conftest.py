from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backends.pbs.bench import Bench
from tests.fakes.pbs.fake_pbs import FakePbs


@pytest.fixture
def a_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Give `a_bench(near=, history=, express=, dialect=)`: a pretended PBS, whose jobs end with the test."""
    made: list[FakePbs] = []

    def make(*, near: bool = True, **kind: object) -> Bench:
        pbs = FakePbs(tmp_path / f"pbs{len(made)}", **kind)  # type: ignore[arg-type]  # passed on
        made.append(pbs)
        folder = tmp_path / f"jobs{len(made)}"
        folder.mkdir()
        return Bench(pbs=pbs, folder=folder, near=near)

    yield make
    for pbs in made:
        pbs.close()


@pytest.fixture
def bench(a_bench: Callable[..., Bench]) -> Bench:
    return a_bench()
