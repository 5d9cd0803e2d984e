"""Grants, loans, refunds, what-if: all that surrounds the caps, which the laws of the plan cover."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.changes import AttemptMoved
from elisa.model.charge import Charge
from elisa.model.columns import PastUse, ProjectUsage, UsageRow
from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import NativeState
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Component, GpuRequest, Resources
from elisa.model.shares import UNITS_A_GPU
from elisa.model.site import Cap, Grant, Loan, Metered, ProjectPolicy, SitePolicy
from elisa.model.states import EndReason
from elisa.model.task import CheckpointRef
from elisa.policies.allowances import check_loan, effective, is_active, lent, needed_back, recalled
from elisa.policies.budgets import Meter, Owner, amount_of, charge_of, demand_of, use_of
from elisa.policies.budgets_caps import cap_rows
from elisa.policies.lifecycle import LifecycleRules, observe
from elisa.policies.plan import plan
from elisa.policies.refunds import RefundRules
from elisa.policies.snapshot import Snapshot
from elisa.policies.whatif import compare, under, what_would_help, with_cap
from elisa.report.words import in_words
from tests.policies.build import (
    HERE,
    NOW,
    Ready,
    a_cluster,
    a_node,
    a_plan,
    a_request,
    a_snapshot,
    after,
    an_attempt,
    answered,
    seen,
    started,
)

A, B = ProjectName("a"), ProjectName("b")
CPUS = Metered.CPUS
DAY_S = 86400


def a_project(name: str, *caps: Cap, **fields: Any) -> ProjectPolicy:
    return ProjectPolicy(name=ProjectName(name), caps=caps, **fields)


def cpu_cap(limit: int, **fields: Any) -> Cap:
    return Cap(resource=Metered.CPU_S, limit=limit, **fields)


def spent(project: str, cpu_s: int, **fields: Any) -> UsageRow:
    return UsageRow(project, 1, "", Charge(), Charge(cpu_s=cpu_s), **fields)


def limits(site: SitePolicy, usage: ProjectUsage, now: datetime = NOW) -> dict[str, list[int]]:
    return {p.name: [cap.limit for cap in p.caps if cap.is_hard] for p in effective(site, usage, now).projects}


class TestCharges:
    def test_every_amount_is_counted_over_all_nodes(self) -> None:
        request = a_request(2, ("h100", "a100"), nodes=3, tasks_per_node=2, cpus_per_task=4, memory_mib_per_node=10)

        assert charge_of(request, 7) == Charge(node_s=21, cpu_s=168, memory_mib_s=210, gpu_s=42, gpu_type="h100")
        assert charge_of(request, 7, "a100").gpu_type == "a100"
        assert charge_of(Resources(), 7, "a100").gpu_type == ""

    def test_a_heterogeneous_job_is_charged_for_all_its_components(self) -> None:
        part = Component(nodes=2, cpus_per_task=4, memory_mib_per_node=5, gpus=GpuRequest(per_node=3, types=("a100",)))
        request = Resources(cpus_per_task=2, memory_mib_per_node=10, components=(part,))

        assert charge_of(request, 10) == Charge(node_s=30, cpu_s=100, memory_mib_s=200, gpu_s=60, gpu_type="a100")
        assert demand_of(request, "a100", Meter(Metered.NODES)) == 3

    def test_each_meter_reads_its_own_amount(self) -> None:
        row = UsageRow(
            "a",
            1,
            "h100",
            Charge(node_s=1, cpu_s=2, memory_mib_s=3, gpu_s=4, gpu_type="h100", watt_s=5),
            Charge(node_s=10, cpu_s=20, memory_mib_s=30, gpu_s=40, gpu_type="h100", watt_s=50),
            jobs=5,
            nodes=6,
            cpus=7,
            memory_mib=8,
            gpus=9,
            watts=10,
        )

        units = 9 * UNITS_A_GPU
        assert [use_of([row], Meter(one)) for one in Metered] == [11, 22, 33, 44, 55, 5, 6, 7, 8, 9, units, 10]
        assert [amount_of(row.spent, Meter(one)) for one in Metered] == [10, 20, 30, 40, 50, 0, 0, 0, 0, 0, 0, 0]
        assert use_of([row], Meter(Metered.GPUS, "a100")) == 0
        assert amount_of(row.spent, Meter(Metered.GPU_S, "a100")) == 0


class TestUse:
    def test_what_64_bits_cannot_hold_is_added_up_exactly(self) -> None:
        site = SitePolicy(projects=(a_project("a", cpu_cap(2**64)),))
        usage = [spent("a", 2**63 - 1), spent("a", 2**63 - 1), spent("b", 7)]

        caps = cap_rows(site, [Owner(A, 1), Owner(B, 1)], usage)

        assert [(row.owner, row.used, row.left) for row in caps] == [(Owner(A), 2**64 - 2, 2)]


class TestGrants:
    def a_grant(self, amount: int, start_day: int, end_day: int, **fields: Any) -> Grant:
        return Grant(
            resource=Metered.CPU_S,
            amount=amount,
            starts_at=after(start_day * DAY_S),
            ends_at=after(end_day * DAY_S),
            **fields,
        )

    def site(self, *grants: Grant) -> SitePolicy:
        return SitePolicy(projects=(a_project("a", grants=grants),))

    def usage(self, *days: tuple[int, int]) -> ProjectUsage:
        """Spent amounts, each in a slice of time that ended so many days ago."""
        total = sum(amount for amount, _ in days)
        return ProjectUsage(
            rows=[spent("a", total)], past=[PastUse("a", 1, ago * DAY_S, Charge(cpu_s=n)) for n, ago in days]
        )

    def test_only_what_was_used_in_the_period_counts(self) -> None:
        usage = self.usage((700, 20), (50, 5))

        assert limits(self.site(self.a_grant(1000, -10, 10)), usage) == {"a": [700 + 1000]}

    def test_a_period_begins_with_its_first_moment_and_what_ended_then_was_before_it(self) -> None:
        assert limits(self.site(self.a_grant(1000, 0, 10)), self.usage((7, 0))) == {"a": [1007]}
        assert limits(self.site(self.a_grant(1000, -10, 10)), self.usage((7, 10))) == {"a": [1007]}

    def test_grants_that_overlap_add_up(self) -> None:
        site = self.site(self.a_grant(1000, -10, 10), self.a_grant(500, -5, 5))

        assert limits(site, self.usage((100, 20))) == {"a": [100 + 1500]}

    @pytest.mark.parametrize(("start", "end"), [(-10, -1), (-10, 0), (1, 10)])
    def test_outside_every_period_nothing_is_granted(self, start: int, end: int) -> None:
        site = self.site(self.a_grant(1000, start, end))
        made = a_plan(Ready().add("t1", project="a"), site=site, usage=self.usage((100, 20)))

        assert started(made) == []
        assert made.reason(TaskId("t1")).facts["left"] == 0

    def test_part_of_what_was_left_of_the_period_before_lives_on(self) -> None:
        site = self.site(self.a_grant(1000, -30, -10, carry_over=0.5), self.a_grant(100, -10, 10))

        assert limits(site, self.usage((400, 20), (30, 5))) == {"a": [400 + 100 + 300]}
        assert limits(site, self.usage((1400, 20), (30, 5))) == {"a": [1400 + 100]}

    def test_without_a_history_all_use_counts_into_the_period(self) -> None:
        assert limits(self.site(self.a_grant(1000, -1, 1)), ProjectUsage(rows=[spent("a", 300)])) == {"a": [1000]}

    def test_rules_without_grants_and_loans_are_left_as_they_are(self) -> None:
        site = SitePolicy(projects=(a_project("a", cpu_cap(5)),))

        assert effective(site, ProjectUsage(), NOW) is site

    def test_doing_it_twice_is_doing_it_once(self) -> None:
        site = replace(self.site(self.a_grant(1000, -1, 1)), loans=(a_loan(),))
        once = effective(site, self.usage((5, 3)), NOW)

        assert effective(once, self.usage((5, 3)), NOW) == once


def a_loan(amount: int = 40, start_day: int = -1, due_day: int = 1, **fields: Any) -> Loan:
    return Loan(
        lender=A,
        borrower=B,
        amount=amount,
        starts_at=after(start_day * DAY_S),
        due_at=after(due_day * DAY_S),
        **{"resource": Metered.CPU_S, **fields},
    )


def lending(*loans: Loan, resource: Metered = Metered.CPU_S, **fields: Any) -> SitePolicy:
    cap = Cap(resource=resource, limit=100)
    return SitePolicy(projects=(a_project("a", cap, **{"may_lend": True, **fields}), a_project("b", cap)), loans=loans)


class TestLoans:
    def test_a_loan_moves_a_limit_while_it_runs(self) -> None:
        assert limits(lending(a_loan()), ProjectUsage()) == {"a": [60], "b": [140]}
        assert limits(lending(a_loan(start_day=1, due_day=2)), ProjectUsage()) == {"a": [100], "b": [100]}

    def test_a_loan_begins_with_its_first_moment_and_ends_before_it_is_due(self) -> None:
        assert limits(lending(a_loan(start_day=0)), ProjectUsage()) == {"a": [60], "b": [140]}
        assert limits(lending(a_loan(due_day=0)), ProjectUsage()) == {"a": [100], "b": [100]}

    def test_what_the_borrower_used_of_it_cannot_come_back(self) -> None:
        over = lending(a_loan(start_day=-2, due_day=-1))

        assert limits(over, ProjectUsage(rows=[spent("b", 125)])) == {"a": [75], "b": [125]}
        assert limits(over, ProjectUsage(rows=[spent("b", 25)])) == {"a": [100], "b": [100]}

    def test_what_is_only_held_comes_back_whole(self) -> None:
        over = lending(a_loan(start_day=-2, due_day=-1, resource=Metered.CPUS), resource=Metered.CPUS)

        assert limits(over, ProjectUsage(rows=[spent("b", 0, cpus=125)])) == {"a": [100], "b": [100]}

    @pytest.mark.parametrize(
        "site",
        [
            lending(a_loan(), may_lend=False),
            lending(a_loan(resource=Metered.GPU_S)),
            replace(lending(a_loan()), projects=(a_project("a", cpu_cap(100), may_lend=True),)),
        ],
    )
    def test_without_permission_or_a_limit_on_both_sides_nothing_moves(self, site: SitePolicy) -> None:
        assert {limit for values in limits(site, ProjectUsage()).values() for limit in values} == {100}

    def test_what_is_borrowed_is_for_idle_means_only_and_the_first_to_yield(self) -> None:
        borrower = effective(lending(a_loan()), ProjectUsage(), NOW).project(B)

        assert borrower.caps == (cpu_cap(140), cpu_cap(100, is_hard=False))
        assert effective(lending(a_loan(start_day=1, due_day=2)), ProjectUsage(), NOW).project(B).caps == (
            cpu_cap(100),
        )

    @pytest.mark.parametrize(
        ("terms", "facts", "back"),
        [
            ({}, {"project": "a", "resource": "cpu_s"}, 1),
            ({}, {"project": "b", "resource": "cpu_s"}, 0),
            ({}, {"project": "a", "resource": "gpu_s"}, 0),
            ({}, {"project": "a", "resource": "cpu_s", "user": 5}, 0),
            ({"recallable": False}, {"project": "a", "resource": "cpu_s"}, 0),
            ({"on_need": False}, {"project": "a", "resource": "cpu_s"}, 0),
            ({"start_day": 1, "due_day": 2}, {"project": "a", "resource": "cpu_s"}, 0),
        ],
    )
    def test_a_lender_in_need_gets_back_what_its_terms_allow(
        self, terms: dict[str, Any], facts: dict[str, Any], back: int
    ) -> None:
        loan = a_loan(**terms)
        refusals = [because(ReasonCode.BUDGET_EXHAUSTED, **facts), because(ReasonCode.NO_ROOM)]

        assert needed_back(lending(loan), refusals, NOW) == (loan,) * back

    def test_a_loan_is_called_back_when_its_terms_allow(self) -> None:
        assert not is_active(recalled(a_loan(), NOW), NOW)
        assert recalled(a_loan(start_day=-3, due_day=-2, recallable=False), NOW).due_at == after(-2 * DAY_S)
        with pytest.raises(PolicyError, match="cannot call its loan to b back"):
            recalled(a_loan(recallable=False), NOW)

    def test_a_good_loan_may_be_made(self) -> None:
        check_loan(lending(), a_loan(100), ProjectUsage(), NOW)

    @pytest.mark.parametrize(
        ("site", "loan", "words"),
        [
            (lending(resource=CPUS), a_loan(101, resource=CPUS), "has 100 cpus left to lend, not 101"),
            (lending(a_loan(30, resource=CPUS), resource=CPUS), a_loan(71, resource=CPUS), "has 70 cpus left to lend"),
            (lending(), a_loan(36000), "has 0.03 core-h left to lend, not 10 core-h"),
            (lending(may_lend=False), a_loan(), "a may not lend"),
            (lending(), a_loan(resource=Metered.NODES), "no budget of nodes to move"),
            (lending(), a_loan(0), "a cannot lend 0"),
            (lending(), replace(a_loan(3600), borrower=A), "a cannot lend 1 core-h to a"),
            (lending(), a_loan(due_day=-1), "a cannot lend"),
            (lending(), replace(a_loan(), lender=ProjectName("c")), "c may not lend"),
            (lending(), replace(a_loan(), borrower=ProjectName("c")), "no budget of core-h to move from a to c"),
        ],
    )
    def test_a_bad_loan_is_refused_in_words(self, site: SitePolicy, loan: Loan, words: str) -> None:
        with pytest.raises(PolicyError, match=words):
            check_loan(site, loan, ProjectUsage(), NOW)

    def test_who_has_nothing_left_is_told_so(self) -> None:
        with pytest.raises(PolicyError, match="has 0 core-h left to lend, not 1 core-h") as refusal:
            check_loan(lending(), a_loan(3600), ProjectUsage(rows=[spent("a", 150)]), NOW)
        assert refusal.value.hint == "lend at most 0"

    def test_what_the_lender_used_is_not_there_to_be_lent(self) -> None:
        usage = ProjectUsage(rows=[spent("a", 0, cpus=90), spent("b", 0, cpus=50)])

        with pytest.raises(PolicyError, match="has 10 cpus left"):
            check_loan(lending(resource=CPUS), a_loan(11, resource=CPUS), usage, NOW)

    @given(
        amounts=st.lists(st.tuples(st.integers(0, 80), st.integers(-5, 5), st.integers(1, 5)), max_size=4),
        used=st.tuples(st.integers(0, 300), st.integers(0, 300)),
        resource=st.sampled_from([Metered.CPU_S, Metered.CPUS]),
    )
    def test_no_loan_makes_more_of_anything(
        self, amounts: list[tuple[int, int, int]], used: tuple[int, int], resource: Metered
    ) -> None:
        loans = [a_loan(n, start, start + length, resource=resource) for n, start, length in amounts]
        usage = ProjectUsage(rows=[spent("a", used[0], cpus=used[0]), spent("b", used[1], cpus=used[1])])

        got = limits(lending(*loans, resource=resource), usage)

        assert sum(got["a"]) + sum(got["b"]) == 200
        assert min(got["a"]) >= 0

    @given(amount=st.integers(0, 100), start_day=st.integers(-5, 0), days=st.integers(1, 6), data=st.data())
    def test_what_the_borrower_holds_and_what_the_lender_may_use_are_never_more_than_both_had(
        self, amount: int, start_day: int, days: int, data: st.DataObject
    ) -> None:
        used = data.draw(st.integers(0, 100 + amount))  # no more was ever admitted
        past = data.draw(st.integers(0, used))
        held = spent("b", past)._replace(reserved=Charge(cpu_s=used - past))

        got = limits(lending(a_loan(amount, start_day, start_day + days)), ProjectUsage(rows=[held]))

        (lender,), (borrower,) = got["a"], got["b"]
        assert lender + max(borrower, used) <= 200

    def test_a_loan_that_is_over_leaves_the_borrower_what_it_spent_and_the_lender_waits_for_the_rest(self) -> None:
        over = lending(a_loan(start_day=-2, due_day=-1))
        held = spent("b", 110)._replace(reserved=Charge(cpu_s=25))

        assert limits(over, ProjectUsage(rows=[held])) == {"a": [65], "b": [110]}

    @given(st.integers(0, 200), st.integers(0, 200), st.integers(-3, 3))
    def test_no_more_moves_than_was_lent(self, own_limit: int, used: int, day: int) -> None:
        assert 0 <= lent(a_loan(), own_limit, used, after(day * DAY_S)) <= 40


class TestRefunds:
    def booked(self, reason: EndReason, saved_s_ago: float | None, rules: RefundRules | None) -> int:
        saved = CheckpointRef(path="c", step=1, saved_at=after(-saved_s_ago)) if saved_s_ago is not None else None
        ended = seen(NativeState.ENDED, end_reason=reason, started_at=after(-1000), ended_at=NOW)
        observed = observe(
            [an_attempt(last_checkpoint=saved)], [], answered(ended), {}, NOW, rules=LifecycleRules(refunds=rules)
        )
        moved = observed.changes[-1]
        assert isinstance(moved, AttemptMoved)
        assert moved.spend is not None
        return moved.spend.node_s

    def test_work_lost_through_no_fault_of_the_owner_is_given_back(self) -> None:
        assert self.booked(EndReason.NODE_FAILURE, None, None) == 1000
        assert self.booked(EndReason.NODE_FAILURE, None, RefundRules()) == 0
        assert self.booked(EndReason.NODE_FAILURE, 100, RefundRules()) == 900
        assert self.booked(EndReason.NODE_FAILURE, 100, RefundRules(share=0.5)) == 950
        assert self.booked(EndReason.NODE_FAILURE, 100, RefundRules(whole_run=True)) == 0
        assert self.booked(EndReason.NODE_FAILURE, -50, RefundRules()) == 1000

    def test_ones_own_timeout_is_paid_for(self) -> None:
        assert self.booked(EndReason.TIMEOUT, None, RefundRules()) == 1000


class TestWhatIf:
    READY = Ready().add("t1", project="a", age_s=9).add("t2", project="a", age_s=8).add("t3", project="b", age_s=7)

    def test_a_cut_budget_shows_who_no_longer_starts(self) -> None:
        snapshot = a_snapshot(self.READY)
        cut = under(snapshot, with_cap(SitePolicy(), A, Cap(resource=Metered.JOBS, limit=1)))

        difference = compare(plan(snapshot), plan(cut))
        back = compare(plan(cut), plan(snapshot))

        assert (difference.starts, difference.no_longer, dict(difference.reasons)) == ((), ("t2",), {})
        assert (back.starts, back.no_longer) == (("t2",), ())

    def test_a_cap_replaces_its_like_and_leaves_the_others(self) -> None:
        site = with_cap(lending(), A, cpu_cap(7))
        site = with_cap(site, A, Cap(resource=Metered.JOBS, limit=3))

        assert site.project(A).caps == (cpu_cap(7), Cap(resource=Metered.JOBS, limit=3))
        assert site.project(B) == lending().project(B)

    def test_another_reason_for_the_same_wait_is_shown(self) -> None:
        ready = Ready().add("t1", a_request(cpus_per_task=8), project="a")
        snapshot = a_snapshot(ready, a_cluster(a_node(free_cpus=0)))
        other = under(snapshot, with_cap(SitePolicy(), A, Cap(resource=Metered.JOBS, limit=0)))

        (pair,) = compare(plan(snapshot), plan(other)).reasons.values()
        assert [reason.code for reason in pair] == [ReasonCode.NO_ROOM, ReasonCode.CONCURRENCY_CAP]

    @pytest.mark.parametrize(
        ("extra", "helps"),
        [
            ({"site": SitePolicy(unlisted=a_project("", cpu_cap(1)))}, ("budgets",)),
            ({"site": SitePolicy(default_window=0), "queueing": [HERE]}, ("windows",)),
            ({"clusters": [a_cluster(a_node(free_cpus=0))]}, ("running jobs",)),
            ({"clusters": [a_cluster(a_node(cpus=1))]}, ("tasks in front",)),
            (
                {"site": SitePolicy(unlisted=a_project("", cpu_cap(1))), "clusters": [a_cluster(a_node(free_cpus=0))]},
                (),
            ),
        ],
    )
    def test_the_rule_that_stands_in_the_way_is_found(self, extra: dict[str, Any], helps: tuple[str, ...]) -> None:
        clusters = extra.pop("clusters", [a_cluster()])
        snapshot = a_snapshot(Ready().add("t1", priority=1).add("t2"), *clusters, **extra)

        assert what_would_help(snapshot, TaskId("t2")) == helps


class TestSaving:
    """What is left under a cap on use at once is saved for a task that has come of age, if that helps it."""

    def told(self, *caps: Cap, asked: int) -> dict[str, str]:
        ready = (
            Ready().add("old", a_request(cpus_per_task=asked), age_s=9000.0).add("young", a_request(cpus_per_task=1))
        )
        usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(cpu_s=1), Charge(), jobs=1, cpus=2)])
        site = SitePolicy(projects=(ProjectPolicy(name=ProjectName("vision"), caps=caps),), aged_s=600.0)
        made = plan(Snapshot.build(ready.columns(), usage, [a_cluster()], [], site, NOW))
        return {name: in_words(made.reason(TaskId(name))) for name in ("old", "young")}

    def test_who_would_pass_once_others_end_is_waited_for(self) -> None:
        told = self.told(Cap(resource=Metered.CPUS, limit=4), asked=3)

        uses = "project vision uses 2 cpus of the 4 it may use at once, this asks for"
        assert told == {
            "old": f"{uses} 3",
            "young": f"{uses} 1; what is left is kept for a task that has come of age",
        }

    def test_who_will_never_pass_is_not(self) -> None:
        assert self.told(Cap(resource=Metered.CPUS, limit=4), asked=5)["young"].startswith("it was chosen")

    def test_who_lacks_a_budget_as_well_is_not(self) -> None:
        caps = (Cap(resource=Metered.CPUS, limit=4), Cap(resource=Metered.CPU_S, limit=2 * 3600))

        assert self.told(*caps, asked=3)["young"].startswith("it was chosen")
