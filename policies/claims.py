"""Who may use reserved room, and the words for those who may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from elisa.model.columns import Outlook, ReadyColumns, RunningRow
from elisa.model.ids import AttemptId, BackendName, RuleId
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.site import Reservation, SitePolicy

__all__ = ["Claims", "claiming", "current", "guests_of", "held_for"]

Claims = tuple[RuleId, ...]
"""The reservations that work may use."""


def current(site: SitePolicy, now_s: float) -> SitePolicy:
    """Return the rules without the reservations that are over."""
    if not site.reservations:
        return site
    left = tuple(one for one in site.reservations if one.ends_at.timestamp() > now_s)
    return replace(site, reservations=tuple(sorted(left, key=lambda one: (one.starts_at, one.id, one.resource))))


_Kind = tuple[Claims, bool, bool]
"""What some tasks of a shape may use, whether only as guests, and whether they are never overcommitted."""


def claiming(
    ready: ReadyColumns,
    outlook: Outlook,
    reservations: Sequence[Reservation],
    firm: Collection[str] = (),
    queueing: Collection[BackendName] = (),
) -> tuple[ReadyColumns, Outlook]:
    """Return the columns with shapes of their own for work with a claim to room, and what is known of those, too.

    That may use what is reserved, as its own or as a guest, or belongs to one of the `firm` projects, which are never
    overcommitted. Room is lent where no manager of a `queueing` backend places jobs.
    """
    if not (reservations or firm):
        return ready, outlook
    own: list[_Kind] = [(_claims(reservations, project, uid), False, project in firm) for project, uid in ready.owners]
    lent = _lent(ready, reservations, queueing) if any(shape.may_leave for shape in ready.shapes) else ()
    if not lent and not any(claims or is_firm for claims, _, is_firm in own):
        return ready, outlook
    guests: list[_Kind] = [(claims or lent, not claims and bool(lent), is_firm) for claims, _, is_firm in own]
    numbers: dict[tuple[int, _Kind], int] = {(shape, ((), False, False)): shape for shape in range(len(ready.shapes))}
    keys = [
        (shape, (guests if ready.shapes[shape].may_leave else own)[owner])
        for shape, owner in zip(ready.shape, ready.owner, strict=True)
    ]
    column = [numbers.setdefault(key, len(numbers)) for key in keys]
    shapes = [
        ready.shapes[shape]._replace(claims=claims, is_guest=is_guest, is_firm=is_firm)
        for shape, (claims, is_guest, is_firm) in numbers
    ]
    return ready._replace(shape=column, shapes=shapes), outlook._replace(speeds=_for_all(outlook.speeds, numbers))


def _for_all(
    known: Mapping[tuple[int, str], float], numbers: Mapping[tuple[int, _Kind], int]
) -> Mapping[tuple[int, str], float]:
    """Return what is known of shapes, by number and type of GPU, for those that were made of them."""
    return {
        (number, gpu_type): value
        for (shape, _), number in numbers.items()
        for (of, gpu_type), value in known.items()
        if of == shape
    }


def _lent(ready: ReadyColumns, reservations: Sequence[Reservation], queueing: Collection[BackendName]) -> Claims:
    """Return the reservations that others may use: nothing is lent for which its holder has work ready."""
    return tuple(
        dict.fromkeys(
            one.id
            for one in reservations
            if one.is_lent and one.backend not in queueing and not any(one.is_for(*owner) for owner in ready.owners)
        )
    )


def guests_of(running: Sequence[RunningRow], reservations: Sequence[Reservation]) -> Mapping[AttemptId, RunningRow]:
    """Return what runs, has no reservation of its own, and would save and leave for the holder of a lent one."""
    return {
        AttemptId(row.attempt): row
        for row in running
        if row.is_preemptible
        and row.saves_on_request
        and not row.is_queued
        and not _claims(reservations, row.project, row.owner_uid)
    }


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
