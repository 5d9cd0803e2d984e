"""A site as it would stand later: what runs, what is free on its nodes and in its budgets, and who is beside whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from elisa.model.affinity import Bond
from elisa.model.charge import Charge
from elisa.model.columns import Outlook, PastUse, ProjectUsage, ReadyColumns, RunningRow, UsageRow
from elisa.model.ids import AttemptId, BackendName, TaskId
from elisa.model.native import NodeView
from elisa.model.resources import Resources
from elisa.model.shares import plain_kind
from elisa.model.site import BackfillTimes
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.budgets import charge_of
from elisa.policies.inputs import PlanInputs
from elisa.policies.neighbours import Neighbours
from elisa.policies.snapshot import KeptRoom

__all__ = ["Board", "Held", "held_by"]

# In place of what bounds single ticks, of which nobody knows how many there will be.
_ENDLESS = 10**6


class Held(NamedTuple):
    """What one task holds while it runs: its nodes, and a whole walltime of budget.

    `bond` ties it to others. It `may_leave` for who has reserved what it uses, or for a hard limit: it may be preempted, and
    saves when it is asked. Where it `is_foreseen`, past runs tell plans when it ends. `priority` is the rank of its class.
    It became ready at `ready_us`.
    """

    task: TaskId
    project: str
    owner_uid: int
    request: Resources
    gpu_type: str
    backend: BackendName
    nodes: tuple[str, ...]
    began_at: datetime
    bond: Bond = Bond()
    may_leave: bool = False
    is_foreseen: bool = False
    priority: int = 0
    ready_us: int = 0

    @property
    def attempt(self) -> AttemptId:
        """What the attempt is called by which it runs."""
        return AttemptId(f"{self.task}.1")

    def charge(self, seconds: float) -> Charge:
        """Return what it is billed for some time."""
        return charge_of(self.request, round(seconds), self.gpu_type)


def held_by(row: RunningRow) -> Held:
    """Return what a live attempt holds."""
    kind = row.request.gpus.types[0] if row.request.gpus.types else ""
    return Held(
        TaskId(row.task),
        row.project,
        row.owner_uid,
        row.request,
        kind,
        BackendName(row.backend),
        tuple(row.nodes),
        datetime.fromtimestamp(row.started_us / 1e6, UTC),
        may_leave=row.is_preemptible and row.saves_on_request,
        priority=row.priority,
        ready_us=row.ready_us,
    )


class Board:
    """Nodes, budgets and ties from the moment of `inputs` on. Nothing else of a site is supposed to change."""

    def __init__(self, inputs: PlanInputs) -> None:
        known = {view.backend for view in inputs.clusters if view.nodes}
        site = replace(inputs.site, windows=(), default_window=_ENDLESS, submits_per_tick=_ENDLESS)
        site = replace(site, fusion=replace(site.fusion, enabled=False))
        self._base = replace(
            inputs,
            # Nobody makes room for others but guests for who lent it to them, which no rule of preemption forbids.
            site=replace(site, preemption=replace(site.preemption, enabled=False)),
            # Where no node is known nobody knows more than the budgets do: what is handed over there begins.
            queueing=tuple(name for name in inputs.queueing if name not in known),
            uid=None,
        )
        self._outlook = inputs.outlook or Outlook()
        self._neighbours = Neighbours(self._outlook.company)
        self._nodes = {(view.backend, node.name): node for view in inputs.clusters for node in view.nodes}
        self._usage = {(row.project, row.owner_uid, row.gpu_type): row for row in inputs.usage.rows}
        self._past = [(inputs.now - timedelta(seconds=one.age_s), one) for one in inputs.usage.past]

    def take(self, held: Held) -> None:
        """Let a task begin: it takes nodes and budget."""
        self._neighbours.enter(held.task, held.bond, held.backend, held.nodes)
        self._count(held, 1)

    def take_over(self, held: Held) -> None:
        """Let what runs already go on, on the nodes that its manager says."""
        self._neighbours.settle(held.task, held.nodes)

    def give_back(self, held: Held) -> None:
        """Give nodes and budget back, as if nothing of them had been used."""
        self._neighbours.leave(held.task)
        self.count_out(held)

    def count_out(self, held: Held) -> None:
        """Give nodes and budget back, where the task itself stays."""
        self._count(held, -1)

    def _count(self, held: Held, sign: int) -> None:
        self._take_nodes(held, sign)
        key = (held.project, held.owner_uid, held.charge(0).gpu_type)
        row = self._usage.get(key, UsageRow(*key, reserved=Charge(gpu_type=key[2]), spent=Charge(gpu_type=key[2])))
        self._usage[key] = row._replace(
            reserved=_plus(row.reserved, held.charge(held.request.walltime_s), sign),
            jobs=row.jobs + sign,
            nodes=row.nodes + sign * held.request.node_count,
            cpus=row.cpus + sign * held.request.cpus,
            memory_mib=row.memory_mib + sign * held.request.memory_mib,
            gpus=row.gpus + sign * held.request.gpu_count,
            watts=row.watts + sign * held.request.draw_w,
        )

    def _take_nodes(self, held: Held, sign: int) -> None:
        for name in held.nodes:
            node = self._nodes.get((held.backend, name))
            if node is not None:
                self._nodes[held.backend, name] = _less(node, held, sign)

    def end(self, held: Held, ran_s: float, at: datetime, *, is_over: bool = True) -> None:
        """Give back what a task held that ran for so long, and book what it used. Without `is_over` it begins again."""
        if is_over:
            self._neighbours.end(held.task)
        self.give_back(held)
        spent = held.charge(ran_s)
        key = (held.project, held.owner_uid, spent.gpu_type)
        self._usage[key] = self._usage[key]._replace(spent=_plus(self._usage[key].spent, spent))
        self._past.append((at, PastUse(held.project, held.owner_uid, 0.0, spent)))

    def empty_of_others(self, runs: Iterable[Held]) -> None:
        """Let everything be free but for what `runs` hold."""
        for key, node in self._nodes.items():
            self._nodes[key] = replace(node, free_cpus=node.cpus, free_memory_mib=node.memory_mib, free_gpus=node.gpus)
        for held in runs:
            self._take_nodes(held, 1)

    def inputs(
        self,
        ready: ReadyColumns,
        runs: Mapping[datetime, Sequence[Held]],
        now: datetime,
        promised: Mapping[TaskId, KeptRoom],
    ) -> PlanInputs:
        """Return what a plan of that moment would be made of.

        `runs` are what runs then, by when it ends, `promised` is the room that the plan before kept.
        """
        ends = {held.attempt: at.timestamp() for at, group in runs.items() for held in group if held.is_foreseen}
        past = tuple(one._replace(age_s=(now - at).total_seconds()) for at, one in self._past)
        clusters = tuple(
            replace(view, nodes=tuple(self._nodes[view.backend, node.name] for node in view.nodes))
            for view in self._base.clusters
        )
        usage = ProjectUsage(rows=tuple(self._usage.values()), past=past)
        return replace(
            self._base,
            ready=ready,
            usage=usage,
            clusters=clusters,
            now=now,
            live=tuple(_attempt(held) for group in runs.values() for held in group),
            running=tuple(_row(held) for group in runs.values() for held in group),
            # A tick that reckons with what was asked for does not know when anything ends, either.
            ends=ends if self._base.site.backfill_times is BackfillTimes.PREDICTED else {},
            promised=promised,
            outlook=self._outlook._replace(company=self._neighbours.company),
        )


def _attempt(held: Held) -> Attempt:
    return Attempt(
        id=held.attempt,
        task=held.task,
        number=1,
        backend=held.backend,
        partition="",
        request=held.request,
        state=AttemptState.RUNNING,
        intended_at=held.began_at,
        started_at=held.began_at,
        nodes=",".join(held.nodes),
    )


def _row(held: Held) -> RunningRow:
    """Return what runs as one that leaves for nobody but who has lent it room, and for hard limits."""
    return RunningRow(
        attempt=held.attempt,
        task=held.task,
        project=held.project,
        owner_uid=held.owner_uid,
        backend=held.backend,
        nodes=held.nodes,
        request=held.request,
        priority=held.priority,
        started_us=round(held.began_at.timestamp() * 1e6),
        is_preemptible=held.may_leave,
        saves_on_request=held.may_leave,
        ready_us=held.ready_us,
    )


def _less(node: NodeView, held: Held, sign: int) -> NodeView:
    request = held.request
    cpus = node.cpus if request.exclusive else request.cpus_per_node
    gpus = {plain_kind(held.gpu_type): request.gpus.per_node}
    return replace(
        node,
        free_cpus=node.free_cpus - sign * cpus,
        free_memory_mib=node.free_memory_mib - sign * request.memory_mib_per_node,
        free_gpus=tuple((kind, free - sign * gpus.get(kind, 0)) for kind, free in _all_kinds(node)),
    )


def _all_kinds(node: NodeView) -> Sequence[tuple[str, int]]:
    """Return what is free of each type of GPU that a node has, none of those that it does not tell included."""
    free = dict(node.free_gpus)
    return [(kind, free.get(kind, 0)) for kind, _ in node.gpus]


def _plus(one: Charge, other: Charge, sign: int = 1) -> Charge:
    return replace(
        one,
        node_s=one.node_s + sign * other.node_s,
        cpu_s=one.cpu_s + sign * other.cpu_s,
        memory_mib_s=one.memory_mib_s + sign * other.memory_mib_s,
        gpu_s=one.gpu_s + sign * other.gpu_s,
        watt_s=one.watt_s + sign * other.watt_s,
    )
