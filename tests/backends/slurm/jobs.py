"""What the Slurm tests share: an attempt, a request, a runner that answers from a script, and recorded answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from elisa.backends.runner import Completed
from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.ids import AttemptId, BackendName
from elisa.model.native import JobRequest
from elisa.model.resources import Resources
from tests.builders import FakeClock

__all__ = [
    "FIRST",
    "INSTANCE",
    "PLAIN",
    "RECORDINGS",
    "VERSIONS",
    "ScriptedRunner",
    "a_request",
    "attempt",
    "backend_with",
    "recording",
]

INSTANCE = "ab12"
RECORDINGS = Path(__file__).parent / "recordings"
VERSIONS = ("22.05.8", "24.11.5")


def attempt(character: str, number: int = 1) -> AttemptId:
    """Return the attempt that the recordings tag with `character`."""
    return AttemptId(f"t00000000{character}.{number}")


FIRST = attempt("1")
PLAIN = SlurmOptions()
ANY_SCRIPT = "scontrol write batch_script"


def recording(what: str, version: str) -> str:
    """Return what a real Slurm printed."""
    return (RECORDINGS / f"{what}-{version}.txt").read_text()


def a_request(
    *,
    argv: tuple[str, ...] = ("python3", "-m", "elisa.runtime"),
    resources: Resources = Resources(),
    name: AttemptId = FIRST,
    **more: object,
) -> JobRequest:
    """Return a plain request; `more` are its other fields."""
    return JobRequest(
        attempt=name,
        argv=argv,
        workdir="/home/ada/run",
        stdout="/home/ada/run/agent.log",
        stderr="/home/ada/run/agent.log",
        resources=resources,
        **more,  # type: ignore[arg-type]  # a builder passes on what it is given
    )


class ScriptedRunner:
    """Answers each program with what is set for it, and keeps what it was asked. Any job's script is an empty one."""

    def __init__(self, answers: Mapping[str, Completed | str]) -> None:
        self._answers: dict[str, Completed | str] = {ANY_SCRIPT: "#!/bin/sh\n", **answers}
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
        question = " ".join(word for word in argv if not word.startswith("-"))
        if question.startswith("scontrol write batch_script") and question not in self._answers:
            question = ANY_SCRIPT
        answer = self._answers[question]
        return Completed(exit_code=0, stdout=answer) if isinstance(answer, str) else answer

    def programs(self) -> list[str]:
        return [argv[0] for argv in self.asked]


def backend_with(runner: ScriptedRunner, options: SlurmOptions = PLAIN) -> SlurmBackend:
    """Return a backend of instance `ab12` and user 1000 over a runner."""
    return SlurmBackend(
        name=BackendName("slurm"), instance=INSTANCE, options=options, runner=runner, clock=FakeClock(), uid=1000
    )
