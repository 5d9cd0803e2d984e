"""Intents: what a plan is about to have submitted, written down before anybody is asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from elisa.engine.fusing import NOTHING_FUSED, Fused
from elisa.engine.outcomes import Item, NativeJob
from elisa.engine.workspace import Workspace
from elisa.model.changes import AttemptIntended
from elisa.model.decisions import Submit
from elisa.model.errors import PolicyError, StaleChange
from elisa.model.ids import AttemptId, TaskId, attempt_id
from elisa.model.reasons import Reason, because
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import Attempt, Task
from elisa.policies.blame import own_bad_nodes
from elisa.policies.chaining import Link
from elisa.policies.fusion import Bundle, Member
from elisa.policies.plan import Plan
from elisa.store.writer import Writer

__all__ = ["Intents"]

_log = logging.getLogger(__name__)
_NO_LINKS: Mapping[TaskId, Link] = {}


class Intents:
    """Makes a plan's decisions attempts. `links` are tasks to be queued behind live jobs, `fused` those that share one."""

    def __init__(
        self,
        ws: Workspace,
        writer: Writer,
        plan: Plan,
        now: datetime,
        *,
        links: Mapping[TaskId, Link] = _NO_LINKS,
        fused: Fused = NOTHING_FUSED,
    ) -> None:
        self._uid = ws.uid
        self._writer = writer
        self._plan = plan
        self._now = now
        self._links = links
        self._fused = fused
        self._reasons = {one.task: one.reason for one in plan.decisions if isinstance(one, Submit)}

    def write(self, decisions: Sequence[Submit]) -> list[NativeJob]:
        """Write down the intents in one transaction; where a rule or a change of mind forbids one, each job by itself."""
        names = [decision.task for decision in decisions]
        bundles = [self._fused.bundles[name] for name in names if name in self._fused.bundles]
        tasks = self._writer.tasks([*names, *(member.task for bundle in bundles for member in bundle.members[1:])])
        jobs = [job for decision in decisions if (job := self._job(decision, tasks)) is not None]
        try:
            self._writer.apply([intent for job in jobs for intent in self._intents(job)])
        except (PolicyError, StaleChange):
            return [written for job in jobs if (written := self._alone(job)) is not None]
        return jobs

    def _alone(self, job: NativeJob) -> NativeJob | None:
        """Write down one job; if its whole bundle cannot be, then its first attempt."""
        try:
            self._writer.apply(self._intents(job))
        except (PolicyError, StaleChange) as err:
            _log.info("attempt=%s not submitted: %s", job.first.id, err.what)
            if len(job.items) == 1:
                return None
            first = replace(job.items[0], attempt=replace(job.first, leader=None))
            return self._alone(replace(job, items=(first,), bundle=None))
        return job

    def _job(self, decision: Submit, tasks: Mapping[TaskId, Task]) -> NativeJob | None:
        task = tasks.get(decision.task)
        if task is None or not self._is_ours(task, self._links.get(task.id)):
            return None
        bad = own_bad_nodes(self._writer.attempts_of(task.id), self._plan.bad_gpus(task.id)) if task.attempts else ()
        kept_off = self._plan.kept_off(task.id, sorted(bad))
        bundle = self._fused.bundles.get(task.id)
        members = tuple(self._members(bundle, tasks)) if bundle is not None else ()
        if bundle is None or len(members) < 2:
            link = self._links.get(task.id)
            first = self._item(decision, task, behind=link.behind if link is not None else (), link=link)
            return NativeJob(start=task.id, items=(first,), kept_off=kept_off)
        leader = attempt_id(task.id, task.attempts + 1)
        items = tuple(self._item(decision, tasks[one.task], behind=one.behind, leader=leader) for one in members)
        bundle = Bundle(members=members, lanes=min(bundle.lanes, len(members)))
        return NativeJob(start=task.id, items=items, bundle=bundle, kept_off=kept_off)

    def _members(self, bundle: Bundle, tasks: Mapping[TaskId, Task]) -> Iterator[Member]:
        """Yield those of a bundle that are still to be submitted, without those that would follow others."""
        found: set[AttemptId] = set()
        for member in bundle.members:
            task = tasks.get(member.task)
            if (
                task is not None
                and self._is_wanted(task, TaskState.WAITING if member.behind else TaskState.READY)
                and found.issuperset(member.behind)
            ):
                found.add(attempt_id(task.id, task.attempts + 1))
                yield member

    def _is_ours(self, task: Task, link: Link | None) -> bool:
        if link is None:
            return self._is_wanted(task, TaskState.READY)
        return self._is_wanted(task, TaskState.ACTIVE if link.is_next else TaskState.WAITING)

    def _is_wanted(self, task: Task, wanted: TaskState) -> bool:
        """Tell whether the task is still to be submitted, by the user who runs this tick and nobody else."""
        return task.owner_uid == self._uid and task.state is wanted and not task.cancel_requested

    def _item(
        self,
        decision: Submit,
        task: Task,
        *,
        behind: tuple[AttemptId, ...],
        leader: AttemptId | None = None,
        link: Link | None = None,
    ) -> Item:
        number = task.attempts + 1
        is_next = link is not None and link.is_next
        attempt = Attempt(
            id=attempt_id(task.id, number),
            task=task.id,
            number=number,
            backend=decision.backend,
            partition=decision.partition,
            request=self._plan.request(decision.task),
            state=AttemptState.INTENDED,
            intended_at=self._now,
            behind=() if is_next else behind,
            continues=behind[0] if is_next else None,
            inherits=link.inherits if link is not None else None,
            leader=leader,
            resume_from=link.resume_from if link is not None and is_next else task.resume_from,
        )
        return Item(task=task, attempt=attempt)

    def _intents(self, job: NativeJob) -> list[AttemptIntended]:
        charge = self._plan.charge(job.start)
        return [
            AttemptIntended(attempt=item.attempt, reserve=charge, reason=self._reason(item.task.id, job))
            for item in job.items
        ]

    def _reason(self, task: TaskId, job: NativeJob) -> Reason:
        given = self._fused.ahead[task].reason if task in self._fused.ahead else self._reasons[task]
        if task in self._links:
            given = self._links[task].reason_for(given)
        if not job.kept_off:
            return given
        return because(given.code, **given.facts, kept_off=",".join(job.kept_off))
