"""Recordings, and a backend over a pretended PBS."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.runner import Completed, SubprocessRunner
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import BackendName
from tests.backends.worlds import WallClock
from tests.fakes.openpbs.fake_openpbs import FakeOpenPbs

CAPTURES = Path(__file__).parent / "captures"


def recorded(name: str) -> Completed:
    """Return what a real PBS answered."""
    head, _, rest = (CAPTURES / f"{name}.txt").read_text(encoding="utf-8").partition("=====STDOUT=====\n")
    stdout, _, stderr = rest.partition("=====STDERR=====\n")
    return Completed(exit_code=int(head.split("# exit: ")[1].split("\n")[0]), stdout=stdout, stderr=stderr)


def recorded_command(name: str) -> str:
    """Return the command line that was typed."""
    return (CAPTURES / f"{name}.txt").read_text(encoding="utf-8").split("# command: ")[1].split("\n")[0]


def recorded_jobs(name: str) -> dict[str, dict[str, str]]:
    """Return the attributes in a recording of JSON, as the text form would give them."""
    jobs: dict[str, dict[str, Any]] = json.loads(recorded(name).stdout)["Jobs"]
    return {job: dict(_flat(attributes)) for job, attributes in jobs.items()}


def _flat(attributes: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for name, value in attributes.items():
        if name == "Variable_List":
            pairs.append((name, ",".join(f"{key}={item}" for key, item in value.items())))
        elif isinstance(value, dict):
            pairs += [(f"{name}.{key}", str(item)) for key, item in value.items()]
        else:
            pairs.append((name, str(value)))
    return pairs


def a_backend(fake: FakeOpenPbs, **options: Any) -> PbsBackend:
    """Return a backend that speaks to the pretended server."""
    return PbsBackend(
        name=BackendName("pbs"),
        instance="4f2a",
        options=PbsOptions.read({"path": str(fake.bin), "umask": "0022", **options}),
        runner=SubprocessRunner(scrubbed=(), environment={"PATH": os.environ["PATH"]}),
        clock=WallClock(),
        user="pbsuser",
    )


def a_world(folder: Path, fake: FakeOpenPbs) -> BackendUnderTest:
    """Return the backend on the test bench."""
    return BackendUnderTest(
        backend=a_backend(fake),
        reopen=lambda: a_backend(fake),
        folder=folder,
        pass_time=time.sleep,
        step_s=0.02,
    )
