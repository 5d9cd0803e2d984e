"""PBS behind the backend protocol, through its command-line tools: one question a call, no truth kept.

Three wishes have no words in PBS and are not passed on: `exclude_nodes`, `signal_lead_s` (a job gets its first signal when
its time is over) and `grace_s` (the queue's `kill_delay` holds).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elisa.backends.pbs import inventory
from elisa.backends.pbs.arrays import (
    array_argv,
    array_ids,
    parse_array,
    parse_table,
    render_table,
    table_in,
    table_of,
)
from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.deletion import delete_argv, parse_delete
from elisa.backends.pbs.fit import why_never
from elisa.backends.pbs.identity import JobRef, Names, array_of, native_id_of, number_of, size_in, split_native_id
from elisa.backends.pbs.leaving import leave_argv, may_be_signalled, parse_leave
from elisa.backends.pbs.listing import Listing
from elisa.backends.pbs.options import Dialect, History, PbsOptions
from elisa.backends.pbs.ordering import hold_argv, job_priority, order_argv, release_argv
from elisa.backends.pbs.reservations import parse_reservations, reservations_argv
from elisa.backends.pbs.server import PbsServer, batches
from elisa.backends.pbs.states import Record, describe
from elisa.backends.pbs.submission import check_extras, parse_submit, render_script, submit_argv
from elisa.backends.protocol import refuse_components
from elisa.backends.runner import Runner
from elisa.model.errors import AtLimit, Rejected, Unavailable
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
    Poll,
    Seen,
    Unreachable,
)
from elisa.model.ports import Clock
from elisa.runtime.durable import replace_file

__all__ = ["PbsBackend"]

# From here on one listing of all of a user's jobs costs the server less than a search for each name.
_MANY_NAMES = 8
# What a name in an array needs beside the attempt: a longer tag is left out, as with single jobs.
_ARRAY_NAME = 24
# As with Slurm: more holds more in advance than it wins.
_CHAIN_AHEAD = 16


@dataclass(slots=True, kw_only=True)
class PbsBackend:
    """One PBS complex, used as `user`. The runner's environment ought to be that of `open_pbs`."""

    name: BackendName
    instance: str
    options: PbsOptions
    runner: Runner
    clock: Clock
    user: str
    _server: PbsServer = field(init=False, repr=False)
    _nodes: tuple[NodeView, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        """Ask nothing yet."""
        self._server = PbsServer(options=self.options, runner=self.runner, user=self.user)

    @property
    def capabilities(self) -> Capabilities:
        """Return what PBS can do; `accounting` as far as the configuration says."""
        return Capabilities(
            queues=True,
            dependencies=True,
            arrays=self.options.array_size if self._has_arrays() else 0,
            hold=True,
            reorders=True,
            excludes=False,
            accounting=self.options.history is not History.NO,
            max_name_length=self.options.name_limit,
            chain_ahead=_CHAIN_AHEAD,
        )

    def preview(self, request: JobRequest) -> tuple[tuple[str, ...], str]:
        """Return the command line and the standard input that `submit` would use. Raises Rejected or Unavailable."""
        dialect = self._server.dialect()
        argv = submit_argv(self._server.program("qsub"), request, self._names(), self.options, dialect)
        return argv, render_script(request) if dialect is Dialect.TORQUE else ""

    def check(self, request: JobRequest) -> None:
        """Raise Rejected for what qsub has no words for."""
        refuse_components(request)
        check_extras(request)

    def submit(self, request: JobRequest) -> NativeId:
        """Submit one job, once. Raises Rejected, Unavailable or SubmitUncertain."""
        refuse_components(request)
        argv, script = self.preview(request)
        self._refuse_hopeless(request)
        self._refuse_late(request)
        answer = self.runner.run(argv, timeout_s=self.options.submit_timeout_s, input=script or None)
        return parse_submit(answer, request.attempt)

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        """Submit jobs that ask for the same thing as one array, once. Raises as `submit` does, and AtLimit.

        Its table is written beside the log of the first one.
        """
        if self._server.dialect() is Dialect.TORQUE:
            raise AtLimit("Torque's arrays are not used", why="they can't run a program without a login shell")
        argv = array_argv(self._server.program("qsub"), requests, self._names(), self.options)
        self._refuse_hopeless(requests[0])
        self._refuse_late(requests[0])
        replace_file(table_of(requests), render_table(requests).encode(errors="surrogateescape"))
        answer = self.runner.run(argv, timeout_s=self.options.submit_timeout_s)
        return array_ids(parse_array(answer), [request.attempt for request in requests])

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe jobs, finished ones too where the server keeps a history."""
        refs = {native_id: split_native_id(native_id) for native_id in ids}
        try:
            listing = self._server.list_jobs([ref.pbs_id for ref in refs.values() if ref is not None])
            return Answered(observations={i: self._observe(i, ref, listing) for i, ref in refs.items()})
        except Unavailable as err:
            return Unreachable(what=f"{err.what}: {err.why}")

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask PBS to end jobs. Only numbers that still carry their attempt's tag are named to it."""
        poll = self.poll(ids)
        if isinstance(poll, Unreachable):
            return dict.fromkeys(ids, CancelOutcome.FAILED)
        alive = {i: ref.pbs_id for i in ids if _is_alive(poll.observations[i]) and (ref := split_native_id(i))}
        outcomes = self._delete(tuple(alive.values()))
        return {i: outcomes[alive[i]] if i in alive else CancelOutcome.ALREADY_GONE for i in ids}

    def ask_to_leave(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Send TERM to the agents of running jobs, and nothing after it; `cancel` what can't be signalled."""
        poll = self.poll(ids)
        if isinstance(poll, Unreachable):
            return dict.fromkeys(ids, CancelOutcome.FAILED)
        signalled = {i: ref.pbs_id for i in ids if self._hears(poll.observations[i]) and (ref := split_native_id(i))}
        asked = {native_id: self._ask(pbs_id) for native_id, pbs_id in signalled.items()}
        return {**asked, **self.cancel([i for i in ids if i not in asked])}

    def _hears(self, seen: Observation) -> bool:
        return may_be_signalled(seen, self.user) and self._server.dialect() is Dialect.OPENPBS

    def _ask(self, pbs_id: str) -> CancelOutcome:
        return parse_leave(self._server.run(leave_argv(self._server.program("qsig"), self._server.address(pbs_id))))

    def hold(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Keep jobs that wait from starting; return those that are held now. Raises Unavailable.

        PBS can't hold an element of an array by itself.
        """
        singles = [native_id for native_id in self._in_state(ids, NativeState.QUEUED) if "[" not in native_id]
        self._change("qhold", hold_argv, singles)
        return self._held_by_user(ids)

    def release(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Let jobs start again that their user holds; return those that he holds no more. Raises Unavailable."""
        held = self._held_by_user(ids)
        self._change("qrls", release_argv, sorted(held))
        return frozenset(ids) - self._held_by_user(held)

    def reorder(self, priorities: Mapping[NativeId, int]) -> None:
        """Give jobs that wait new priorities, as those of `JobRequest`; an array has one. Raises Unavailable."""
        groups: dict[int, list[NativeId]] = {}
        for native_id in self._in_state(priorities, NativeState.QUEUED):
            groups.setdefault(job_priority(priorities[native_id], self.options), []).append(native_id)
        for priority, some in groups.items():
            self._change("qalter", lambda program, pbs_ids, p=priority: order_argv(program, p, pbs_ids), some)

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Look for jobs by name, finished ones too where the server keeps a history. Raises Unavailable."""
        is_few = len(tags) <= _MANY_NAMES
        found = self._find_each(tags) if is_few else {}
        missing = frozenset(tags) - found.keys()
        if not missing or (is_few and not self._has_arrays()):
            return Found(ids=found, complete=True)
        ids = [pbs_id for pbs_id in self._server.search() if "[" in pbs_id or not is_few]
        more, is_complete = self._find_among(missing, ids)
        return Found(ids={**found, **more}, complete=is_complete)

    def cluster(self) -> ClusterView:
        """Return nodes, queues and what the server counts as licences. Raises Unavailable."""
        self._server.dialect()
        qstat = self._server.program("qstat")
        queues = inventory.parse_queues(self._server.answer(inventory.queues_argv(qstat)))
        servers = dict(parse_records(self._server.answer(inventory.server_argv(qstat)), "Server: "))
        server = next(iter(servers.values()), {})
        nodes = self._read_nodes(queues)
        if not nodes or not queues:
            raise Unavailable("PBS named no nodes or no queues")
        return ClusterView(
            backend=self.name,
            nodes=nodes,
            partitions=inventory.partitions_of(queues, server, self.user),
            licences=inventory.parse_licences(server),
            seen_at=self.clock.now(),
        )

    def reservations(self) -> Mapping[str, bool]:
        """Return PBS's reservations, and whether this user may run in each now. Raises Unavailable."""
        return parse_reservations(self._server.answer(reservations_argv(self._server.program("pbs_rstat"))), self.user)

    def _has_arrays(self) -> bool:
        return self.options.dialect is not Dialect.TORQUE and self.options.name_limit >= _ARRAY_NAME

    def _names(self) -> Names:
        return Names(instance=self.instance, limit=self.options.name_limit)

    def _observe(self, native_id: NativeId, ref: JobRef | None, listing: Listing) -> Observation:
        if ref is None or ref.number in listing.absent:
            return Gone(native_id=native_id)
        if ref.number not in listing.records:
            return Seen(native_id=native_id, state=NativeState.UNKNOWN, raw="qstat said nothing about it")
        record = listing.records[ref.number]
        is_ours = self._names().belongs(record.name, ref)
        return describe(record, native_id, self._server.dialect()) if is_ours else Gone(native_id=native_id)

    def _delete(self, pbs_ids: Sequence[str]) -> Mapping[str, CancelOutcome]:
        outcomes: dict[str, CancelOutcome] = {}
        for some in batches(pbs_ids):
            outcomes.update(self._delete_some(some))
            for pbs_id in some:  # what qdel did not speak of, one by one
                if pbs_id not in outcomes:
                    outcomes.update(self._delete_some([pbs_id]))
        return outcomes

    def _delete_some(self, pbs_ids: Sequence[str]) -> Mapping[str, CancelOutcome]:
        argv = delete_argv(self._server.program("qdel"), [self._server.address(pbs_id) for pbs_id in pbs_ids])
        return parse_delete(self._server.run(argv), pbs_ids)

    def _held_by_user(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Return what waits under a hold of its user, whoever else holds it: PBS keeps one for each."""
        refs = {native_id: ref for native_id in ids if (ref := split_native_id(native_id)) is not None}
        listing = self._server.list_jobs([ref.pbs_id for ref in refs.values()])
        seen = {i: self._observe(i, ref, listing) for i, ref in refs.items()}
        waiting = [i for i, one in seen.items() if isinstance(one, Seen) and one.state is NativeState.HELD]
        return frozenset(i for i in waiting if "u" in listing.records[refs[i].number].holds)

    def _in_state(self, ids: Collection[NativeId], state: NativeState) -> list[NativeId]:
        poll = self.poll(ids)
        if isinstance(poll, Unreachable):
            raise Unavailable("PBS did not answer", why=poll.what)
        return [i for i, seen in poll.observations.items() if isinstance(seen, Seen) and seen.state is state]

    def _change(self, program: str, argv: Callable[..., tuple[str, ...]], ids: Sequence[NativeId]) -> None:
        refs = dict.fromkeys(array_of(ref.pbs_id) for native_id in ids if (ref := split_native_id(native_id)))
        for some in batches(tuple(refs)):
            self._server.run(argv(self._server.program(program), [self._server.address(pbs_id) for pbs_id in some]))

    def _find_each(self, tags: Collection[AttemptId]) -> Mapping[AttemptId, tuple[NativeId, ...]]:
        names = self._names()
        searched = {tag: self._server.search(names.of(tag)) for tag in tags}
        return {tag: tuple(native_id_of(pbs_id, tag) for pbs_id in ids) for tag, ids in searched.items() if ids}

    def _find_among(
        self, tags: frozenset[AttemptId], pbs_ids: Sequence[str]
    ) -> tuple[Mapping[AttemptId, tuple[NativeId, ...]], bool]:
        """Look for attempts in the names of these jobs and in the tables of arrays; False where one can't be read."""
        ids = {number_of(pbs_id): pbs_id for pbs_id in pbs_ids}
        found: dict[AttemptId, tuple[NativeId, ...]] = {}
        is_complete = True
        for number, record in self._server.list_jobs(pbs_ids).records.items():
            try:
                known = self._attempts_in(record, ids[number])
            except (OSError, ValueError):
                is_complete = False
                continue
            for tag in tags & known.keys():
                found[tag] = (*found.get(tag, ()), known[tag])
        return found, is_complete

    def _attempts_in(self, record: Record, pbs_id: str) -> Mapping[AttemptId, NativeId]:
        """Return what a job or an array of ours runs. Raises OSError or ValueError for a table that can't be read."""
        if self._names().first_in(record.name) is not None:
            return array_ids(pbs_id, parse_table(Path(table_in(record.command)).read_text(errors="surrogateescape")))
        attempt = self._names().attempt_in(record.name)
        return {} if attempt is None else {attempt: native_id_of(pbs_id, attempt)}

    def _read_nodes(self, queues: Sequence[inventory.Queue]) -> tuple[NodeView, ...]:
        text = self._server.answer(inventory.nodes_argv(self._server.program("pbsnodes")))
        self._nodes = inventory.parse_cluster_nodes(text, queues, self.options)
        return self._nodes

    def _refuse_hopeless(self, request: JobRequest) -> None:
        """Refuse what no node has: PBS takes such a job and lets it wait for ever."""
        why = why_never(request.resources, self._nodes or self._read_nodes(()))
        if why:
            raise Rejected("no node of this PBS can ever run the job", why=why)

    def _refuse_late(self, request: JobRequest) -> None:
        """Refuse what is to follow a job that is over, or unknown: PBS takes it all the same, and ends it unrun.

        Refuse, too, what is to follow some jobs of an array: it would have to wait for all others of it.
        """
        others = (*request.after, *request.after_any)
        refs = {native_id: ref for native_id in others if (ref := split_native_id(native_id))}
        listing = self._server.list_jobs([ref.pbs_id for ref in refs.values()])
        late = [i for i in others if not _is_alive(self._observe(i, refs.get(i), listing))]
        if late:
            raise Rejected("what the job is to follow has ended already, or is not known", why=", ".join(late))
        asked = Counter(array_of(ref.pbs_id) for ref in refs.values() if ref.is_element)
        sizes = {array_of(ref.pbs_id): size_in(listing.records[ref.number].name) for ref in refs.values()}
        parts = [array for array, count in asked.items() if count < sizes[array]]
        if parts:
            raise Rejected("PBS lets a job follow an array, but not a part of it", why=", ".join(parts))


def _is_alive(observation: Observation) -> bool:
    return isinstance(observation, Seen) and observation.state is not NativeState.ENDED
