"""The plan of this moment: what the store and the managers say, handed to the policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from elisa.engine.avoidance import avoided_gpus, avoided_nodes, keep_off_gpus, learnt
from elisa.engine.begun import as_begun
from elisa.engine.facts_class import urged_now
from elisa.engine.facts_due import due_now, with_urgency
from elisa.engine.facts_places import outlook_of, trying
from elisa.engine.facts_ready import ReadyFacts
from elisa.engine.facts_work import WorkLeft
from elisa.engine.fusing import Fused, fuse
from elisa.engine.health import HealthBook
from elisa.engine.livelock import with_protection
from elisa.engine.managers import Managers
from elisa.engine.plugins import FencedPlugins, whole_name
from elisa.engine.rules import policy_of
from elisa.engine.unpinning import is_pinned
from elisa.engine.workspace import Workspace
from elisa.model.columns import Outlook, RunningRow
from elisa.model.ids import TaskId
from elisa.model.site import BackfillTimes, SitePolicy
from elisa.model.task import Attempt
from elisa.policies.deadlines import Due
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import load_plugins, named_by
from elisa.policies.snapshot import KeptRoom
from elisa.store.reader import Reader

__all__ = ["Decided", "decide"]


class Decided(NamedTuple):
    """A plan, how what is due stands, all that the plan was made of, and which of its tasks share a native job."""

    plan: Plan
    due: Due
    inputs: PlanInputs
    fused: Fused


def decide(  # noqa: PLR0913, PLR0917 - the facts of a tick, each from another source
    ws: Workspace,
    reader: Reader,
    managers: Managers,
    health: HealthBook,
    live: Sequence[Attempt],
    now: datetime,
    *,
    looks: bool = False,
) -> Decided:
    """Return the plan; managers are asked what is free only if a task is ready, or a queued job may be helped.

    With `looks` they are asked anyway, and for all that they have.
    """
    policy = policy_of(ws, reader, now)
    left = WorkLeft(reader, live, now, policy.gpu_speeds)
    facts = ReadyFacts(reader, left, policy, ws.backends.keys(), now)
    ready, company = facts.told(reader.ready_columns())
    held = with_protection(as_begun(reader.running(now), live), reader, now) if live else ()
    due = due_now(ready, held, reader, left, now)
    ready, kinds = facts.placed(ready, due)
    running = with_urgency(held, due, now)
    avoided = learnt(reader, now) if ready.task or live else ()
    keep_off_gpus(ws.backends, avoided)
    licences = looks or ready.ask_for_licences
    looks = (
        looks
        or bool(ready.task)
        or _may_help(policy, running)
        or any(map(is_pinned, live))
        or _may_be_short(ws, running)
    )
    clusters = managers.clusters(licences=licences) if looks else ()
    ready, kinds = trying(ready, kinds, left, clusters, policy)
    fenced = _fenced(ws, policy, health, now)
    inputs = PlanInputs(
        ready=ready,
        usage=reader.usage(now),
        clusters=clusters,
        live=live,
        site=policy,
        now=now,
        queueing=[name for name, backend in ws.backends.items() if backend.capabilities.queues],
        unexcluding=[name for name, backend in ws.backends.items() if not backend.capabilities.excludes],
        unreachable=managers.unreachable,
        uid=ws.uid,
        ends=left.ends() if policy.backfill_times is BackfillTimes.PREDICTED and ready.task else {},
        promised=_promised(ws, reader, policy) if ready.task else {},
        running=running,
        outlook=(outlook_of(kinds, reader, left, policy, now) if ready.task else Outlook())._replace(company=company),
        urged=urged_now(reader) if ready.task or running else {},
        avoid=avoided_nodes(avoided, clusters),
        bad_gpus=avoided_gpus(ws.backends, avoided),
        plugins=tuple(fenced.calls) if fenced is not None else (),
        planner=ws.site.planner if fenced is not None else "",
    )
    if fenced is None:
        made = plan(inputs.snapshot())
    else:
        made, inputs = _with_plugins(ws.site.planner, fenced, inputs)
    return Decided(made, due, inputs, fuse(made, reader, left))


def _with_plugins(planner: str, fenced: FencedPlugins, inputs: PlanInputs) -> tuple[Plan, PlanInputs]:
    """Return the plan, with notes on plug-ins that could not be loaded, and the inputs without those that failed in it."""
    snapshot = inputs.snapshot(fenced.calls)
    made = fenced.plan(planner, snapshot) if planner else plan(snapshot)
    made.notes = (*made.notes, *(f"plug-in {problem}" for problem in fenced.problems))
    taking_part = tuple(name for name in inputs.plugins if whole_name(name) not in fenced.failed)
    is_theirs = f"planner.{planner}" not in fenced.failed
    return made, replace(inputs, plugins=taking_part, planner=planner if is_theirs else "")


def _promised(ws: Workspace, reader: Reader, policy: SitePolicy) -> Mapping[TaskId, KeptRoom]:
    """Return the room that the last plan kept, where elisa keeps any: on backends without a queue of their own."""
    if policy.backfill_depth <= 0 or all(backend.capabilities.queues for backend in ws.backends.values()):
        return {}
    return {task: KeptRoom(starts_at.timestamp(), nodes) for task, starts_at, nodes in reader.promises()}


def _fenced(ws: Workspace, policy: SitePolicy, health: HealthBook, now: datetime) -> FencedPlugins | None:
    """Return what other packages bring, if the site names any of it; else nobody pays for looking."""
    if not ws.site.planner and not named_by(policy):
        return None
    return FencedPlugins(load_plugins(), health, ws.random, now)


def _may_help(policy: SitePolicy, running: Sequence[RunningRow]) -> bool:
    """Tell whether a job that waits in a native queue might be given the place of one that runs, or be in the way.

    Elastic work that runs may grow.
    """
    may_move = bool(policy.preemption.enabled or policy.reservations) and any(row.is_queued for row in running)
    return may_move or any(row.may_resize for row in running)


def _may_be_short(ws: Workspace, running: Sequence[RunningRow]) -> bool:
    """Tell whether something runs on a backend that promises more than it has."""
    names = {name for name, backend in ws.backends.items() if backend.capabilities.overcommits}
    return any(row.backend in names for row in running)
