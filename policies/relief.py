"""What would lift the cap that refused a task: a grant or a loan to come, another project's help, less asked, an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from elisa.model.ids import ProjectName
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import EVERYBODY, Cap, Metered, SitePolicy
from elisa.policies.allowances import effective
from elisa.policies.budgets import Beginning, Meter, Owner, demand_of, use_of
from elisa.policies.inputs import PlanInputs
from elisa.policies.periods import next_period

__all__ = ["Relief", "relief_of"]

_REFUSED_BY_CAPS = frozenset({ReasonCode.BUDGET_EXHAUSTED, ReasonCode.CONCURRENCY_CAP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What would let a task pass a cap of which `short` is missing; each alone is enough.

    `at`: when grants and loans change the cap so far. `ends_at`: when at the latest enough of what runs has ended (for what
    is held at once). `lenders` may lend, and have it. `walltime_s`: the longest walltime that would pass, 0 if none does.
    """

    resource: Metered
    gpu_type: str
    short: int
    at: datetime | None = None
    ends_at: datetime | None = None
    lenders: tuple[ProjectName, ...] = ()
    walltime_s: int = 0


def relief_of(
    inputs: PlanInputs, reason: Reason, walltime_s: int, beginnings: Iterable[Beginning] = ()
) -> Relief | None:
    """Return what would help against a refusal by a cap; None if it was refused by anything else.

    `beginnings` is what the same plan starts: that is paid first, and ends, too.
    """
    if reason.code not in _REFUSED_BY_CAPS or "kept" in reason.facts:
        return None
    facts = reason.facts
    resource, _, gpu_type = str(facts["resource"]).partition(":")
    meter = Meter(Metered(resource), gpu_type)
    owner = Owner(ProjectName(str(facts["project"])), int(facts.get("user", -1)))
    asked, cap = int(facts["asked"]), int(facts["cap"])
    beginnings = tuple(beginnings)
    left = int(facts["left"]) if "left" in facts else cap - int(facts["in_use"])
    left = min(left, _left_after(inputs, owner, meter, beginnings, left))
    short = asked - left
    is_time = meter.resource.is_cumulative
    return Relief(
        resource=meter.resource,
        gpu_type=gpu_type,
        short=short,
        at=_when_the_cap_rises(inputs, owner, meter, short),
        ends_at=None if is_time else _when_enough_has_ended(inputs, owner, meter, short, beginnings),
        lenders=tuple(_lenders(inputs, owner, meter, short, beginnings)) if owner.uid < 0 else (),
        walltime_s=walltime_s * left // asked if is_time and left > 0 else 0,
    )


def _left_after(inputs: PlanInputs, owner: Owner, meter: Meter, beginnings: Sequence[Beginning], known: int) -> int:
    """Return what a cap leaves beside all that the plan starts, whether before the task that it refused or after."""
    cap = _cap(effective(inputs.site, inputs.usage, inputs.now), owner, meter)
    rows = [row for row in inputs.usage.rows if owner.counts(row.project, row.owner_uid)]
    return known if cap is None else cap.limit - use_of(rows, meter) - _taken(beginnings, owner, meter)


def _taken(beginnings: Iterable[Beginning], owner: Owner, meter: Meter) -> int:
    counted = (one for one in beginnings if owner.counts(*one.owner) and meter.counts(one.gpu_type))
    return sum(demand_of(one.request, one.gpu_type, meter) for one in counted)


def _when_the_cap_rises(inputs: PlanInputs, owner: Owner, meter: Meter, short: int) -> datetime | None:
    """Return the first moment at which a grant, a loan or another period, as they stand, raises the cap by `short`."""
    present = _cap(effective(inputs.site, inputs.usage, inputs.now), owner, meter)
    wanted = (present.limit if present is not None else 0) + short
    for moment in sorted(set(_turns(inputs.site, inputs.now))):
        cap = _cap(effective(inputs.site, inputs.usage, moment), owner, meter)
        if cap is None or cap.limit >= wanted:
            return moment
    return None


def _turns(site: SitePolicy, now: datetime) -> Iterator[datetime]:
    ends = [(one.starts_at, one.ends_at) for project in site.projects for one in project.grants]
    ends += [(loan.starts_at, loan.due_at) for loan in site.loans]
    yield from (moment for pair in ends for moment in pair if moment > now)
    policies = (*site.projects, site.unlisted)
    for every in {one.every for policy in policies for one in (*policy.allowances, *policy.user_allowances)}:
        moment = next_period(every, now)
        # Of the last days one is forgotten each day, until none is left that was used up to now.
        for _ in range(int(every.removesuffix("d")) if every[0].isdigit() else 1):
            yield moment
            moment = next_period(every, moment)


def _cap(site: SitePolicy, owner: Owner, meter: Meter) -> Cap | None:
    if owner.project == EVERYBODY:
        return _lowest(site.caps, meter)
    policy = site.project(owner.project)
    return _lowest(policy.caps if owner.uid < 0 else policy.caps_of(owner.uid), meter)


def _lowest(caps: Sequence[Cap], meter: Meter) -> Cap | None:
    alike = [cap for cap in caps if cap.is_hard and Meter(cap.resource, cap.gpu_type) == meter]
    return min(alike, key=lambda cap: cap.limit, default=None)


def _when_enough_has_ended(
    inputs: PlanInputs, owner: Owner, meter: Meter, short: int, beginnings: Iterable[Beginning]
) -> datetime | None:
    """Return when the walltimes of so many jobs are over that `short` is given back; None if that cannot be told."""
    freed = [
        (inputs.now + timedelta(seconds=one.request.walltime_s), demand_of(one.request, one.gpu_type, meter))
        for one in beginnings
        if owner.counts(*one.owner) and meter.counts(one.gpu_type)
    ]
    for row in inputs.running:
        kind = row.request.gpus.types[0] if row.request.gpus.types else ""
        if owner.counts(row.project, row.owner_uid) and not row.is_queued and meter.counts(kind):
            end = datetime.fromtimestamp(row.started_us / 1e6, UTC) + timedelta(seconds=row.request.walltime_s)
            freed.append((max(end, inputs.now), demand_of(row.request, kind, meter)))
    for end, amount in sorted(freed):
        short -= amount
        if short <= 0:
            return end
    return None


def _lenders(
    inputs: PlanInputs, owner: Owner, meter: Meter, short: int, beginnings: Sequence[Beginning]
) -> Iterator[ProjectName]:
    ruled = effective(inputs.site, inputs.usage, inputs.now)
    can_borrow = owner.project != EVERYBODY and _cap(ruled, owner, meter) is not None
    for policy in ruled.projects if can_borrow else ():
        lender = Owner(policy.name, -1)
        has_so_much = _left_after(inputs, lender, meter, beginnings, 0) >= short
        if policy.may_lend and policy.name != owner.project and has_so_much:
            yield policy.name
