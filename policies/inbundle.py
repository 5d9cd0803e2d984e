"""What the evidence about a native job says of each of the attempts that share it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import NativeState, Observation, Seen
from elisa.model.states import EndReason
from elisa.model.task import Attempt
from elisa.policies.evidence import Sightings, listen

__all__ = ["agreed_ids", "own_part"]

_TAKES_ALL = frozenset(
    {
        EndReason.PREEMPTED,
        EndReason.NODE_FAILURE,
        EndReason.BOOT_FAILURE,
        EndReason.OUT_OF_MEMORY,
        EndReason.TIMEOUT,
    }
)


def own_part(
    attempt: Attempt, seen: Observation | None, said: Sequence[RuntimeEvent], unheard: Collection[AttemptId] = ()
) -> Observation | None:
    """Return what an answer about the native job says of one attempt in it: all of it where the job is its own.

    A job that runs says nothing of those whose turn is to come; one that is over does not say how each of them ended,
    but for what took it away from the one that ran. `unheard` are the leaders of those in which nobody gave a sign.
    """
    if attempt.leader is None or not isinstance(seen, Seen):
        return seen
    has_begun = attempt.claimed or any(event.kind is not EventKind.REFUSED for event in said)
    if seen.state is NativeState.RUNNING:
        state = NativeState.RUNNING if has_begun else NativeState.QUEUED
        given_at = seen.given_at if attempt.leader in unheard else None
        words = "" if has_begun else seen.detail
        return replace(seen, state=state, started_at=None, given_at=given_at, detail=words)
    if seen.state is not NativeState.ENDED:
        return seen
    reason = seen.end_reason
    if reason is not EndReason.CANCELLED and not (has_begun and reason in _TAKES_ALL):
        reason = EndReason.LOST
    return replace(seen, end_reason=reason, exit_code=None, signal=None, started_at=None)


def agreed_ids(
    live: Iterable[Attempt],
    said: Mapping[AttemptId, Sequence[RuntimeEvent]],
    found: Mapping[AttemptId, Sightings],
) -> Mapping[AttemptId, NativeId]:
    """Return the native job of each bundle of which some attempt does not know it yet, by its leader.

    What one of them knows or claimed under holds for all; else the first that a search found.
    """
    members: dict[AttemptId, list[Attempt]] = {}
    for attempt in live:
        if attempt.leader is not None:
            members.setdefault(attempt.leader, []).append(attempt)
    agreed: dict[AttemptId, NativeId] = {}
    for leader, group in members.items():
        if all(attempt.native_id is not None for attempt in group):
            continue
        known = [attempt.native_id for attempt in group]
        known += [listen(said[attempt.id]).native_id for attempt in group if attempt.id in said]
        known += [min(found[attempt.id].ids, default=None) for attempt in group if attempt.id in found]
        native_id = next((one for one in known if one is not None), None)
        if native_id is not None:
            agreed[leader] = native_id
    return agreed
