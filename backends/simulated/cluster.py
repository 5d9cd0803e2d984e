"""The course of events on a simulated cluster."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from elisa.backends.simulated.agent import Agent
from elisa.backends.simulated.chronicle import Chronicle
from elisa.backends.simulated.dice import Dice
from elisa.backends.simulated.job import Cause, SimJob, Stage
from elisa.backends.simulated.preemption import choose_victims
from elisa.backends.simulated.queue import Queue
from elisa.backends.simulated.room import Place, Room
from elisa.backends.simulated.spec import ClusterSpec, PartitionSpec
from elisa.backends.simulated.timers import FaultTimers
from elisa.model.ids import AttemptId, NativeId
from elisa.model.states import EndReason

__all__ = ["Cluster"]

_SECOND = 1_000_000
# What a program needs to leave once it is told to, beside its save.
_LEAVE_US = _SECOND
_REQUEUE_US = 10 * _SECOND


class _Event(NamedTuple):
    """Something that will happen; `version` tells whether it still will. Fields in the order that settles ties."""

    at_us: int
    rank: int
    number: int
    version: int


_NODE_UP, _JOB_ENDS, _JOB_READY = range(3)
_OF_ONE_MEMBER = frozenset({Cause.COMPLETION, Cause.FAILURE, Cause.MEMORY, Cause.REFUSAL})
_REASONS: Mapping[Cause, EndReason] = {
    Cause.COMPLETION: EndReason.COMPLETED,
    Cause.FAILURE: EndReason.FAILED,
    Cause.REFUSAL: EndReason.FAILED,
    Cause.MEMORY: EndReason.OUT_OF_MEMORY,
    Cause.WALLTIME: EndReason.TIMEOUT,
    Cause.CANCEL: EndReason.CANCELLED,
    Cause.PREEMPTION: EndReason.PREEMPTED,
    Cause.NODE: EndReason.NODE_FAILURE,
}


class Cluster:
    """Nodes, a queue and running jobs; time passes only in `advance`."""

    def __init__(self, spec: ClusterSpec, dice: Dice, agent: Agent, now_us: int) -> None:
        self.spec = spec
        self.now_us = now_us
        self.jobs: dict[NativeId, SimJob] = {}
        self.tags: dict[AttemptId, list[NativeId]] = {}
        self.count = 0
        self.outage_until_us = 0
        self.faults = FaultTimers(spec.faults, dice, now_us)
        self._touched: set[NativeId] = set()
        self._purged: set[NativeId] = set()
        self.room = Room(spec)
        self._dice = dice
        self._agent = agent
        self._partitions = {partition.name: partition for partition in spec.partitions}
        self._queue = Queue(lambda name: self._partitions[name].priority)
        self._events: list[_Event] = []
        self._by_order: dict[int, SimJob] = {}
        self._chronicle = Chronicle(agent, spec.heartbeat_s, self._by_order.get)
        self._ended: list[tuple[int, int, NativeId]] = []
        self._waiting: dict[NativeId, list[SimJob]] = {}
        self._live = 0
        self._is_stale = False

    def partition(self, name: str) -> PartitionSpec | None:
        """Return the partition of that name, the default one for no name."""
        if name:
            return self._partitions.get(name)
        default = next((partition for partition in self.spec.partitions if partition.is_default), None)
        return default or self.spec.partitions[0]

    def next_native_id(self) -> NativeId:
        """Return the number of the next job; numbers of ended jobs come again where the cluster reuses them."""
        while True:
            self.count += 1
            number = (self.count - 1) % self.spec.reuse_ids + 1 if self.spec.reuse_ids else self.count
            native_id = NativeId(str(number))
            if native_id not in self.jobs or self.jobs[native_id].stage is Stage.ENDED:
                return native_id

    def accept(self, job: SimJob) -> None:
        """Take a job in."""
        self.forget(job.id)
        self.jobs[job.id] = job
        self.tags.setdefault(job.attempt, []).append(job.id)
        self._by_order[job.order] = job
        self._live += 1
        self._watch(job)
        self._note(job)

    def _watch(self, job: SimJob) -> None:
        """Wait for the job's time, or for what it depends on."""
        unmet = self._unmet(job)
        job.detail = "Dependency" if unmet else ("BeginTime" if job.ready_us > self.now_us else "")
        for native_id in unmet:
            self._waiting.setdefault(native_id, []).append(job)
        heapq.heappush(self._events, _Event(job.ready_us, _JOB_READY, job.order, job.version))

    def _unmet(self, job: SimJob) -> list[NativeId]:
        failed = [one for one in self._known(job.after) if self.jobs[one].reason is not EndReason.COMPLETED]
        return failed + [one for one in self._known(job.after_any) if self.jobs[one].stage is not Stage.ENDED]

    def _known(self, others: Iterable[NativeId]) -> list[NativeId]:
        return [native_id for native_id in others if native_id in self.jobs]

    def restore(self, jobs: Iterable[SimJob], down: Mapping[int, int]) -> None:
        """Take up a course of events where it was written down."""
        for index, until_us in down.items():
            self.room.nodes[index].down_until_us = until_us
            heapq.heappush(self._events, _Event(until_us, _NODE_UP, index, until_us))
        for job in jobs:
            self.jobs[job.id] = self._by_order[job.order] = job
        for job in self.jobs.values():
            self._restore_job(job)
        self._is_stale = True

    def _restore_job(self, job: SimJob) -> None:
        self._live += job.stage is not Stage.ENDED
        match job.stage:
            case Stage.PENDING:
                self._watch(job)
            case Stage.QUEUED:
                self._queue.add(job)
            case Stage.HELD:
                pass
            case Stage.ENDED:
                self._remember_end(job)
            case _:
                self.room.take(job.shape, Place(job.nodes, job.gpu_type))
                self._foresee(job)

    def next_us(self) -> int | None:
        """Return when the cluster next does something that an observer could see; None if nothing is going on."""
        while self._events and not self._holds(self._events[0]):
            heapq.heappop(self._events)
        return self._next_event_us() if self._live else None

    def _holds(self, event: _Event) -> bool:
        if event.rank == _NODE_UP:
            return self.room.nodes[event.number].down_until_us == event.version
        job = self._by_order.get(event.number)
        return job is not None and job.version == event.version and job.stage is not Stage.ENDED

    def advance(self, to_us: int) -> None:
        """Let everything happen up to a moment, in order."""
        self._serve_queue()
        while True:
            at_us = self._next_event_us()
            if at_us is None or at_us > to_us:
                break
            self.now_us = max(self.now_us, at_us)
            self._happen(self.now_us)
            self._serve_queue()
        self.now_us = max(self.now_us, to_us)
        for job in self._chronicle.speak(self.now_us):
            self._note(job)
        self._purge()

    def _next_event_us(self) -> int | None:
        event_us = self._events[0].at_us if self._events else None
        return min((at for at in (self.faults.next_us(), event_us) if at is not None), default=None)

    def _happen(self, now_us: int) -> None:
        while self._events and self._events[0].at_us <= now_us:
            event = heapq.heappop(self._events)
            if self._holds(event):
                self._play(event)
        for name, number in self.faults.strike(now_us):
            self._strike(name, number)

    def _play(self, event: _Event) -> None:
        if event.rank == _NODE_UP:
            self.node_up(event.number)
        elif event.rank == _JOB_ENDS:
            self._end(self._by_order[event.number])
        else:
            self._make_ready(self._by_order[event.number])

    def _make_ready(self, job: SimJob) -> None:
        """Queue a job whose time has come, if all it depends on is done."""
        if job.stage is not Stage.PENDING or job.ready_us > self.now_us:
            return
        unmet = self._unmet(job)
        if any(self.jobs[native_id].stage is Stage.ENDED for native_id in unmet):
            job.detail = "DependencyNeverSatisfied"
            self._finish(job, EndReason.CANCELLED)
        elif not unmet:
            job.stage, job.detail = Stage.QUEUED, "Priority"
            self._queue.add(job)
            self._is_stale = True
        self._note(job)

    def _serve_queue(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self._queue.serve(self._start)

    def _start(self, job: SimJob) -> bool:
        place = self.room.find(job.shape)
        if place is None:
            if job.detail != "Resources":
                job.detail = "Resources"
                self._note(job)
            self._push_out_for(job)
            return False
        self.room.take(job.shape, place)
        job.nodes, job.gpu_type = place
        job.node_names = ",".join(self.room.nodes[index].name for index in place.nodes)
        job.stage, job.detail, job.native_us = Stage.RUNNING, "", self.now_us
        job.speed = self._speed(job)
        self._begin(job)
        return True

    def _begin(self, job: SimJob) -> None:
        """Start the job's program, or that of the member whose turn it is."""
        job.started_us = self.now_us
        self._resume(job)
        why = self._agent.begin(job, self.now_us)
        job.plan()
        if why:
            job.cause, job.end_us = Cause.REFUSAL, self.now_us
        self._foresee(job)
        self._note(job)

    def _speed(self, job: SimJob) -> float:
        faults = self.spec.faults
        speed = min(self.room.nodes[index].kind.speed for index in job.nodes)
        return speed / faults.slow_factor if self._dice.happens(faults.slow, "slow", job.order) else speed

    def _resume(self, job: SimJob) -> None:
        job.resume_at(job.program.resume_step)
        job.saves = job.beats = 0

    def _foresee(self, job: SimJob) -> None:
        heapq.heappush(self._events, _Event(job.end_us, _JOB_ENDS, job.order, job.version))
        self._chronicle.follow(job)

    def _end(self, job: SimJob) -> None:
        """Bring a run to the end that was foreseen for it."""
        self._chronicle.speak_for(job, job.end_us)
        told = {Cause.CANCEL, Cause.PREEMPTION}
        if job.cause in told and job.cycle_us and job.program.save_us <= job.grace_us:
            self._chronicle.save(job, job.end_us)
        if job.cause is Cause.WALLTIME:
            if job.lead_us and job.cycle_us:
                self._chronicle.save(job, job.end_us)
            self._agent.stop(job, job.end_us, "walltime")
        if job.cause is not Cause.REFUSAL:
            self._agent.end(job, job.end_us)
        if not job.members or not self._goes_on(job):
            self._leave(job)

    def _goes_on(self, job: SimJob) -> bool:
        """Let the next member of a bundle that may begin do so; tell whether there was one."""
        ends_all = job.cause not in _OF_ONE_MEMBER
        if not self._agent.has_finished(job):
            job.dropped = (*job.dropped, job.attempt_now)
        while job.turn + 1 < len(job.members):
            job.turn += 1
            job.program, job.seq, job.saved = job.members[job.turn], 0, 0
            if ends_all or self._agent.is_dropped(job, self.now_us):
                self._agent.decline(job, self.now_us, was_asked=ends_all)
                job.dropped = (*job.dropped, job.attempt_now)
            else:
                self._begin(job)
                return True
        if not ends_all:
            job.cause = Cause.FAILURE if job.dropped else Cause.COMPLETION
        return False

    def _leave(self, job: SimJob) -> None:
        self.room.take(job.shape, Place(job.nodes, job.gpu_type), -1)
        self._is_stale = True
        if self.spec.requeue and job.cause in {Cause.NODE, Cause.PREEMPTION}:
            self._requeue(job)
            return
        job.exit_code, job.signal = (1, None) if job.dropped and job.cause is Cause.FAILURE else job.status()
        self._finish(job, _REASONS[job.cause])

    def _requeue(self, job: SimJob) -> None:
        job.stage, job.node_names, job.nodes = Stage.PENDING, "", ()
        job.ready_us = self.now_us + _REQUEUE_US
        job.restarts += 1
        job.seq = 0
        if job.members:
            job.turn, job.program, job.dropped = 0, job.members[0], ()
        job.version += 1
        self._watch(job)
        self._note(job)

    def _finish(self, job: SimJob, reason: EndReason) -> None:
        job.stage, job.reason, job.ended_us = Stage.ENDED, reason, self.now_us
        self._live -= 1
        job.version += 1
        self._remember_end(job)
        self._note(job)
        for other in self._waiting.pop(job.id, []):
            self._make_ready(other)

    def _remember_end(self, job: SimJob) -> None:
        purge_us = job.ended_us + round(self.spec.purge_after_s * _SECOND)
        heapq.heappush(self._ended, (purge_us, job.order, job.id))

    def _purge(self) -> None:
        while self._ended and self._ended[0][0] < self.now_us:
            _, order, native_id = heapq.heappop(self._ended)
            if native_id in self.jobs and self.jobs[native_id].order == order:
                self.forget(native_id)

    def forget(self, native_id: NativeId) -> None:
        """Drop a job as if it had never been; only accounting may still know its name."""
        job = self.jobs.pop(native_id, None)
        if job is None:
            return
        if job.is_up:
            self.room.take(job.shape, Place(job.nodes, job.gpu_type), -1)
            self._is_stale = True
        self._live -= job.stage is not Stage.ENDED
        self._by_order.pop(job.order, None)
        self._purged.add(native_id)
        self._touched.discard(native_id)
        if not self.spec.accounting:
            self.tags[job.attempt].remove(native_id)

    def stop(self, job: SimJob, cause: Cause) -> None:
        """Tell a job to end: at once if it has not started, within its grace if it runs."""
        if job.stage in {Stage.PENDING, Stage.QUEUED, Stage.HELD}:
            job.cause = cause
            self._finish(job, _REASONS[cause])
        elif job.stage is Stage.RUNNING:
            self._chronicle.speak_for(job, self.now_us)
            self._agent.stop(job, self.now_us, cause.value)
            job.stage = Stage.STOPPING
            leave_us = self.now_us + min(job.grace_us, job.program.save_us + _LEAVE_US)
            if leave_us < job.end_us:
                job.cause, job.end_us = cause, leave_us
            job.version += 1
            self._foresee(job)
            self._note(job)

    def hold(self, job: SimJob) -> None:
        """Take a job out of the queue; one that waits for its time, or for others, is not in it yet."""
        if job.stage is Stage.QUEUED:
            self._queue.remove(job)
            job.stage, job.detail = Stage.HELD, "JobHeldUser"
            self._note(job)

    def release(self, job: SimJob) -> None:
        """Give a held job back its place in the queue."""
        if job.stage is Stage.HELD:
            job.stage, job.detail = Stage.QUEUED, "Priority"
            self._queue.add(job)
            self._is_stale = True
            self._note(job)

    def node_down(self, index: int, for_s: float) -> None:
        """Take a node away with everything that runs on it."""
        node = self.room.nodes[index]
        node.down_until_us = self.now_us + max(1, round(for_s * _SECOND))
        node.view = None
        heapq.heappush(self._events, _Event(node.down_until_us, _NODE_UP, index, node.down_until_us))
        for job in [job for job in self.jobs.values() if job.is_up and index in job.nodes]:
            self._chronicle.speak_for(job, self.now_us)
            job.cause, job.end_us = Cause.NODE, self.now_us
            job.detail = f"{node.name} failed"
            self._leave(job)

    def node_up(self, index: int) -> None:
        """Give a node back."""
        self.room.nodes[index].down_until_us = 0
        self.room.nodes[index].view = None
        self.room.look_again()
        self._is_stale = True

    def _push_out_for(self, job: SimJob) -> None:
        """Tell as many jobs of lower preemptible partitions to leave as this one needs."""
        priority = self._partitions[job.shape.partition].priority
        lower = frozenset(p.name for p in self.spec.partitions if p.preemptible and p.priority < priority)
        if lower:
            for victim in choose_victims(self.room, job.shape, self.jobs.values(), lower):
                self.stop(victim, Cause.PREEMPTION)

    def _strike(self, name: str, count: int) -> None:
        faults = self.spec.faults
        if name == "outage":
            self.outage_until_us = self.now_us + round(faults.outage_for_s * _SECOND)
        elif name == "preempt":
            running = [job for job in self.jobs.values() if job.stage is Stage.RUNNING]
            if running:
                self.stop(running[int(self._dice.uniform("victim", count) * len(running))], Cause.PREEMPTION)
        else:
            for number in range(min(faults.nodes_at_once, len(self.room.nodes))):
                index = int(self._dice.uniform("node", count, number) * len(self.room.nodes))
                if not self.room.nodes[index].down_until_us:
                    self.node_down(index, faults.node_down_for_s)

    def _note(self, job: SimJob) -> None:
        self._touched.add(job.id)
        self._purged.discard(job.id)

    def take_changes(self) -> tuple[list[SimJob], list[NativeId]]:
        """Return the jobs that changed since the last call, oldest first, and the ids of those that were forgotten."""
        changed = sorted((self.jobs[native_id] for native_id in self._touched), key=lambda job: job.order)
        purged = sorted(self._purged)
        self._touched.clear()
        self._purged.clear()
        return changed, purged
