"""Numbers of other packages in built-in decisions: they count as the site weighs them, and nonsense has no say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from elisa.model.decisions import Submit
from elisa.model.site import Factors, PlacementWeights, SitePolicy
from elisa.policies.opinions import KINDS, heard, opinions_named
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import GROUP, load_plugins, named_by
from elisa.policies.snapshot import Snapshot
from tests.policies.build import Ready, a_cluster, a_node, a_request, a_snapshot, started
from tests.policies.test_preemption import RULES, WHOLE, a_job, a_site, evict, full

BY_FACTOR = SitePolicy(order=("multifactor",), factors=Factors(age=0, fair_share=0, others=(("luck", 7.0),)))


def weighing(weight: float) -> SitePolicy:
    return SitePolicy(placement=PlacementWeights(others=(("quiet", weight),)))


def the_last(snapshot: Snapshot) -> Any:
    return np.arange(len(snapshot.tasks)) / len(snapshot.tasks)


def the_second_pool(snapshot: Snapshot) -> Any:
    return np.tile([0.0, 1.0], (len(snapshot.shapes), 1))


def the_shortest(snapshot: Snapshot) -> Any:
    return snapshot.tasks.predicted_s


def the_newest(snapshot: Snapshot) -> Any:
    return -snapshot.tasks.submitted_s


def where(made: Plan) -> str:
    [submit] = [one for one in made.decisions if isinstance(one, Submit)]
    return submit.partition


def test_an_order_of_ones_own_may_look_at_what_only_it_asks_for() -> None:
    ready = Ready().add("t1", age_s=9).add("t2", predicted_s=60.0, age_s=8).add("t3", predicted_s=90.0, age_s=7)
    orders = {"shortest": the_shortest, "newest": the_newest}

    def ranked(order: str) -> list[str]:
        return started(plan(a_snapshot(ready, a_cluster(a_node()), site=SitePolicy(order=(order,)), plugins=orders)))

    assert (ranked("shortest"), ranked("newest")) == (["t2", "t3", "t1"], ["t3", "t2", "t1"])


def test_a_factor_orders_by_its_weight_and_is_shown_among_the_others() -> None:
    ready = Ready().add("t1", WHOLE).add("t2", WHOLE)

    made = plan(a_snapshot(ready, a_cluster(a_node()), site=BY_FACTOR, plugins={"factor.luck": the_last}))

    assert started(made) == ["t2"]
    assert made.factors("t2")[0][:] == ("luck", 0.5, 7.0, 3.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("weight", "partition"), [(0.1, "day"), (50.0, "night")])
def test_a_term_counts_as_much_as_the_site_says(weight: float, partition: str) -> None:
    cluster = a_cluster(a_node(), partitions=("day", "night"))

    made = plan(a_snapshot(Ready().add("t1"), cluster, site=weighing(weight), plugins={"score.quiet": the_second_pool}))

    assert where(made) == partition
    assert {one.terms["quiet"] for one in made.places("t1")} == {0.0, 1.0}  # type: ignore[arg-type]


def dear(cost: float) -> Callable[[Snapshot], Any]:
    return lambda snapshot: [cost if row.attempt == "t8.1" else 0.0 for row in snapshot.running]


@pytest.mark.parametrize(("cost", "victims"), [(0.0, ["t8.1"]), (1000.0, ["t9.1"])])
def test_whoever_is_dearer_to_another_package_is_asked_later(cost: float, victims: list[str]) -> None:
    jobs = [a_job("t8.1", "n1", ran_s=1800), a_job("t9.1", "n2")]
    site = a_site(preemption=replace(RULES, costs=("own",)))

    assert evict(*jobs, nodes=full("n1", "n2"), site=site, plugins={"cost.own": dear(cost)}) == victims


def test_nobody_gets_the_place_of_what_is_priceless() -> None:
    site = a_site(preemption=replace(RULES, costs=("own",)))

    assert evict(a_job("t8.1"), site=site, plugins={"cost.own": dear(inf)}) == []
    assert evict(a_job("t9.1"), site=site, plugins={"cost.own": dear(inf)}) == ["t9.1"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], "ValueError: it gave no numbers of shape (1, 2)"),
        ([["many", "few"]], "ValueError: it gave no numbers of shape (1, 2)"),
        ([[nan, 0.5]], "ValueError: it gave a number that is negative, too large or none at all"),
        ([[-0.1, 0.5]], "ValueError: it gave a number that is negative, too large or none at all"),
        ([[1.1, 0.5]], "ValueError: it gave a number that is negative, too large or none at all"),
    ],
)
def test_nonsense_has_no_say_and_is_told_of(given: object, words: str) -> None:
    cluster = a_cluster(a_node(), partitions=("day", "night"))

    made = plan(
        a_snapshot(Ready().add("t1"), cluster, site=weighing(50), plugins={"score.quiet": lambda _: given})  # type: ignore[dict-item,return-value]
    )

    assert made.notes == (f"`score.quiet` failed ({words}): left out",)
    assert where(made) == "day"


def test_one_that_is_not_there_is_told_of() -> None:
    made = plan(a_snapshot(Ready().add("t1"), site=weighing(50)))

    assert made.notes == ("`score.quiet` is not there, or rests after failures: left out",)
    assert started(made) == ["t1"]


def test_only_the_kinds_that_are_wanted_are_asked() -> None:
    snapshot = a_snapshot(Ready().add("t1"), site=weighing(50), plugins={"score.quiet": the_second_pool})

    assert heard(snapshot, ["factor."]) == (snapshot, ())


def test_a_plan_is_the_same_when_nobody_has_a_say() -> None:
    snapshot = a_snapshot(Ready().add("t1", a_request()), running=[a_job()])

    assert heard(snapshot)[0] is snapshot


def test_every_kind_is_loaded_by_its_whole_name_and_built_in_names_are_not_taken() -> None:
    named = ["factor.luck", "score.quiet", "cost.own", "factor.age", "score.finish"]
    entries = [_entry(name) for name in named]

    found = load_plugins(entries)

    assert sorted(found.calls) == ["cost.own", "factor.luck", "score.quiet"]
    assert [problem.split("`")[1] for problem in found.problems] == ["factor.age", "score.finish"]
    assert {name.split(".")[0] + "." for name in found.opinions} == set(KINDS)


def test_a_site_names_those_it_gives_a_say() -> None:
    site = SitePolicy(order=("moon",), factors=BY_FACTOR.factors, placement=weighing(1).placement)

    assert named_by(site) == ("order.moon", "factor.luck", "score.quiet")
    assert list(opinions_named(SitePolicy())) == []


def _entry(name: str) -> EntryPoint:
    return EntryPoint(name=name, value="tests.policies.test_opinions:the_last", group=GROUP)
