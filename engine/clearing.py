"""Places that close: what runs there is asked in time to save and leave, what waits there is taken back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from elisa.engine.stop import Stop
from elisa.engine.workspace import Workspace
from elisa.model.hostlist import expand_hosts
from elisa.model.ids import AttemptId
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.site import Closure, SitePolicy
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.store.reader import Reader

__all__ = ["asked_at", "clearing_stops", "is_in_the_way", "with_closures"]

# Cron ticks once a minute: whoever is not asked a minute early is asked too late.
_ROUND = timedelta(minutes=1)


def with_closures(site: SitePolicy, reader: Reader, now: datetime) -> SitePolicy:
    """Return the site's rules with the closures that people added to them."""
    added = reader.closures(now)
    return replace(site, closures=(*site.closures, *added)) if added else site


def clearing_stops(
    ws: Workspace, reader: Reader, live: Mapping[AttemptId, Attempt], now: datetime, but_not: Collection[AttemptId] = ()
) -> list[Stop]:
    """Return the native jobs that have to go because their places close; those that leave anyway are left out."""
    closures = with_closures(ws.site.policy(), reader, now).closures
    staying = [one for one in live.values() if not one.cancel_sent and one.id not in but_not] if closures else []
    stops: dict[AttemptId, Stop] = {}
    for closure in closures:
        for attempt in staying:
            if attempt.native_id is not None and _has_to_go(ws, reader, attempt, closure, now):
                stop = Stop(attempt=attempt, native_id=attempt.native_id, reason=_reason(closure, now))
                stops.setdefault(attempt.id, stop)
    return list(stops.values())


def _has_to_go(ws: Workspace, reader: Reader, attempt: Attempt, closure: Closure, now: datetime) -> bool:
    if attempt.backend != closure.backend or closure.ends_at <= now:
        return False
    if attempt.state is AttemptState.RUNNING:
        return (
            now >= asked_at(ws, closure)
            and is_in_the_way(attempt, closure, now)
            and _may_be_asked(ws, reader, attempt, closure)
        )
    return _might_run_into(ws, reader, attempt, closure, now)


def asked_at(ws: Workspace, closure: Closure) -> datetime:
    """Return when what runs at a place that closes is asked to leave."""
    return closure.starts_at - timedelta(seconds=ws.site.jobs.grace) - _ROUND


def is_in_the_way(attempt: Attempt, closure: Closure, now: datetime) -> bool:
    """Tell whether a running attempt holds nodes of a closure and will not be over by itself before it begins."""
    if attempt.backend != closure.backend or attempt.state is not AttemptState.RUNNING:
        return False
    limit = (attempt.started_at or now) + timedelta(seconds=attempt.request.walltime_s)
    if now < limit <= closure.starts_at:
        return False
    return not closure.nodes or any(closure.covers(node) for node in expand_hosts(attempt.nodes))


def _may_be_asked(ws: Workspace, reader: Reader, attempt: Attempt, closure: Closure) -> bool:
    if not closure.is_forced and not reader.task(attempt.task).spec.preemptible:
        return False
    # Who cannot be kept off a node would be sent there again and again.
    came_later = (attempt.submitted_at or attempt.intended_at) > closure.starts_at
    return not (closure.nodes and came_later and not _can_exclude(ws, attempt))


def _might_run_into(ws: Workspace, reader: Reader, attempt: Attempt, closure: Closure, now: datetime) -> bool:
    """Tell whether a job that waits in a native queue could still begin where it would not end in time."""
    if now + timedelta(seconds=attempt.request.walltime_s) <= closure.starts_at:
        return False
    if not closure.nodes:
        return True
    return _can_exclude(ws, attempt) and not set(closure.nodes) <= set(_kept_off(reader, attempt))


def _can_exclude(ws: Workspace, attempt: Attempt) -> bool:
    backend = ws.backends.get(attempt.backend)
    return backend is not None and backend.capabilities.excludes


def _kept_off(reader: Reader, attempt: Attempt) -> Iterator[str]:
    """Yield the nodes that the job was submitted not to get: they stand in the reason of its intent."""
    for row in reader.audit(subject=attempt.id):
        told = row.facts.get("because")
        if row.kind == "attempt.intended" and isinstance(told, Mapping):
            yield from str(told.get("kept_off", "")).split(",")


def _reason(closure: Closure, now: datetime) -> Reason:
    facts: dict[str, Fact] = {
        "backend": closure.backend,
        "nodes": ",".join(closure.nodes),
        "starts_at": closure.starts_at.isoformat(timespec="seconds") if closure.starts_at > now else "",
        "ends_at": "" if closure.is_open_ended else closure.ends_at.isoformat(timespec="seconds"),
        "why": closure.why,
    }
    return because(ReasonCode.CLEARED, **facts)
