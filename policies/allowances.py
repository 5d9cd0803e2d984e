"""What a project may use today: its caps, with grants that run for a period and with loans given and taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from elisa.model.amounts import in_units, unit_of
from elisa.model.columns import PastUse, ProjectUsage, UsageRow
from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import Cap, Grant, Loan, ProjectPolicy, SitePolicy
from elisa.policies.budgets import Meter, amount_of, meter_words, use_of
from elisa.policies.periods import with_allowances

__all__ = ["Moved", "check_loan", "effective", "is_active", "lent", "moved_now", "needed_back", "recalled"]

_BY_CAPS = frozenset({ReasonCode.BUDGET_EXHAUSTED, ReasonCode.CONCURRENCY_CAP})


def effective(site: SitePolicy, usage: ProjectUsage, now: datetime) -> SitePolicy:
    """Return the site's rules with every grant, loan and amount for a period turned into caps as they stand at `now`.

    What lenders and borrowers may use together is never made more by a loan. What is returned holds no grants or
    loans any more, so that doing it twice is doing it once. Unlisted projects that used something get rules of their own
    where those for unlisted ones have amounts for periods.
    """
    if not site.loans and not any(_varies(project) for project in (*site.projects, site.unlisted)):
        return site
    rows: dict[ProjectName, list[UsageRow]] = defaultdict(list)
    for row in usage.rows:
        rows[ProjectName(row.project)].append(row)
    past: dict[ProjectName, list[PastUse]] = defaultdict(list)
    for slice_ in usage.past:
        past[ProjectName(slice_.project)].append(slice_)
    projects = [*site.projects, *_unlisted(site, rows)]
    granted = tuple(_granted_to(project, rows[project.name], past[project.name], now) for project in projects)
    policies, _ = _with_loans(granted, site.loans, rows, now)
    return replace(site, projects=policies, unlisted=with_allowances(site.unlisted, (), (), now), loans=())


def _varies(project: ProjectPolicy) -> bool:
    return bool(project.grants or project.allowances or project.user_allowances)


def _unlisted(site: SitePolicy, used: Iterable[ProjectName]) -> Iterator[ProjectPolicy]:
    """Yield rules for each unlisted project that used something, if what it may use depends on that."""
    if site.unlisted.allowances or site.unlisted.user_allowances:
        listed = {project.name for project in site.projects}
        yield from (replace(site.unlisted, name=name) for name in sorted(used) if name not in listed)


def _granted_to(
    project: ProjectPolicy, rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime
) -> ProjectPolicy:
    return with_allowances(_with_grants(project, rows, past, now), rows, past, now)


def moved_now(site: SitePolicy, usage: ProjectUsage, now: datetime) -> tuple[Moved, ...]:
    """Return how much each loan moves at `now`; what moves nothing is left out. `site` has its loans as they were made."""
    rows: dict[ProjectName, list[UsageRow]] = defaultdict(list)
    for row in usage.rows:
        rows[ProjectName(row.project)].append(row)
    granted = effective(replace(site, loans=()), usage, now).projects
    _, moves = _with_loans(granted, site.loans, rows, now)
    return tuple(one for one in moves if one.given)


def _with_grants(
    project: ProjectPolicy, rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime
) -> ProjectPolicy:
    """Return the project with a hard cap for each thing that it is granted; outside every period nothing is granted."""
    of_meter: dict[Meter, list[Grant]] = defaultdict(list)
    for grant in project.grants:
        of_meter[Meter(grant.resource, grant.gpu_type)].append(grant)
    caps = [
        Cap(resource=meter.resource, gpu_type=meter.gpu_type, limit=_granted(meter, grants, rows, past, now))
        for meter, grants in of_meter.items()
    ]
    return replace(project, caps=(*project.caps, *caps), grants=())


def _granted(
    meter: Meter, grants: Sequence[Grant], rows: Sequence[UsageRow], past: Sequence[PastUse], now: datetime
) -> int:
    """Return the cap on everything ever used: what was used before the running periods, and what they add."""
    spent = sum(amount_of(row.spent, meter) for row in rows)
    running = [grant for grant in grants if grant.starts_at <= now < grant.ends_at]
    if not running:
        return spent
    since = min(grant.starts_at for grant in running)
    before = spent - _spent_between(meter, past, since, now, now) if past else 0
    carried = sum(_carried_over(meter, grant, grants, past, now) for grant in running)
    return before + sum(grant.amount for grant in running) + carried


def _carried_over(meter: Meter, grant: Grant, grants: Sequence[Grant], past: Sequence[PastUse], now: datetime) -> int:
    earlier = [one for one in grants if one.ends_at <= grant.starts_at and one.carry_over > 0]
    if not earlier:
        return 0
    last = max(earlier, key=lambda one: one.ends_at)
    unused = last.amount - _spent_between(meter, past, last.starts_at, last.ends_at, now)
    return int(max(0, unused) * last.carry_over)


def _spent_between(meter: Meter, past: Sequence[PastUse], start: datetime, end: datetime, now: datetime) -> int:
    """Return what was spent in slices of time that ended after `start` and no later than `end`."""
    oldest_s, newest_s = (now - start).total_seconds(), (now - end).total_seconds()
    spent = [one.spent for one in past if newest_s <= one.age_s < oldest_s]
    return sum(amount_of(charge, meter) for charge in spent)


def is_active(loan: Loan, now: datetime) -> bool:
    """Tell whether the borrower may still take from the loan."""
    return loan.starts_at <= now < loan.due_at


def lent(loan: Loan, own_limit: int, used: int, now: datetime) -> int:
    """Return how much a loan moves from lender to borrower at `now`.

    All of it while it runs. Afterwards a cumulative loan leaves with the borrower what it has used beyond its own limit,
    because that cannot be given back; what counts only while it is held goes back whole.
    """
    if now < loan.starts_at:
        return 0
    if is_active(loan, now):
        return loan.amount
    return min(loan.amount, max(0, used - own_limit)) if loan.resource.is_cumulative else 0


class Moved(NamedTuple):
    """What a loan takes from its lender's limit, and what of that its borrower may use.

    Both are the same while it runs. Once it is over the borrower keeps what it has spent, and the lender lacks what is
    reserved for the borrower's live attempts, too, until they have given it back: so much is in nobody's limit.
    """

    loan: Loan
    given: int
    kept: int


def _with_loans(
    projects: Sequence[ProjectPolicy],
    loans: Sequence[Loan],
    rows: Mapping[ProjectName, Sequence[UsageRow]],
    now: datetime,
) -> tuple[tuple[ProjectPolicy, ...], list[Moved]]:
    """Return the projects with limits moved, and how much each loan moved."""
    policies = {project.name: project for project in projects}
    moves: list[Moved] = []
    for loan in sorted(loans, key=lambda one: (one.starts_at, one.due_at, one.lender, one.borrower)):
        meter = Meter(loan.resource, loan.gpu_type)
        lender, borrower = policies.get(loan.lender), policies.get(loan.borrower)
        if lender is None or borrower is None or not lender.may_lend:
            continue
        theirs, own = _cap(lender, meter), _cap(borrower, meter)
        if theirs is None or own is None:
            continue
        use = rows.get(loan.borrower, ())
        spent = sum(amount_of(row.spent, meter) for row in use)
        given = min(theirs.limit, lent(loan, own.limit, use_of(use, meter), now))
        kept = min(given, lent(loan, own.limit, spent, now))
        policies[loan.lender] = _with_limit(lender, theirs, theirs.limit - given)
        policies[loan.borrower] = _borrowing(policies[loan.borrower], own, kept)
        moves.append(Moved(loan, given, kept))
    return tuple(policies[project.name] for project in projects), moves


def _cap(policy: ProjectPolicy, meter: Meter) -> Cap | None:
    caps = [cap for cap in policy.caps if cap.is_hard and Meter(cap.resource, cap.gpu_type) == meter]
    return min(caps, key=lambda cap: cap.limit, default=None)


def _with_limit(policy: ProjectPolicy, cap: Cap, limit: int) -> ProjectPolicy:
    caps = tuple(replace(one, limit=limit) if one is cap else one for one in policy.caps)
    return replace(policy, caps=caps)


def _borrowing(policy: ProjectPolicy, own: Cap, moved: int) -> ProjectPolicy:
    """Return a borrower with a higher limit, of which what is borrowed is for idle means only: it is the first to yield."""
    if not moved:
        return policy
    raised = _with_limit(policy, own, own.limit + moved)
    return replace(raised, caps=(*raised.caps, replace(own, is_hard=False)))


def needed_back(site: SitePolicy, refusals: Iterable[Reason], now: datetime) -> tuple[Loan, ...]:
    """Return the running loans that go back because a lender was refused something for want of what it lent."""
    wanted = {
        (str(one.facts["project"]), str(one.facts["resource"]))
        for one in refusals
        if one.code in _BY_CAPS and not {"user", "kept"} & one.facts.keys()
    }
    return tuple(
        loan
        for loan in site.loans
        if loan.recallable
        and loan.on_need
        and is_active(loan, now)
        and (loan.lender, meter_words(Meter(loan.resource, loan.gpu_type))) in wanted
    )


def check_loan(site: SitePolicy, loan: Loan, usage: ProjectUsage, now: datetime) -> None:
    """Raise PolicyError, in words for both sides, if a loan may not be made."""
    known = {policy.name: policy for policy in effective(site, usage, now).projects}
    meter, unit = Meter(loan.resource, loan.gpu_type), unit_of(loan.resource, loan.gpu_type)
    amount = f"{in_units(loan.resource, loan.amount)} {unit}"
    lender = known.get(loan.lender)
    theirs = _cap(lender, meter) if lender is not None else None
    borrower = known.get(loan.borrower)
    if loan.lender == loan.borrower or loan.amount <= 0 or loan.due_at <= loan.starts_at:
        raise PolicyError(
            f"{loan.lender} cannot lend {amount} to {loan.borrower}",
            "a loan is a positive amount, for a time, to another project",
        )
    if lender is None or not lender.may_lend:
        raise PolicyError(f"{loan.lender} may not lend", hint=f"set `may_lend: true` for {loan.lender} in site.yaml")
    if theirs is None or borrower is None or _cap(borrower, meter) is None:
        raise PolicyError(
            f"there is no budget of {unit} to move from {loan.lender} to {loan.borrower}",
            "a loan moves a limit, so both sides need one",
        )
    rows = [row for row in usage.rows if row.project == loan.lender]
    left = max(0, theirs.limit - use_of(rows, meter))
    if loan.amount > left:
        have = in_units(loan.resource, left)
        raise PolicyError(f"{loan.lender} has {have} {unit} left to lend, not {amount}", hint=f"lend at most {have}")


def recalled(loan: Loan, now: datetime) -> Loan:
    """Return the loan called back at `now`; PolicyError if it may not be called back before it is due."""
    if not loan.recallable and is_active(loan, now):
        raise PolicyError(
            f"{loan.lender} cannot call its loan to {loan.borrower} back", f"it was lent until {loan.due_at:%Y-%m-%d}"
        )
    return replace(loan, due_at=min(loan.due_at, now))
