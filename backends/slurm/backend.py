"""Slurm behind the backend protocol, through its command-line tools: one question a call, no truth kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from elisa.backends.protocol import tag_of
from elisa.backends.runner import Completed, Runner
from elisa.backends.slurm import accounting, inventory
from elisa.backends.slurm.identity import native_id_of, split_native_id
from elisa.backends.slurm.listing import ListingError, parse_listing, poll_argv
from elisa.backends.slurm.options import Accounting, SlurmOptions
from elisa.backends.slurm.refusals import unavailable
from elisa.backends.slurm.states import Record, describe
from elisa.backends.slurm.submission import parse_submit, render_script, submit_argv
from elisa.model.errors import Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import (
    Answered,
    CancelOutcome,
    Capabilities,
    ClusterView,
    Found,
    Gone,
    JobRequest,
    NativeState,
    Observation,
    Poll,
    Seen,
    Unreachable,
)
from elisa.model.ports import Clock
from elisa.model.states import EndReason

__all__ = ["SlurmBackend"]

Job = tuple[str, AttemptId]
T = TypeVar("T")

# Times are printed in the zone of whoever asks.
_QUERY_ENV = {"TZ": "UTC"}
# sacct and scancel take many numbers, but a command line holds 128 KiB an argument.
_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmBackend:
    """One Slurm cluster, used as the user `uid`.

    The runner's environment is the job's: see `open_slurm` for the one it ought to have.
    """

    name: BackendName
    instance: str
    options: SlurmOptions
    runner: Runner
    clock: Clock
    uid: int

    @property
    def capabilities(self) -> Capabilities:
        """Return what Slurm can do; `accounting` as far as the configuration says."""
        return Capabilities(
            queues=True,
            dependencies=True,
            hold=True,
            accounting=self.options.accounting is not Accounting.NO,
        )

    def submit(self, request: JobRequest) -> NativeId:
        """Submit one job, once. Raises Rejected, Unavailable or SubmitUncertain."""
        argv = submit_argv(self._program("sbatch"), request, self.instance, self.options)
        answer = self.runner.run(
            argv,
            timeout_s=self.options.submit_timeout_s,
            input=render_script(request),
            env={"LC_ALL": "C.UTF-8", **dict(request.environment)},
        )
        return parse_submit(answer, request.attempt)

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe jobs from one listing; sacct is asked only about those that are missing from it."""
        if not ids:
            return Answered(observations={})
        try:
            listed = self._list()
        except Unavailable as err:
            return Unreachable(what=f"{err.what}: {err.why}")
        jobs = {native_id: split_native_id(native_id) for native_id in ids}
        missing = {job for job in jobs.values() if job is not None and job not in listed}
        accounts = self._recall(missing) if missing else {}
        return Answered(observations={i: _observe(i, job, listed, accounts) for i, job in jobs.items()})

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask Slurm to end jobs. Only numbers that still carry their attempt's tag are named to it."""
        try:
            listed = self._list()
        except Unavailable:
            return dict.fromkeys(ids, CancelOutcome.FAILED)
        outcomes = dict.fromkeys(ids, CancelOutcome.ALREADY_GONE)
        alive = [i for i in ids if _is_alive(split_native_id(i), listed)]
        for some in _batches(alive):
            numbers = [i.partition(".")[0] for i in some]
            answer = self._ask("scancel", *self._cluster(), *numbers)
            outcomes.update(dict.fromkeys(some, CancelOutcome.ASKED if answer.ok else CancelOutcome.FAILED))
        return outcomes

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Look for jobs by tag in squeue and, where accounts are kept, in sacct. Raises Unavailable."""
        if not tags:
            return Found(ids={}, complete=True)
        listed = self._list()
        accounts = self._recall_names(tags)
        jobs = {job for job, record in {**(accounts or {}), **listed}.items() if not _was_refused(job, record)}
        ids: dict[AttemptId, tuple[NativeId, ...]] = {}
        for number, tag in sorted(jobs, key=lambda job: int(job[0])):
            if tag in tags:
                ids[tag] = (*ids.get(tag, ()), native_id_of(number, tag))
        return Found(ids=ids, complete=accounts is not None)

    def cluster(self) -> ClusterView:
        """Return nodes, partitions and licences. Raises Unavailable."""
        scontrol = self._program("scontrol")
        nodes = inventory.parse_nodes(self._answer(inventory.nodes_argv(scontrol, self.options)))
        partitions = inventory.parse_partitions(self._answer(inventory.partitions_argv(scontrol, self.options)))
        if not nodes or not partitions:
            raise Unavailable("scontrol named no nodes or no partitions")
        return ClusterView(
            backend=self.name,
            nodes=nodes,
            partitions=partitions,
            licences=inventory.parse_licences(self._answer(inventory.licences_argv(scontrol, self.options))),
            seen_at=self.clock.now(),
        )

    def _program(self, name: str) -> str:
        return f"{self.options.path}/{name}" if self.options.path else name

    def _cluster(self) -> tuple[str, ...]:
        return (f"--clusters={self.options.cluster}",) if self.options.cluster else ()

    def _ask(self, program: str, *words: str) -> Completed:
        return self._run((self._program(program), *words))

    def _run(self, argv: Sequence[str]) -> Completed:
        return self.runner.run(argv, timeout_s=self.options.query_timeout_s, env=_QUERY_ENV)

    def _answer(self, argv: Sequence[str]) -> str:
        answer = self._run(argv)
        if not answer.ok:
            raise unavailable(f"{argv[0]} failed", answer)
        return answer.stdout

    def _list(self) -> Mapping[Job, Record]:
        try:
            return parse_listing(
                self._answer(poll_argv(self._program("squeue"), self.uid, self.options)), self.instance
            )
        except ListingError as err:
            raise Unavailable("squeue's answer makes no sense", why=str(err)) from err

    def _recall(self, missing: Collection[Job]) -> Mapping[Job, Record] | None:
        """Return what accounting knows of jobs; None if there is accounting but it can't be asked now."""
        if self.options.accounting is Accounting.NO:
            return {}
        found: dict[Job, Record] = {}
        for some in _batches(sorted({job for job, _ in missing})):
            records = self._accounts(accounting.by_job_argv(self._program("sacct"), self.uid, some, self.options))
            if records is None:
                return None
            found.update(records)
        return found

    def _recall_names(self, tags: Collection[AttemptId]) -> Mapping[Job, Record] | None:
        if self.options.accounting is Accounting.NO:
            return {}
        found: dict[Job, Record] = {}
        for some in _batches(sorted(tags)):
            names = [tag_of(self.instance, tag) for tag in some]
            records = self._accounts(accounting.by_name_argv(self._program("sacct"), self.uid, names, self.options))
            if records is None:
                return None
            found.update(records)
        return found

    def _accounts(self, argv: Sequence[str]) -> Mapping[Job, Record] | None:
        answer = self._run(argv)
        if answer.ok:
            return accounting.parse_accounts(answer.stdout, self.instance)
        is_off = self.options.accounting is Accounting.AUTO and accounting.is_disabled(answer)
        return {} if is_off else None


def _observe(
    native_id: NativeId, job: Job | None, listed: Mapping[Job, Record], accounts: Mapping[Job, Record] | None
) -> Observation:
    if job is None:
        return Gone(native_id=native_id)
    if job in listed:
        return describe(listed[job], native_id)
    if accounts is None:
        return Seen(native_id=native_id, state=NativeState.UNKNOWN, raw="not in squeue; sacct can't be asked")
    if job not in accounts:
        return Gone(native_id=native_id)
    seen = describe(accounts[job], native_id)
    # A job that the controller does not know runs nowhere, whatever a late or lost record still says.
    return seen if seen.state is NativeState.ENDED else Gone(native_id=native_id)


def _was_refused(job: Job, record: Record) -> bool:
    """Tell whether this is only the note that the controller keeps of a job it refused."""
    return describe(record, native_id_of(*job)).end_reason is EndReason.REJECTED


def _is_alive(job: Job | None, listed: Mapping[Job, Record]) -> bool:
    if job is None or job not in listed:
        return False
    return describe(listed[job], native_id_of(*job)).state is not NativeState.ENDED


def _batches(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]
