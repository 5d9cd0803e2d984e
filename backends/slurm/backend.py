"""Slurm behind the backend protocol, through its command-line tools: one question a call, no truth kept."""

from __future__ import annotations

import pwd
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from elisa.backends.protocol import Advice, Description
from elisa.backends.runner import Completed, Runner
from elisa.backends.slurm import inventory
from elisa.backends.slurm.arrays import array_argv, array_ids, parse_array_script, render_array_script
from elisa.backends.slurm.client import Records, SlurmClient, in_batches
from elisa.backends.slurm.discovery import SlurmSite, advice_of, description_of, discover
from elisa.backends.slurm.identity import JobKey, native_id_of, split_native_id
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.backends.slurm.options import Accounting, SlurmOptions
from elisa.backends.slurm.refusals import raise_refused
from elisa.backends.slurm.states import HELD_BY_USER, Record, describe
from elisa.backends.slurm.submission import nice_of, parse_number, parse_submit, render_script, submit_argv
from elisa.backends.slurm.topology import remembered, topology_argv
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
    NodeView,
    Observation,
    PartitionView,
    Poll,
    Seen,
    Unreachable,
)
from elisa.model.ports import Clock
from elisa.model.states import EndReason

__all__ = ["SlurmBackend"]

# More is lost when a chain breaks, and held in advance, than is won: a stage of a minute outlasts the pause between ticks.
_CHAIN_AHEAD = 16
# slurmctld hands its records over within seconds, and keeps them for later while slurmdbd is away.
_ACCOUNTS_LATE = timedelta(seconds=30)
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmBackend:
    """One Slurm cluster, used as the user `uid`.

    The runner's environment is the job's: see `open_slurm` for the one it ought to have. `topology` is the file that remembers
    on which switches the nodes hang.
    """

    name: BackendName
    instance: str
    options: SlurmOptions
    runner: Runner
    clock: Clock
    uid: int
    pyslurm: PyslurmHere = field(default_factory=PyslurmHere)
    topology: Path | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Return what Slurm can do; `accounting` as far as the configuration says."""
        return Capabilities(
            queues=True,
            dependencies=True,
            arrays=self.options.array_size,
            hold=True,
            reorders=True,
            accounting=self.options.accounting is not Accounting.NO,
            chain_ahead=_CHAIN_AHEAD,
            submits_at_once=max(1, self.options.submits_at_once),
        )

    def preview(self, request: JobRequest) -> tuple[tuple[str, ...], str]:
        """Return the command line and the script that `submit` would use. Raises Rejected."""
        argv = submit_argv(self._client.program("sbatch"), request, self.instance, self.options)
        return argv, render_script(request)

    def check(self, request: JobRequest) -> None:
        """Raise Rejected for what sbatch has no words for."""
        self.preview(request)

    def rehearse(self, request: JobRequest) -> None:
        """Raise Rejected for what the controller would refuse, as sbatch --test-only tells. Raises Unavailable."""
        (sbatch, *words), script = self.preview(request)
        answer = self._sbatch((sbatch, "--test-only", *words), script, request)
        if not answer.ok:
            raise_refused(answer)

    def submit(self, request: JobRequest) -> NativeId:
        """Submit one job, once. Raises Rejected, Unavailable or SubmitUncertain."""
        argv, script = self.preview(request)
        answer = self._by_library(request, script) or self._sbatch(argv, script, request)
        return parse_submit(answer, request.attempt)

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        """Submit jobs that ask for the same thing as one array, once.

        All or none are accepted. An element that is cancelled while it waits leaves no record: it is Gone. Raises as
        `submit` does, Rejected also for what can't be one array.
        """
        argv = array_argv(self._client.program("sbatch"), requests, self.instance, self.options)
        answer = self._sbatch(argv, render_array_script(requests), requests[0])
        return array_ids(parse_number(answer), requests)

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe jobs from one listing; sacct is asked only about those that it lacks, or that end in it without a why."""
        if not ids:
            return Answered(observations={})
        try:
            listed = self._client.jobs()
        except Unavailable as err:
            return Unreachable(what=f"{err.what}: {err.why}")
        jobs = {native_id: _key(native_id) for native_id in ids}
        open_ones = {job for job in jobs.values() if job is not None and _leaves_open_why(listed.get(job))}
        accounts = self._client.accounts_of(open_ones) if open_ones else {}
        told_until = self._accounts_told_until()
        return Answered(observations={i: _observe(i, job, listed, accounts, told_until) for i, job in jobs.items()})

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask Slurm to end jobs. Only numbers that still carry their attempt's tag are named to it."""
        try:
            listed = self._client.jobs() if ids else {}
        except Unavailable:
            return dict.fromkeys(ids, CancelOutcome.FAILED)
        outcomes = dict.fromkeys(ids, CancelOutcome.ALREADY_GONE)
        for some in in_batches([i for i in ids if _is_alive(_key(i), listed)]):
            is_heard = self._client.cancel([i.partition(".")[0] for i in some])
            outcomes.update(dict.fromkeys(some, CancelOutcome.ASKED if is_heard else CancelOutcome.FAILED))
        return outcomes

    def reorder(self, priorities: Mapping[NativeId, int]) -> None:
        """Give jobs that wait new values of nice, one call for each. Raises Unavailable.

        A job that began meanwhile is left alone by Slurm itself.
        """
        groups: dict[int, list[str]] = {}
        for native_id, priority in priorities.items():
            job = _key(native_id)
            if job is not None:
                groups.setdefault(nice_of(priority, self.options), []).append(job.number)
        for nice, numbers in sorted(groups.items()):
            for some in in_batches(numbers):
                self._client.update(some, f"Nice={nice}")

    def hold(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Keep jobs that wait from starting, as their user may. Raises Unavailable."""
        # `hold` by an operator would be an operator's: only they could release it
        listed = self._client.jobs()
        self._each([i for i in ids if _is_alive(_key(i), listed)], "uhold")
        return self._held_by_user(ids)

    def release(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Let those start again that their user holds. Raises Unavailable."""
        held = self._held_by_user(ids)
        self._each(held, "release")
        return frozenset(ids) - (self._held_by_user(held) if held else held)

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Look for jobs by tag in squeue and, where accounts are kept, in sacct. Raises Unavailable."""
        if not tags:
            return Found(ids={}, complete=True)
        listed = self._client.jobs()
        accounts = self._client.accounts_named(tags)
        known = {key: record for key, record in {**(accounts or {}), **listed}.items() if not _was_refused(record)}
        jobs = _singles(known)
        is_complete = accounts is not None
        if not {attempt for _, attempt in jobs}.issuperset(tags):
            try:
                jobs += self._elements(known)
            except Unavailable:
                is_complete = False
        ids: dict[AttemptId, tuple[NativeId, ...]] = {}
        for key, attempt in jobs:
            if attempt in tags:
                ids[attempt] = (*ids.get(attempt, ()), native_id_of(key, attempt))
        return Found(ids=ids, complete=is_complete)

    def cluster(self) -> ClusterView:
        """Return nodes and partitions, licences left out. Raises Unavailable."""
        library = self.pyslurm.library
        told = library.inventory() if library is not None else None
        nodes, partitions = told or self._inventory()
        if not nodes or not partitions:
            raise Unavailable("scontrol named no nodes or no partitions")
        return ClusterView(
            backend=self.name, nodes=self._with_switches(nodes), partitions=tuple(partitions), seen_at=self.clock.now()
        )

    def _accounts_told_until(self) -> datetime:
        """Return the time up to which accounts hold all that they ever will."""
        return _EVER if self.options.accounting is Accounting.NO else self.clock.now() - _ACCOUNTS_LATE

    def licences(self) -> Mapping[str, int]:
        """Return how many of each licence are free. Raises Unavailable."""
        argv = inventory.licences_argv(self._client.program("scontrol"), self.options)
        return inventory.parse_licences(self._client.answer(argv))

    def _inventory(self) -> tuple[Sequence[NodeView], Sequence[PartitionView]]:
        scontrol = self._client.program("scontrol")
        nodes, partitions = self._client.answers(
            inventory.nodes_argv(scontrol, self.options), inventory.partitions_argv(scontrol, self.options)
        )
        return inventory.parse_nodes(nodes), inventory.parse_partitions(partitions)

    def _each(self, ids: Collection[NativeId], word: str) -> None:
        numbers = [job.number for native_id in sorted(ids) if (job := _key(native_id)) is not None]
        for some in in_batches(numbers):
            self._client.hold(some, word)

    def _held_by_user(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        listed = self._client.jobs()
        return frozenset(i for i in ids if (job := _key(i)) in listed and job and listed[job].reason == HELD_BY_USER)

    def _with_switches(self, nodes: Sequence[NodeView]) -> tuple[NodeView, ...]:
        if self.topology is None:
            return tuple(nodes)
        argv = topology_argv(self._client.program("scontrol"), self.options)
        names = [node.name for node in nodes]
        # Without a tree nothing is printed, and the exit code is 0: an empty answer is one, too.
        switches = remembered(self.topology, names, self.clock.now(), lambda: self._client.ask(argv).stdout)
        return tuple(replace(node, switch=switches.get(node.name, "")) for node in nodes)

    def reservations(self) -> Mapping[str, bool]:
        """Return Slurm's reservations, and whether this user may run in each now. Raises Unavailable."""
        argv = inventory.reservations_argv(self._client.program("scontrol"), self.options)
        return inventory.parse_reservations(self._client.answer(argv), pwd.getpwuid(self.uid).pw_name)

    def describe(self) -> Description:
        """Return what a new site.yaml says of this cluster. Raises Unavailable."""
        return description_of(self._site())

    def advice(self) -> tuple[Advice, ...]:
        """Return what of the site's set-up makes elisa's work harder. Raises Unavailable."""
        site = self._site()
        return (*advice_of(site, self.options), self.pyslurm.advice(site.version))

    def _site(self) -> SlurmSite:
        return discover(self.runner, pwd.getpwuid(self.uid).pw_name, self.options)

    @property
    def _client(self) -> SlurmClient:
        return SlurmClient(
            instance=self.instance,
            options=self.options,
            runner=self.runner,
            uid=self.uid,
            library=self.pyslurm.library,
        )

    def _by_library(self, request: JobRequest, script: str) -> Completed | None:
        """Submit through libslurm; None if that is not here or can't say what is asked for."""
        with self.pyslurm.turn:
            library, base = self.pyslurm.library, self.pyslurm.environment
            return library.submit(request, self.instance, self.options, script, base) if library is not None else None

    def _sbatch(self, argv: Sequence[str], script: str, request: JobRequest) -> Completed:
        return self.runner.run(
            argv,
            timeout_s=self.options.submit_timeout_s,
            input=script,
            # sbatch's environment becomes the job's: not the C locale that programs are read in
            env={"LC_ALL": "C.UTF-8", **dict(request.environment)},
        )

    def _elements(self, known: Records) -> list[tuple[JobKey, AttemptId]]:
        """Return the elements of arrays with the attempts they run, as the arrays' scripts tell. Raises Unavailable."""
        arrays: dict[str, list[JobKey]] = {}
        for key in known:
            number, underscore, _ = key.number.partition("_")
            if underscore:
                arrays.setdefault(number, []).append(key)
        found = []
        for number, keys in arrays.items():
            attempts = parse_array_script(self._client.script(number))
            found += [(key, attempts[index]) for key in keys if (index := _index(key)) in attempts]
        return found


def _key(native_id: NativeId) -> JobKey | None:
    parts = split_native_id(native_id)
    return parts[0] if parts else None


def _index(key: JobKey) -> int:
    return int(key.number.partition("_")[2])


def _singles(known: Records) -> list[tuple[JobKey, AttemptId]]:
    singles = [key for key in known if "_" not in key.number]
    return [(key, key.tag) for key in sorted(singles, key=lambda key: int(key.number))]


def _leaves_open_why(record: Record | None) -> bool:
    """Tell whether squeue says too little: nothing at all, or that a job was cancelled before its script began."""
    return record is None or (record.state == "CANCELLED" and bool(record.nodes) and record.exit_code == 0)


def _observe(
    native_id: NativeId, job: JobKey | None, listed: Records, accounts: Records | None, told_until: datetime
) -> Observation:
    record = listed.get(job) if job is not None else None
    if job is None:
        return Gone(native_id=native_id)
    if record is not None and not _leaves_open_why(record):
        return describe(record, native_id)
    if accounts is None:
        where = "not in squeue" if record is None else record.state
        return Seen(native_id=native_id, state=NativeState.UNKNOWN, raw=f"{where}; sacct can't be asked")
    account = accounts.get(job)
    return _recalled(native_id, account) if record is None else _explained(native_id, record, account, told_until)


def _recalled(native_id: NativeId, account: Record | None) -> Observation:
    """Return what accounts say of a job that the controller does not know."""
    seen = describe(account, native_id) if account is not None else None
    # It runs nowhere, whatever a late or lost record still says.
    return seen if seen is not None and seen.state is NativeState.ENDED else Gone(native_id=native_id)


def _explained(native_id: NativeId, record: Record, account: Record | None, told_until: datetime) -> Observation:
    """Return what accounts say of who cancelled a job; as it was listed where they say nothing in good time."""
    if account is not None and (told := describe(account, native_id)).state is NativeState.ENDED:
        return replace(told, is_unexplained=account.is_unexplained)
    if record.ended_at is None or record.ended_at < told_until:
        return replace(describe(record, native_id), is_unexplained=True)
    return Seen(native_id=native_id, state=NativeState.UNKNOWN, raw=f"{record.state}; sacct does not know of it yet")


def _was_refused(record: Record) -> bool:
    """Tell whether this is only the note that the controller keeps of a job it refused."""
    return describe(record, NativeId("")).end_reason is EndReason.REJECTED


def _is_alive(job: JobKey | None, listed: Records) -> bool:
    if job is None or job not in listed:
        return False
    return describe(listed[job], NativeId("")).state is not NativeState.ENDED
