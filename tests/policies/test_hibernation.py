"""Work that parks because its project holds more than it may have: as few as help, and as late as the cap allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import RunningRow, UsageRow
from elisa.model.decisions import Park
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import GpuRequest, Resources
from elisa.model.site import EVERYBODY, Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.budgets import CapRow, Owner
from elisa.policies.hibernation import coming, due, overdrawn, partings

NLP = ProjectName("nlp")
NOW_S = 1_000_000.0
LEAD_S = 180.0


def a_cap(limit: int, used: int, *, uid: int = -1, gpu_type: str = "", resource: Metered = Metered.GPU_S) -> CapRow:
    return CapRow(Owner(NLP, uid), Cap(resource=resource, limit=limit, gpu_type=gpu_type), used)


def runs(attempt: str, left_s: int, **fields: Any) -> RunningRow:
    """Return an attempt on one GPU that has `left_s` of its walltime left."""
    gpus = GpuRequest(per_node=fields.pop("gpus", 1), types=(fields.pop("gpu_type", "a100"),))
    ran_s = fields.pop("ran_s", 10_000)
    ordinary: dict[str, Any] = {
        "task": f"t-{attempt}",
        "project": NLP,
        "owner_uid": 1,
        "backend": "sim",
        "nodes": ("n1",),
        "request": Resources(gpus=gpus, walltime_s=ran_s + left_s),
        "priority": 2,
        "started_us": round((NOW_S - ran_s) * 1e6),
        "saves_on_request": True,
    }
    return RunningRow(attempt=attempt, **{**ordinary, **fields})


def leave(caps: list[CapRow], *some: RunningRow) -> list[str]:
    return [one.attempt for one in partings(caps, some, NOW_S, LEAD_S)]


def moments(caps: list[CapRow], *some: RunningRow) -> dict[str, float]:
    return {one.attempt: one.at_s - NOW_S for one in partings(caps, some, NOW_S, LEAD_S)}


def test_nobody_leaves_while_the_budget_holds() -> None:
    assert leave([], runs("a", 100)) == []


def test_as_many_leave_as_bring_the_cap_back() -> None:
    assert leave([a_cap(100, 150)], runs("a", 30), runs("b", 30), runs("c", 30)) == ["a", "b"]


def test_the_lowest_class_goes_first_and_in_it_who_loses_least() -> None:
    restart_files = {"saves_on_request": False}
    dear = runs("dear", 50, saved_us=round((NOW_S - 900) * 1e6), **restart_files)
    cheap = runs("cheap", 50, saved_us=round((NOW_S - 9) * 1e6), **restart_files)
    some = [runs("high", 50, priority=1), dear, cheap]

    assert leave([a_cap(100, 101)], *some) == ["cheap"]
    assert leave([a_cap(100, 160)], *some) == ["cheap", "dear"]


def test_who_would_fit_again_at_once_does_not_leave() -> None:
    assert leave([a_cap(100, 150)], runs("low", 30, priority=3), runs("normal", 200)) == ["normal"]


def test_who_was_asked_already_counts_as_gone() -> None:
    assert leave([a_cap(100, 150)], runs("a", 60, is_leaving=True), runs("b", 60)) == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"project": "vision"}, id="of another project"),
        pytest.param({"gpu_type": "h100"}, id="on other GPUs"),
        pytest.param({"owner_uid": 7}, id="of another member"),
        pytest.param({"gpus": 0}, id="that holds nothing of it"),
        pytest.param({"is_preemptible": False}, id="that may not be preempted"),
        pytest.param({"saves_on_request": False}, id="that saves nothing"),
    ],
)
def test_nobody_else_leaves(fields: dict[str, Any]) -> None:
    assert leave([a_cap(100, 150, uid=1, gpu_type="a100")], runs("x", 99, **fields)) == []


def test_where_all_together_hold_too_much_anybody_may_have_to_leave() -> None:
    of_all = CapRow(Owner(EVERYBODY), Cap(resource=Metered.GPUS, limit=1), 2)

    assert leave([of_all], runs("a", 60), runs("b", 60, project="vision", priority=3)) == ["b"]


def test_one_attempt_may_serve_two_caps() -> None:
    assert leave([a_cap(100, 150), a_cap(10, 20, gpu_type="a100")], runs("a", 60), runs("b", 60)) == ["a"]


def test_what_is_left_under_the_cap_is_used_first() -> None:
    hour = 3600

    assert moments([a_cap(10 * hour, 11 * hour)], runs("a", 3 * hour)) == {"a": 2 * hour - LEAD_S}
    assert moments([a_cap(10 * hour, 14 * hour)], runs("a", 3 * hour)) == {"a": 0.0}


def test_two_who_leave_use_up_what_is_left_twice_as_fast_and_the_others_keep_all_of_theirs() -> None:
    some = [runs("a", 100_000, priority=3), runs("b", 100_000, priority=3), runs("firm", 900_000)]

    assert moments([a_cap(10**6, 10**6 + 150_000)], *some) == {"a": 25_000 - LEAD_S, "b": 25_000 - LEAD_S}


def test_a_cap_on_what_is_held_at_once_asks_at_once() -> None:
    cap = a_cap(1, 2, resource=Metered.GPUS)

    assert moments([cap], runs("a", 900), runs("b", 900)) == {"a": 0.0}


def test_a_job_that_waits_in_a_queue_is_taken_back_at_once() -> None:
    queued = runs("q", 900, is_queued=True, started_us=0, ran_s=0, saves_on_request=False)

    assert moments([a_cap(1000, 1100)], queued) == {"q": 0.0}
    assert moments([a_cap(1000, 1900)], queued) == {"q": 0.0}


def test_the_cap_that_asks_first_is_the_one_that_is_told() -> None:
    caps = [a_cap(10_000, 11_000), a_cap(0, 1, resource=Metered.GPUS)]

    [parting] = partings(caps, [runs("a", 3000)], NOW_S, LEAD_S)

    assert parting.cap is caps[1]


def test_only_hard_caps_are_overdrawn() -> None:
    caps = (
        Cap(resource=Metered.GPU_S, limit=10),
        Cap(resource=Metered.GPU_S, limit=10, is_hard=False),
        Cap(resource=Metered.GPUS, limit=1),
        Cap(resource=Metered.NODE_S, limit=10),
    )

    assert overdrawn(a_site(*caps), [usage(8, 8)]) == (CapRow(Owner(NLP), caps[0], 16), CapRow(Owner(NLP), caps[2], 4))
    assert overdrawn(SitePolicy(), [usage(8, 8)]) == ()


def a_site(*caps: Cap) -> SitePolicy:
    return SitePolicy(projects=(ProjectPolicy(name=NLP, caps=caps),))


def usage(reserved: int, spent: int) -> UsageRow:
    both = (Charge(gpu_s=reserved, gpu_type="a100"), Charge(gpu_s=spent, gpu_type="a100"))
    return UsageRow("nlp", 1, "a100", *both, gpus=4)


def test_those_whose_moment_has_come_are_asked_with_the_facts() -> None:
    site = a_site(Cap(resource=Metered.GPU_S, limit=7200, gpu_type="a100"))
    later, now = usage(10_800, 0), usage(10_800, 4000)
    one = runs("a", 7200, ran_s=3600)

    assert due(site, [later], [one], NOW_S) == ()
    assert [parting.at_s for parting in coming(site, [later], [one], NOW_S)] == [NOW_S + 3600 - LEAD_S]
    assert due(site, [now], [one], NOW_S) == (
        Park(
            attempt=AttemptId("a"),
            reason=because(ReasonCode.PARKED, project="nlp", resource="gpu_s:a100", in_use=14_800, cap=7200),
        ),
    )
    assert due(site, [now], [], NOW_S) == ()


def test_a_members_own_cap_is_told_with_the_member() -> None:
    site = SitePolicy(projects=(ProjectPolicy(name=NLP, user_caps=(Cap(resource=Metered.GPUS, limit=3),)),))

    [parked] = due(site, [usage(0, 0)], [runs("a", 900)], NOW_S)

    assert parked.reason.facts["user"] == 1


seconds = st.integers(0, 1000)
rows = st.lists(st.tuples(seconds, st.integers(0, 3), st.booleans()), max_size=8)


@given(st.integers(1, 3000), rows)
def test_either_the_cap_holds_again_or_everybody_leaves(over: int, amounts: list[tuple[int, int, bool]]) -> None:
    some = [runs(f"a{n}", left, priority=rank, is_queued=queued) for n, (left, rank, queued) in enumerate(amounts)]
    back = {one.attempt: one.request.walltime_s - (0 if one.is_queued else 10_000) for one in some}

    going = leave([a_cap(10**6, 10**6 + over)], *some)

    assert sum(back[one] for one in going) >= over or set(going) == {one for one in back if back[one]}


@given(st.integers(1, 3000), rows)
def test_nobody_who_leaves_would_fit_again_once_all_have_left(over: int, amounts: list[tuple[int, int, bool]]) -> None:
    some = [runs(f"a{n}", left, priority=rank) for n, (left, rank, _) in enumerate(amounts)]
    back = dict(zip([one.attempt for one in some], [left for left, *_ in amounts], strict=True))

    going = leave([a_cap(10**6, 10**6 + over)], *some)

    free = sum(back[one] for one in going) - over
    assert all(one.request.walltime_s > free for one in some if one.attempt in going)
    assert all(back[one] > free for one in going)
