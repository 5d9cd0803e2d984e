"""Elastic work on nodes, or on the GPUs of nodes, minute after minute: jobs start and leave as the engine has them do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from elisa.model.columns import ProjectUsage, RunningRow
from elisa.model.decisions import Preempt, Resize, Submit
from elisa.model.native import ClusterView
from elisa.model.resources import Resources
from elisa.model.site import SitePolicy
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot
from tests.policies import test_elastic_gpus as on_gpus
from tests.policies import test_resizing as on_nodes
from tests.policies.build import NOW, Ready
from tests.policies.test_resizing import HOUR, NORMAL, PREEMPTS

__all__ = ["Job", "Life"]


@dataclass
class Job:
    """A job that runs for so many minutes once it is started; `sizes` are those that it had, in nodes or GPUs."""

    request: Resources
    rank: int = NORMAL
    lasts: int = 10**6
    project: str = "vision"
    nodes: tuple[str, ...] = ()
    started: datetime = NOW
    is_leaving: bool = False
    gave_way_to: tuple[str, ...] = ()
    roomy_us: int = 0
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.request = replace(self.request, walltime_s=90 * HOUR)

    @property
    def size(self) -> int:
        """How many it has now."""
        return self.sizes[-1] if self.nodes else 0


@dataclass
class Life:
    """So many nodes, whole ones or (`of_gpus`) with eight GPUs each."""

    nodes: int
    of_gpus: bool
    site: SitePolicy = PREEMPTS
    now: datetime = NOW
    minute: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    resized: list[tuple[int, str]] = field(default_factory=list)

    def tick(self) -> None:
        """Plan and carry it out; then a minute passes."""
        for name, job in list(self.jobs.items()):
            if job.nodes and (self.now - job.started).total_seconds() >= 60 * job.lasts:
                del self.jobs[name]
            elif job.is_leaving:
                job.nodes, job.is_leaving = (), False
        ready = Ready()
        for name, job in self.jobs.items():
            if not job.nodes:
                ready.add(name, job.request, priority=job.rank, project=job.project)
        rows = self._rows()
        made = plan(
            Snapshot.build(
                ready.columns(), ProjectUsage(), (self._view(rows),), (), self.site, self.now, running=list(rows)
            )
        )
        self._carry_out(made, rows)
        self.minute, self.now = self.minute + 1, self.now + timedelta(minutes=1)
        assert min(self.free()) >= 0

    def free(self) -> list[int]:
        """Return what is free of each node: a whole node is one."""
        names = [f"n{number:02}" for number in range(self.nodes)]
        whole = 8 if self.of_gpus else 1
        there = [(job, job.size if self.of_gpus else 1) for job in self.jobs.values()]
        return [whole - sum(held for job, held in there if name in job.nodes) for name in names]

    def _view(self, rows: tuple[RunningRow, ...]) -> ClusterView:
        return on_gpus.machine(*self.free()) if self.of_gpus else on_nodes.machine(self.nodes, *rows)

    def _rows(self) -> tuple[RunningRow, ...]:
        running = [(name, job) for name, job in self.jobs.items() if job.nodes]
        return tuple(
            (on_gpus.holding if self.of_gpus else on_nodes.running)(name, job.request, job.size)._replace(
                nodes=job.nodes,
                project=job.project,
                priority=job.rank,
                started_us=round(job.started.timestamp() * 1e6),
                is_leaving=job.is_leaving,
                gave_way_to=job.gave_way_to,
                roomy_us=job.roomy_us,
            )
            for name, job in running
        )

    def _carry_out(self, made: Plan, rows: tuple[RunningRow, ...]) -> None:
        for row in rows:
            job = self.jobs[row.task]
            job.roomy_us = (job.roomy_us or round(self.now.timestamp() * 1e6)) if row.attempt in made.room else 0
        for one in made.decisions:
            if isinstance(one, Submit):
                job, request = self.jobs[one.task], made.request(one.task)
                job.nodes, job.started, job.roomy_us = made.nodes(one.task), self.now, 0
                job.sizes.append(request.gpus.per_node if self.of_gpus else len(job.nodes))
            elif isinstance(one, (Preempt, Resize)):
                task = one.attempt.partition(".")[0]
                self.jobs[task].is_leaving = True
                if isinstance(one, Resize):
                    self.resized.append((self.minute, task))
                    self.jobs[task].gave_way_to += () if one.beneficiary is None else (one.beneficiary,)
