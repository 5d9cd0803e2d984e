"""Slurm's programs, asked: each call is one question, and what comes back is read or is Unavailable."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from elisa.backends.protocol import tag_of
from elisa.backends.runner import Completed, Runner
from elisa.backends.slurm import accounting
from elisa.backends.slurm.identity import JobKey
from elisa.backends.slurm.library import SlurmLibrary
from elisa.backends.slurm.listing import ListingError, parse_listing, poll_argv
from elisa.backends.slurm.options import Accounting, SlurmOptions
from elisa.backends.slurm.refusals import unavailable
from elisa.backends.slurm.states import Record
from elisa.model.errors import Unavailable
from elisa.model.ids import AttemptId

__all__ = ["Records", "SlurmClient", "in_batches"]

Records = Mapping[JobKey, Record]
T = TypeVar("T")

# Times are printed in the zone of whoever asks.
_QUERY_ENV = {"TZ": "UTC"}
# sacct and scancel take many numbers, but a command line holds 128 KiB an argument.
_BATCH = 1000
_IS_AWAY = re.compile(r"unable to contact|timed out|connection refused|communication", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmClient:
    """One user's view of one cluster's programs."""

    instance: str
    options: SlurmOptions
    runner: Runner
    uid: int
    library: SlurmLibrary | None = None

    def program(self, name: str) -> str:
        """Return a program's path, or just its name where the configuration has no folder for it."""
        return f"{self.options.path}/{name}" if self.options.path else name

    def ask(self, argv: Sequence[str]) -> Completed:
        """Run a program that only looks, or may be run twice."""
        return self.runner.run(argv, timeout_s=self.options.query_timeout_s, env=_QUERY_ENV)

    def answer(self, argv: Sequence[str]) -> str:
        """Return what a program printed. Raises Unavailable if it failed."""
        answer = self.ask(argv)
        if not answer.ok:
            raise unavailable(f"{argv[0]} failed", answer)
        return answer.stdout

    def answers(self, *questions: Sequence[str]) -> Sequence[str]:
        """Return what each of several programs, run side by side, printed. Raises Unavailable if one failed."""
        with ThreadPoolExecutor(len(questions)) as threads:
            return list(threads.map(self.answer, questions))

    def jobs(self) -> Records:
        """Return all jobs of this instance that the controller knows. Raises Unavailable."""
        if self.library is not None:
            return self.library.jobs(self.uid, self.instance)
        try:
            return parse_listing(self.answer(poll_argv(self.program("squeue"), self.uid, self.options)), self.instance)
        except ListingError as err:
            raise Unavailable("squeue's answer makes no sense", why=str(err)) from err

    def script(self, job: str) -> str:
        """Return the script of a job that the controller knows. Raises Unavailable."""
        return self.answer((self.program("scontrol"), *self.cluster("cluster"), "write", "batch_script", job, "-"))

    def cancel(self, jobs: Sequence[str]) -> bool:
        """Ask for jobs to be ended; tell whether Slurm heard it."""
        return self.ask((self.program("scancel"), *self.cluster("clusters"), *jobs)).ok

    def update(self, jobs: Sequence[str], change: str) -> None:
        """Change jobs that wait, those that began or ended meanwhile excepted. Raises Unavailable if Slurm is away."""
        argv = (self.program("scontrol"), *self.cluster("cluster"), "update", f"JobId={','.join(jobs)}", change)
        answer = self.ask(argv)
        if answer.timed_out or _IS_AWAY.search(answer.stderr):
            raise unavailable(f"{argv[0]} failed", answer)

    def hold(self, jobs: Sequence[str], word: str) -> None:
        """Hold jobs that wait (`uhold`), or `release` them. Raises Unavailable if Slurm is away."""
        answer = self.ask((self.program("scontrol"), *self.cluster("cluster"), word, ",".join(jobs)))
        if answer.timed_out or _IS_AWAY.search(answer.stderr):
            raise unavailable(f"scontrol {word} failed", answer)

    def cluster(self, option: str) -> tuple[str, ...]:
        """Return the option that names the cluster, where there are several."""
        return (f"--{option}={self.options.cluster}",) if self.options.cluster else ()

    def accounts_of(self, jobs: Collection[JobKey]) -> Records | None:
        """Return what accounting knows of jobs; None if there is accounting but it can't be asked now."""
        numbers = sorted({job.number for job in jobs})
        argv = [
            accounting.by_job_argv(self.program("sacct"), self.uid, some, self.options) for some in in_batches(numbers)
        ]
        return self._accounts(argv)

    def accounts_named(self, tags: Collection[AttemptId]) -> Records | None:
        """Return what accounting knows of jobs with these tags, as `accounts_of` does."""
        names = sorted(tag_of(self.instance, tag) for tag in tags)
        argv = [
            accounting.by_name_argv(self.program("sacct"), self.uid, some, self.options) for some in in_batches(names)
        ]
        return self._accounts(argv)

    def _accounts(self, questions: Sequence[Sequence[str]]) -> Records | None:
        found: dict[JobKey, Record] = {}
        if self.options.accounting is Accounting.NO:
            return found
        for argv in questions:
            answer = self.ask(argv)
            if answer.ok:
                found.update(accounting.parse_accounts(answer.stdout, self.instance, self.uid))
            elif self.options.accounting is not Accounting.AUTO or not accounting.is_disabled(answer):
                return None
        return found


def in_batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Return `items` in pieces that fit on a command line."""
    return [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]
