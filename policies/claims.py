"""Who may use reserved room, and the words for those who may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from elisa.model.columns import Outlook, ReadyColumns
from elisa.model.ids import RuleId
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.site import Reservation, SitePolicy

__all__ = ["Claims", "claiming", "current", "held_for"]

Claims = tuple[RuleId, ...]
"""The reservations that work may use."""


def current(site: SitePolicy, now_s: float) -> SitePolicy:
    """Return the rules without the reservations that are over."""
    if not site.reservations:
        return site
    left = tuple(one for one in site.reservations if one.ends_at.timestamp() > now_s)
    return replace(site, reservations=tuple(sorted(left, key=lambda one: (one.starts_at, one.id, one.resource))))


def claiming(
    ready: ReadyColumns, outlook: Outlook, reservations: Sequence[Reservation]
) -> tuple[ReadyColumns, Outlook]:
    """Return the columns with shapes of their own for work that may use reserved room, and what is known of those, too."""
    of_owner = [_claims(reservations, project, uid) for project, uid in ready.owners]
    if not any(of_owner):
        return ready, outlook
    numbers: dict[tuple[int, Claims], int] = {(shape, ()): shape for shape in range(len(ready.shapes))}
    keys = [(shape, of_owner[owner]) for shape, owner in zip(ready.shape, ready.owner, strict=True)]
    column = [numbers.setdefault(key, len(numbers)) for key in keys]
    shapes = [ready.shapes[shape]._replace(claims=claims) for shape, claims in numbers]
    speeds = {
        (number, gpu_type): speed
        for (shape, _), number in numbers.items()
        for (known, gpu_type), speed in outlook.speeds.items()
        if known == shape
    }
    return ready._replace(shape=column, shapes=shapes), outlook._replace(speeds=speeds)


def _claims(reservations: Sequence[Reservation], project: str, uid: int) -> Claims:
    return tuple(dict.fromkeys(one.id for one in reservations if one.is_for(project, uid)))


def held_for(reservation: Reservation, partition: str, walltime_s: int, now_s: float) -> Reason:
    """Return why work that may not use a reservation has to wait for its end, or ask for less time."""
    begins = reservation.starts_at.isoformat(timespec="seconds") if reservation.starts_at.timestamp() > now_s else ""
    facts: dict[str, Fact] = {
        "project": reservation.project,
        "backend": reservation.backend,
        "partition": partition,
        "what": reservation.what,
        "begins_at": begins,
        "until": reservation.ends_at.isoformat(timespec="seconds"),
        "walltime_s": walltime_s,
        "reservation": reservation.id,
    }
    if reservation.users:
        facts["users"] = ",".join(map(str, reservation.users))
    return because(ReasonCode.HELD_FOR, **facts)
