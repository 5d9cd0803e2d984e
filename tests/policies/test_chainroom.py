"""Who gives back what is held in advance, for whom."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import AttemptId, ProjectName, TaskId
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.site import Cap, Metered
from elisa.policies.budgets import CapRow, Meter, Owner
from elisa.policies.chainroom import Holder, Refused, beyond_caps, give_way, standing
from tests.builders import an_attempt

NLP, ADA = Owner(ProjectName("nlp")), Owner(ProjectName("nlp"), 7)
CPU_S = Meter(Metered.CPU_S)


def holder(
    name: str, rank: int, *, cpus: int = 1, partition: str = "batch", gpus: int = 0, owner: Owner = ADA
) -> Holder:
    attempt = an_attempt(name).on("cluster", partition).submitted().asking(gpus=gpus, cpus_per_task=cpus, walltime_s=10)
    return Holder(attempt.build(), owner, rank)


def names(found: object) -> list[AttemptId]:
    return [name for name, _ in found]  # type: ignore[attr-defined]  # pairs of either kind


def ids(*found: str) -> list[AttemptId]:
    return [an_attempt(name).id for name in found]


def window(partition: str = "batch") -> Reason:
    return because(ReasonCode.WINDOW_FULL, backend="cluster", partition=partition, window=1, queued=1)


def budget(asked: int, left: int, resource: str = "cpu_s", project: str = "nlp", **more: int) -> Reason:
    return because(
        ReasonCode.BUDGET_EXHAUSTED, project=project, resource=resource, asked=asked, left=left, cap=99, **more
    )


def urgent(reason: Reason, rank: int = 0) -> Refused:
    return Refused(TaskId("t000000009"), rank, reason)


def test_place_in_a_queue_is_given_by_the_last_in_order_of_that_queue() -> None:
    holders = [holder("a", 1), holder("b", 3), holder("c", 5, partition="long")]

    assert names(give_way([urgent(window())], holders)) == ids("b")


def test_of_equals_the_last_of_a_chain_gives_way_and_nobody_stands_before_one_in_front() -> None:
    first, second = an_attempt("a"), an_attempt("b")
    chain = {
        first.id: first.submitted().build(),
        second.id: second.submitted().having(behind=(first.id, an_attempt("over").id)).build(),
    }

    found = {name: standing(one, chain, {first.task: 4, second.task: 2}) for name, one in chain.items()}
    holders = [Holder(one, ADA, *found[name]) for name, one in chain.items()]

    assert found == {first.id: (4, 0), second.id: (4, 1)}
    assert names(beyond_caps([cap(limit=0, used=1)], holders)) == [second.id]
    assert standing(chain[first.id], chain, {}) == (0, 0)


def test_each_refused_task_gets_one_place() -> None:
    holders = [holder("a", 3), holder("b", 4), holder("c", 5)]

    assert names(give_way([urgent(window()), urgent(window(), 1)], holders)) == ids("c", "b")


def test_nobody_gives_way_to_who_comes_after() -> None:
    assert names(give_way([urgent(window(), rank=4)], [holder("a", 3)])) == []


def test_as_many_give_budget_as_free_enough() -> None:
    holders = [holder(name, rank) for rank, name in enumerate("abc", start=1)]

    assert names(give_way([urgent(budget(asked=25, left=10))], holders)) == ids("c", "b")


def test_none_gives_budget_that_would_not_be_enough() -> None:
    assert names(give_way([urgent(budget(asked=100, left=10))], [holder("a", 1), holder("b", 2)])) == []


def test_only_what_is_lacking_is_given_and_by_whom_it_binds() -> None:
    holders = [
        holder("elsewhere", 9, owner=Owner(ProjectName("vision"), 7)),
        holder("bob", 8, owner=Owner(ProjectName("nlp"), 8)),
        holder("no gpu", 7),
        holder("gpu", 6, gpus=1),
    ]

    assert names(give_way([urgent(budget(10, 5, "gpu_s", user=7))], holders)) == ids("gpu")
    assert names(give_way([urgent(budget(10, 5, "gpu_s:h100"))], holders)) == []


def test_what_may_be_held_at_once_is_given_too() -> None:
    lacking = because(ReasonCode.CONCURRENCY_CAP, project="nlp", resource="cpus", asked=2, cap=4, in_use=3)

    assert names(give_way([urgent(lacking)], [holder("a", 1, cpus=1), holder("b", 2, cpus=1)])) == ids("b")


def test_other_refusals_take_nothing_from_anybody() -> None:
    assert names(give_way([urgent(because(ReasonCode.NO_ROOM))], [holder("a", 1)])) == []


def cap(limit: int, used: int, *, is_hard: bool = True, owner: Owner = NLP) -> CapRow:
    return CapRow(owner, Cap(resource=Metered.CPU_S, limit=limit, is_hard=is_hard), used)


def test_cap_that_was_cut_is_met_by_the_last_in_order() -> None:
    holders = [holder(name, rank) for rank, name in enumerate("abc")]

    assert names(beyond_caps([cap(limit=15, used=30)], holders)) == ids("c", "b")


def test_what_one_cap_took_counts_for_the_next() -> None:
    holders = [holder(name, rank) for rank, name in enumerate("abc")]

    assert names(beyond_caps([cap(15, 30), cap(15, 30, owner=ADA)], holders)) == ids("c", "b")


def test_soft_caps_and_caps_that_hold_take_nothing() -> None:
    holders = [holder("a", 0)]

    assert names(beyond_caps([cap(5, 30, is_hard=False), cap(30, 30)], holders)) == []


@given(
    st.lists(st.integers(1, 9), max_size=8),
    st.integers(1, 60),
    st.integers(0, 8),
)
def test_what_is_given_is_enough_and_none_of_it_too_much(cpus: list[int], lacking: int, rank: int) -> None:
    holders = [holder(f"t{number}", number, cpus=count) for number, count in enumerate(cpus)]
    by_id = {one.attempt.id: one for one in holders}

    given_ = [by_id[name] for name in names(give_way([urgent(budget(lacking, 0), rank)], holders))]

    freed = sum(one.holds(CPU_S) for one in given_)
    assert all(one.rank > rank for one in given_)
    assert not given_ or freed >= lacking > freed - given_[-1].holds(CPU_S)


def at_once(asked: int) -> Reason:
    facts: dict[str, str | int] = {"project": "nlp", "resource": "cpus", "asked": asked, "cap": 4, "in_use": 4}
    return because(ReasonCode.CONCURRENCY_CAP, **facts)


def heir(name: str, rank: int, *, cpus: int = 1, depth: int = 0) -> Holder:
    plain = holder(name, rank, cpus=cpus)
    return plain._replace(attempt=replace(plain.attempt, inherits=an_attempt("front").id), depth=depth)


def test_heir_holds_nothing_at_once_and_all_that_it_will_use_of_a_budget() -> None:
    one = heir("a", 1, cpus=2)

    assert (one.holds(Meter(Metered.CPUS)), one.holds(CPU_S)) == (0, 20)


def test_for_what_is_used_at_once_those_go_that_would_take_it_over_next() -> None:
    holders = [heir("next", 1, cpus=2), heir("other", 3, cpus=2), heir("after", 5, cpus=2, depth=1), heir("first", 0)]

    assert names(give_way([urgent(at_once(2))], holders)) == ids("other")
    assert names(give_way([urgent(at_once(4))], holders)) == ids("other", "next")
    assert names(give_way([urgent(at_once(5))], holders)) == []


def test_what_frees_a_place_now_goes_before_what_would_take_one_over() -> None:
    holders = [heir("next", 5, cpus=2), holder("apart", 1, cpus=2)]

    assert names(give_way([urgent(at_once(2))], holders)) == ids("apart")


def test_cut_of_what_may_be_used_at_once_takes_back_nobody_who_uses_nothing() -> None:
    cap = Cap(resource=Metered.CPUS, limit=1)

    assert names(beyond_caps([CapRow(NLP, cap, 3)], [heir("next", 1), holder("apart", 1, cpus=2)])) == ids("apart")
