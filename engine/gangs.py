"""Gangs of which some members run and others cannot: those that hold what others wait for give it back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from elisa.engine.places import ranks_of
from elisa.engine.stop import Stop
from elisa.engine.workspace import Workspace
from elisa.model.ids import AttemptId, BackendName, PipelineId, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.rows import GangMember
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.gangs import Assembling, Assembly, assemble
from elisa.policies.snapshot import Snapshot
from elisa.store.reader import Reader

__all__ = ["gang_stops"]

# Managers look at their queues every half minute or so: whoever starts within some rounds of the first is no reason to worry.
_PATIENCE_S = 120.0

_Members = Mapping[str, Sequence[Attempt]]  # by pipeline and gang
_Lacking = tuple[int, datetime]
_NOBODY: _Lacking = (0, datetime.min.replace(tzinfo=UTC))


def gang_stops(  # noqa: PLR0917 - as for the other kinds of stops
    ws: Workspace,
    reader: Reader,
    live: Mapping[AttemptId, Attempt],
    plan_of: Snapshot,
    now: datetime,
    but_not: Collection[AttemptId] = (),
) -> list[Stop]:
    """Return the native jobs of gangs that give back what they hold, to be admitted anew; those that leave anyway left out."""
    known = reader.gang_members()
    if not known:
        return []
    stops: list[Stop] = []
    ready = reader.ready_members({PipelineId(member.gang.partition("/")[0]) for member in known.values()})
    for gangs in _by_backend(ws, live, known, ready).values():
        lacking = {key: _lacking(key, members, known, ready) for key, members in gangs.items()}
        waiting = {key: members for key, members in gangs.items() if _is_incomplete(members, lacking[key])}
        rank = ranks_of(reader, [one.task for members in waiting.values() for one in members], plan_of, now)
        assembling = [_assembling(key, members, known, rank, lacking[key], now) for key, members in waiting.items()]
        patient = [gang for gang in assembling if gang.waited_s >= min(_PATIENCE_S, gang.timeout_s or _PATIENCE_S)]
        outcome = assemble(patient)
        for gang in patient:
            if outcome[gang.name] is Assembly.GIVE_BACK:
                stops += _stops(gang, waiting[gang.name], but_not)
    return stops


def _by_backend(
    ws: Workspace, live: Mapping[AttemptId, Attempt], known: Mapping[TaskId, GangMember], ready: Collection[str]
) -> Mapping[BackendName, _Members]:
    """Return the live members of each gang, where a queue may start some before others, or some are ready once more."""
    found: dict[BackendName, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for attempt in live.values():
        backend = ws.backends.get(attempt.backend)
        if attempt.task in known and backend is not None:
            gang = known[attempt.task].gang
            if backend.capabilities.queues or gang in ready:
                found[attempt.backend][gang].append(attempt)
    return found


def _lacking(
    key: str, members: Sequence[Attempt], known: Mapping[TaskId, GangMember], ready: Mapping[str, tuple[int, datetime]]
) -> _Lacking:
    """Return how many members are ready once more, and since when, as long as those that run are too few without them."""
    running = sum(one.state is AttemptState.RUNNING for one in members)
    minimum = known[members[0].task].minimum
    return ready.get(key, _NOBODY) if not minimum or running < minimum else _NOBODY


def _is_incomplete(members: Sequence[Attempt], lacking: _Lacking) -> bool:
    """Tell whether some run and others do not yet; one that leaves already has given back what it held."""
    running = sum(one.state is AttemptState.RUNNING for one in members)
    return 0 < running < len(members) + lacking[0] and not any(one.cancel_sent for one in members)


def _assembling(  # noqa: PLR0917 - what is known of a gang, each from another source
    key: str,
    members: Sequence[Attempt],
    known: Mapping[TaskId, GangMember],
    rank: Mapping[TaskId, int],
    lacking: _Lacking,
    now: datetime,
) -> Assembling:
    """Return how far a gang has come: it waits since its first member began, or its last one was submitted or ready."""
    rules = known[members[0].task]
    began = min(one.started_at for one in members if one.started_at is not None)
    since = max([began, lacking[1], *(one.submitted_at for one in members if one.submitted_at is not None)])
    return Assembling(
        name=key,
        rank=min(rank.get(one.task, len(rank)) for one in members),
        size=len(members) + lacking[0],
        running=sum(one.state is AttemptState.RUNNING for one in members),
        waited_s=max(0.0, (now - since).total_seconds()),
        minimum=rules.minimum,
        timeout_s=rules.timeout_s,
    )


def _stops(gang: Assembling, members: Sequence[Attempt], but_not: Collection[AttemptId]) -> Iterator[Stop]:
    """Yield a stop for each member: those that still wait too, for the gang is admitted anew as a whole."""
    reason = because(
        ReasonCode.GAVE_BACK,
        gang=gang.name.partition("/")[2],
        running=gang.running,
        size=gang.size,
        waited_s=round(gang.waited_s),
    )
    for one in members:
        if one.native_id is not None and one.id not in but_not:
            yield Stop(attempt=one, native_id=one.native_id, reason=reason)
