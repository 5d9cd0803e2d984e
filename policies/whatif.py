"""What would be different: a plan under other rules, and which rule stands in a task's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from elisa.model.decisions import Submit
from elisa.model.ids import AttemptId, ProjectName, TaskId
from elisa.model.reasons import Reason
from elisa.model.site import Cap, SitePolicy
from elisa.policies.allowances import effective
from elisa.policies.budgets_caps import cap_rows
from elisa.policies.placement_pools import NodeColumns, Pool
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot

__all__ = ["Difference", "compare", "under", "what_would_help", "with_cap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a plan changes: tasks that start only after, only before, and those told another reason.

    `refused` are those that are ready only after and do not start. `leave` are attempts that are asked to leave only after.
    """

    starts: tuple[TaskId, ...]
    no_longer: tuple[TaskId, ...]
    reasons: Mapping[TaskId, tuple[Reason, Reason]]
    refused: Mapping[TaskId, Reason]
    leave: Mapping[AttemptId, Reason]


def under(snapshot: Snapshot, site: SitePolicy) -> Snapshot:
    """Return the same moment under other rules for projects (not for windows of native queues)."""
    ruled = effective(site, snapshot.usage, datetime.fromtimestamp(snapshot.now_s, UTC))
    listed = {policy.name: policy for policy in ruled.projects}
    return replace(
        snapshot,
        site=ruled,
        policies=tuple(listed.get(name, ruled.unlisted) for name in snapshot.projects),
        caps=cap_rows(ruled, snapshot.owners, snapshot.usage.rows),
    )


def with_cap(site: SitePolicy, project: ProjectName, cap: Cap) -> SitePolicy:
    """Return the rules with one cap of a project set, in place of its like if it has one."""
    old = site.project(project)
    alike = [(one.resource, one.gpu_type, one.is_hard) != (cap.resource, cap.gpu_type, cap.is_hard) for one in old.caps]
    kept = tuple(one for one, is_other in zip(old.caps, alike, strict=True) if is_other)
    new = replace(old, name=project, caps=(*kept, cap))
    others = tuple(one for one in site.projects if one.name != project)
    return replace(site, projects=(*others, new))


def compare(before: Plan, after: Plan) -> Difference:
    """Return what a second plan, over the same ready tasks or more, does otherwise than the first."""
    first, second = frozenset(_starts(before)), frozenset(_starts(after))
    known = frozenset(before.snapshot.tasks.ids)
    waiting = [TaskId(id_) for id_ in before.snapshot.tasks.ids if id_ not in first and id_ not in second]
    added = [TaskId(id_) for id_ in after.snapshot.tasks.ids if id_ not in known and id_ not in second]
    stay = frozenset(_leavers(before))
    reasons = {task: (before.reason(task), after.reason(task)) for task in waiting}
    return Difference(
        starts=tuple(task for task in _starts(after) if task not in first),
        no_longer=tuple(task for task in _starts(before) if task not in second),
        reasons={task: pair for task, pair in reasons.items() if pair[0] != pair[1]},
        refused={task: after.reason(task) for task in added},
        leave={attempt: reason for attempt, reason in _leavers(after).items() if attempt not in stay},
    )


def _leavers(made: Plan) -> Mapping[AttemptId, Reason]:
    leaving = (one for one in made.decisions if not isinstance(one, Submit))
    return {one.attempt: one.reason for one in leaving}


def _starts(made: Plan) -> tuple[TaskId, ...]:
    return tuple(decision.task for decision in made.decisions if isinstance(decision, Submit))


def what_would_help(snapshot: Snapshot, task: TaskId) -> tuple[str, ...]:
    """Return which single obstacle, were it gone, would let a ready task start now; empty if it takes more than one.

    Each is tried by planning again: meant for `explain`, not for every task of a tick.
    """
    return tuple(name for name, relax in _RELAXED.items() if task in _starts(plan(relax(snapshot, task))))


def _without_budgets(snapshot: Snapshot, task: TaskId) -> Snapshot:  # noqa: ARG001 - one signature for all
    return replace(snapshot, caps=snapshot.caps.soft())


def _without_windows(snapshot: Snapshot, task: TaskId) -> Snapshot:  # noqa: ARG001 - one signature for all
    pools = tuple(replace(pool, window=pool.queued + len(snapshot.tasks)) for pool in snapshot.pools)
    return replace(snapshot, pools=pools, site=replace(snapshot.site, submits_per_tick=2**31))


def _without_running_jobs(snapshot: Snapshot, task: TaskId) -> Snapshot:  # noqa: ARG001 - one signature for all
    emptied = {id(pool.nodes): _emptied(pool.nodes) for pool in snapshot.pools}
    pools: tuple[Pool, ...] = tuple(replace(pool, nodes=emptied[id(pool.nodes)]) for pool in snapshot.pools)
    return replace(snapshot, pools=pools)


def _emptied(nodes: NodeColumns) -> NodeColumns:
    return replace(nodes, free_cpus=nodes.cpus, free_memory_mib=nodes.memory_mib, free_gpus=nodes.gpus)


def _in_front(snapshot: Snapshot, task: TaskId) -> Snapshot:
    row = snapshot.tasks.ids.index(task)
    importance = snapshot.tasks.importance.copy()
    importance[row] = importance.max() + 1
    priority = snapshot.tasks.priority.copy()
    priority[row] = -1
    tasks = replace(snapshot.tasks, importance=importance, priority=priority)
    return replace(snapshot, tasks=tasks, site=replace(snapshot.site, order=("class", "importance")))


_RELAXED: Mapping[str, Callable[[Snapshot, TaskId], Snapshot]] = {
    "budgets": _without_budgets,
    "windows": _without_windows,
    "running jobs": _without_running_jobs,
    "tasks in front": _in_front,
}
