"""The plan of this moment: what the store and the managers say, handed to the policies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from elisa.engine.avoidance import avoided_nodes
from elisa.engine.facts_due import with_paths
from elisa.engine.health import HealthBook
from elisa.engine.managers import Managers
from elisa.engine.plugins import FencedPlugins
from elisa.engine.rules import policy_of
from elisa.engine.workspace import Workspace
from elisa.model.columns import RunningRow
from elisa.model.site import SitePolicy
from elisa.model.task import Attempt
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import load_plugins, unknown_keys
from elisa.policies.snapshot import Snapshot
from elisa.store.reader import Reader

__all__ = ["decide"]


def decide(  # noqa: PLR0917 - the facts of a tick, each from another source
    ws: Workspace, reader: Reader, managers: Managers, health: HealthBook, live: Sequence[Attempt], now: datetime
) -> Plan:
    """Return the plan; managers are asked what is free only if a task is ready, or a queued job may be helped."""
    policy = policy_of(ws, reader, now)
    ready = with_paths(reader.ready_columns(), reader)
    running = reader.running(now) if live else ()
    clusters = managers.clusters() if ready.task or _may_help(policy, running) else ()
    fenced = _fenced(ws, policy, health, now)
    snapshot = Snapshot.build(
        ready,
        reader.usage(now),
        clusters,
        live,
        policy,
        now,
        queueing=[name for name, backend in ws.backends.items() if backend.capabilities.queues],
        unreachable=managers.unreachable,
        uid=ws.uid,
        running=running,
        avoid=avoided_nodes(reader, clusters, now) if ready.task else {},
        plugins=fenced.order if fenced is not None else {},
    )
    return plan(snapshot) if fenced is None or not ws.site.planner else fenced.plan(ws.site.planner, snapshot)


def _fenced(ws: Workspace, policy: SitePolicy, health: HealthBook, now: datetime) -> FencedPlugins | None:
    """Return what other packages bring, if the site names any of it; else nobody pays for looking."""
    if not ws.site.planner and not unknown_keys(policy.order, {}):
        return None
    return FencedPlugins(load_plugins(), health, ws.random, now)


def _may_help(policy: SitePolicy, running: Sequence[RunningRow]) -> bool:
    """Tell whether a job that waits in a native queue might be given the place of one that runs."""
    return policy.preemption.enabled and any(row.is_queued for row in running)
