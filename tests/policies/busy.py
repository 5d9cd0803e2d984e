"""A cluster that is never idle: a plan is made at each step, what it starts takes nodes and budget, and more keeps coming."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from elisa.model.charge import Charge
from elisa.model.columns import GangRow, ProjectUsage, RunningRow, UsageRow
from elisa.model.decisions import Preempt, Resize, Submit
from elisa.model.ids import AttemptId, TaskId
from elisa.model.native import NodeView
from elisa.model.resources import Resources
from elisa.model.site import SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.budgets import charge_of
from elisa.policies.order import ranking
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import KeptRoom, Snapshot
from tests.policies.build import HERE, NOW, Ready, a_cluster, after, an_attempt

__all__ = ["Busy", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task: it runs for `steps`, whatever its walltime. `came` is the step at which it became ready."""

    id: str
    project: str
    request: Resources
    steps: int = 1
    uid: int = 1000
    priority: int = 2
    importance: float = 0.0
    deadline_s: float = 0.0
    gang: str = ""
    came: int = 0
    saves: bool = False

    def after(self, ran: int) -> Work:
        """Return what is left of it once it saved and left."""
        return replace(self, steps=max(1, self.steps - ran))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that was started, or waits in a native queue (no nodes)."""

    work: Work
    request: Resources
    kind: str
    since: int
    nodes: tuple[str, ...] = ()


@dataclass(slots=True)
class Busy:
    """Nodes under the rules of `site`, looked at every `step_s`.

    With `queues` a manager starts jobs by itself, in elisa's order.
    """

    site: SitePolicy
    nodes: tuple[NodeView, ...]
    step_s: int = 3600
    queues: bool = False
    now: int = 0
    waiting: dict[str, Work] = field(default_factory=dict)
    live: dict[str, Job] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)  # GPUs times steps by project
    spent: Counter[tuple[str, int, str]] = field(default_factory=Counter)  # the same by owner and type
    left: Counter[str] = field(default_factory=Counter)  # how often a task made room
    promised: dict[TaskId, KeptRoom] = field(default_factory=dict)

    def submit(self, *work: Work) -> None:
        self.waiting.update({one.id: replace(one, came=self.now) for one in work})

    def step(self) -> Plan:
        """Plan, start and stop; then let time pass."""
        made = plan(self.snapshot())
        for decision in made.decisions:
            match decision:
                case Submit():
                    self._start(decision.task, made)
                case Preempt() | Resize():
                    self._leave(decision)
        facts = {one.task: one.reason.facts for one in made.passed_over()}
        self.promised = {
            task: KeptRoom(
                datetime.fromisoformat(str(told["starts_at"])).timestamp() - self.step_s,
                tuple(str(told["nodes"]).split(",")),
            )
            for task, told in facts.items()
            if told.get("starts_at") and told.get("nodes")
        }
        if self.queues:
            self._start_queued()
        self._check()
        self.now += 1
        self._end()
        return made

    def _start(self, task: TaskId, made: Plan) -> None:
        work, request, nodes = self.waiting.pop(task), made.request(task), made.nodes(task)
        kind = made.charge(task).gpu_type
        self.live[task] = Job(work=work, request=request, kind=kind, since=self.now, nodes=() if self.queues else nodes)
        if not self.queues:
            self.began.setdefault(task, self.now)

    def _leave(self, decision: Preempt | Resize) -> None:
        id_ = decision.attempt.split(".")[0]
        job = self.live.pop(id_)
        self.left[id_] += 1
        rest = job.work.after(round((self.now - job.since) * job.request.speed) if job.nodes else 0)
        self.waiting[id_] = replace(rest, came=self.now) if job.nodes else job.work

    def _start_queued(self) -> None:
        """Start what waits in the native queue, in elisa's order: nobody passes the first that finds no room."""
        queued = [one for one in self.live.values() if not one.nodes]
        if not queued:
            return
        ready = self._ready(job.work for job in queued)
        there = [row for row in self._running() if not row.is_queued]
        snapshot = Snapshot.build(ready.columns(), self._usage(), (), (), self.site, NOW, running=there)
        for row in ranking(snapshot).order.tolist():
            job = self.live[snapshot.tasks.ids[row]]
            nodes = self._free_nodes(job)
            if len(nodes) < job.request.nodes:
                return
            self.live[job.work.id] = replace(job, nodes=tuple(nodes[: job.request.nodes]), since=self.now)
            self.began.setdefault(job.work.id, self.now)

    def _free_nodes(self, job: Job) -> list[str]:
        asked = job.request.gpus.per_node
        return [
            node.name
            for node in self._views()
            if node.free_cpus >= job.request.cpus_per_node
            and (not asked or dict(node.free_gpus).get(job.kind, 0) >= asked)
        ]

    def _check(self) -> None:
        for node in self._views():
            assert node.free_cpus >= 0
            assert all(free >= 0 for _, free in node.free_gpus)

    def _end(self) -> None:
        for id_, job in list(self.live.items()):
            used = job.request.gpu_count if job.nodes else 0
            self.served[job.work.project] += used
            self.spent[job.work.project, job.work.uid, job.kind] += used
            if job.nodes and self.now - job.since >= job.work.steps / job.request.speed:
                del self.live[id_]
                self.ended[id_] = self.now

    def snapshot(self) -> Snapshot:
        """Return what the next plan looks at."""
        return Snapshot.build(
            self._ready(self.waiting.values()).columns(),
            self._usage(),
            (a_cluster(*self._views()),),
            list(self._attempts()),
            self.site,
            NOW,
            queueing=(HERE,) if self.queues else (),
            promised={task: kept for task, kept in self.promised.items() if task in self.waiting},
            running=list(self._running()),
        )

    def _ready(self, works: Iterable[Work]) -> Ready:
        ready, gangs = Ready(), list[str]()
        for work in works:
            if work.gang and work.gang not in gangs:
                gangs.append(work.gang)
            ready.add(
                work.id,
                work.request,
                project=work.project,
                owner_uid=work.uid,
                priority=work.priority,
                importance=work.importance,
                deadline_s=work.deadline_s,
                age_s=60.0 + self.step_s * (self.now - work.came),
                gang=gangs.index(work.gang) if work.gang else -1,
            )
        lives = Counter(job.work.gang for job in self.live.values())
        sizes = Counter(work.gang for work in self.waiting.values())
        ready.gangs = [GangRow(sizes[name], 0, lives[name]) for name in gangs]
        return ready

    def _views(self) -> Sequence[NodeView]:
        cpus: Counter[str] = Counter()
        gpus: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for job in self.live.values():
            for name in job.nodes:
                cpus[name] += job.request.cpus_per_node
                gpus[name][job.kind] += job.request.gpus.per_node
        return [
            replace(
                node,
                free_cpus=node.cpus - cpus[node.name],
                free_gpus=tuple((kind, count - gpus[node.name][kind]) for kind, count in node.gpus),
            )
            for node in self.nodes
        ]

    def _moment(self, step: int) -> datetime:
        return after(-self.step_s * (self.now - step) - 1)

    def _attempts(self) -> Iterator[Attempt]:
        for id_, job in self.live.items():
            state = AttemptState.RUNNING if job.nodes else AttemptState.QUEUED
            at = {"started_at": self._moment(job.since)} if job.nodes else {}
            yield an_attempt(f"{id_}.1", state, partition="", nodes=",".join(job.nodes), request=job.request, **at)

    def _running(self) -> Iterator[RunningRow]:
        for id_, job in self.live.items():
            yield RunningRow(
                attempt=AttemptId(f"{id_}.1"),
                task=id_,
                project=job.work.project,
                owner_uid=job.work.uid,
                backend=HERE,
                nodes=job.nodes,
                request=job.request,
                priority=job.work.priority,
                started_us=_us(self._moment(job.since)) if job.nodes else 0,
                is_queued=not job.nodes,
                saves_on_request=job.work.saves,
                may_resize=job.work.saves and job.request.elastic is not None,
                times_preempted=self.left[id_],
                gang=job.work.gang,
                ready_us=_us(self._moment(job.work.came)) - 59 * 10**6,
            )

    def _usage(self) -> ProjectUsage:
        rows = {
            key: UsageRow(*key, Charge(gpu_type=key[2]), Charge(gpu_type=key[2], gpu_s=self.step_s * used))
            for key, used in self.spent.items()
        }
        for job in self.live.values():
            key = (job.work.project, job.work.uid, job.kind)
            row = rows.get(key) or UsageRow(*key, Charge(gpu_type=job.kind), Charge(gpu_type=job.kind))
            rows[key] = row._replace(
                reserved=_sum(row.reserved, charge_of(job.request, job.request.walltime_s, job.kind)),
                jobs=row.jobs + 1,
                nodes=row.nodes + job.request.node_count,
                cpus=row.cpus + job.request.cpus,
                gpus=row.gpus + job.request.gpu_count,
            )
        return ProjectUsage(rows=sorted(rows.values()))


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def _sum(one: Charge, other: Charge) -> Charge:
    return replace(
        one,
        node_s=one.node_s + other.node_s,
        cpu_s=one.cpu_s + other.cpu_s,
        memory_mib_s=one.memory_mib_s + other.memory_mib_s,
        gpu_s=one.gpu_s + other.gpu_s,
    )
