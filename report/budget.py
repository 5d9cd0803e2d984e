"""Budgets as they stand: every limit with what is left of it, and the ledger added up, balanced to the second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elisa.model.columns import ProjectUsage
from elisa.model.ids import ProjectName
from elisa.model.rows import LedgerRow
from elisa.model.site import Metered, SitePolicy
from elisa.policies.allowances import Moved, effective, moved_now
from elisa.policies.budgets import CapRow, Meter, Owner, amount_of
from elisa.policies.budgets_caps import cap_rows

__all__ = ["PERIODS", "Booked", "Limit", "Part", "booked", "limits", "unbalanced"]

_AMOUNTS = tuple(one for one in Metered if one.is_cumulative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One cap of a project, or (`uid`) of one member of it, or of `EVERYBODY`. `lent` and `borrowed` are in `limit` already.

    Of one that begins anew `every` period, limit and use are those of the running one.
    """

    project: ProjectName
    uid: int | None
    resource: Metered
    gpu_type: str
    is_hard: bool
    limit: int
    used: int
    lent: int = 0
    borrowed: int = 0
    every: str = ""

    @property
    def left(self) -> int:
        """What may still be asked for; negative when a cap was cut below what is in use."""
        return self.limit - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the ledger adds up to for one thing, in whole seconds of it; `part` is a user or a period, "" for all.

    `reserved` = `spent` + `refunded` + `held`; what was used beyond a reservation is `overrun`.
    """

    project: ProjectName
    part: str
    resource: Metered
    gpu_type: str
    reserved: int
    spent: int
    refunded: int
    overrun: int

    @property
    def held(self) -> int:
        """What is reserved for live attempts."""
        return self.reserved - self.spent - self.refunded

    @property
    def used(self) -> int:
        """What counts against a budget."""
        return self.spent + self.overrun + self.held


Part = Callable[[LedgerRow], str]

PERIODS: Mapping[str, Part] = {
    "day": lambda row: f"{row.at.astimezone():%Y-%m-%d}",
    "week": lambda row: f"{row.at.astimezone():%G-W%V}",
    "month": lambda row: f"{row.at.astimezone():%Y-%m}",
}
"""The part of a booking by when it was made, in local time."""


def limits(site: SitePolicy, usage: ProjectUsage, now: datetime, projects: Sequence[ProjectName]) -> tuple[Limit, ...]:
    """Return every cap on everybody, on these projects and on whoever of them used anything, grants and loans counted in."""
    now_ruled = effective(site, usage, now)
    members = sorted({Owner(ProjectName(one.project), one.owner_uid) for one in usage.rows if one.project in projects})
    idle = [project for project in projects if project not in {member.project for member in members}]
    rows = [*cap_rows(now_ruled, members, usage.rows)]
    rows += [CapRow(Owner(project), cap, 0) for project in idle for cap in now_ruled.project(project).caps]
    moves = moved_now(site, usage, now)
    return tuple(_limit(row, moves) for row in sorted(rows, key=lambda row: row.owner))


def _limit(row: CapRow, moves: Iterable[Moved]) -> Limit:
    counts = row.owner.uid < 0 and row.cap.is_hard
    own = [one for one in moves if counts and row.meter == Meter(one.loan.resource, one.loan.gpu_type)]
    return Limit(
        project=row.owner.project,
        uid=row.owner.uid if row.owner.uid >= 0 else None,
        resource=row.cap.resource,
        gpu_type=row.cap.gpu_type,
        is_hard=row.cap.is_hard,
        limit=row.cap.limit - row.cap.before,
        used=row.used - row.cap.before,
        every=row.cap.every,
        lent=sum(one.given for one in own if one.loan.lender == row.owner.project),
        borrowed=sum(one.kept for one in own if one.loan.borrower == row.owner.project),
    )


def booked(ledger: Iterable[LedgerRow], part: Part) -> tuple[Booked, ...]:
    """Return the ledger added up by project, part, resource and type of GPU; what nobody used is left out."""
    sums: dict[tuple[ProjectName, str, Metered, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in ledger:
        for resource in _AMOUNTS:
            gpu_type = row.charge.gpu_type if resource is Metered.GPU_S else ""
            amount = amount_of(row.charge, Meter(resource, gpu_type))
            if amount:
                sums[row.project, part(row), resource, gpu_type][row.kind] += amount
    return tuple(
        Booked(
            project=project,
            part=name,
            resource=resource,
            gpu_type=gpu_type,
            reserved=kinds["reserve"],
            spent=kinds["spend"],
            refunded=kinds["refund"],
            overrun=kinds["overrun"],
        )
        for (project, name, resource, gpu_type), kinds in sorted(sums.items())
    )


def unbalanced(ledger: Sequence[LedgerRow], usage: ProjectUsage) -> tuple[str, ...]:
    """Return a sentence for each project and resource whose ledger does not come to what its accounts hold."""
    wrong: list[str] = []
    for one in booked(ledger, lambda _: ""):
        is_typed = one.resource is Metered.GPU_S
        own = [row for row in usage.rows if row.project == one.project]
        rows = [row for row in own if not is_typed or row.gpu_type == one.gpu_type]
        meter = Meter(one.resource, one.gpu_type)
        held = sum(amount_of(row.reserved, meter) for row in rows)
        spent = sum(amount_of(row.spent, meter) for row in rows)
        if (one.held, one.spent + one.overrun) != (held, spent):
            wrong.append(
                f"{one.project}: the ledger has {one.held} {one.resource.value} held and {one.spent + one.overrun} spent,"
                f" the accounts {held} and {spent}"
            )
    return tuple(wrong)
