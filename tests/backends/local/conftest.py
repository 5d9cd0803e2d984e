from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.local import supervisor
from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.job import LocalJob
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import Resources
from tests.backends.worlds import local_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackendUnderTest]:
    """A local backend in a folder of its own; what still runs at the end is killed."""
    world = local_world(tmp_path)
    yield world
    for folder in (tmp_path / "home" / "local").glob("el.*"):
        record = supervisor.read_fields(f"{folder}/job")
        program = supervisor.read_fields(f"{folder}/program") or {}
        if record is not None and "pid" in record:
            native_id = f"{record['pid']}.{folder.name.split('.', 2)[2]}"
            supervisor.kill_all(os.fsencode(native_id), int(program.get("pid", -1)), 9)
            is_alive = supervisor.start_ticks(int(record["pid"])) == int(record["start"])
            if is_alive and int(record["pid"]) != os.getpid():  # some tests pretend to be a supervisor
                os.kill(int(record["pid"]), signal.SIGTERM)  # its agent may just be about to begin


@pytest.fixture
def backend(world: BackendUnderTest) -> LocalBackend:
    assert isinstance(world.backend, LocalBackend)
    return world.backend


@pytest.fixture
def request_for(world: BackendUnderTest) -> Callable[..., JobRequest]:
    def build(name: str, script: str = "sleep 300", **resources: object) -> JobRequest:
        asked = replace(Resources(walltime_s=600), **resources)  # type: ignore[arg-type]
        return replace(world.job(attempt(name), script), resources=asked)

    return build


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    def wait(condition: Callable[[], object]) -> None:
        for _ in range(400):
            if condition():
                return
            time.sleep(0.02)
        raise AssertionError("it did not come to pass in 8 s")

    return wait


@pytest.fixture
def job_of(tmp_path: Path) -> Callable[[str], LocalJob]:
    def job(name: str) -> LocalJob:
        tag = attempt(name)
        return LocalJob(folder=tmp_path / "home" / "local" / f"el.4f2a.{tag}", attempt=tag)

    return job


def pid_in(fields: dict[str, str] | None) -> int:
    assert fields is not None
    return int(fields["pid"])


def native(pid: int, name: str) -> NativeId:
    return NativeId(f"{pid}.{attempt(name)}")
