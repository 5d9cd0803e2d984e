"""Budgets that begin anew in every period, for projects and for each of their members."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import PastUse, ProjectUsage, UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Allowance, Cap, FusionRules, Grant, Metered, ProjectPolicy, SitePolicy
from elisa.policies.allowances import effective
from elisa.policies.inputs import PlanInputs
from elisa.policies.periods import next_period, period_days
from elisa.policies.plan import Plan
from elisa.policies.relief import relief_of
from tests.policies.build import NOW, Ready, a_cluster, a_node, a_plan, a_request, started

# A Sunday, the last of February, noon; the tests below count in days from it.
TODAY = date(2026, 3, 1)
EPOCH = date(1970, 1, 1)
A = ProjectName("a")


def allowed(amount: int = 100, every: str = "week", **fields: Any) -> Allowance:
    return Allowance(resource=Metered.CPU_S, amount=amount, every=every, **fields)


def a_site(*allowances: Allowance, user: Sequence[Allowance] = (), **fields: Any) -> SitePolicy:
    policy = ProjectPolicy(name=A, allowances=allowances, user_allowances=tuple(user), **fields)
    return SitePolicy(projects=(policy,), fusion=FusionRules(enabled=False))


def used(*days: tuple[int, int], uid: int = 1000, reserved: int = 0, project: str = "a") -> ProjectUsage:
    """Spent amounts, each so many days ago; and what live attempts have reserved."""
    past = [
        PastUse(project, uid, max(0.0, (ago - 1) * 86400 + 43200), Charge(cpu_s=n), (TODAY - EPOCH).days - ago)
        for n, ago in days
    ]
    total = Charge(cpu_s=sum(amount for amount, _ in days))
    return ProjectUsage([UsageRow(project, uid, "", reserved=Charge(cpu_s=reserved), spent=total)], past)


def left(site: SitePolicy, usage: ProjectUsage, now: datetime = NOW) -> int:
    (cap,) = effective(site, usage, now).project(A).caps
    return cap.limit - sum(row.reserved.cpu_s + row.spent.cpu_s for row in usage.rows)


@pytest.mark.parametrize(
    ("every", "now", "days"),
    [
        ("day", datetime(2026, 3, 1, 0, 0, tzinfo=UTC), (date(2026, 3, 1), date(2026, 2, 28))),
        (
            "day",
            datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))),
            (date(2026, 2, 28), date(2026, 2, 27)),
        ),
        ("week", datetime(2026, 3, 1, 23, 59, tzinfo=UTC), (date(2026, 2, 23), date(2026, 2, 16))),
        ("week", datetime(2026, 3, 2, 0, 0, tzinfo=UTC), (date(2026, 3, 2), date(2026, 2, 23))),
        ("month", datetime(2026, 1, 31, tzinfo=UTC), (date(2026, 1, 1), date(2025, 12, 1))),
        ("3d", datetime(2026, 3, 1, 12, tzinfo=UTC), (date(2026, 2, 27), date(2026, 2, 24))),
    ],
)
def test_periods_are_whole_days_of_utc(every: str, now: datetime, days: tuple[date, date]) -> None:
    assert period_days(every, now) == days


@pytest.mark.parametrize(("every", "day"), [("day", 2), ("week", 2), ("month", 1), ("7d", 2)])
def test_the_next_period_begins_at_midnight(every: str, day: int) -> None:
    month = 4 if every == "month" else 3

    assert next_period(every, NOW) == datetime(2026, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "counted"),
    [("day", 1), ("week", 1 + 10), ("month", 1), ("3d", 1 + 10), ("7d", 1 + 10), ("8d", 1 + 10 + 100)],
)
def test_only_what_was_spent_in_the_running_period_counts_and_all_that_is_reserved(every: str, counted: int) -> None:
    usage = used((1, 0), (10, 2), (100, 7), (1000, 40), reserved=5)

    assert left(a_site(allowed(5000, every)), usage) == 5000 - counted - 5


def test_part_of_what_was_left_of_the_period_before_is_carried_over_and_never_a_debt() -> None:
    assert left(a_site(allowed(100, carry_over=0.5)), used((30, 7), (10, 0))) == 100 + 35 - 10
    assert left(a_site(allowed(100, carry_over=0.5)), used((130, 7), (10, 0))) == 100 - 10
    assert left(a_site(allowed(100)), used((30, 7), (10, 0))) == 100 - 10


def test_without_a_history_all_use_counts() -> None:
    usage = used((30, 7))._replace(past=())

    assert left(a_site(allowed(100)), usage) == 70


def test_a_soft_amount_refuses_nothing_and_a_grant_stands_beside_it() -> None:
    grant = Grant(resource=Metered.GPU_S, amount=7, starts_at=NOW, ends_at=NOW + timedelta(days=1))
    site = a_site(allowed(is_hard=False), grants=(grant,))

    caps = effective(site, used((30, 0)), NOW).project(A).caps

    assert [(cap.resource, cap.limit, cap.is_hard, cap.every) for cap in caps] == [
        (Metered.GPU_S, 7, True, ""),
        (Metered.CPU_S, 100, False, "week"),
    ]
    assert effective(effective(site, used((30, 0)), NOW), used((30, 0)), NOW) == effective(site, used((30, 0)), NOW)


def plan_of(site: SitePolicy, usage: ProjectUsage, *asks: tuple[str, int, int], project: str = "a") -> Plan:
    """Tasks by id, user and seconds of a core."""
    ready = Ready()
    for number, (task, uid, seconds) in enumerate(asks):
        ready.add(task, a_request(walltime_s=seconds), project=project, owner_uid=uid, importance=-number)
    return a_plan(ready, a_cluster(a_node(cpus=64)), site=site, usage=usage)


def test_each_member_has_an_amount_of_his_own() -> None:
    one, other = used((500, 8), (60, 0), uid=1), used((90, 0), uid=2)
    usage = ProjectUsage([*one.rows, *other.rows], [*one.past, *other.past])
    site = a_site(user=[allowed(100)], user_caps=(Cap(resource=Metered.JOBS, limit=1),))

    made = plan_of(
        site, usage, ("t1", 1, 41), ("t2", 1, 40), ("t3", 2, 11), ("t4", 2, 10), ("t5", 3, 101), ("t6", 3, 100)
    )

    assert started(made) == ["t2", "t4", "t6"]
    assert made.reason(TaskId("t1")) == because(
        ReasonCode.BUDGET_EXHAUSTED, project="a", resource="cpu_s", asked=41, cap=100, user=1, every="week", left=0
    )
    again = plan_of(site, usage, ("t1", 1, 10), ("t2", 1, 10))
    assert again.reason(TaskId("t2")).code is ReasonCode.CONCURRENCY_CAP


def test_unlisted_projects_have_it_too_each_by_itself() -> None:
    unlisted = ProjectPolicy(name=ProjectName(""), allowances=(allowed(100),), user_allowances=(allowed(70),))
    site = SitePolicy(unlisted=unlisted, fusion=FusionRules(enabled=False))
    usage = used((900, 8), (60, 0), uid=1, project="b")

    assert started(plan_of(site, usage, ("t1", 1, 11), ("t2", 2, 40), project="b")) == ["t2"]
    assert started(plan_of(site, usage, ("t1", 1, 71), ("t2", 2, 70), ("t3", 3, 31), project="c")) == ["t2"]


def test_a_refusal_tells_when_the_next_period_gives_enough() -> None:
    def relief(every: str, *spent: tuple[int, int]) -> datetime | None:
        site, usage = a_site(allowed(100, every)), used(*spent)
        ready = Ready().add("t1", a_request(walltime_s=60), project="a")
        inputs = PlanInputs(ready=ready.columns(), usage=usage, clusters=(a_cluster(),), live=(), site=site, now=NOW)
        found = relief_of(inputs, a_plan(ready, site=site, usage=usage).reason(TaskId("t1")), 60)
        assert found is not None
        return found.at

    assert relief("week", (50, 0), (400, 8)) == datetime(2026, 3, 2, tzinfo=UTC)
    assert relief("3d", (20, 2), (30, 0)) == datetime(2026, 3, 2, tzinfo=UTC)
    assert relief("3d", (5, 2), (45, 1)) == datetime(2026, 3, 3, tzinfo=UTC)


@given(
    spent=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 70)), max_size=12),
    reserved=st.integers(0, 30),
    asks=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 40)), max_size=8),
    every=st.sampled_from(["day", "week", "month", "1d", "5d", "60d"]),
    amounts=st.tuples(st.integers(0, 120), st.integers(0, 120)),
    carry=st.sampled_from([0.0, 0.25, 1.0]),
)
def test_no_plan_takes_a_project_or_a_member_beyond_the_amount_of_the_running_period(
    spent: list[tuple[int, int]],
    reserved: int,
    asks: list[tuple[int, int]],
    every: str,
    amounts: tuple[int, int],
    carry: float,
) -> None:
    carry = 0.0 if every[0].isdigit() else carry
    one, other = used(*spent[::2], uid=1, reserved=reserved), used(*spent[1::2], uid=2)
    usage = ProjectUsage([*one.rows, *other.rows], [*one.past, *other.past])
    site = a_site(allowed(amounts[0], every, carry_over=carry), user=[allowed(amounts[1], every, carry_over=carry)])

    made = plan_of(site, usage, *((f"t{number}", uid, seconds) for number, (uid, seconds) in enumerate(asks)))

    first, earlier = period_days(every, NOW)
    for who, amount in (((1, 2), amounts[0]), ((1,), amounts[1]), ((2,), amounts[1])):
        days = [(EPOCH + timedelta(days=row.day), row.spent.cpu_s) for row in usage.past if row.owner_uid in who]
        unused = max(0, amount - sum(n for day, n in days if earlier <= day < first))
        taken = sum(asks[int(task[1:])][1] for task in started(made) if asks[int(task[1:])][0] in who)
        held = sum(n for day, n in days if day >= first) + sum(
            row.reserved.cpu_s for row in usage.rows if row.owner_uid in who
        )
        assert taken == 0 or held + taken <= amount + int(unused * carry)
