"""Who is asked to save and leave when a project has used up more than it may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.ids import ProjectName
from elisa.model.site import SitePolicy
from elisa.policies.budgets import CapRow, Owner, amount_of, cap_rows

__all__ = ["Held", "overdrawn", "to_park"]


class Held(NamedTuple):
    """A live attempt and what of its reservation it has not used yet: that comes back when it leaves.

    `rank` is that of its class, 0 the best. `lost_s` is the work since its newest checkpoint.
    """

    attempt: str
    project: str
    owner_uid: int
    left: Charge
    rank: int
    lost_s: float
    is_leaving: bool = False


def overdrawn(site: SitePolicy, usage: Sequence[UsageRow]) -> tuple[CapRow, ...]:
    """Return the hard caps on what adds up over time that stand below what is spent and reserved.

    No attempt is ever let in beyond one: it was lowered since, a grant ended, a loan was called back, or one overran.
    """
    owners = sorted({Owner(ProjectName(row.project), row.owner_uid) for row in usage})
    rows = cap_rows(site, owners, usage)
    return tuple(row for row in rows if row.cap.is_hard and row.cap.resource.is_cumulative and row.left < 0)


def to_park(caps: Sequence[CapRow], held: Sequence[Held]) -> tuple[tuple[str, CapRow], ...]:
    """Return the attempts to ask, each with the cap that asks it: no more than bring every cap back to what it allows.

    The lowest class goes first, and in it who loses least.
    """
    asked: dict[str, CapRow] = {}
    for cap in caps:
        concerned = [one for one in held if _counts(cap, one)]
        going = [one for one in concerned if one.is_leaving or one.attempt in asked]
        over = -cap.left - sum(amount_of(one.left, cap.meter) for one in going)
        staying = [one for one in concerned if one not in going]
        for one in sorted(staying, key=lambda one: (-one.rank, one.lost_s, one.attempt)):
            if over <= 0:
                break
            asked[one.attempt] = cap
            over -= amount_of(one.left, cap.meter)
    return tuple(asked.items())


def _counts(cap: CapRow, one: Held) -> bool:
    is_member = cap.owner.uid in {-1, one.owner_uid}
    return cap.owner.project == one.project and is_member and amount_of(one.left, cap.meter) > 0
