"""Chains put into one native job: what is certain to follow from a short task runs after it in the same job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from elisa.engine.facts_affinity import is_held
from elisa.engine.facts_work import WorkLeft
from elisa.model.decisions import Submit
from elisa.model.ids import AttemptId, TaskId, attempt_id
from elisa.model.reasons import ReasonCode, because
from elisa.model.rows import WorkName
from elisa.model.site import FusionRules
from elisa.model.task import Task
from elisa.policies.chaining import Tip, link_of
from elisa.policies.fusion import Bundle, Member, is_room, job_s
from elisa.policies.plan import Plan
from elisa.store.reader import Reader

__all__ = ["NOTHING_FUSED", "Fused", "fuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """A plan's native jobs that several tasks share, by their first task; and the submissions of tasks that still wait."""

    bundles: Mapping[TaskId, Bundle] = field(default_factory=dict)
    ahead: Mapping[TaskId, Submit] = field(default_factory=dict)


NOTHING_FUSED = Fused()


def fuse(plan: Plan, reader: Reader, left: WorkLeft) -> Fused:
    """Return the bundles of a plan, each with the chains that follow from its tasks as far as time and budgets go.

    Who follows waits for nothing but the success of tasks in the same bundle, is short, and asks for the same thing.
    """
    hosts = [_Host(start, plan.bundle(start.task)) for start in _brief_starts(plan)]
    if not hosts:
        return NOTHING_FUSED
    growing = _Growing(plan, reader, left, hosts)
    frontier = [member.task for host in hosts for member in host.members]
    while frontier:
        frontier = list(growing.grow(frontier))
    bundles = (Bundle(members=tuple(host.members), lanes=host.lanes) for host in hosts if len(host.members) > 1)
    return Fused(bundles={bundle.leader: bundle for bundle in bundles}, ahead=growing.ahead)


def _brief_starts(plan: Plan) -> Iterator[Submit]:
    for decision in plan.decisions:
        if isinstance(decision, Submit) and decision.leader is None and plan.is_brief(decision.task):
            yield decision


class _Host:
    """A native job that grows."""

    def __init__(self, start: Submit, bundle: Bundle) -> None:
        self.start = start
        self.members = list(bundle.members)
        self.lanes = bundle.lanes


class _Growing:
    """One pass over what follows, level by level."""

    def __init__(self, plan: Plan, reader: Reader, left: WorkLeft, hosts: Sequence[_Host]) -> None:
        self._plan = plan
        self._reader = reader
        self._left = left
        self._rules: FusionRules = plan.snapshot.site.fusion
        self._tips: dict[TaskId, Tip] = {}
        self._host_of: dict[AttemptId, _Host] = {}
        self._first_of: dict[AttemptId, Task] = {}
        self._names: dict[str, str] = {}
        self.ahead: dict[TaskId, Submit] = {}
        tasks = reader.tasks([member.task for host in hosts for member in host.members])
        for host in hosts:
            for member in host.members:
                if member.task in tasks and host.start.task in tasks:
                    self._enter(host, tasks[member.task], tasks[host.start.task])

    def _enter(self, host: _Host, task: Task, first: Task) -> AttemptId:
        attempt = attempt_id(task.id, task.attempts + 1)
        self._tips[task.id] = Tip(attempt, host.start.backend, task.owner_uid)
        self._host_of[attempt] = host
        self._first_of[attempt] = first
        return attempt

    def grow(self, frontier: Sequence[TaskId]) -> Iterator[TaskId]:
        """Put in who follows from these, and yield them."""
        candidates = [one for one in self._reader.brief_dependents(frontier) if one not in self._tips]
        tasks, needs = self._reader.tasks(candidates), self._reader.upstream(candidates)
        for task in (tasks[one] for one in candidates if one in tasks):
            link = link_of(task, needs.get(task.id, ()), self._tips)
            if link is not None and self._take(task, link.behind):
                yield task.id

    def _take(self, task: Task, behind: tuple[AttemptId, ...]) -> bool:
        hosts = {id(self._host_of[one]): self._host_of[one] for one in behind}
        host, first = self._host_of[behind[0]], self._first_of[behind[0]]
        brief_s = self._brief_s(task)
        if is_held(self._plan.snapshot.outlook.company, task) and not is_held(
            self._plan.snapshot.outlook.company, first
        ):
            return False
        if len(hosts) > 1 or not _asks_alike(task, first) or not self._fits(host, task, brief_s):
            return False
        host.members.append(Member(task.id, brief_s, behind))
        self._enter(host, task, first)
        start = host.start
        facts = {**start.reason.facts, "leader": start.task}
        self.ahead[task.id] = Submit(
            task=task.id,
            backend=start.backend,
            partition=start.partition,
            rank=start.rank,
            reason=because(ReasonCode.FUSED, **facts),
            leader=start.task,
        )
        return True

    def _fits(self, host: _Host, task: Task, brief_s: float) -> bool:
        filled = [member.brief_s for member in host.members]
        if brief_s > self._rules.longest_s or not is_room(self._rules, filled, brief_s, host.lanes):
            return False
        length_s = job_s(task.request.walltime_s, [*filled, brief_s], host.lanes)
        return self._plan.admit_after(host.start.task, length_s)

    def _brief_s(self, task: Task) -> float:
        """Return how long a task is expected to run: as past runs of it took, else as its author says."""
        if task.pipeline not in self._names:
            self._names[task.pipeline] = self._reader.pipeline(task.pipeline).pipeline.name
        name = WorkName(task.project, self._names[task.pipeline], task.spec.name, task.spec.group)
        estimate = self._left.runtimes.estimate(name, task.request.walltime_s)
        return float(task.spec.brief_s) if estimate is None else estimate.total_s


def _asks_alike(one: Task, other: Task) -> bool:
    mine = (one.project, one.owner_uid, one.request, one.spec.placement)
    return mine == (other.project, other.owner_uid, other.request, other.spec.placement)
