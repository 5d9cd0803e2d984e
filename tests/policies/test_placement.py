"""Where things run best: weighed options, taints, shards, bad nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.charge import Charge
from elisa.model.columns import Outlook, Shape
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import NodeState, PartitionView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import SHARD, Component, GpuRequest, Resources
from elisa.model.site import Billing, Cap, FairShare, Metered, PlacementWeights, ProjectPolicy, SitePolicy, Taint
from elisa.policies.badnodes import NodeOutcome, NodeRules, suspects
from elisa.policies.factors import FactorLine
from elisa.policies.placement import options_of
from elisa.policies.placement_pools import Option, node_columns, pools_of
from elisa.policies.plan import Plan
from elisa.policies.score import rank_options, weighed
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, a_snapshot, started

NOTHING = dict.fromkeys(
    ("wish", "default", "finish", "cost", "load", "energy", "near", "fit", "affinity", "switches"), 0.0
)
EITHER = a_request(1, ("a100", "h100"))
MIXED = [a_node("n1", gpus={"a100": 4}), a_node("n2", gpus={"h100": 4})]


def chosen(request: Any = EITHER, nodes: Any = None, outlook: Any = None, **weights: float) -> str:
    site = SitePolicy(
        placement=PlacementWeights(**{**NOTHING, **weights}),
        fair_share=FairShare(billing=Billing(gpu=10, gpu_types=(("h100", 30),))),
    )
    made = a_plan(Ready().add("t1", request), a_cluster(*(nodes or MIXED)), site=site, outlook=outlook)
    return made.request(TaskId("t1")).gpus.types[0]


class TestComponents:
    @pytest.mark.parametrize(("gpus", "refused"), [(4, None), (5, ReasonCode.NEVER_FITS)])
    def test_every_component_of_a_heterogeneous_job_must_find_its_nodes(
        self, gpus: int, refused: ReasonCode | None
    ) -> None:
        request = Resources(components=(Component(gpus=GpuRequest(per_node=gpus, types=("h100",))),))
        pools = pools_of(a_cluster(*MIXED), keeps_queue=True)

        refusal = options_of(Shape(request), pools, {}).refusal

        assert (refusal.code if refusal else None) is refused


class TestScore:
    def test_the_authors_first_choice_wins_by_itself(self) -> None:
        assert chosen(wish=1) == "a100"
        assert chosen(a_request(1, ("h100", "a100")), wish=1) == "h100"

    def test_who_only_wants_to_be_done_goes_where_it_is_fastest(self) -> None:
        assert chosen(finish=1, outlook=Outlook(speeds={(0, "h100"): 4.0})) == "h100"

    @pytest.mark.parametrize(("speedup", "winner"), [(2.0, "a100"), (4.0, "h100")])
    def test_a_dear_gpu_is_worth_it_only_if_it_is_fast_enough(self, speedup: float, winner: str) -> None:
        outlook = Outlook(speeds={(0, "h100"): speedup})

        assert chosen(cost=1, outlook=outlook) == winner

    def test_energy_counts_the_time_too(self) -> None:
        watts = {"a100": 300.0, "h100": 700.0}

        assert chosen(energy=1, outlook=Outlook(watts=watts)) == "a100"
        assert chosen(energy=1, outlook=Outlook(watts=watts, speeds={(0, "h100"): 3.0})) == "h100"

    def partition_of(
        self, *, nodes: Any = None, partitions: Any = ("p", "q"), outlook: Any = None, **weights: float
    ) -> str:
        site = SitePolicy(placement=PlacementWeights(**{**NOTHING, **weights}))
        nodes = nodes or [a_node("n1", partitions=("p",)), a_node("n2", partitions=("q",))]
        made = a_plan(Ready().add("t1"), a_cluster(*nodes, partitions=partitions), site=site, outlook=outlook)
        (decision,) = made.decisions
        return decision.partition  # type: ignore[union-attr]

    def test_the_default_partition_is_preferred_where_nothing_else_is_said(self) -> None:
        assert self.partition_of(default=1) == "p"
        assert self.partition_of(default=1, partitions=("q", "p")) == "q"

    def test_the_emptier_partition_is_preferred_if_load_counts(self) -> None:
        nodes = [a_node("n1", free_cpus=2, partitions=("p",)), a_node("n2", free_cpus=4, partitions=("q",))]

        assert self.partition_of(load=1, nodes=nodes) == "q"

    def test_the_shorter_wait_is_preferred_if_the_end_counts(self) -> None:
        assert self.partition_of(finish=1, outlook=Outlook(waits_s={(HERE, "p"): 60.0})) == "q"

    def test_work_without_gpus_leaves_nodes_with_gpus_alone(self) -> None:
        nodes = [a_node("n1", gpus={"a100": 4}, partitions=("p",)), a_node("n2", partitions=("q",))]

        assert self.partition_of(fit=1, nodes=nodes) == "q"

    def test_every_term_is_shown_and_lies_between_0_and_1(self) -> None:
        snapshot = a_snapshot(
            Ready().add("t1", EITHER),
            a_cluster(*MIXED),
            outlook=Outlook(speeds={(0, "h100"): 1.2}, watts={"a100": 9.0}),
        )
        options = options_of(snapshot.shapes[0], snapshot.pools, {}).ways

        ranked = rank_options(0, snapshot.shapes[0], options, snapshot)

        assert [one.option for one in ranked] == [Option(0, "a100"), Option(0, "h100")]
        assert all(set(one.terms) == set(NOTHING) for one in ranked)
        assert all(0 <= value <= 1 for one in ranked for value in one.terms.values())
        assert ranked[0].total == sum(
            getattr(snapshot.site.placement, name) * value for name, value in ranked[0].terms.items()
        )

    def test_a_place_is_told_with_what_each_term_weighs_and_gives(self) -> None:
        outlook = Outlook(speeds={(0, "h100"): 1.2})
        made = a_plan(Ready().add("t1", EITHER), a_cluster(*MIXED), outlook=outlook)

        first, _ = [weighed(one, made.snapshot) for one in made.places(TaskId("t1"))]

        assert (first.backend, first.partition, first.gpu_type, first.is_trial) == (HERE, "", "a100", False)
        assert first.terms[0] == FactorLine("wish", 1.0, 10.0, 10.0)
        assert first.score == pytest.approx(sum(line.points for line in first.terms))
        assert [line.points for line in first.terms] == sorted((line.points for line in first.terms), reverse=True)

    def test_unknown_and_full_places_can_be_weighed_too(self) -> None:
        unknown = replace(a_cluster(backend="far", partitions=["p"]), nodes=())
        full = a_cluster(a_node(free_cpus=0), partitions=["p"])

        made = a_plan(Ready().add("t1"), unknown, full, queueing=["far", HERE])

        assert len(started(made)) == 1


class TestFilters:
    def test_the_default_partition_comes_first_then_priority_then_name(self) -> None:
        partitions = (
            PartitionView(name="b"),
            PartitionView(name="a"),
            PartitionView(name="urgent", priority=9),
            PartitionView(name="main", is_default=True),
        )

        pools = pools_of(replace(a_cluster(), partitions=partitions), keeps_queue=True)

        assert [pool.partition.name for pool in pools] == ["main", "urgent", "a", "b"]
        assert all(pool.keeps_queue for pool in pools)

    def test_nodes_to_avoid_take_nothing(self) -> None:
        nodes = a_cluster(a_node("n1"), a_node("n2", state=NodeState.DOWN))
        ready = Ready().add("t1", a_request(cpus_per_task=8))

        assert started(a_plan(ready, nodes, avoid={HERE: ["n2"]})) == ["t1"]
        refused = a_plan(ready, nodes, avoid={HERE: ["n1"]})
        assert refused.reason(TaskId("t1")).code is ReasonCode.NO_ROOM

    def test_a_partition_that_is_down_does_not_hide_one_that_is_too_small(self) -> None:
        view = replace(
            a_cluster(),
            partitions=(PartitionView(name="down", is_default=True, is_up=False), PartitionView(name="small")),
        )

        made = a_plan(Ready().add("t1", a_request(cpus_per_task=99)), view)

        assert made.reason(TaskId("t1")).code is ReasonCode.NEVER_FITS


def outcomes(node: str, bad: int, good: int = 0, age_s: float = 0.0) -> list[NodeOutcome]:
    return [NodeOutcome(node, age_s, failed=True)] * bad + [NodeOutcome(node, age_s, failed=False)] * good


class TestShards:
    """Half of `n1`'s GPUs are shared by four jobs each."""

    NODE = a_node("n1", gpus={"a100": 1, SHARD: 4}, cpus=64)

    def made(self, *requests: Resources, **extra: Any) -> Plan:
        ready = Ready()
        for number, request in enumerate(requests):
            ready.add(f"t{number}", request)
        return a_plan(ready, a_cluster(self.NODE), **extra)

    def test_as_many_share_a_gpu_as_it_has_shards(self) -> None:
        made = self.made(*[a_request(1, (SHARD,))] * 5)

        assert len(started(made)) == 4

    def test_nobody_gets_a_shard_who_does_not_ask_for_one(self) -> None:
        made = self.made(a_request(1), a_request(1))

        assert [made.request(TaskId(task)).gpus.types for task in started(made)] == [("a100",)]

    def test_shards_are_charged_and_capped_as_a_type_of_their_own(self) -> None:
        cap = Cap(resource=Metered.GPU_S, gpu_type=SHARD, limit=2 * 3600)
        site = SitePolicy(unlisted=ProjectPolicy(name=ProjectName(""), caps=(cap,)))

        made = self.made(*[a_request(1, (SHARD,))] * 3, site=site)

        assert len(started(made)) == 2
        assert made.charge(TaskId(started(made)[0])) == Charge(node_s=3600, cpu_s=3600, gpu_s=3600, gpu_type=SHARD)


def test_what_is_free_of_a_type_that_no_node_has_counts_for_nothing() -> None:
    columns = node_columns([a_node("n1", gpus={"a100": 2}, free_gpus=(("a100", 1), ("ghost", 3)))])

    assert (columns.gpu_types, columns.free_gpus.tolist()) == (("a100",), [[1]])


class TestTaints:
    """`n1` is for interactive work, `n2` for anybody."""

    SITE = SitePolicy(taints=(Taint(name="interactive", backend=HERE, nodes=("n1",)),))

    def made(self, *tolerations: str, nodes: int = 1, backend: str = HERE) -> Plan:
        ready = Ready().add("t1", a_request(nodes=nodes, tolerations=tolerations, cpus_per_task=8))
        return a_plan(ready, a_cluster(a_node("n1"), a_node("n2"), backend=backend), site=self.SITE)

    def test_work_that_does_not_tolerate_a_taint_stays_off_its_nodes(self) -> None:
        made = self.made()

        assert made.nodes(TaskId("t1")) == ("n2",)
        assert made.kept_off(TaskId("t1")) == ("n1",)

    def test_work_that_tolerates_it_may_go_there(self) -> None:
        made = self.made("interactive", nodes=2)

        assert (made.nodes(TaskId("t1")), made.kept_off(TaskId("t1"))) == (("n1", "n2"), ())

    def test_a_taint_of_another_cluster_means_nothing(self) -> None:
        assert self.made(nodes=2, backend="there").nodes(TaskId("t1")) == ("n1", "n2")

    def test_what_tolerates_no_node_is_told_so(self) -> None:
        ready = Ready().add("t1", a_request())

        made = a_plan(ready, a_cluster(a_node("n1")), site=self.SITE)

        assert made.reason(TaskId("t1")).facts["resource"] == "node without the taint interactive"

    @pytest.mark.parametrize(("nodes", "what"), [(2, "nodes without the taint interactive"), (3, "nodes")])
    def test_too_few_nodes_are_blamed_on_a_taint_if_there_would_be_enough_with_it(self, nodes: int, what: str) -> None:
        reason = self.made(nodes=nodes).reason(TaskId("t1"))

        assert (reason.code, reason.facts["resource"], reason.facts["largest"]) == (ReasonCode.NEVER_FITS, what, 1)


class TestBadNodes:
    def test_a_node_that_fails_where_others_work_is_avoided(self) -> None:
        history = [*outcomes("bad", 3, 1), *outcomes("good", 0, 20), *outcomes("other", 1, 20)]

        assert [(one.node, one.failures, one.attempts) for one in suspects(history, 40)] == [("bad", 3, 4)]

    def test_one_failure_is_no_proof(self) -> None:
        assert suspects([*outcomes("bad", 1), *outcomes("good", 0, 20)], 40) == ()

    def test_when_everything_fails_the_nodes_are_not_to_blame(self) -> None:
        history = [outcome for number in range(20) for outcome in outcomes(f"n{number}", 3)]

        assert suspects(history, 20) == ()

    def test_a_mended_node_comes_back_by_itself(self) -> None:
        history = [*outcomes("bad", 3, age_s=2 * 86400.0), *outcomes("good", 0, 20)]

        assert suspects(history, 40) == ()
        assert suspects(history, 40, NodeRules(half_life_s=7 * 86400.0)) != ()

    def test_never_more_than_a_part_of_the_cluster_is_avoided_the_worst_of_it(self) -> None:
        history = [*outcomes("bad", 3), *outcomes("worse", 9), *outcomes("good", 0, 500)]

        assert [one.node for one in suspects(history, 10)] == ["worse"]
        assert suspects(history, 9) == ()
