from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS, BackendUnderTest
from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.ids import BackendName
from tests.backends.slurm.jobs import INSTANCE
from tests.builders import FakeClock
from tests.fakes.slurm.fake_slurm import FakeSlurm

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackendUnderTest]:
    cluster = FakeSlurm(tmp_path / "slurm")
    folder = tmp_path / "jobs"
    folder.mkdir()
    backend = SlurmBackend(
        name=BackendName("slurm"),
        instance=INSTANCE,
        options=SlurmOptions(path=str(cluster.bin)),
        runner=SubprocessRunner(environment={"PATH": "/usr/bin:/bin"}),
        clock=FakeClock(),
        uid=1000,
    )
    yield BackendUnderTest(
        backend=backend, reopen=lambda: backend, folder=folder, pass_time=time.sleep, shortest_walltime_s=0
    )
    cluster.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms_over_pretended_programs(world: BackendUnderTest, check: Callable[[BackendUnderTest], None]) -> None:
    check(world)
