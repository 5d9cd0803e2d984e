"""Budgets that begin anew: for each calendar day, week or month, or over the last days; in whole days of UTC.

What is spent is booked on the day of its booking, and what live attempts have reserved counts in every period that they see:
use of a period only falls when the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from elisa.model.columns import PastUse, UsageRow
from elisa.model.site import Allowance, Cap, ProjectPolicy
from elisa.policies.budgets import Meter, amount_of

__all__ = ["next_period", "period_days", "with_allowances"]

_EPOCH = date(1970, 1, 1)


def period_days(every: str, now: datetime) -> tuple[date, date]:
    """Return the first day of the running period, and that of the one before; both in UTC.

    `every` is `day`, `week` (from Monday on), `month`, or `30d` for the last thirty days, today among them.
    """
    today = now.astimezone(UTC).date()
    match every:
        case "day":
            return today, today - timedelta(days=1)
        case "week":
            first = today - timedelta(days=today.weekday())
            return first, first - timedelta(days=7)
        case "month":
            first = today.replace(day=1)
            return first, (first - timedelta(days=1)).replace(day=1)
        case _:
            days = timedelta(days=int(every.removesuffix("d")))
            return today - days + timedelta(days=1), today - 2 * days + timedelta(days=1)


def next_period(every: str, now: datetime) -> datetime:
    """Return when the next period begins; of the last days, when the first of them is forgotten."""
    day = now.astimezone(UTC).date()
    first, _ = period_days(every, now)
    while period_days(every, datetime(day.year, day.month, day.day, tzinfo=UTC))[0] == first:
        day += timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def with_allowances(
    policy: ProjectPolicy, rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime
) -> ProjectPolicy:
    """Return a project's rules with a cap on everything ever used in place of each allowance, as it stands at `now`.

    For each member who used anything there are caps of his own; all others get what somebody gets who used nothing.
    """
    if not policy.allowances and not policy.user_allowances:
        return policy
    caps = tuple(_cap(one, rows, past, now) for one in policy.allowances)
    members = {row.owner_uid: None for row in rows} if policy.user_allowances else {}
    return replace(
        policy,
        caps=(*policy.caps, *caps),
        user_caps=(*policy.user_caps, *(_cap(one, (), (), now) for one in policy.user_allowances)),
        member_caps=tuple(
            (uid, (*policy.user_caps, *_own(policy.user_allowances, uid, rows, past, now))) for uid in sorted(members)
        ),
        allowances=(),
        user_allowances=(),
    )


def _own(
    allowances: Sequence[Allowance], uid: int, rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime
) -> Iterator[Cap]:
    own_rows = [row for row in rows if row.owner_uid == uid]
    own_past = [one for one in past if one.owner_uid == uid]
    return (_cap(one, own_rows, own_past, now) for one in allowances)


def _cap(allowance: Allowance, rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime) -> Cap:
    meter = Meter(allowance.resource, allowance.gpu_type)
    first, earlier = period_days(allowance.every, now)
    by_day = _by_day(past, meter)
    within = sum(amount for day, amount in by_day.items() if day >= first)
    last = sum(amount for day, amount in by_day.items() if earlier <= day < first)
    # Without a history nobody knows when it was: then all of it counts.
    before = sum(amount_of(row.spent, meter) for row in rows) - within if past else 0
    carried = int(max(0, allowance.amount - last) * allowance.carry_over)
    return Cap(
        resource=allowance.resource,
        gpu_type=allowance.gpu_type,
        limit=before + allowance.amount + carried,
        is_hard=allowance.is_hard,
        before=before,
        every=allowance.every,
    )


def _by_day(past: Sequence[PastUse], meter: Meter) -> Mapping[date, int]:
    found: dict[date, int] = {}
    for one in past:
        day = _EPOCH + timedelta(days=one.day)
        found[day] = found.get(day, 0) + amount_of(one.spent, meter)
    return found
