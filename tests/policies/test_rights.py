"""Who may do what, and that nobody raises himself by what he writes into his own file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import ProjectUsage
from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy
from elisa.policies.rights import Action, Rights, best_rank, check_class, check_member, check_queue, demand
from elisa.policies.snapshot import Snapshot
from tests.policies.build import NOW, Ready, a_cluster, a_plan, a_snapshot, started

A, B = ProjectName("a"), ProjectName("b")
RIGHTS = Rights(admins=frozenset({1}), managers=((A, frozenset({2})),))
ADA, BOB, EVE = 1000, 1001, 1002
RESERVED = ((PriorityClass.CRITICAL, (ADA,)), (PriorityClass.HIGH, (BOB,)))


@pytest.mark.parametrize("action", list(Action))
def test_administrators_may_everything_and_strangers_nothing(action: Action) -> None:
    assert RIGHTS.may(1, action, A)
    assert not RIGHTS.may(3, action, A)


def test_managers_may_dispose_of_their_own_project_but_not_make_budget() -> None:
    takes_from_others = {Action.CHANGE_RULES, Action.RESERVE}
    assert {action for action in Action if RIGHTS.may(2, action, A)} == set(Action) - takes_from_others
    assert not any(RIGHTS.may(2, action, B) for action in Action)


def test_reservers_reserve_and_give_back_for_every_project_and_may_nothing_else() -> None:
    rights = Rights(admins=frozenset({1}), reservers=frozenset({4}))

    assert {action for action in Action if rights.may(4, action, B)} == {Action.RESERVE, Action.RELEASE}
    with pytest.raises(PolicyError, match="user 2 may not reserve room for project a") as refusal:
        demand(RIGHTS, 2, Action.RESERVE, A)
    assert refusal.value.why == "only administrators and those whom roles.yaml names as `reservers` may"


def test_a_refusal_says_whom_to_ask() -> None:
    demand(RIGHTS, 1, Action.CHANGE_RULES, A)
    with pytest.raises(PolicyError, match="user 2 may not change the rules of project a") as refusal:
        demand(RIGHTS, 2, Action.CHANGE_RULES, A)
    assert refusal.value.why.startswith("only an administrator may")
    with pytest.raises(PolicyError, match="user 3 may not lend for project a") as refusal:
        demand(RIGHTS, 3, Action.LEND, A)
    assert refusal.value.hint == "ask a manager of a"


def test_work_of_a_project_is_submitted_by_its_members_and_where_none_are_named_by_everybody() -> None:
    rights = replace(RIGHTS, members=((A, frozenset({ADA})),))
    closed = replace(rights, members=(*rights.members, (ProjectName("*"), frozenset())))

    assert [uid for uid in (1, 2, ADA, EVE) if rights.may_submit(uid, A)] == [1, 2, ADA]
    assert rights.may_submit(EVE, B)
    assert [uid for uid in (1, 2, ADA, EVE) if closed.may_submit(uid, B)] == [1]
    check_member(rights, EVE, B)
    with pytest.raises(PolicyError, match=f"user {EVE} may not submit work of project a"):
        check_member(rights, EVE, A)


def test_a_class_above_the_projects_highest_is_refused() -> None:
    check_class(SitePolicy(), A, EVE, PriorityClass.HIGH)
    with pytest.raises(PolicyError, match="project a may not submit work of class critical"):
        check_class(SitePolicy(), A, EVE, PriorityClass.CRITICAL)


@pytest.mark.parametrize(("user", "best"), [(ADA, "critical"), (BOB, "high"), (EVE, "normal")])
def test_a_class_that_is_kept_for_others_is_refused(user: int, best: str) -> None:
    every = ProjectPolicy(name=ProjectName(""), highest=PriorityClass.CRITICAL)
    site = SitePolicy(unlisted=every, reserved_classes=RESERVED)

    for wanted in PriorityClass:
        if CLASS_RANK[wanted] >= CLASS_RANK[PriorityClass(best)]:
            check_class(site, A, user, wanted)
        else:
            with pytest.raises(PolicyError, match=f"user {user} may not use class {wanted.value}") as refusal:
                check_class(site, A, user, wanted)
            assert f"{best} is the best that is left" in refusal.value.why


def test_where_every_class_is_kept_for_others_the_last_one_is_left() -> None:
    assert best_rank([(one, ()) for one in PriorityClass], EVE) == CLASS_RANK[PriorityClass.SCAVENGER]
    assert best_rank((), EVE) == 0


@given(
    st.lists(st.tuples(st.sampled_from(PriorityClass), st.lists(st.integers(1, 4), max_size=3)), max_size=4),
    st.integers(1, 5),
)
def test_being_named_never_makes_a_user_worse_off(reserved: list[tuple[PriorityClass, list[int]]], user: int) -> None:
    others = [(name, [one for one in users if one != user]) for name, users in reserved]

    assert best_rank(reserved, user) <= best_rank(others, user)


def test_a_bounded_queue_takes_no_more_than_its_bound() -> None:
    bounded = ProjectPolicy(name=A, queue_limit=10)

    check_queue(replace(bounded, queue_limit=0), A, 10**6, 1)
    check_queue(bounded, A, 8, 2)
    with pytest.raises(PolicyError, match="may have 10 unfinished") as refusal:
        check_queue(bounded, A, 8, 3)
    assert refusal.value.why == "it has 8, and this pipeline would add 3"


def test_who_raises_himself_in_his_own_file_gains_nothing_in_the_plan() -> None:
    site = SitePolicy(reserved_classes=RESERVED, unlisted=ProjectPolicy(name=ProjectName(""), importance_limit=10.0))
    honest = Ready().add("t1", owner_uid=BOB, priority=1, age_s=9).add("t2", owner_uid=EVE, priority=2, importance=10.0)
    sly = Ready().add("t1", owner_uid=BOB, priority=1, age_s=9).add("t2", owner_uid=EVE, priority=0, importance=1e9)

    assert a_snapshot(sly, site=site).tasks.priority.tolist() == [1, 2]
    assert a_snapshot(sly, site=site).tasks.importance.tolist() == [0.0, 10.0]
    assert started(a_plan(sly, site=site)) == started(a_plan(honest, site=site)) == ["t1", "t2"]


@pytest.mark.parametrize(("ranked_by", "counts"), [({"t1": BOB}, [1, 2]), ({"t1": EVE}, [2, 2]), ({"t9": BOB}, [2, 2])])
def test_a_class_counts_by_the_rights_of_who_gave_it(ranked_by: dict[str, int], counts: list[int]) -> None:
    site = SitePolicy(reserved_classes=RESERVED, unlisted=ProjectPolicy(name=ProjectName("")))
    ready = Ready().add("t1", owner_uid=EVE, priority=0).add("t2", owner_uid=EVE, priority=0)
    columns = ready.columns()._replace(ranked_by=ranked_by)

    found = Snapshot.build(columns, ProjectUsage(), (a_cluster(),), (), site, NOW)

    assert found.tasks.priority.tolist() == counts
