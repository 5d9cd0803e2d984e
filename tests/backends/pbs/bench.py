"""What the PBS tests share: a pretended PBS with a backend on it, a runner that answers from a script, and recordings."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.runner import Completed, Runner, SubprocessRunner
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import Answered, JobRequest, Observation, Seen
from elisa.model.resources import Resources
from tests.builders import FakeClock
from tests.fakes.pbs.fake_pbs import FakePbs

__all__ = [
    "INSTANCE",
    "Bench",
    "NearRunner",
    "ScriptedRunner",
    "a_request",
    "attempt",
    "observed",
    "recorded",
    "scripted_backend",
    "wait_until",
]

INSTANCE = "ab12"
RECORDINGS = Path(__file__).parent / "recordings"


def attempt(character: str, number: int = 1) -> AttemptId:
    return AttemptId(f"t00000000{character}.{number}")


def a_request(name: str = "1", *, resources: Resources = Resources(), **more: object) -> JobRequest:
    """Return a plain request of the attempt `name`; `more` are its other fields."""
    fields: dict[str, object] = {
        "argv": ("/usr/bin/python3", "-m", "elisa.runtime"),
        "workdir": "/home/ada/run",
        "stdout": "/home/ada/run/agent.log",
        "stderr": "/home/ada/run/agent.log",
    }
    return JobRequest(attempt=attempt(name), resources=resources, **{**fields, **more})  # type: ignore[arg-type]  # a builder passes on what it is given


def recorded(name: str) -> Completed:
    """Return what a real OpenPBS 23.06.06 left: see the README beside the recordings."""
    head, _, rest = (RECORDINGS / f"{name}.txt").read_bytes().decode(errors="replace").partition("=====STDOUT=====\n")
    stdout, _, stderr = rest.partition("=====STDERR=====\n")
    status = next(line for line in head.split("\n") if line.startswith("# exit: "))
    return Completed(exit_code=int(status.removeprefix("# exit: ")), stdout=stdout, stderr=stderr)


def wait_until(holds: object, within_s: float = 20.0) -> None:
    """Wait for something that a process beside us does."""
    limit = time.monotonic() + within_s
    while not holds():  # type: ignore[operator]  # any callable
        assert time.monotonic() < limit
        time.sleep(0.02)


def observed(backend: PbsBackend, native_id: NativeId) -> Observation:
    poll = backend.poll([native_id])
    assert isinstance(poll, Answered), poll
    return poll.observations[native_id]


class ScriptedRunner:
    """Answers each program with what is set for it, the last answer again and again, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, Completed | str | Sequence[Completed | str]]) -> None:
        self._answers = {name: [a] if isinstance(a, (str, Completed)) else list(a) for name, a in answers.items()}
        self.asked: list[tuple[str, ...]] = []
        self.inputs: list[str | None] = []
        self.environments: list[Mapping[str, str] | None] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,  # noqa: ARG002 - the protocol's
        input: str | None = None,  # noqa: A002 - named as in the protocol
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        self.asked.append(tuple(argv))
        self.inputs.append(input)
        self.environments.append(env)
        if argv[1:] == ("--version",) and argv[0] not in self._answers:
            return Completed(exit_code=0, stdout="pbs_version = 23.06.06\n")
        answers = self._answers[argv[0]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return Completed(exit_code=0, stdout=answer) if isinstance(answer, str) else answer


def scripted_backend(runner: ScriptedRunner, options: Mapping[str, object] = {}) -> PbsBackend:
    return PbsBackend(
        name=BackendName("pbs"),
        instance=INSTANCE,
        options=PbsOptions.read(options),
        runner=runner,
        clock=FakeClock(),
        user="ada",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NearRunner:
    """Calls the programs of a pretended PBS within this process; those that are about to go wrong get one of their own."""

    pbs: FakePbs
    processes: Runner

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: str | None = None,  # noqa: A002 - named as in the protocol
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        program = Path(argv[0]).name
        if self.pbs.has_fault(program):
            return self.processes.run(argv, timeout_s=timeout_s, input=input, env=env)
        time.tzset()  # the zone of a test's environment, which a process would have had from its start
        code, stdout, stderr = self.pbs.run(program, list(argv[1:]), input or "")
        return Completed(exit_code=code, stdout=stdout, stderr=stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A pretended PBS and how to reach it: `near`, or through processes as a user does."""

    pbs: FakePbs
    folder: Path
    near: bool = True

    def backend(self, instance: str = INSTANCE, user: str = "", **options: object) -> PbsBackend:
        """Return the backend as one more process would see it, of the `user` that the server takes us for."""
        environment = {"HOME": str(self.folder), "PATH": os.environ["PATH"]}
        processes = SubprocessRunner(scrubbed=(), environment=environment)
        return PbsBackend(
            name=BackendName("pbs"),
            instance=instance,
            options=PbsOptions.read({"path": str(self.pbs.bin), "gpu_type": "gpu_model", **options}),
            runner=NearRunner(pbs=self.pbs, processes=processes) if self.near else processes,
            clock=FakeClock(),
            user=user or getpass.getuser(),
        )

    def world(self, **options: object) -> BackendUnderTest:
        return BackendUnderTest(
            backend=self.backend(**options),  # type: ignore[arg-type]  # as above
            reopen=self.backend,
            folder=self.folder,
            pass_time=time.sleep,
            ahead_s=1.0 if self.near else 3.0,
        )

    def job(self, script: str, name: str = "1", **more: object) -> JobRequest:
        """Return a job that runs a shell script."""
        fields: dict[str, object] = {
            "argv": ("/bin/sh", "-c", script),
            "workdir": str(self.folder),
            "stdout": str(self.folder / f"{name}.out"),
            "stderr": str(self.folder / f"{name}.err"),
        }
        return a_request(name, **{**fields, **more})  # type: ignore[arg-type]  # as above

    def end_of(self, native_id: NativeId) -> Seen:
        return self.world().end_of(native_id)
