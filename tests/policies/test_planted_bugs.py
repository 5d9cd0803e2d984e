"""Policies that are wrong on purpose: for each, a test of this room must fail, or it would not notice the real thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, settings

from elisa.model.columns import RunningRow
from elisa.model.site import SitePolicy
from elisa.policies import (
    affinity,
    ageing,
    allowances,
    backfill,
    budgets_caps,
    claims,
    growing,
    lending,
    makeroom,
    makeroom_nodes,
    order,
    placement,
    placement_nodes,
    placement_pools,
    preemption,
    room_nodes,
    score,
    snapshot,
    task_table,
    tiers,
)
from elisa.policies import plan as plans
from elisa.policies import profile as profiles
from elisa.policies.affinity import Presence
from elisa.policies.affinity_pledges import Pledges
from elisa.policies.backfill import Backfill
from elisa.policies.budgets import Meter, Owner
from elisa.policies.budgets_caps import Admission, Caps
from elisa.policies.exploring import Known
from elisa.policies.free import Free, Part
from elisa.policies.room import Room, Taken
from elisa.policies.snapshot import Ints, Snapshot
from elisa.policies.starts import Start
from elisa.policies.walk import Walk
from tests.policies import test_affinity as tying
from tests.policies import test_affinity_pledges as pledging
from tests.policies import test_affinity_switches as tying_switches
from tests.policies import test_ageing as ageing_over_time
from tests.policies import test_backfill as backfilling
from tests.policies import test_budgets as paying
from tests.policies import test_elastic_gangs as assembling
from tests.policies import test_elastic_gpus as widening
from tests.policies import test_exploring as exploring
from tests.policies import test_fairness as sharing
from tests.policies import test_first_claim as claiming
from tests.policies import test_hibernation as parking
from tests.policies import test_lending as lent_out
from tests.policies import test_locality as reading
from tests.policies import test_makeroom as clearing
from tests.policies import test_order as ordering
from tests.policies import test_placement as placing
from tests.policies import test_plan as planning
from tests.policies import test_plan_laws as laws
from tests.policies import test_power as drawing
from tests.policies import test_preemption as preempting
from tests.policies import test_reservations as reserving
from tests.policies import test_shares as in_parts
from tests.policies import test_topology as switching
from tests.policies.build import a_request

Patch = pytest.MonkeyPatch
Hunt = Callable[[], Any]
MUCH = 10**9


class Bug(NamedTuple):
    """What is replaced, in what, by what, and the test that must fail."""

    place: Any
    name: str
    wrong: Any
    hunt: Hunt


def takes_nothing(*_: Any, **__: Any) -> None:
    return None


def always(*_: Any, **__: Any) -> bool:
    return True


def never(*_: Any, **__: Any) -> bool:
    return False


def asks_for_nothing(self: Free, *_: Any) -> Part:
    return Part(self.cpus, -MUCH, self.cpus, -MUCH, self.memory, -MUCH)


def no_opinion(snap: Snapshot, *_: Any) -> Ints:
    return np.zeros(len(snap.tasks), dtype=np.int64)


def nobody_ahead(snap: Snapshot) -> Ints:
    return np.full(len(snap.tasks), snap.now_us + 1)


def grows_old_under_a_cap() -> None:
    ageing_over_time.test_a_large_task_of_a_worse_class_has_its_turn(
        "a whole node of one type", "a cap of the project", queues=False
    )


def grows_old_in_a_queue() -> None:
    ageing_over_time.test_a_large_task_of_a_worse_class_has_its_turn("all nodes of a type", "no caps", queues=True)


def grows_old_behind_a_guarantee() -> None:
    ageing_over_time.test_a_large_task_of_a_worse_class_has_its_turn(
        "a gang of three nodes", "others are guaranteed", queues=False
    )


def every_shape_twice(self: Admission, owner: int, variant: int, times: int = 1) -> None:
    _take(self, owner, variant, 2 * times)


def all_but_everybodys(self: Caps, member: int) -> tuple[tuple[int, int], ...]:
    return tuple(row for row in _caps_of(self, member) if row[0] >= self.first[1])


def a_gang_piecemeal(self: Walk, row: int, owner: int, shape: int) -> None:
    start = self._place(row, owner, shape)
    if isinstance(start, Start):
        self.starts.append(start)


def costs_the_whole_run(row: RunningRow, site: SitePolicy, now_s: float) -> float:
    return _cost_of(row._replace(saved_us=0), site, now_s)


def later_first(first: Any, second: Any, rules: Any) -> bool:
    return bool(second.rank + max(1, rules.class_gap) <= first.rank)


def keeps_room_beside_what_starts() -> None:
    backfilling.test_no_promised_start_is_ever_delayed_with_perfect_estimates(depth=100)


def asks_for_a_feature_that_nobody_has() -> None:
    planning.test_what_fits_nowhere_says_by_what(a_request(features=("ib",)), "feature")


def tolerates_everything(request: Any, gpu_type: str, pool: Any, *, free: bool) -> Any:
    return _fitting_nodes(replace(request, tolerations=tuple(pool.nodes.taints)), gpu_type, pool, free=free)


def features_do_not_matter(request: Any, gpu_type: str, pool: Any, *, free: bool) -> Any:
    return _fitting_nodes(replace(request, features=()), gpu_type, pool, free=free)


def goes_anywhere(self: Presence, number: int, pool: Any, **_: Any) -> Any:
    return np.ones(len(pool.nodes.names), dtype=np.bool_)


def first_come(nodes: Any, switch_of: Any, count: int, **_: Any) -> Any:
    return tuple(nodes[:count]) if len(nodes) >= count else None


def wherever(request: Any, holdings: Any, count: int) -> Any:
    return np.ones(count, dtype=np.bool_)


def looks_for_a_lock_up() -> None:
    assembling.look_for_a_lock_up(cases=100, phases=(Phase.generate,))


def asks_for_a_part(_: Any, servings: Any, *__: Any) -> None:
    for serve in servings:
        serve()


_finish_term = score.TERMS["finish"]
_take, _cost_of, _fitting_nodes = Admission.take, preemption.cost_of, placement_nodes.fitting_nodes
_caps_of = Caps.of

LAWS = {keeps_room_beside_what_starts: backfilling.test_no_promised_start_is_ever_delayed_with_perfect_estimates}

BUGS: Mapping[str, Bug] = {
    "who must be apart is put together": Bug(
        Presence, "allowed", goes_anywhere, tying.TestApart().test_peers_get_a_node_each
    ),
    "who is shunned does not know": Bug(
        Presence, "allowed", goes_anywhere, tying.TestApart().test_who_is_shunned_everywhere_is_told_so
    ),
    "a tie over switches holds on its node only": Bug(
        Presence,
        "_reach",
        lambda _, __, ___, nodes: tuple(nodes),
        tying_switches.test_no_tie_that_must_hold_over_switches_is_ever_violated,
    ),
    "who is shunned may be on the switch": Bug(
        affinity, "switch_mates", lambda _: {}, tying_switches.TestApart().test_it_holds_from_both_sides
    ),
    "who is shunned on another node of a switch is not asked to leave": Bug(
        preemption,
        "_barring",
        lambda _, __: (),
        tying_switches.TestMadeRoom().test_who_is_shunned_leaves_its_switch_though_it_is_on_another_node,
    ),
    "what is kept for tied tasks is open to all": Bug(
        Pledges,
        "spared",
        lambda _, __, pool, *___: np.ones(len(pool.nodes.names), dtype=np.bool_),
        lambda: pledging.TestKept().test_whom_it_shuns_does_not_start_there_unless_over_by_then(601, starts=False),
    ),
    "room is made where one that is shunned stays": Bug(
        preemption.Ground,
        "is_left",
        always,
        pledging.TestMadeRoom().test_nobody_leaves_for_a_node_where_one_that_it_shuns_would_stay,
    ),
    "switches do not matter": Bug(
        room_nodes,
        "on_few_switches",
        first_come,
        switching.TestFewest().test_all_go_to_the_tightest_switch_that_holds_them,
    ),
    "data that are needed are not asked for": Bug(
        placement_nodes, "required_here", wherever, reading.TestRequired().test_it_runs_on_no_node_without_them
    ),
    "caps are not booked": Bug(
        Admission, "take", takes_nothing, planning.TestBudgets().test_a_budget_is_reserved_for_the_whole_walltime
    ),
    "caps are not asked": Bug(
        Admission,
        "refusing_row",
        takes_nothing,
        in_parts.test_four_quarters_fit_where_one_gpu_may_be_held_and_a_fifth_is_told_why_it_does_not,
    ),
    "caps are booked twice": Bug(
        Admission, "take", every_shape_twice, planning.TestBudgets().test_what_is_held_now_is_capped_too
    ),
    "every cap counts every type": Bug(
        Meter, "counts", always, planning.TestBudgets().test_a_cap_on_one_type_of_gpu_leaves_the_others_alone
    ),
    "what was used is forgotten": Bug(
        budgets_caps._Totals,
        "_added_up",
        lambda self, *_: np.zeros(self._count + 1, dtype=np.int64),
        planning.TestBudgets().test_what_a_member_used_before_counts_for_that_member_alone,
    ),
    "a loan never ends": Bug(
        allowances, "lent", lambda loan, *_: loan.amount, paying.TestLoans().test_what_is_only_held_comes_back_whole
    ),
    "a grant has no end": Bug(
        allowances,
        "_spent_between",
        lambda *_: 0,
        paying.TestGrants().test_only_what_was_used_in_the_period_counts,
    ),
    "nodes are given out twice": Bug(
        Free, "take", takes_nothing, laws.test_what_starts_at_once_fits_on_the_nodes_together
    ),
    "every node has room": Bug(
        Free, "part", asks_for_nothing, laws.test_what_starts_at_once_fits_on_the_nodes_together
    ),
    "a window has no end": Bug(
        Room, "place_in_queue", lambda _, way: Taken(way, ()), laws.test_a_full_cluster_gets_no_more_than_its_window
    ),
    "half a gang starts": Bug(
        Walk, "_try", a_gang_piecemeal, laws.test_a_gang_starts_with_enough_members_or_not_at_all
    ),
    "a gang keeps what it tried": Bug(
        Walk, "_undo", takes_nothing, planning.TestGangs().test_one_that_does_not_fit_leaves_its_room_to_others
    ),
    "classes do not matter": Bug(
        order, "_class", no_opinion, planning.TestOrder().test_class_comes_before_importance_before_deadline_before_age
    ),
    "classes above what is allowed": Bug(
        task_table,
        "_best_ranks",
        lambda ready, *_: np.zeros(len(ready.task), dtype=np.int64),
        ordering.TestClasses().test_a_class_above_what_the_project_may_use_counts_as_the_highest_it_may,
    ),
    "nobody comes of age": Bug(
        order, "ahead_us", nobody_ahead, ordering.TestAgeing().test_who_has_come_of_age_goes_before_all_others
    ),
    "all that came of age go ahead": Bug(
        ageing,
        "_first_of_their_kind",
        lambda _, rows: rows,
        ageing_over_time.test_a_flood_that_has_grown_old_gets_one_place_and_not_the_machine,
    ),
    "one after another goes ahead": Bug(
        ageing,
        "_may_go_ahead",
        lambda _, rows, __: np.ones(len(rows), dtype=np.bool_),
        ageing_over_time.test_a_flood_that_has_grown_old_gets_one_place_and_not_the_machine,
    ),
    "room is kept for who came of age, but not what it may use at once": Bug(
        Walk, "_save_for", takes_nothing, grows_old_under_a_cap
    ),
    "who came of age gives its place in a queue away": Bug(
        makeroom_nodes, "gone_ahead", lambda _: frozenset(), grows_old_in_a_queue
    ),
    "guaranteed projects go before who came of age": Bug(tiers, "ahead_us", nobody_ahead, grows_old_behind_a_guarantee),
    "what starts now is not counted": Bug(
        order,
        "_running_sum",
        lambda group, _: np.zeros(len(group), dtype=np.int64),
        planning.TestOrder().test_projects_take_turns_by_their_shares_within_one_plan,
    ),
    "shares do not matter": Bug(
        order,
        "due_shares",
        lambda snap: [1.0] * len(snap.projects),
        planning.TestOrder().test_projects_take_turns_by_their_shares_within_one_plan,
    ),
    "soft caps do not matter": Bug(
        tiers,
        "over_soft_cap",
        lambda _, by: np.zeros(len(by), dtype=np.bool_),
        sharing.TestTiers().test_members_of_one_project_have_soft_caps_of_their_own,
    ),
    "what all may do together does not matter": Bug(
        Caps,
        "of",
        all_but_everybodys,
        drawing.test_what_is_drawn_at_one_moment_is_bounded_by_project_by_user_and_for_all_together,
    ),
    "nobody holds what a cap counts": Bug(
        Owner, "counts", never, parking.test_where_all_together_hold_too_much_anybody_may_have_to_leave
    ),
    "what is known is tried all the same": Bug(
        Known,
        "is_open",
        always,
        exploring.test_each_kind_tries_each_type_once_at_a_time_whatever_the_order_of_the_tasks,
    ),
    "nothing is saved for who came of age": Bug(
        Admission, "save_for", takes_nothing, paying.TestSaving().test_who_would_pass_once_others_end_is_waited_for
    ),
    "nothing is tried": Bug(
        Known, "is_open", never, exploring.test_the_task_that_is_over_soonest_tries_the_type_that_nobody_measured
    ),
    "kept room is not kept": Bug(
        Backfill, "fits", always, backfilling.test_a_short_task_may_go_before_it_and_a_long_one_may_not
    ),
    "kept room is all there is": Bug(
        Backfill, "fits", never, backfilling.test_a_short_task_may_go_before_it_and_a_long_one_may_not
    ),
    "what starts is not taken from the future": Bug(
        profiles.Profile, "_settle", takes_nothing, keeps_room_beside_what_starts
    ),
    "anybody may preempt": Bug(
        makeroom_nodes,
        "may_preempt",
        always,
        preempting.TestNoPingPong().test_a_victim_was_never_better_than_who_took_its_place,
    ),
    "the worse preempts the better": Bug(
        makeroom_nodes, "may_preempt", later_first, preempting.test_a_better_class_takes_the_place_of_a_worse_one
    ),
    "nobody is protected": Bug(
        preemption, "_is_fair_game", always, preempting.test_no_victim_is_protected_young_or_stopped_too_often
    ),
    "checkpoints do not make cheaper": Bug(
        preemption, "cost_of", costs_the_whole_run, preempting.test_the_cheapest_loss_is_chosen
    ),
    "nobody is spared": Bug(
        preemption,
        "_without_the_needless",
        lambda *told: tuple(told[-1]),
        preempting.test_a_cheap_one_that_turns_out_needless_is_spared,
    ),
    "limits of partitions do not matter": Bug(
        placement, "_limit", takes_nothing, planning.test_a_partition_limits_time_and_nodes
    ),
    "features do not matter": Bug(
        placement_nodes, "fitting_nodes", features_do_not_matter, asks_for_a_feature_that_nobody_has
    ),
    "the loosest node first": Bug(
        placement_pools,
        "_tightest_first",
        lambda nodes, members: members[np.argsort(-nodes.free_cpus[members])],
        planning.test_the_tightest_node_is_filled_first,
    ),
    "the slowest place wins": Bug(
        score,
        "TERMS",
        {**score.TERMS, "finish": lambda own, everyone: 1 - _finish_term(own, everyone)},
        placing.TestScore().test_who_only_wants_to_be_done_goes_where_it_is_fastest,
    ),
    "shards are given to anybody": Bug(
        placement_nodes, "is_shared", never, placing.TestShards().test_nobody_gets_a_shard_who_does_not_ask_for_one
    ),
    "taints do not matter": Bug(
        placement_nodes,
        "fitting_nodes",
        tolerates_everything,
        placing.TestTaints().test_what_tolerates_no_node_is_told_so,
    ),
    "reserved room is kept though its holder started there": Bug(
        Backfill, "_use", takes_nothing, reserving.test_what_its_holder_starts_in_it_is_not_kept_a_second_time
    ),
    "guests stay although the holder came": Bug(
        lending, "clear_cheapest", takes_nothing, lent_out.test_the_holder_starts_as_soon_as_the_guests_have_left
    ),
    "what guests have is not there for the holder": Bug(
        backfill,
        "guests_of",
        lambda *_: {},
        lent_out.test_what_guests_have_is_kept_no_second_time,
    ),
    "half a gang is made room for": Bug(
        makeroom._Maker,
        "_all_or_none",
        asks_for_a_part,
        assembling.TestBlocked().test_nobody_shrinks_for_a_part_of_a_gang,
    ),
    "others leave for half a gang": Bug(
        makeroom._Maker,
        "_all_or_none",
        asks_for_a_part,
        clearing.test_others_leave_only_if_all_of_a_gang_can_then_start,
    ),
    "others leave for a gang in vain": Bug(
        makeroom_nodes.Clearer,
        "spare",
        takes_nothing,
        clearing.TestCheapest().test_one_that_a_later_member_makes_needless_stays,
    ),
    "whether a gang could then start is not tried": Bug(
        makeroom,
        "could_start",
        always,
        clearing.test_whoever_leaves_for_a_gang_whose_members_are_tied_lets_all_of_it_start,
    ),
    "a gang stands as its firmest member": Bug(
        makeroom._Maker,
        "_standing",
        lambda *_: preemption.Standing(is_idle_only=False, rank=0),
        clearing.TestStanding().test_it_stands_as_its_loosest_member,
    ),
    "members do not know where the others of their gang will be": Bug(
        profiles.Profile,
        "_try",
        lambda self, moment, one, nodes, sign: self._add(one.need, nodes, self._from(moment, one.need), -sign),
        pledging.test_what_a_gang_whose_members_must_be_apart_is_promised_comes_true_and_no_sooner,
    ),
    "elastic work shrinks for anybody": Bug(
        makeroom_nodes, "has_claim", always, assembling.TestBlocked().test_a_gang_of_a_worse_class_has_no_claim
    ),
    "those behind begin where room could be made": Bug(
        plans, "claimed_first", lambda *_: (), claiming.test_those_behind_wait_where_others_leave_for_who_is_in_front
    ),
    "who leaves is believed to stay": Bug(
        backfill,
        "_end_s",
        lambda attempt, _: attempt.started_at.timestamp() + attempt.request.walltime_s,
        lambda: backfilling.test_who_was_asked_to_leave_is_gone_in_a_moment(600, "12:02:00"),
    ),
    "elastic work grows into what half of a gang waits for": Bug(snapshot, "AWAITED", MUCH, looks_for_a_lock_up),
    "half-started gangs hold what they have": Bug(assembling, "assemble", lambda _: {}, looks_for_a_lock_up),
    "gpus come back with all cores of the job": Bug(
        makeroom_nodes,
        "spare_of",
        lambda row, _: row,
        widening.TestShrinking().test_who_needs_the_cores_of_the_node_is_not_helped,
    ),
    "what one grows into another may, too": Bug(
        preemption.Ground,
        "take",
        takes_nothing,
        widening.TestGrowing().test_what_one_grows_into_is_not_there_for_another_and_what_it_leaves_is,
    ),
    "it grows beyond its budget": Bug(
        growing._Grower, "_affords", always, widening.TestGrowing().test_it_grows_no_further_than_its_budget
    ),
    "lent although the holder has work": Bug(
        claims,
        "_lent",
        lambda _, reservations, __: tuple(one.id for one in reservations),
        lent_out.test_nothing_is_lent_that_its_holder_has_work_for_or_that_a_manager_places,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str, monkeypatch: Patch) -> None:
    bug = BUGS[name]
    monkeypatch.setattr(bug.place, bug.name, bug.wrong)
    for key, value in order.ORDER_KEYS.items():
        if value.__name__ == bug.name:
            monkeypatch.setitem(order.ORDER_KEYS, key, bug.wrong)  # type: ignore[arg-type] - a constant, wrong on purpose

    law = LAWS.get(bug.hunt, bug.hunt)
    if hasattr(law, "hypothesis"):
        # The first counterexample will do: the smallest takes a minute to find.
        quick = settings(law._hypothesis_internal_use_settings, phases=(Phase.generate,))
        monkeypatch.setattr(law, "_hypothesis_internal_use_settings", quick)

    with pytest.raises((AssertionError, LookupError)):
        bug.hunt()
