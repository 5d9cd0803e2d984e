"""Jobs that wait in native queues for the very nodes they name, and these take no jobs any more: taken back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from elisa.engine.stop import Stop
from elisa.model.ids import AttemptId
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.snapshot import Snapshot

__all__ = ["is_pinned", "unpinning_stops"]

_WAITING = frozenset({AttemptState.SUBMITTED, AttemptState.QUEUED})


def is_pinned(attempt: Attempt) -> bool:
    """Tell whether a native job waits for nodes that it names."""
    return bool(attempt.request.nodelist) and attempt.state in _WAITING and not attempt.cancel_sent


def unpinning_stops(
    live: Mapping[AttemptId, Attempt], seen: Snapshot, but_not: Collection[AttemptId] = ()
) -> Iterable[Stop]:
    """Yield the native jobs that wait for nodes which are down or drained; those that leave anyway are left out.

    Where a cluster was not looked at, nothing is said of its nodes.
    """
    for attempt in live.values():
        if attempt.native_id is None or attempt.id in but_not or not is_pinned(attempt):
            continue
        lost = [name for name in attempt.request.nodelist if _is_shut(name, attempt, seen)]
        if lost:
            reason = because(ReasonCode.NODES_LOST, nodes=",".join(lost), backend=attempt.backend)
            yield Stop(attempt=attempt, native_id=attempt.native_id, reason=reason)


def _is_shut(name: str, attempt: Attempt, seen: Snapshot) -> bool:
    nodes = next((pool.nodes for pool in seen.pools if pool.backend == attempt.backend), None)
    return nodes is not None and name in nodes.names and not nodes.is_up[nodes.names.index(name)]
