"""Fair share, the fair tree, dominant resource fairness and the tiers of service."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import PastUse, ProjectUsage, UsageRow
from elisa.model.ids import ProjectName
from elisa.model.resources import Resources
from elisa.model.site import Billing, Cap, FairShare, Metered, ProjectPolicy, ServiceClass, SitePolicy
from elisa.policies.drf import fluid_shares
from elisa.policies.fairshare import billed, decayed_use, due_shares, owner_factors
from elisa.policies.fairtree import fair_tree, tree_of
from tests.policies.build import Ready, a_cluster, a_node, a_plan, a_request, a_snapshot, started

TOLERANCE = 1e-9


def a_project(name: str, **fields: object) -> ProjectPolicy:
    return ProjectPolicy(name=ProjectName(name), **fields)  # type: ignore[arg-type]


def used(project: str, cpu_s: int = 0, uid: int = 1000, **fields: int) -> UsageRow:
    return UsageRow(project, uid, "", Charge(), Charge(cpu_s=cpu_s), **fields)


def test_a_bill_adds_weighted_hours_and_knows_types_of_gpu() -> None:
    billing = Billing(node=2, cpu=1, memory_gib=0.5, gpu=10, gpu_types=(("h100", 40),))

    assert billed(Charge(node_s=3600, cpu_s=7200, memory_mib_s=1024 * 3600), billing) == 2 + 2 + 0.5
    assert billed(Charge(gpu_s=3600, gpu_type="a100"), billing) == 10
    assert billed(Charge(gpu_s=3600, gpu_type="h100"), billing) == 40


def test_use_counts_half_after_each_half_life() -> None:
    past = [PastUse("a", 1, age_s, Charge(cpu_s=3600)) for age_s in (0.0, 100.0, 200.0)]

    assert decayed_use(ProjectUsage(past=past), FairShare(half_life_s=100)) == {("a", 1): 1 + 0.5 + 0.25}
    assert decayed_use(ProjectUsage(past=past), FairShare(half_life_s=0)) == {("a", 1): 3}


def test_what_is_reserved_counts_in_full_and_what_is_spent_once() -> None:
    row = UsageRow("a", 1, "", Charge(cpu_s=3600), Charge(cpu_s=7200))

    assert decayed_use(ProjectUsage(rows=[row]), FairShare()) == {("a", 1): 3}
    assert decayed_use(ProjectUsage(rows=[row], past=[PastUse("a", 1, 0, Charge(cpu_s=3600))]), FairShare()) == {
        ("a", 1): 2
    }


class TestFairTree:
    def test_the_published_order_is_found(self) -> None:
        leaves = [
            (("chem", "ann"), 50.0),
            (("chem", "bob"), 0.0),
            (("phys", "cat"), 10.0),
            (("phys", "dan"), 20.0),
        ]

        factors = fair_tree(tree_of(leaves))

        order = sorted(factors, key=lambda leaf: -factors[leaf])
        assert order == [("phys", "cat"), ("phys", "dan"), ("chem", "bob"), ("chem", "ann")]
        assert [factors[leaf] for leaf in order] == [1.0, 0.75, 0.5, 0.25]

    def test_no_child_outdoes_what_its_parent_is_due(self) -> None:
        leaves = [
            (("rich", "idle"), 0.0),
            (("rich", "busy"), 1.0),
            (("greedy", "idle"), 0.0),
            (("greedy", "busy"), 9.0),
        ]

        factors = fair_tree(tree_of(leaves))

        assert min(factors["rich", "idle"], factors["rich", "busy"]) > factors["greedy", "idle"]

    def test_siblings_that_tie_share_their_children_and_leaves_that_tie_share_their_rank(self) -> None:
        leaves = [(("a", "x"), 4.0), (("a", "y"), 1.0), (("b", "x"), 2.0), (("b", "y"), 3.0)]

        factors = fair_tree(tree_of(leaves))

        assert sorted(factors, key=lambda leaf: -factors[leaf]) == [("a", "y"), ("b", "x"), ("b", "y"), ("a", "x")]
        assert fair_tree(tree_of([(("a",), 1.0), (("b",), 1.0)])) == {("a",): 1.0, ("b",): 1.0}

    def test_shares_weigh_on_every_level(self) -> None:
        leaves = [(("a", "x"), 3.0), (("b", "x"), 1.0)]

        assert fair_tree(tree_of(leaves))["b", "x"] == 1.0
        assert fair_tree(tree_of(leaves, {("a",): 9.0}))["a", "x"] == 1.0

    def test_without_shares_one_is_due_nothing(self) -> None:
        factors = fair_tree(tree_of([(("a",), 0.0), (("b",), 1.0)], {("a",): 0.0, ("b",): 0.0}))

        assert factors == {("a",): 1.0, ("b",): 1.0}

    @given(
        uses=st.lists(st.floats(0, 1e6), min_size=4, max_size=4),
        more=st.floats(0.1, 1e6),
        who=st.integers(0, 3),
    )
    def test_using_more_never_raises_anybodys_rank(self, uses: list[float], more: float, who: int) -> None:
        paths = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]

        before = fair_tree(tree_of(list(zip(paths, uses, strict=True))))
        uses[who] += more
        after = fair_tree(tree_of(list(zip(paths, uses, strict=True))))

        # Ties hand every one of them the best place, so a broken tie may move one place: compare who stands in front.
        assert self._in_front(before, paths[who]) <= self._in_front(after, paths[who])

    @staticmethod
    def _in_front(factors: object, leaf: tuple[str, str]) -> int:
        assert isinstance(factors, dict)
        return sum(other[0] == leaf[0] and factor > factors[leaf] for other, factor in factors.items())

    def test_the_tree_of_a_site_has_its_groups(self) -> None:
        site = SitePolicy(
            projects=(a_project("p", group="phys/lattice"), a_project("q", group="phys"), a_project("r", shares=3)),
            fair_share=FairShare(group_shares=(("phys", 1.0), ("phys/lattice", 3.0))),
        )
        ready = Ready().add("t1", project="p").add("t2", project="q").add("t3", project="r")
        snapshot = a_snapshot(ready, site=site, usage=ProjectUsage(rows=[used("r", 10**6), used("q", 10**6)]))

        assert dict(zip(snapshot.projects, owner_factors(snapshot), strict=True)) == pytest.approx(
            {"r": 1.0, "p": 2 / 3, "q": 1 / 3}
        )
        assert due_shares(snapshot) == pytest.approx([3 / 16, 1 / 16, 3 / 4])

    def test_the_order_may_follow_the_tree(self) -> None:
        ready = Ready().add("t1", project="a").add("t2", project="b")
        usage = ProjectUsage(rows=[used("a", 100)])

        assert started(a_plan(ready, site=SitePolicy(order=("fair_tree",)), usage=usage)) == ["t2", "t1"]


demands = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 7.0]), min_size=3, max_size=3), min_size=1, max_size=6
)
CAPACITY = [9.0, 18.0, 30.0]


def dominant(demand: list[float]) -> float:
    return max(d / c for d, c in zip(demand, CAPACITY, strict=True))


class TestDominantResourceFairness:
    """The four properties that the paper proves, and its own example."""

    def test_the_papers_example(self) -> None:
        assert fluid_shares([[1, 4], [3, 1]], [9, 18]) == pytest.approx([3, 2])

    def test_weights_scale_the_dominant_shares(self) -> None:
        assert fluid_shares([[1.0], [1.0]], [9.0], [2.0, 1.0]) == pytest.approx([6, 3])

    def test_who_asks_for_nothing_gets_nothing(self) -> None:
        assert fluid_shares([[0.0], [1.0]], [9.0]) == pytest.approx([0, 9])

    @given(demands)
    def test_nothing_is_given_out_twice(self, users: list[list[float]]) -> None:
        given_out = np.array(users).T @ fluid_shares(users, CAPACITY)

        assert (given_out <= np.array(CAPACITY) * (1 + TOLERANCE)).all()

    @given(demands)
    def test_sharing_incentive_nobody_does_worse_than_with_an_equal_part_of_everything(
        self, users: list[list[float]]
    ) -> None:
        tasks = fluid_shares(users, CAPACITY)

        for demand, got in zip(users, tasks, strict=True):
            assert got * dominant(demand) >= (1 / len(users)) * (dominant(demand) > 0) - TOLERANCE

    @given(demands)
    def test_pareto_efficiency_nobody_can_get_more_without_another_getting_less(self, users: list[list[float]]) -> None:
        tasks = fluid_shares(users, CAPACITY)
        used_up = np.array(users).T @ tasks >= np.array(CAPACITY) * (1 - 1e-6)

        for demand in users:
            assert max(demand) == 0 or any(used_up[r] for r in range(3) if demand[r] > 0)

    @given(demands)
    def test_envy_freeness_nobody_could_do_more_with_what_another_got(self, users: list[list[float]]) -> None:
        tasks = fluid_shares(users, CAPACITY)

        for mine, got in zip(users, tasks, strict=True):
            for other, theirs in zip(users, tasks, strict=True):
                usable = [other[r] * theirs / mine[r] for r in range(3) if mine[r] > 0]
                assert not usable or min(usable) <= got + 1e-6

    @given(users=demands, lie=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 9.0]), min_size=3, max_size=3))
    def test_strategy_proofness_no_lie_about_ones_demand_pays(self, users: list[list[float]], lie: list[float]) -> None:
        truth = users[0]
        assume(max(truth) > 0)

        honest = fluid_shares(users, CAPACITY)[0]
        lied = fluid_shares([lie, *users[1:]], CAPACITY)[0]

        useful = min(lie[r] * lied / truth[r] for r in range(3) if truth[r] > 0)
        assert useful <= honest + 1e-6

    def test_in_a_queue_the_smallest_dominant_share_goes_first(self) -> None:
        ready = Ready()
        for number in range(4):
            ready.add(f"c{number}", a_request(cpus_per_task=3), project="cores")
            ready.add(f"m{number}", a_request(memory_mib_per_node=8192), project="memory")
        made = a_plan(ready, a_cluster(a_node(cpus=9, memory_mib=18 * 1024)), site=SitePolicy(order=("drf",)))

        assert started(made) == ["c0", "m0", "c1", "m1"]

    def test_what_a_project_holds_already_counts(self) -> None:
        ready = Ready().add("t1", project="a").add("t2", project="b")
        usage = ProjectUsage(rows=[used("a", cpus=4), used("elsewhere", cpus=8)])

        assert started(a_plan(ready, usage=usage, site=SitePolicy(order=("drf",)))) == ["t2", "t1"]


class TestTiers:
    def test_guaranteed_work_comes_first_but_only_within_its_share(self) -> None:
        projects = (a_project("firm", service=ServiceClass.GUARANTEED), a_project("loose"))
        ready = Ready()
        for number in range(4):
            ready.add(f"f{number}", a_request(cpus_per_task=2), project="firm", importance=-1)
            ready.add(f"l{number}", a_request(cpus_per_task=2), project="loose", importance=number)

        made = a_plan(ready, a_cluster(a_node(cpus=8)), site=SitePolicy(projects=projects))

        assert started(made) == ["f0", "f1", "l3", "l2"]

    def test_best_effort_gets_only_what_nobody_else_asks_for(self) -> None:
        projects = (a_project("spare", service=ServiceClass.BEST_EFFORT),)
        ready = Ready().add("t1", project="spare", priority=1, age_s=10**6).add("t2", project="other", priority=4)

        assert started(a_plan(ready, site=SitePolicy(projects=projects))) == ["t2", "t1"]

    @pytest.mark.parametrize("field", ["caps", "user_caps"])
    def test_a_soft_cap_is_passed_only_with_what_is_idle(self, field: str) -> None:
        soft = (Cap(resource=Metered.CPUS, limit=2, is_hard=False),)
        site = SitePolicy(projects=(a_project("a", **{field: soft}),))
        ready = Ready()
        for number in range(3):
            ready.add(f"a{number}", a_request(cpus_per_task=2), project="a", importance=9)
        ready.add("b0", a_request(cpus_per_task=2), project="b")

        assert started(a_plan(ready, a_cluster(a_node(cpus=8)), site=site)) == ["a0", "b0", "a1", "a2"]
        assert started(a_plan(ready, a_cluster(a_node(cpus=4)), site=site)) == ["a0", "b0"]

    @pytest.mark.parametrize("field", ["caps", "user_caps"])
    def test_each_owner_has_a_soft_cap_of_its_own(self, field: str) -> None:
        soft = (Cap(resource=Metered.JOBS, limit=1, is_hard=False),)
        site = SitePolicy(projects=tuple(a_project(name, **{field: soft}) for name in ("a", "b", "c")))
        ready = Ready()
        for name in ("c", "b", "a"):
            ready.add(f"{name}0", project=name, importance=5).add(f"{name}1", project=name, importance=9)

        assert started(a_plan(ready, site=site)) == ["a1", "b1", "c1", "a0", "b0", "c0"]

    def test_members_of_one_project_have_soft_caps_of_their_own(self) -> None:
        soft = (Cap(resource=Metered.JOBS, limit=1, is_hard=False),)
        site = SitePolicy(projects=(a_project("a", user_caps=soft),))
        ready = (
            Ready().add("t1", project="a", owner_uid=1, importance=9).add("t2", project="a", owner_uid=1, importance=8)
        )
        ready.add("t3", project="a", owner_uid=2, importance=1)

        assert started(a_plan(ready, site=site)) == ["t1", "t3", "t2"]

    def test_use_before_counts_against_a_soft_cap(self) -> None:
        soft = (Cap(resource=Metered.JOBS, limit=1, is_hard=False), Cap(resource=Metered.GPU_S, limit=0, is_hard=False))
        site = SitePolicy(projects=(a_project("a", caps=soft),))
        ready = Ready().add("t1", project="a", importance=9).add("t2", project="b")

        assert started(a_plan(ready, site=site)) == ["t1", "t2"]
        assert started(a_plan(ready, site=site, usage=ProjectUsage(rows=[used("a", jobs=1)]))) == ["t2", "t1"]

    def test_a_soft_cap_on_one_type_counts_only_who_must_use_it(self) -> None:
        soft = (Cap(resource=Metered.GPUS, gpu_type="a100", limit=0, is_hard=False),)
        site = SitePolicy(projects=(a_project("a", caps=soft),))
        nodes = a_cluster(a_node(gpus={"a100": 4, "v100": 4}))
        ready = Ready().add("t1", a_request(1, ("a100",)), project="a", importance=3)
        ready.add("t2", a_request(1, ("v100", "a100")), project="a", importance=2).add("t3", Resources(), project="b")

        assert started(a_plan(ready, nodes, site=site)) == ["t2", "t3", "t1"]
