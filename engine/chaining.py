"""Successors queued ahead: behind jobs that have not ended, so that one stage follows another with no tick between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from elisa.engine.act import Submitting
from elisa.engine.facts_due import with_paths
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model.ids import AttemptId, BackendName, TaskId
from elisa.model.native import ClusterView
from elisa.model.needs import ResolvedNeed
from elisa.model.site import ProjectPolicy, SitePolicy
from elisa.model.states import TaskState
from elisa.model.task import Attempt, Task
from elisa.policies.chaining import Link, link_of, tips_of
from elisa.policies.deadlines import Due
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot
from elisa.store.reader import Reader

__all__ = ["Chaining", "depth_limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaining:
    """Chaining in one tick, whose plan looked at `seen` and `due`: chained jobs get what the plan's own submissions left."""

    ws: Workspace
    reader: Reader
    managers: Managers
    seen: Snapshot
    due: Due
    now: datetime

    def carry_out(self, submitting: Submitting) -> None:
        """Queue tasks behind the jobs they wait for, level by level, as far as site, windows and budgets go."""
        limits = depth_limits(self.ws, self.managers)
        for _ in range(max(limits.values(), default=0)):
            used = len(submitting.acted.submitted)
            groups = _by_backend(self._links(set(limits)), limits)
            if not sum(submitting.chain(self._plan(group, used), group) for group in groups):
                return

    def _links(self, names: set[BackendName]) -> Sequence[Link]:
        candidates = self.reader.next_in_line()
        if not candidates:
            return ()
        live = {attempt.id: attempt for attempt in self.reader.live_attempts()}
        tasks, needs = self.reader.tasks(candidates), self.reader.upstream(candidates)
        active = self.reader.tasks(_active(needs))
        tips = tips_of({name: one for name, one in live.items() if one.backend in names}, active)
        found = (
            link_of(tasks[task], needs.get(task, ()), tips, self._earlier(tasks[task]))
            for task in candidates
            if tasks[task].owner_uid == self.ws.uid
        )
        return [replace(link, words=_named(link.behind, live, active)) for link in found if link is not None]

    def _earlier(self, task: Task) -> Sequence[Attempt]:
        return self.reader.attempts_of(task.id) if task.attempts else ()

    def _plan(self, links: Mapping[TaskId, Link], used: int) -> Plan:
        """Return the plan for links to one backend: places in its queues, not nodes, for nobody knows what is free then."""
        names = {link.backend for link in links.values()}
        return plan(
            Snapshot.build(
                with_paths(self.reader.columns_of(links), self.due),
                self.reader.usage(self.now),
                [_occupied(view) for view in self.managers.clusters() if view.backend in names],
                self.reader.live_attempts(),
                _strict(self.seen.site, used=used),
                self.now,
                queueing=names,
                uid=self.ws.uid,
                avoid=self.seen.avoid,
                plugins=self.seen.plugins,
                urged=self.seen.urged,
            )
        )


def depth_limits(ws: Workspace, managers: Managers) -> Mapping[BackendName, int]:
    """Return how many stages may be queued ahead on each backend that can do it and answers; none is left out."""
    limits: dict[BackendName, int] = {}
    for name, backend in sorted(ws.backends.items()):
        wish = ws.site.backends[name].chain if name in ws.site.backends else None
        limit = backend.capabilities.chain_ahead if wish is None else wish
        if backend.capabilities.dependencies and limit > 0 and name not in managers.unreachable:
            limits[name] = limit
    return limits


def _active(needs: Mapping[TaskId, Sequence[ResolvedNeed]]) -> Sequence[TaskId]:
    targets = (target for found in needs.values() for resolved in found for target in resolved.targets)
    return sorted({target.id for target in targets if target.state is TaskState.ACTIVE})


def _named(behind: Sequence[AttemptId], live: Mapping[AttemptId, Attempt], tasks: Mapping[TaskId, Task]) -> str:
    return ", ".join(f"{tasks[live[one].task].spec.name}'s job {live[one].native_id}" for one in behind)


def _by_backend(links: Sequence[Link], limits: Mapping[BackendName, int]) -> Iterator[Mapping[TaskId, Link]]:
    for name, limit in limits.items():
        group = {link.task: link for link in links if link.backend == name and link.depth <= limit}
        if group:
            yield group


def _strict(site: SitePolicy, *, used: int) -> SitePolicy:
    """Return rules under which soft caps hold too, and as much may be submitted as this tick has left."""
    return replace(
        site,
        projects=tuple(_hardened(project) for project in site.projects),
        unlisted=_hardened(site.unlisted),
        submits_per_tick=max(0, site.submits_per_tick - used),
    )


def _hardened(project: ProjectPolicy) -> ProjectPolicy:
    return replace(
        project,
        caps=tuple(replace(cap, is_hard=True) for cap in project.caps),
        user_caps=tuple(replace(cap, is_hard=True) for cap in project.user_caps),
    )


def _occupied(view: ClusterView) -> ClusterView:
    """Return a cluster none of which is free."""
    nodes = (replace(node, free_cpus=0, free_memory_mib=0, free_gpus=()) for node in view.nodes)
    return replace(view, nodes=tuple(nodes))
