"""When a task may go on whose attempt was lost with its node: as soon as nothing of that attempt can run any more.

Any of three things proves it: its agent says that it has stopped; it has left no sign of life for so long that it has
certainly killed its program; or the resource manager tells that its nodes were switched off or have booted since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elisa.engine.fence import fences_to_raise, has_let_go, newest_claim
from elisa.engine.managers import Managers
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, TaskId, attempt_number, task_of
from elisa.model.native import NodeView
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.task import Attempt
from elisa.policies.death import are_proven_dead
from elisa.store.writer import Writer

__all__ = ["fence_s", "longest_silence_s", "proofs_of_end"]

# Over the time after which a cut-off agent kills its program: clocks of two nodes run apart, and killing takes a moment.
_MARGIN = 1.25


def fence_s(ws: Workspace, attempt: AttemptId) -> float:
    """Return how long `attempt` must have been silent to be surely dead: by the rule that its own agent was given."""
    rule_s = _read_object(ws, layout.job_file(ws.home, attempt)).get("self_fence_s")
    return _MARGIN * rule_s if isinstance(rule_s, (int, float)) else longest_silence_s(ws)


def longest_silence_s(ws: Workspace) -> float:
    """Return after how long a silent agent is surely dead, by the rule that agents are given now."""
    return _MARGIN * ws.site.jobs.self_fence


def proofs_of_end(ws: Workspace, writer: Writer, managers: Managers, now: datetime) -> Mapping[TaskId, Reason]:
    """Return the tasks that wait for an attempt lost with its node of which surely nothing runs any more, and why.

    Managers are asked, as for a plan, only while such a task waits and nothing else has proved it.
    """
    waiting = writer.cut_off(now)
    if not waiting:
        return {}
    # First the fence, then the sign of life: an agent that comes back into reach between the two sees that it must stop.
    numbers = {task_of(one): attempt_number(one) + 1 for one in waiting}
    ws.files.write_all(fences_to_raise(ws.files, ws.home, numbers))
    server_now = _server_now(ws)
    found = {one: reason for one in waiting if (reason := _own_proof(ws, one, server_now)) is not None}
    left = [one for one in waiting if one not in found]
    if left:
        found |= _managers_proofs(ws, writer.attempts(left).values(), managers)
    return {task_of(one): reason for one, reason in found.items()}


def _own_proof(ws: Workspace, attempt: AttemptId, server_now: float) -> Reason | None:
    if has_let_go(ws.files, ws.home, attempt):
        return because(ReasonCode.STOPPED_FOR_SURE)
    sign = _last_sign(ws, attempt)
    if sign is None or server_now - sign <= fence_s(ws, attempt):
        return None
    return because(ReasonCode.SILENT_FOR_SURE, silent_s=int(server_now - sign))


def _last_sign(ws: Workspace, attempt: AttemptId) -> float | None:
    """Return when `attempt` was last heard of, by the clock of the file server; None if its claim is not to be found."""
    folder = layout.event_dir(ws.home, attempt)
    events = [folder / entry.name for entry in ws.files.entries(folder)]
    newest = newest_claim(ws.files, ws.home, attempt)
    claims = [layout.incarnation_claim(ws.home, attempt, number) for number in range(newest + 1)]
    return max(map(ws.files.changed_at, (*claims, *events))) if claims else None


def _server_now(ws: Workspace) -> float:
    clock = layout.server_clock(ws.home)
    ws.files.write(clock, b"")
    return ws.files.changed_at(clock)


def _managers_proofs(ws: Workspace, attempts: Iterable[Attempt], managers: Managers) -> Mapping[AttemptId, Reason]:
    nodes = {(view.backend, node.name): node for view in managers.clusters() for node in view.nodes}
    return {
        attempt.id: because(ReasonCode.NODES_BEGAN_ANEW, nodes=attempt.nodes)
        for attempt in attempts
        if _is_proven_dead(
            ws, attempt, {name: node for (backend, name), node in nodes.items() if backend == attempt.backend}
        )
    }


def _is_proven_dead(ws: Workspace, attempt: Attempt, nodes: Mapping[str, NodeView]) -> bool:
    began = _began(ws, attempt)
    return bool(began) and are_proven_dead(expand_hosts(attempt.nodes), max(began), nodes)


def _began(ws: Workspace, attempt: Attempt) -> Sequence[datetime]:
    """Return when the attempt's last job began, by its own clock and by the manager's; nothing if one of them is silent."""
    newest = newest_claim(ws.files, ws.home, attempt.id)
    at = _read_object(ws, layout.incarnation_claim(ws.home, attempt.id, max(newest, 0))).get("at")
    if attempt.started_at is None or not isinstance(at, (int, float)):
        return ()
    return attempt.started_at, datetime.fromtimestamp(at, UTC)


def _read_object(ws: Workspace, path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file, an empty one if there is none."""
    try:
        content = json.loads(ws.files.read(path) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
