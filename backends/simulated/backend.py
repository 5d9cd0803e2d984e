"""A simulated cluster as a backend, with the answers a real one gives on its bad days."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from elisa.backends.protocol import array_key, refuse_components
from elisa.backends.simulated.agent import Agent
from elisa.backends.simulated.clock import VirtualClock, from_us, to_us
from elisa.backends.simulated.cluster import Cluster
from elisa.backends.simulated.dice import Dice
from elisa.backends.simulated.job import Cause, SimJob, Stage, shape_of
from elisa.backends.simulated.memory import Memory
from elisa.backends.simulated.pressure import under_pressure
from elisa.backends.simulated.program import read_programs
from elisa.backends.simulated.sink import FileSpool, SpoolSink
from elisa.backends.simulated.spec import ClusterSpec, PartitionSpec
from elisa.backends.simulated.told import check_told
from elisa.model.errors import AtLimit, Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import (
    Answered,
    CancelOutcome,
    Capabilities,
    ClusterView,
    Found,
    Gone,
    JobRequest,
    Observation,
    PartitionView,
    Poll,
    Seen,
    Unreachable,
)
from elisa.model.pipeline import TaskSpec
from elisa.model.ports import Clock, CrashPoint, no_crash

__all__ = ["Fate", "SimulatedBackend"]

_SECOND = 1_000_000


class Fate(StrEnum):
    """What becomes of a submission."""

    ACCEPTED = "accepted"
    ACCEPT_LOST = "accept_lost"  # accepted, and nobody is told
    ACCEPT_LATE = "accept_late"  # the same, a while later
    LOST = "lost"  # neither accepted nor answered
    REJECTED = "reject"
    BUSY = "busy"


class SimulatedBackend:
    """Run jobs on a cluster that is only calculated.

    Time is the clock's: the cluster catches up with it at every call. With a `memory` file the cluster lives on in other
    processes; then the clock is brought to where the cluster was, if it can jump. The `fail_*` methods break things at
    this very moment, beside what the cluster's own `faults` do.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        clock: Clock,
        *,
        sink: SpoolSink | None = None,
        memory: Path | None = None,
        crash: CrashPoint = no_crash,
        name: str = "simulated",
    ) -> None:
        self.name = BackendName(name)
        self.spec = spec
        self._clock = clock
        self._dice = Dice(spec.seed)
        self._sink = sink or FileSpool()
        self._crash = crash
        self._fates: deque[Fate] = deque()
        self._hidden: set[NativeId] = set()
        self._seen: dict[NativeId, Seen] = {}
        self._kept_us = 0
        self._memory = Memory(memory) if memory is not None else None
        self._cluster = self._remember()

    @property
    def capabilities(self) -> Capabilities:
        """What this cluster can do."""
        return Capabilities(
            queues=self.spec.queue,
            dependencies=self.spec.queue,
            arrays=self.spec.arrays,
            hold=self.spec.queue,
            requeue=self.spec.requeue,
            accounting=self.spec.accounting,
            overcommits=self.spec.overcommits,
        )

    def follow(self, task: TaskSpec) -> None:
        """Raise Rejected for metadata that no simulation can follow."""
        try:
            check_told(dict(task.metadata), {output.name for output in task.outputs})
        except ValueError as err:
            hint = "what a task's `metadata` can tell it stands in docs/simulated.md"
            raise Rejected("its simulation is described wrongly", str(err), hint) from err

    def submit(self, request: JobRequest) -> NativeId:
        """Hand a job over."""
        refuse_components(request)
        return self._submit((request,))[request.attempt]

    def submit_array(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        """Hand jobs over that ask for the same thing, all or none."""
        if len({array_key(request) for request in requests}) > 1:
            raise Rejected("these jobs ask for different things: they can't be one array")
        return self._submit(requests)

    def _submit(self, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
        """Decide about jobs together; one fate for all of them."""
        self._catch_up()
        request = requests[0]
        fate = self._fate(request)
        self._crash("simulated.submit.begin")
        if fate is Fate.BUSY or self._is_out():
            raise Unavailable(f"{self.name} takes no jobs now", "Resource temporarily unavailable")
        if fate is Fate.REJECTED:
            raise Rejected(f"{self.name} refuses {request.attempt}", "Invalid account or partition")
        if fate is Fate.LOST:
            raise SubmitUncertain(f"no answer about {request.attempt}", "Socket timed out on send/recv operation")
        late_us = round(self.spec.faults.answers.late_s * _SECOND) if fate is Fate.ACCEPT_LATE else 0
        self._refuse_beyond_limits(request, len(requests))
        jobs = [self._job(one, late_us) for one in requests]
        for job in jobs:
            self._cluster.accept(job)
        self._keep()
        self._crash("simulated.submit.accepted")
        if fate is not Fate.ACCEPTED:
            raise SubmitUncertain(f"no answer about {request.attempt}", "Socket timed out on send/recv operation")
        return {job.attempt: job.id for job in jobs}

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe jobs."""
        self._catch_up()
        if self._is_silent("poll"):
            return Unreachable(what="Unable to contact the controller (connection refused)")
        return Answered(observations={native_id: self._observe(native_id) for native_id in ids})

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Tell jobs to end."""
        self._catch_up()
        outcomes = {native_id: self._cancel(native_id) for native_id in ids}
        self._keep()
        return outcomes

    def hold(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Keep queued jobs from starting."""
        return self._each(ids, self._cluster.hold, is_held=True)

    def release(self, ids: Collection[NativeId]) -> frozenset[NativeId]:
        """Let held jobs go."""
        return self._each(ids, self._cluster.release, is_held=False)

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Look for jobs by their tags."""
        self._catch_up()
        if self._is_silent("find"):
            raise Unavailable(f"{self.name} does not answer", "Unable to contact the controller")
        return Found(ids={tag: self._find(tag) for tag in tags}, complete=True)

    def cluster(self) -> ClusterView:
        """Return the nodes and the partitions."""
        self._catch_up()
        if self._is_silent("cluster"):
            raise Unavailable(f"{self.name} does not answer", "Unable to contact the controller")
        room = self._cluster.room
        nodes = room.describe()
        return ClusterView(
            backend=self.name,
            nodes=under_pressure(room.nodes, nodes, self._cluster.jobs.values()) if self.spec.overcommits else nodes,
            partitions=tuple(_describe(partition) for partition in self.spec.partitions),
            licences=dict(self._cluster.room.licences),
            seen_at=self._clock.now(),
        )

    def next_event_at(self) -> datetime | None:
        """Return when something next happens here that an observer could see; None if nothing goes on.

        Checkpoints and heartbeats are not counted: they are written as time passes over them.
        """
        self._catch_up()
        next_us = self._cluster.next_us()
        return None if next_us is None else from_us(max(next_us, self._cluster.now_us))

    def fail_submit(self, *fates: Fate) -> None:
        """Decide what becomes of the next submissions."""
        self._fates.extend(fates)

    def fail_nodes(self, *names: str, for_s: float = 3600.0) -> None:
        """Take nodes away, all at once."""
        self._catch_up()
        for node in self._cluster.room.nodes:
            if node.name in names:
                self._cluster.node_down(node.index, for_s)
        self._keep(force=True)

    def fail_answers(self, for_s: float) -> None:
        """Answer nothing for a while."""
        self._catch_up()
        self._cluster.outage_until_us = self._cluster.now_us + round(for_s * _SECOND)
        self._keep(force=True)

    def preempt(self, *ids: NativeId) -> None:
        """Push running jobs out."""
        self._catch_up()
        for native_id in ids:
            self._cluster.stop(self._cluster.jobs[native_id], Cause.PREEMPTION)
        self._keep()

    def forget(self, *ids: NativeId) -> None:
        """Lose every memory of jobs; those that run are gone without a word."""
        self._catch_up()
        for native_id in ids:
            self._cluster.forget(native_id)
        self._keep()

    def hide(self, *ids: NativeId) -> None:
        """Leave jobs out of every listing from now on, until `hide` is called with others or with none."""
        self._hidden = set(ids)

    def _remember(self) -> Cluster:
        """Return the cluster as it was left, and bring a clock that can jump to that moment."""
        cluster = Cluster(self.spec, self._dice, Agent(self._sink), to_us(self._clock.now()))
        if self._memory is not None and self._memory.load(cluster):
            if isinstance(self._clock, VirtualClock):
                self._clock.jump_to(from_us(cluster.now_us))
            self._seen.clear()
        return cluster

    def _catch_up(self) -> None:
        if self._memory is not None and self._memory.is_older_than_file():
            self._cluster = self._remember()
        self._cluster.advance(to_us(self._clock.now()))
        self._keep()

    def _keep(self, *, force: bool = False) -> None:
        changed, purged = self._cluster.take_changes()
        for native_id in (*(job.id for job in changed), *purged):
            self._seen.pop(native_id, None)
        has_news = changed or purged or force or self._cluster.now_us != self._kept_us
        if self._memory is not None and has_news:
            self._memory.save(self._cluster, changed, purged)
            self._kept_us = self._cluster.now_us

    def _fate(self, request: JobRequest) -> Fate:
        if self._fates:
            return self._fates.popleft()
        answers = self.spec.faults.answers
        throw = self._dice.uniform("submit", request.attempt, self._cluster.now_us)
        for fate in (Fate.ACCEPT_LOST, Fate.ACCEPT_LATE, Fate.LOST, Fate.REJECTED, Fate.BUSY):
            throw -= getattr(answers, fate.value)
            if throw < 0:
                return fate
        return Fate.ACCEPTED

    def _is_out(self) -> bool:
        return self._cluster.now_us < self._cluster.outage_until_us

    def _is_silent(self, question: str) -> bool:
        rate = self.spec.faults.answers.unreachable
        return self._is_out() or self._dice.happens(rate, question, self._cluster.now_us)

    def _job(self, request: JobRequest, late_us: int) -> SimJob:
        partition = self._partition(request)
        programs = read_programs(request, self.spec, self._dice, self._sink)
        accepted_us = self._cluster.now_us + late_us
        wait_us = round(self._dice.draw(partition.wait, "wait", request.attempt) * _SECOND)
        native_id = self._cluster.next_native_id()
        return SimJob(
            id=native_id,
            attempt=request.attempt,
            order=self._cluster.count,
            shape=shape_of(request, partition.name),
            program=programs[0],
            members=programs if len(programs) > 1 else (),
            priority=request.priority,
            walltime_us=request.resources.walltime_s * _SECOND,
            grace_us=round(request.grace_s * _SECOND),
            lead_us=request.signal_lead_s * _SECOND,
            after=request.after,
            after_any=request.after_any,
            accepted_us=accepted_us,
            ready_us=accepted_us + wait_us,
        )

    def _partition(self, request: JobRequest) -> PartitionSpec:
        partition = self._cluster.partition(request.partition)
        if partition is None:
            raise Rejected(f"{self.name} has no partition `{request.partition}`", "invalid partition name specified")
        asked = request.resources
        if 0 < partition.max_walltime_s < asked.walltime_s:
            raise Rejected(f"{request.attempt} asks for more time than `{partition.name}` gives", "PartitionTimeLimit")
        too_many = 0 < partition.max_nodes < asked.nodes
        if too_many or not self._cluster.room.could_ever(shape_of(request, partition.name)):
            words = "Requested node configuration is not available"
            raise Rejected(f"{request.attempt} does not fit `{partition.name}`", words)
        return partition

    def _refuse_beyond_limits(self, request: JobRequest, count: int) -> None:
        partition = self._partition(request)
        if 0 < partition.max_queued < self._queued_in(partition.name) + count:
            raise AtLimit(f"the queue of `{partition.name}` is full", "QOSMaxSubmitJobPerUserLimit")

    def _queued_in(self, partition: str) -> int:
        jobs = (job for job in self._cluster.jobs.values() if job.shape.partition == partition)
        return sum(job.stage in {Stage.PENDING, Stage.QUEUED, Stage.HELD} for job in jobs)

    def _is_listed(self, job: SimJob) -> bool:
        return job.accepted_us <= self._cluster.now_us and job.id not in self._hidden

    def _observe(self, native_id: NativeId) -> Observation:
        job = self._cluster.jobs.get(native_id)
        partial = self.spec.faults.answers.partial
        if job is None or not self._is_listed(job):
            return Gone(native_id=native_id)
        if self._dice.happens(partial, "partial", native_id, self._cluster.now_us):
            return Gone(native_id=native_id)
        seen = self._seen.get(native_id)
        if seen is None:
            seen = self._seen[native_id] = job.describe()
        return seen

    def _cancel(self, native_id: NativeId) -> CancelOutcome:
        if self._is_out():
            return CancelOutcome.FAILED
        job = self._cluster.jobs.get(native_id)
        if job is None or job.stage is Stage.ENDED:
            return CancelOutcome.ALREADY_GONE
        self._crash("simulated.cancel.begin")
        self._cluster.stop(job, Cause.CANCEL)
        self._crash("simulated.cancel.end")
        return CancelOutcome.ASKED

    def _each(
        self, ids: Collection[NativeId], change: Callable[[SimJob], None], *, is_held: bool
    ) -> frozenset[NativeId]:
        self._catch_up()
        if self._is_out():
            raise Unavailable(f"{self.name} does not answer", "Unable to contact the controller")
        jobs = [job for native_id in ids if (job := self._cluster.jobs.get(native_id)) is not None]
        for job in jobs:
            self._crash("simulated.hold")
            change(job)
        self._keep()
        return frozenset(job.id for job in jobs if (job.stage is Stage.HELD) is is_held)

    def _find(self, tag: AttemptId) -> tuple[NativeId, ...]:
        ids = self._cluster.tags.get(tag, ())
        jobs = self._cluster.jobs
        return tuple(native_id for native_id in ids if native_id not in jobs or self._is_listed(jobs[native_id]))


def _describe(partition: PartitionSpec) -> PartitionView:
    return PartitionView(
        name=partition.name,
        is_default=partition.is_default,
        max_walltime_s=partition.max_walltime_s,
        max_nodes=partition.max_nodes,
        priority=partition.priority,
        preemptible=partition.preemptible,
    )
