"""Jobs that began after the last tick looked: what only asks, as `elisa plan` does, must not take them for waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from elisa.engine.managers import Managers
from elisa.model.columns import RunningRow
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId, BackendName
from elisa.model.native import Answered, NativeState, Poll, Seen
from elisa.model.states import AttemptState
from elisa.model.task import Attempt

__all__ = ["as_begun", "with_begun"]


def with_begun(managers: Managers, live: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Return live attempts, as running those that their managers say run; only who was not seen to run is asked about."""
    waiting = [one for one in live if one.started_at is None]
    polls = managers.poll(waiting) if waiting else {}
    return tuple(_begun(one, polls) if one.started_at is None else one for one in live)


def _begun(attempt: Attempt, polls: Mapping[BackendName, Poll]) -> Attempt:
    poll = polls.get(attempt.backend)
    seen = poll.observations.get(attempt.native_id) if isinstance(poll, Answered) and attempt.native_id else None
    if not isinstance(seen, Seen) or seen.state is not NativeState.RUNNING or seen.started_at is None:
        return attempt
    return replace(attempt, state=AttemptState.RUNNING, started_at=seen.started_at, nodes=seen.nodes)


def as_begun(rows: Iterable[RunningRow], live: Iterable[Attempt]) -> tuple[RunningRow, ...]:
    """Return what the store says of live attempts, with the beginnings that `live` tells and it does not know yet."""
    begun = {one.id: one for one in live if one.started_at is not None}
    return tuple(_row_begun(row, begun.get(AttemptId(row.attempt))) if row.is_queued else row for row in rows)


def _row_begun(row: RunningRow, attempt: Attempt | None) -> RunningRow:
    if attempt is None or attempt.started_at is None:
        return row
    started_us = round(attempt.started_at.timestamp() * 1e6)
    return row._replace(is_queued=False, nodes=tuple(expand_hosts(attempt.nodes)), started_us=started_us)
