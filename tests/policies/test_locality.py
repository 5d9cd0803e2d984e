"""Work goes where its data are, and with `required` nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.decisions import Submit
from elisa.model.ids import BackendName, TaskId
from elisa.model.native import ClusterView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import DataWish, Resources
from elisa.model.site import DataPlace, DataSet, PlacementWeights, SitePolicy
from elisa.policies.locality import Holding, holdings_of, part_held
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, started

NEAR = {"near": 1.0}
NOTHING = dict.fromkeys(
    ("wish", "default", "finish", "cost", "load", "energy", "near", "fit", "affinity", "switches"), 0.0
)
AT_N2 = DataSet(name="maps", paths=("/scratch/maps",), size_mib=900, places=(DataPlace(backend=HERE, nodes=("n2",)),))
IN_Q = DataSet(name="text", size_mib=100, places=(DataPlace(backend=HERE, partition="q"),))


def reads(*names: str, required: bool = False) -> Resources:
    return Resources(data=tuple(DataWish(name=name, required=required) for name in names))


def made(request: Resources, *clusters: ClusterView, data: tuple[DataSet, ...] = (AT_N2, IN_Q), **extra: Any) -> Plan:
    site = SitePolicy(data=data, placement=PlacementWeights(**{**NOTHING, **NEAR}))
    clusters = clusters or (a_cluster(a_node("n1"), a_node("n2"), a_node("n3")),)
    return a_plan(Ready().add("t1", request), *clusters, site=site, **extra)


def near(plan: Plan) -> dict[str, float]:
    pools = plan.snapshot.pools
    return {pools[one.option.pool].partition.name: one.terms["near"] for one in plan.places(TaskId("t1"))}


def two_partitions() -> ClusterView:
    return a_cluster(a_node("n1", partitions=("p",)), a_node("n2", partitions=("q",)), partitions=("p", "q"))


class TestNear:
    def test_of_backends_the_one_that_has_the_data_is_chosen(self) -> None:
        data = (DataSet(name="maps", places=(DataPlace(backend=BackendName("there")),)),)
        plan = made(reads("maps"), a_cluster(backend="here"), a_cluster(backend="there"), data=data)

        assert plan.decisions[0].backend == "there"  # type: ignore[union-attr]

    def test_the_term_is_the_part_of_the_bytes_that_is_there(self) -> None:
        assert near(made(reads("maps", "text"), two_partitions())) == {"p": 0.0, "q": 1.0}
        assert near(made(reads("text", "unheard-of"), two_partitions())) == {"p": 0.0, "q": 100 / 101}
        assert near(made(Resources(), two_partitions())) == {"p": 0.0, "q": 0.0}

    def test_of_nodes_that_elisa_chooses_the_one_with_most_of_it_is_taken(self) -> None:
        plan = made(reads("/scratch/maps/europe"))

        assert plan.request(TaskId("t1")).nodelist == ("n2",)

    def test_it_never_waits_for_what_it_only_prefers(self) -> None:
        cluster = a_cluster(a_node("n1"), a_node("n2", free_cpus=0))

        assert made(reads("maps"), cluster).nodes(TaskId("t1")) == ("n1",)

    def test_where_all_nodes_hold_it_none_is_named(self) -> None:
        everywhere = DataSet(name="maps", places=(DataPlace(backend=HERE),))

        assert made(reads("maps"), data=(everywhere,)).request(TaskId("t1")).nodelist == ()

    def test_a_partition_whose_nodes_are_not_known_counts_as_a_whole(self) -> None:
        cluster = a_cluster(a_node("n1", partitions=("p",)), partitions=("p", "q"))

        assert near(made(reads("text"), cluster, queueing=[HERE])) == {"p": 0.0, "q": 1.0}


class TestRequired:
    def test_it_runs_on_no_node_without_them(self) -> None:
        cluster = a_cluster(a_node("n1"), a_node("n2", free_cpus=0))

        plan = made(reads("maps", required=True), cluster)

        assert started(plan) == []
        assert plan.reason(TaskId("t1")).code is ReasonCode.NO_ROOM

    def test_a_native_queue_is_told_which_nodes_lack_them(self) -> None:
        plan = made(reads("maps", required=True), queueing=[HERE])

        assert plan.kept_off(TaskId("t1")) == ("n1", "n3")

    @pytest.mark.parametrize("name", ["unheard-of", "/scratch/mapsy", "text"])
    def test_what_is_nowhere_never_fits(self, name: str) -> None:
        reason = made(reads(name, required=True)).reason(TaskId("t1"))

        assert (reason.code, reason.facts["resource"]) == (ReasonCode.NEVER_FITS, f"node with the data {name}")

    def test_where_a_manager_cannot_keep_it_off_nodes_all_of_them_must_hold_them(self) -> None:
        some = made(reads("maps", required=True), queueing=[HERE], unexcluding=[HERE])
        whole = made(reads("text", required=True), two_partitions(), queueing=[HERE], unexcluding=[HERE])

        assert some.reason(TaskId("t1")).code is ReasonCode.NEVER_FITS
        assert [one.partition for one in whole.decisions if isinstance(one, Submit)] == ["q"]

    def test_a_partition_whose_nodes_are_not_known_must_hold_them_as_a_whole(self) -> None:
        nowhere_known = a_cluster(a_node("n1", partitions=("p",)), partitions=("p", "q"))

        plan = made(reads("text", required=True), nowhere_known, queueing=[HERE])

        assert [one.partition for one in plan.decisions if isinstance(one, Submit)] == ["q"]


def test_a_path_belongs_to_the_innermost_folder() -> None:
    inner = DataSet(name="inner", paths=("/data/a",), size_mib=1, places=(DataPlace(backend=HERE, nodes=("n1",)),))
    outer = DataSet(name="outer", paths=("/data",), size_mib=1, places=(DataPlace(backend=HERE, nodes=("n2",)),))

    holdings = holdings_of((inner, outer), HERE, "", ("n1", "n2"))

    assert part_held(reads("/data/a/b"), holdings, 2).tolist() == [1.0, 0.0]
    assert part_held(reads("/data/ab"), holdings, 2).tolist() == [0.0, 1.0]


@given(sizes=st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_parts_lie_between_0_and_1_and_grow_with_what_is_held(sizes: list[tuple[int, bool, bool]]) -> None:
    holdings = {
        f"d{n}": Holding(size, np.array([one, one or other]), everywhere=False)
        for n, (size, one, other) in enumerate(sizes)
    }

    less, more = part_held(reads(*holdings), holdings, 2).tolist()

    assert 0 <= less <= more <= 1 + 1e-9
