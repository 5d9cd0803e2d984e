"""The worlds in which the conformance checks and other tests of backends are played."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.slots import LocalSlots
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.simulated.sink import MemorySpool
from elisa.backends.under_test import BackendUnderTest

SLOTS = LocalSlots(cpus=16, memory_mib=4096, gpus=("a100", "a100", "h100"))
START = datetime(2027, 1, 1, tzinfo=UTC)
CLUSTER = parse_cluster({"nodes": {"n": {"count": 4, "cpus": 8, "memory": "16GiB", "gpus": {"a100": 4}}}})


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def local_backend(home: Path) -> LocalBackend:
    home.mkdir(exist_ok=True)
    return LocalBackend(home, "4f2a", SLOTS, WallClock())


def local_world(folder: Path) -> BackendUnderTest:
    def reopen() -> LocalBackend:
        return local_backend(folder / "home")

    return BackendUnderTest(backend=reopen(), reopen=reopen, folder=folder, pass_time=time.sleep)


def simulated_world(folder: Path) -> BackendUnderTest:
    clock = VirtualClock(START)
    spool = MemorySpool()

    def reopen() -> SimulatedBackend:
        return SimulatedBackend(CLUSTER, clock, sink=spool, memory=folder / "cluster.json")

    return BackendUnderTest(
        backend=reopen(),
        reopen=reopen,
        folder=folder,
        pass_time=clock.advance,
        patience_s=900.0,
        step_s=0.5,
        runs_programs=False,
    )
