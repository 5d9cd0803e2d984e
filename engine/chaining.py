"""Jobs queued ahead of the end of others, so that they follow with no tick between: stages, and next attempts at long work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from elisa.engine.act import Submitting
from elisa.engine.facts_affinity import is_held
from elisa.engine.facts_due import with_paths
from elisa.engine.facts_work import WorkLeft
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.forecast.work import remaining_s
from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, UsageRow
from elisa.model.decisions import Submit
from elisa.model.ids import AttemptId, BackendName, NativeId, ProjectName, TaskId, attempt_id
from elisa.model.native import ClusterView
from elisa.model.needs import ResolvedNeed
from elisa.model.reasons import ReasonCode
from elisa.model.site import EVERYBODY, Cap, ProjectPolicy, SitePolicy
from elisa.model.states import FINAL_TASK_STATES, AttemptState
from elisa.model.task import Attempt, Task
from elisa.model.text import job_words
from elisa.policies.chaining import Link, link_of, tips_of, with_heirs
from elisa.policies.deadlines import Due
from elisa.policies.plan import Plan, plan
from elisa.policies.power import priced
from elisa.policies.segments import chains_of, next_link
from elisa.policies.snapshot import Snapshot
from elisa.store.reader import Reader

__all__ = ["Chaining", "Ground", "depth_limits"]


# More than windows take, and few enough to be looked at in every tick.
_CANDIDATES = 1000


class Ground(NamedTuple):
    """What links are judged by: live attempts, what is in use, and how many jobs were submitted in this tick."""

    live: Sequence[Attempt]
    usage: ProjectUsage
    used: int


@dataclass(frozen=True, kw_only=True)
class Chaining:
    """Chaining in one tick, whose plan looked at `seen` and `due`: chained jobs get what that plan, as `decided`, left."""

    ws: Workspace
    reader: Reader
    managers: Managers
    seen: Snapshot
    due: Due
    now: datetime
    decided: Plan

    def carry_out(self, submitting: Submitting) -> None:
        """Queue tasks behind the jobs they wait for, level by level, as far as site, windows and budgets go."""
        limits = depth_limits(self.ws, self.managers)
        for _ in range(max(limits.values(), default=0)):
            ground = Ground(self.reader.live_attempts(), self.reader.usage(self.now), len(submitting.acted.submitted))
            groups = self._groups(self.reader.next_in_line(_CANDIDATES), ground, limits)
            if not sum(submitting.chain(self._plan(group, ground), group) for group in groups):
                return

    def foreseen(self, decided: Plan) -> tuple[Submit, ...]:
        """Return what would be queued behind live jobs, and behind those that a plan submits, were all accepted."""
        limits = depth_limits(self.ws, self.managers)
        live, usage = self.reader.live_attempts(), self.reader.usage(self.now)
        ground = self._with(Ground(live, usage, 0), decided, {}) if limits else Ground(live, usage, 0)
        found: list[Submit] = []
        for _ in range(max(limits.values(), default=0)):
            candidates = self.reader.waiting_for([attempt.task for attempt in ground.live])
            fresh = [task for task in candidates if task not in {one.task for one in found}]
            before = len(found)
            for group in self._groups(fresh, ground, limits, {one.task for one in found}):
                chained = self._plan(group, ground)
                found += [replace(one, reason=group[one.task].reason_for(one.reason)) for one in _submits(chained)]
                ground = self._with(ground, chained, group)
            if len(found) == before:
                break
        return tuple(found)

    def _groups(
        self,
        candidates: Sequence[TaskId],
        ground: Ground,
        limits: Mapping[BackendName, int],
        known: Collection[TaskId] = (),
    ) -> Iterator[Mapping[TaskId, Link]]:
        """Yield what may be queued behind others, in the groups that a plan is made for; without what is `known` already."""
        links = [*self._links(candidates, ground, set(limits)), *self._next_links(ground)]
        links = [link for link in links if link.task not in known]
        if links:
            tasks = self.reader.tasks([link.task for link in links])
            heirs = [link for link in links if self._may_inherit(tasks[link.task].project)]
            found = [
                *with_heirs(heirs, tasks, {attempt.id: attempt for attempt in ground.live}),
                *(link for link in links if not self._may_inherit(tasks[link.task].project)),
            ]
            yield from _by_backend([link for link in found if link.inherits is not None], limits)
            yield from _by_backend([link for link in found if link.inherits is None], limits)

    def _may_inherit(self, project: ProjectName) -> bool:
        """Tell whether a project's jobs take over what others hold: where that is bounded, and no ready task waits for it.

        An heir is handed over by itself: elsewhere it would only be torn out of its array.
        """
        site = self.seen.site
        policy = next((one for one in site.projects if one.name == project), site.unlisted)
        of_members = (cap for _, caps in policy.member_caps for cap in caps)
        is_bounded = any(not cap.resource.is_cumulative for cap in (*policy.caps, *policy.user_caps, *of_members))
        return (is_bounded or bool(site.caps)) and not {project, EVERYBODY} & self.wanting

    def _with(self, ground: Ground, decided: Plan, links: Mapping[TaskId, Link]) -> Ground:
        """Return the ground once all that a plan submits were accepted."""
        submits = _submits(decided)
        tasks = self.reader.tasks([one.task for one in submits])
        pretended = [_accepted(tasks[one.task], one, decided, links, self.now) for one in submits]
        held = [_held(tasks[one.task], decided, links.get(one.task)) for one in submits]
        return Ground(
            (*ground.live, *pretended),
            ground.usage._replace(rows=(*ground.usage.rows, *held)),
            ground.used + len(submits),
        )

    def _links(self, candidates: Sequence[TaskId], ground: Ground, names: set[BackendName]) -> Sequence[Link]:
        if not candidates:
            return ()
        live = {attempt.id: attempt for attempt in ground.live}
        tasks, needs = self.reader.tasks(candidates), self.reader.upstream(candidates)
        targets = self.reader.tasks(_unfinished(needs))
        tips = tips_of({name: one for name, one in live.items() if one.backend in names}, targets)
        found = (
            link_of(tasks[task], needs.get(task, ()), tips, self._earlier(tasks[task]))
            for task in candidates
            if tasks[task].owner_uid == self.ws.uid and not is_held(self.seen.outlook.company, tasks[task])
        )
        return [replace(link, words=_named(link.behind, live, targets)) for link in found if link is not None]

    def _next_links(self, ground: Ground) -> Sequence[Link]:
        """Return the next attempts at running tasks, each to be queued behind the last one that is there."""
        candidates = self.reader.running_and_saving()
        if not candidates:
            return ()
        chains, tasks = chains_of(ground.live), self.reader.tasks(candidates)
        left_s = self._left_s(tasks)
        found = (
            next_link(tasks[task], chains[task], left_s[task], self.now, self._earlier(tasks[task]))
            for task in candidates
            if task in chains
            and task in left_s
            and tasks[task].owner_uid == self.ws.uid
            and not is_held(self.seen.outlook.company, tasks[task])
        )
        return [link for link in found if link is not None]

    def _left_s(self, tasks: Mapping[TaskId, Task]) -> Mapping[TaskId, float]:
        """Return how much work is left of running tasks, of those of which something tells."""
        left = self.work.of(row for row in self.reader.active_work() if row.task in tasks)
        known = {
            task: remaining_s(
                left[task], said_s=tasks[task].spec.expected_s, progress=tasks[task].metrics.get("progress")
            )
            for task in left
        }
        return {task: left_s for task, left_s in known.items() if left_s is not None}

    @cached_property
    def wanting(self) -> AbstractSet[str]:
        """The projects, or `EVERYBODY`, whose ready tasks wait for what is used at once: nobody takes that over before them."""
        groups = self.decided.passed_over_groups()
        return {str(why.facts["project"]) for why, _ in groups if why.code is ReasonCode.CONCURRENCY_CAP}

    @cached_property
    def work(self) -> WorkLeft:
        """What is known of work that is left."""
        return WorkLeft(self.reader, self.reader.live_attempts(), self.now)

    def _earlier(self, task: Task) -> Sequence[Attempt]:
        return self.reader.attempts_of(task.id) if task.attempts else ()

    def _plan(self, links: Mapping[TaskId, Link], ground: Ground) -> Plan:
        """Return the plan for links to one backend: places in its queues, not nodes, for nobody knows what is free then."""
        names = {link.backend for link in links.values()}
        are_heirs = all(link.inherits is not None for link in links.values())
        columns = priced(self.reader.columns_of(links), self.seen.site.power, self.seen.site.gpu_shares)
        clusters = self.managers.clusters(licences=columns.ask_for_licences)
        return plan(
            Snapshot.build(
                with_paths(columns, self.due),
                ground.usage,
                [_occupied(view) for view in clusters if view.backend in names],
                ground.live,
                _strict(self.seen.site, used=ground.used, are_heirs=are_heirs),
                self.now,
                queueing=names,
                uid=self.ws.uid,
                avoid=self.seen.avoid,
                bad_gpus=self.seen.bad_gpus,
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


def _submits(decided: Plan) -> list[Submit]:
    return [one for one in decided.decisions if isinstance(one, Submit)]


def _accepted(task: Task, decision: Submit, decided: Plan, links: Mapping[TaskId, Link], now: datetime) -> Attempt:
    number, link = task.attempts + 1, links.get(task.id)
    return Attempt(
        id=attempt_id(task.id, number),
        task=task.id,
        number=number,
        backend=decision.backend,
        partition=decision.partition,
        request=decided.request(task.id),
        state=AttemptState.SUBMITTED,
        intended_at=now,
        behind=link.behind if link is not None and not link.is_next else (),
        continues=link.behind[0] if link is not None and link.is_next else None,
        native_id=NativeId(""),
    )


def _held(task: Task, decided: Plan, link: Link | None) -> UsageRow:
    """Return what the intent of one task would hold."""
    request, charge = decided.request(task.id), decided.charge(task.id)
    row = UsageRow(
        task.project,
        task.owner_uid,
        charge.gpu_type,
        reserved=charge,
        spent=Charge(gpu_type=charge.gpu_type),
        jobs=1,
        nodes=request.node_count,
        cpus=request.cpus,
        memory_mib=request.memory_mib,
        gpus=request.gpu_count,
        watts=request.draw_w,
    )
    is_heir = link is not None and link.inherits is not None
    return row._replace(jobs=0, nodes=0, cpus=0, memory_mib=0, gpus=0, watts=0) if is_heir else row


def _unfinished(needs: Mapping[TaskId, Sequence[ResolvedNeed]]) -> Sequence[TaskId]:
    targets = (target for found in needs.values() for resolved in found for target in resolved.targets)
    return sorted({target.id for target in targets if target.state not in FINAL_TASK_STATES})


def _named(behind: Sequence[AttemptId], live: Mapping[AttemptId, Attempt], tasks: Mapping[TaskId, Task]) -> str:
    return ", ".join(job_words(tasks[live[one].task].spec.name, live[one].native_id) for one in behind)


def _by_backend(links: Sequence[Link], limits: Mapping[BackendName, int]) -> Iterator[Mapping[TaskId, Link]]:
    for name, limit in limits.items():
        group = {link.task: link for link in links if link.backend == name and link.depth <= limit}
        if group:
            yield group


def _strict(site: SitePolicy, *, used: int, are_heirs: bool) -> SitePolicy:
    """Return rules under which soft caps hold too, and as much may be submitted as this tick has left.

    What may be used at once does not bind heirs: what they will use is held already.
    """
    return replace(
        site,
        projects=tuple(_hardened(project, are_heirs=are_heirs) for project in site.projects),
        caps=() if are_heirs else site.caps,
        unlisted=_hardened(site.unlisted, are_heirs=are_heirs),
        submits_per_tick=max(0, site.submits_per_tick - used),
        # what waits behind different jobs is not one job
        fusion=replace(site.fusion, enabled=False),
    )


def _hardened(project: ProjectPolicy, *, are_heirs: bool) -> ProjectPolicy:
    def hardened(caps: Iterable[Cap]) -> tuple[Cap, ...]:
        return tuple(replace(cap, is_hard=True) for cap in caps if cap.resource.is_cumulative or not are_heirs)

    return replace(
        project,
        caps=hardened(project.caps),
        user_caps=hardened(project.user_caps),
        member_caps=tuple((uid, hardened(caps)) for uid, caps in project.member_caps),
    )


def _occupied(view: ClusterView) -> ClusterView:
    """Return a cluster none of which is free."""
    nodes = (replace(node, free_cpus=0, free_memory_mib=0, free_gpus=()) for node in view.nodes)
    return replace(view, nodes=tuple(nodes))
