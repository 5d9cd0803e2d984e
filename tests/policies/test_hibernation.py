from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.ids import ProjectName
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.budgets import CapRow, Owner
from elisa.policies.hibernation import Held, overdrawn, to_park

NLP = ProjectName("nlp")


def a_cap(limit: int, used: int, *, uid: int = -1, gpu_type: str = "", resource: Metered = Metered.GPU_S) -> CapRow:
    return CapRow(Owner(NLP, uid), Cap(resource=resource, limit=limit, gpu_type=gpu_type), used)


def held(attempt: str, gpu_s: int, **fields: Any) -> Held:
    left = Charge(gpu_s=gpu_s, gpu_type=fields.pop("gpu_type", "a100"))
    ordinary: dict[str, Any] = {"project": "nlp", "owner_uid": 1, "rank": 2, "lost_s": 0.0}
    return Held(attempt=attempt, left=left, **{**ordinary, **fields})


def parked(caps: list[CapRow], *some: Held) -> list[str]:
    return [attempt for attempt, _ in to_park(caps, some)]


def test_nobody_is_asked_while_the_budget_holds() -> None:
    assert parked([], held("a", 100)) == []


def test_as_many_leave_as_bring_the_cap_back() -> None:
    assert parked([a_cap(100, 150)], held("a", 30), held("b", 30), held("c", 30)) == ["a", "b"]


def test_the_lowest_class_goes_first_and_in_it_who_loses_least() -> None:
    some = [held("high", 50, rank=1), held("dear", 50, lost_s=900.0), held("cheap", 50, lost_s=9.0)]

    assert parked([a_cap(100, 101)], *some) == ["cheap"]
    assert parked([a_cap(100, 160)], *some) == ["cheap", "dear"]


def test_who_was_asked_already_counts_as_gone() -> None:
    assert parked([a_cap(100, 150)], held("a", 60, is_leaving=True), held("b", 60)) == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(held("x", 99, project="vision"), id="of another project"),
        pytest.param(held("x", 99, gpu_type="h100"), id="on other GPUs"),
        pytest.param(held("x", 99, owner_uid=7), id="of another member"),
        pytest.param(held("x", 0), id="that holds nothing of it"),
    ],
)
def test_nobody_leaves_on_account_of_a_cap_that_is_not_theirs(other: Held) -> None:
    assert parked([a_cap(100, 150, uid=1, gpu_type="a100")], other) == []


def test_one_attempt_may_serve_two_caps() -> None:
    assert parked([a_cap(100, 150), a_cap(10, 20, gpu_type="a100")], held("a", 60), held("b", 60)) == ["a"]


def test_only_hard_caps_on_what_adds_up_are_overdrawn() -> None:
    caps = (
        Cap(resource=Metered.GPU_S, limit=10),
        Cap(resource=Metered.GPU_S, limit=10, is_hard=False),
        Cap(resource=Metered.GPUS, limit=1),
        Cap(resource=Metered.NODE_S, limit=10),
    )
    site = SitePolicy(projects=(ProjectPolicy(name=NLP, caps=caps),))
    usage = [UsageRow("nlp", 1, "a100", Charge(gpu_s=8, gpu_type="a100"), Charge(gpu_s=8, gpu_type="a100"), gpus=4)]

    assert overdrawn(site, usage) == (CapRow(Owner(NLP), caps[0], 16),)
    assert overdrawn(SitePolicy(), usage) == ()


@given(st.integers(1, 1000), st.lists(st.integers(0, 100), max_size=10))
def test_either_the_cap_holds_again_or_everybody_was_asked(over: int, amounts: list[int]) -> None:
    some = [held(f"a{number}", amount) for number, amount in enumerate(amounts)]

    asked = parked([a_cap(100, 100 + over)], *some)

    freed = sum(one.left.gpu_s for one in some if one.attempt in asked)
    assert freed >= over or len(asked) == sum(amount > 0 for amount in amounts)
