"""The plan of this moment: what the store and the managers say, handed to the policies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model.task import Attempt
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot
from elisa.store.reader import Reader

__all__ = ["decide"]


def decide(ws: Workspace, reader: Reader, managers: Managers, live: Sequence[Attempt], now: datetime) -> Plan:
    """Return the plan; managers are asked what is free only if a task is ready."""
    ready = reader.ready_columns()
    clusters = managers.clusters() if ready.task else ()
    snapshot = Snapshot.build(
        ready,
        reader.usage(now),
        clusters,
        live,
        ws.site.policy(),
        now,
        queueing=[name for name, backend in ws.backends.items() if backend.capabilities.queues],
        unreachable=managers.unreachable,
        uid=ws.uid,
    )
    return plan(snapshot)
