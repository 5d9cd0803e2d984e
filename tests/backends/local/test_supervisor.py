"""The supervisor in this very process, where a debugger and a coverage tool can follow it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.local import supervisor
from elisa.backends.local.job import LocalJob
from elisa.backends.under_test import BackendUnderTest
from elisa.model.native import JobRequest
from elisa.model.resources import Resources

Supervise = Callable[..., dict[str, str] | None]


@pytest.fixture
def supervise(tmp_path: Path, world: BackendUnderTest) -> Iterator[Supervise]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, supervisor._SIGNALS)
    job = LocalJob(folder=tmp_path / "local" / "el.4f2a.job", attempt=attempt("in process"))
    (tmp_path / "local" / "live").mkdir(parents=True)
    job.folder.mkdir()

    def run(script: str = "exit 0", **changes: object) -> dict[str, str] | None:
        request: JobRequest = replace(world.job(job.attempt, script), **changes)  # type: ignore[arg-type]
        job.write_request(request, dict(request.environment))
        supervisor.write_fields(str(tmp_path / "local" / "live" / job.folder.name), {"cpus": 1})
        told, tell = os.pipe()
        supervisor._supervise(str(job.folder), tell)
        os.close(told)
        return supervisor.read_fields(f"{job.folder}/exit")

    yield run
    signal.sigtimedwait(supervisor._SIGNALS, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_the_last_word_is_the_agent_s_status(supervise: Supervise, tmp_path: Path) -> None:
    last = supervise("exit 3")

    assert last is not None
    assert (last["status"], last["stopped"], last["oom"]) == (str(3 << 8), "", "0")
    assert not list((tmp_path / "local" / "live").iterdir())


def test_an_agent_that_cannot_be_started_is_explained(supervise: Supervise) -> None:
    last = supervise(argv=("/no/such",))

    assert last is not None
    assert (last["status"], last["why"]) == (str(73 << 8), "No such file or directory: /no/such")


def test_a_job_that_was_voided_is_not_started(supervise: Supervise, tmp_path: Path) -> None:
    supervisor.link_once(str(tmp_path / "local" / "el.4f2a.job" / "job"), {"void": 1})

    assert supervise("touch ran") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("stopped", ["cancel", "outside"])
def test_a_signal_stops_the_agent_and_says_on_whose_behalf(stopped: str, supervise: Supervise, tmp_path: Path) -> None:
    if stopped == "cancel":
        supervisor.write_fields(str(tmp_path / "local" / "el.4f2a.job" / "cancel"), {"at": 1})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads must not take it
    last = supervise("sleep 300", grace_s=60)

    assert last is not None
    assert (last["status"], last["stopped"]) == ("15", stopped)


def test_a_stuck_agent_is_killed_when_its_time_and_its_grace_are_over(
    supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "WALLTIME_MARGIN_S", -0.9)
    last = supervise("trap '' TERM; while :; do sleep 0.01; done", resources=Resources(walltime_s=1), grace_s=0.05)

    assert last is not None
    assert (last["status"], last["stopped"]) == ("9", "walltime")


def test_a_kill_for_want_of_memory_is_told_from_others(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((4, 5))
    monkeypatch.setattr(supervisor, "_oom_kills", lambda: next(counts))
    last = supervise("kill -9 $$")

    assert last is not None
    assert (last["status"], last["oom"]) == ("9", "1")


def test_a_full_disk_is_waited_for_with_the_last_word(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    write, tries = supervisor.write_fields, []

    def full_at_first(path: str, fields: dict[str, object], *, durable: bool = False) -> None:
        if path.endswith("/exit") and not tries:
            tries.append(path)
            raise OSError(28, "No space left on device")
        write(path, fields, durable=durable)

    monkeypatch.setattr(supervisor, "write_fields", full_at_first)
    monkeypatch.setattr(supervisor.time, "sleep", lambda _: None)

    assert supervise("exit 0") is not None
    assert len(tries) == 1


def test_nobody_is_told_when_the_folder_is_gone(supervise: Supervise, tmp_path: Path) -> None:
    folder = tmp_path / "local" / "el.4f2a.job"

    assert supervise(f"rm -r '{folder}'", workdir="/") is None


def test_a_process_that_is_not_ours_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(supervisor.os, "kill", refuse)

    assert supervisor._signal(1, signal.SIGTERM) is False
