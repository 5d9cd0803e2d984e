from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.simulated.sink import MemorySpool
from elisa.model import layout
from elisa.model.ids import AttemptId, NativeId, attempt_number, task_of
from elisa.model.native import Answered, JobRequest, Seen
from elisa.model.resources import Resources
from elisa.runtime.eventfile import Record, decode_records
from tests.backends.worlds import START

KEY = bytes(range(32))
HOME = Path("/home/of/elisa")


class World:
    """A simulated cluster with a spool in memory, and short words for what tests do to it."""

    def __init__(self, memory: Path | None = None, **options: Any) -> None:
        self.spec = parse_cluster(options)
        self.clock = VirtualClock(START)
        self.spool = MemorySpool()
        self.memory = memory
        self.backend = self.reopen()

    def reopen(self, clock: VirtualClock | None = None) -> SimulatedBackend:
        return SimulatedBackend(self.spec, clock or self.clock, sink=self.spool, memory=self.memory)

    def request(self, name: str, number: int = 1, *, seconds: float = 3600, **changes: Any) -> JobRequest:
        """A job without an agent."""
        environment = (("SIM_DURATION", str(seconds)), *changes.pop("environment", ()))
        resources = Resources(**{"walltime_s": 10**6, **changes.pop("resources", {})})
        return JobRequest(
            attempt=attempt(name, number),
            argv=("/bin/true",),
            workdir="/",
            stdout="/dev/null",
            stderr="/dev/null",
            resources=resources,
            environment=environment,
            **changes,
        )

    def agent_request(
        self, name: str, number: int = 1, *, job: dict[str, Any] | None = None, **changes: Any
    ) -> JobRequest:
        """A job with an agent; its keyword arguments that begin with `sim_` are its task's metadata."""
        tag = attempt(name, number)
        told = {key: json.dumps(changes.pop(key)) for key in list(changes) if key.startswith("sim_")}
        document = {
            "v": 1, "attempt": tag, "task": task_of(tag), "number": attempt_number(tag), "home": str(HOME),
            "key": KEY.hex(), "argv": ["train"], "checkpoint_dir": "/checkpoints", "metadata": told, **(job or {}),
        }  # fmt: skip
        path = layout.job_file(HOME, tag)
        self.spool.files[path] = json.dumps(document).encode()
        request = self.request(name, number, **changes)
        return JobRequest(**{**_fields(request), "argv": ("python", "-m", "elisa.runtime", "run", "--job", str(path))})

    def seen(self, native_id: NativeId) -> Seen:
        poll = self.backend.poll([native_id])
        assert isinstance(poll, Answered), poll
        seen = poll.observations[native_id]
        assert isinstance(seen, Seen), seen
        return seen

    def run_to_end(self, *ids: NativeId) -> list[Seen]:
        """Jump from event to event until all these jobs have ended."""
        for _ in range(10_000):
            poll = self.backend.poll(ids)
            assert isinstance(poll, Answered), poll
            seen = [one for one in poll.observations.values() if isinstance(one, Seen) and one.ended_at]
            if len(seen) == len(ids):
                return seen
            moment = self.backend.next_event_at()
            assert moment is not None, seen
            self.clock.jump_to(moment)
        raise AssertionError("it goes on for ever")

    def events(self, name: str, number: int = 1) -> list[Record]:
        """What a job's agent said, in order of incarnation and sequence."""
        tag = attempt(name, number)
        folder = layout.event_dir(HOME, AttemptId(tag))
        records: list[Record] = []
        for path, data in sorted(self.spool.files.items()):
            if path.parent == folder:
                read, bad, consumed = decode_records(data, KEY)
                assert (bad, consumed) == (0, len(data))
                records.extend(read)
        return records

    def kinds(self, name: str, number: int = 1) -> list[str]:
        return [record.kind for record in self.events(name, number)]


def _fields(request: JobRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__slots__}


@pytest.fixture
def make() -> Callable[..., World]:
    return World
