"""The PBS that the tests found, used as any user may. What they ask of its site is said in docs/pbs.md."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.pbs.opening import open_pbs
from elisa.backends.under_test import BackendUnderTest
from elisa.model.errors import Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId, TaskId, attempt_id
from elisa.model.native import JobRequest, Seen
from elisa.model.resources import Resources
from elisa.store.reader import Reader
from tests.backends.pbs.bench import wait_until
from tests.backends.pbs.elisa_on_pbs import ElisaOnPbs, a_state_folder

__all__ = ["KILLS", "PbsSite", "a_pbs_site"]

KILLS = 200
# One instance a test, new in each run: the server remembers the jobs of the last.
_INSTANCES = itertools.count(int(time.time()))
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
# Read once: no test sees a variable of elisa's.
_FOLDER, _ACCOUNT = os.environ.get("ELISA_PBS_FOLDER", ""), os.environ.get("ELISA_PBS_ACCOUNT", "")


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class _Bench(BackendUnderTest):
    """Jobs are on the account that whoever started the tests named."""

    def job(
        self, attempt: AttemptId, script: str, *arguments: str, seconds: float = 0.1, exit_code: int = 0
    ) -> JobRequest:
        made = super().job(attempt, script, *arguments, seconds=seconds, exit_code=exit_code)
        return replace(made, account=_ACCOUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsSite:
    """The PBS that is here, used by an instance of its own; `folder` is where its nodes see it too."""

    folder: Path
    instance: str

    def backend(self, **options: object) -> PbsBackend:
        return open_pbs(BackendName("pbs"), options, instance=self.instance, clock=WallClock())

    def bench(self) -> BackendUnderTest:
        return _Bench(
            backend=self.backend(),
            reopen=self.backend,
            folder=self.folder,
            pass_time=time.sleep,
            patience_s=120.0,
            step_s=0.5,
        )

    def elisa(self, **options: object) -> ElisaOnPbs:
        """Return a new state folder whose only backend is this PBS."""
        return a_state_folder(self.folder, account=_ACCOUNT, **options)

    def job(self, number: int, script: str, **more: object) -> JobRequest:
        """Return a shell script as the job of the attempt `number`."""
        request = self.bench().job(self.attempt(number), script)
        return replace(request, resources=Resources(walltime_s=300), **more)  # type: ignore[arg-type]  # by name

    def attempt(self, number: int) -> AttemptId:
        return attempt_id(TaskId(f"t{number:09d}"), 1)

    def output(self, number: int) -> str:
        return (self.folder / f"{self.attempt(number)}.out").read_text()

    def wait_for_output(self, number: int, text: str) -> None:
        """Wait until a job has written just this."""
        file = self.folder / f"{self.attempt(number)}.out"
        wait_until(lambda: file.exists() and file.read_text() == text, within_s=30)

    def end_of(self, native_id: NativeId) -> Seen:
        return self.bench().end_of(native_id)

    def clear(self) -> None:
        """Delete what a test left in the queue, and its folder."""
        with suppress(Unavailable):
            left = self.backend().find([self.attempt(number) for number in range(KILLS)]).ids
            self.backend().cancel([native_id for ids in left.values() for native_id in ids])
        if (self.folder / "home").exists():
            with Reader.open(self.folder / "home") as reader:
                live = [one.native_id for one in reader.live_attempts() if one.native_id]
            self.backend().cancel(live)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def a_pbs_site() -> Iterator[PbsSite]:
    """Give the PBS that is here to one test, and clear it up."""
    folder = Path(tempfile.mkdtemp(prefix=".elisa-test-", dir=_FOLDER or Path.home()))
    number = next(_INSTANCES)
    name = "".join(_LETTERS[(number >> shift) & 31] for shift in (15, 10, 5, 0))
    made = PbsSite(folder=folder, instance=name)
    try:
        yield made
    finally:
        made.clear()
