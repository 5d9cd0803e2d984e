"""Who saves and parks because its project holds more than it may have, and when at the latest.

No cap is exceeded by an admission: it was lowered since, a grant ended, a loan was called back, or an attempt overran. As
few leave as bring it back, the lowest class first and in it who loses least; the others keep all that they reserved. Those
who must leave go on as long as the cap allows: what they still use is taken from what the others do not need. They come
back by the ordinary way, when the cap has room for a whole run: not before, for who would fit again at once never leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from elisa.model.columns import RunningRow, UsageRow
from elisa.model.decisions import Park
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.reasons import Fact, ReasonCode, because
from elisa.model.site import SitePolicy
from elisa.policies.budgets import CapRow, Owner, amount_of, charge_of, demand_of, meter_words
from elisa.policies.budgets_caps import cap_rows

__all__ = ["Parting", "coming", "due", "overdrawn", "partings"]

# Cron ticks once a minute: whoever is not asked a minute early is asked too late.
_ROUND_S = 60.0


class Parting(NamedTuple):
    """An attempt that has to leave, the cap that asks it, and the moment (seconds since the epoch) to ask it."""

    attempt: str
    cap: CapRow
    at_s: float


def due(site: SitePolicy, usage: Sequence[UsageRow], running: Sequence[RunningRow], now_s: float) -> tuple[Park, ...]:
    """Return the attempts to ask now. `site` holds the caps as grants and loans make them."""
    return tuple(_decision(one) for one in coming(site, usage, running, now_s) if one.at_s <= now_s)


def coming(
    site: SitePolicy, usage: Sequence[UsageRow], running: Sequence[RunningRow], now_s: float
) -> tuple[Parting, ...]:
    """Return all who will have to leave as things stand, each with its moment: now for one that waits in a queue."""
    caps = overdrawn(site, usage) if running else ()
    return partings(caps, running, now_s, site.preemption.grace_s + _ROUND_S)


def overdrawn(site: SitePolicy, usage: Sequence[UsageRow]) -> tuple[CapRow, ...]:
    """Return the hard caps that stand below what is spent, reserved and held."""
    owners = sorted({Owner(ProjectName(row.project), row.owner_uid) for row in usage})
    return tuple(row for row in cap_rows(site, owners, usage) if row.cap.is_hard and row.left < 0)


def partings(caps: Sequence[CapRow], running: Sequence[RunningRow], now_s: float, lead_s: float) -> tuple[Parting, ...]:
    """Return who leaves on account of overdrawn caps, and when: `lead_s` before the last moment that the cap allows.

    Never who may not be preempted, or runs and saves nothing: stopping that would waste what it used.
    """
    leaving = [row for row in running if row.is_leaving]
    staying = sorted((row for row in running if _may_park(row)), key=lambda row: _loss(row, now_s))
    debts = [_Debt(cap, [*leaving, *staying], leaving, now_s) for cap in caps]
    chosen: list[RunningRow] = []
    for debt in debts:
        for row in staying:
            if not debt.is_covered_by(chosen) and debt.counts(row) and row not in chosen:
                chosen.append(row)
    for row in tuple(chosen):
        rest = [one for one in chosen if one is not row]
        if all(debt.is_covered_by(rest) for debt in debts):
            chosen = rest
    return tuple(_first(row, debts, chosen, now_s, lead_s) for row in chosen)


def _may_park(row: RunningRow) -> bool:
    saves = row.is_queued or row.saves_on_request or row.saved_us > 0
    return saves and row.is_preemptible and not row.is_leaving


def _loss(row: RunningRow, now_s: float) -> tuple[int, float, str]:
    lost_s = 0.0 if row.saves_on_request else now_s - max(row.saved_us, row.started_us) / 1e6
    # One that has not begun does not even have to begin again.
    return -row.priority, -1.0 if row.is_queued else lost_s, row.attempt


class _Debt:
    """One overdrawn cap, and what it gets back from each attempt that leaves now."""

    def __init__(self, cap: CapRow, rows: Iterable[RunningRow], leaving: Sequence[RunningRow], now_s: float) -> None:
        self.cap = cap
        self._now_s = now_s
        self._back = {row.attempt: _back(row, cap, now_s) for row in rows}
        self._over = -cap.left - self._given_by(leaving)
        self._need = min(self._over, sum(self._back.values()) - self._given_by(leaving))

    def _given_by(self, rows: Iterable[RunningRow]) -> int:
        return sum(self._back[row.attempt] for row in rows)

    def counts(self, row: RunningRow) -> bool:
        return self._back[row.attempt] > 0

    def is_covered_by(self, rows: Collection[RunningRow]) -> bool:
        """Tell whether it is enough that these leave; where not even all are, those who count here are all needed."""
        return self._given_by(rows) >= self._need

    def last_moment(self, rows: Sequence[RunningRow], lead_s: float) -> float:
        """Return when those that leave would have used up what the others do not need, less the time to leave in."""
        if not self.cap.cap.resource.is_cumulative:
            return self._now_s
        spare = self._given_by(rows) - self._over
        used_by_then = sum(_uses(row, self.cap, lead_s) for row in rows)
        if spare <= used_by_then:
            return self._now_s
        return self._now_s + lead_s * (spare / used_by_then - 1) if used_by_then else float("inf")


def _back(row: RunningRow, cap: CapRow, now_s: float) -> int:
    """Return what a cap gets back when an attempt leaves now."""
    kind = row.request.gpus.types[0] if row.request.gpus.types else ""
    if not cap.owner.counts(row.project, row.owner_uid) or not cap.meter.counts(kind):
        return 0
    if not cap.cap.resource.is_cumulative:
        return demand_of(row.request, kind, cap.meter)
    ran_s = 0.0 if row.is_queued else now_s - row.started_us / 1e6
    return amount_of(charge_of(row.request, max(0, int(row.request.walltime_s - ran_s)), kind), cap.meter)


def _uses(row: RunningRow, cap: CapRow, seconds: float) -> int:
    """Return what a running attempt uses in some seconds of what a cap counts over time."""
    kind = row.request.gpus.types[0] if row.request.gpus.types else ""
    return 0 if row.is_queued else amount_of(charge_of(row.request, int(seconds), kind), cap.meter)


def _first(
    row: RunningRow, debts: Sequence[_Debt], chosen: Sequence[RunningRow], now_s: float, lead_s: float
) -> Parting:
    """Return the parting on account of the cap that asks first."""
    concerned = [debt for debt in debts if debt.counts(row)]
    moments = [
        (debt.last_moment([one for one in chosen if debt.counts(one)], lead_s), place)
        for place, debt in enumerate(concerned)
    ]
    at_s, place = min(moments)
    # One that has not begun loses nothing, and would only begin what the cap has no room for.
    return Parting(row.attempt, concerned[place].cap, now_s if row.is_queued else at_s)


def _decision(parting: Parting) -> Park:
    cap = parting.cap
    facts: dict[str, Fact] = {
        "project": cap.owner.project,
        "resource": meter_words(cap.meter),
        "in_use": cap.used,
        "cap": cap.cap.limit,
    }
    if cap.owner.uid >= 0:
        facts["user"] = cap.owner.uid
    return Park(attempt=AttemptId(parting.attempt), reason=because(ReasonCode.PARKED, **facts))
