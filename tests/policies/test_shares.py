"""Shares of GPUs count as what they are of one: in limits, charges, bills and watts."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import UsageRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import MPS, SHARD, Component, GpuRequest, Resources
from elisa.model.shares import UNITS_A_GPU, booked_kind, parts_of, plain_kind
from elisa.model.site import Billing, Cap, Loan, Metered, Power, ProjectPolicy, SitePolicy
from elisa.policies.budgets import Meter, amount_of, charge_of, demand_of, use_of
from elisa.policies.fairshare import billed
from elisa.policies.plan import Plan
from elisa.policies.power import priced
from elisa.policies.shares import limited_in_units, sized
from tests.policies.build import NOW, Ready, a_cluster, a_node, a_plan, a_request, after, started

QUARTERS = {SHARD: 4}
NLP = ProjectName("nlp")
TOTAL = Meter(Metered.GPU_UNITS)


def shares(count: int, **fields: int) -> Resources:
    return sized(a_request(count, (SHARD,), **fields), QUARTERS)


def planned(*requests: Resources, cap: Cap, used: UsageRow | None = None) -> Plan:
    ready = Ready()
    for number, request in enumerate(requests):
        ready.add(f"t{number}", request, project="nlp")
    site = SitePolicy(projects=(ProjectPolicy(name=NLP, caps=(cap,)),), gpu_shares=(("shard", 4),))
    node = a_node("n1", cpus=64, gpus={"a100": 8, SHARD: 64})
    return a_plan(ready, a_cluster(node), site=limited_in_units(site), usage=[used] if used else None)


def test_a_share_is_booked_by_a_type_that_tells_its_size() -> None:
    charge = charge_of(shares(3, walltime_s=10), 10)

    assert charge == Charge(node_s=10, cpu_s=10, gpu_s=30, gpu_type="shard (1/4)")
    assert (parts_of(charge.gpu_type), plain_kind(charge.gpu_type)) == (4, SHARD)
    assert charge_of(shares(1), 10, charge.gpu_type).gpu_type == charge.gpu_type
    assert (booked_kind("a100", 1), parts_of("a100"), plain_kind("a100")) == ("a100", 1, "a100")


def test_all_types_together_count_gpus_and_the_type_of_a_share_counts_shares() -> None:
    asked = shares(3, walltime_s=10)
    row = UsageRow("nlp", 1, "shard (1/4)", charge_of(asked, 10), Charge(gpu_s=1, gpu_type="shard (1/4)"), gpus=3)

    assert demand_of(asked, SHARD, TOTAL) == use_of([row], TOTAL) == 3 * UNITS_A_GPU // 4
    assert demand_of(asked, SHARD, Meter(Metered.GPU_S)) == 8  # of 7.5
    assert use_of([row], Meter(Metered.GPU_S)) == 8  # of 7.75
    assert amount_of(row.reserved, Meter(Metered.GPU_S)) == 8
    assert demand_of(asked, SHARD, Meter(Metered.GPUS, SHARD)) == use_of([row], Meter(Metered.GPUS, SHARD)) == 3
    assert amount_of(row.reserved, Meter(Metered.GPU_S, SHARD)) == 30
    assert demand_of(asked, SHARD, Meter(Metered.GPUS, "a100")) == use_of([row], Meter(Metered.GPUS, "a100")) == 0
    assert demand_of(asked, SHARD, Meter(Metered.CPUS)) == 1


def test_where_a_site_says_nothing_a_share_counts_as_a_gpu() -> None:
    asked = a_request(3, (SHARD,))

    assert demand_of(asked, SHARD, TOTAL) == 3 * UNITS_A_GPU
    assert charge_of(asked, 1).gpu_type == SHARD
    assert limited_in_units(SitePolicy()) == SitePolicy()


def test_parts_of_unlike_size_count_as_whole_gpus() -> None:
    mixed = Resources(
        gpus=GpuRequest(per_node=1, types=(SHARD,)),
        components=(Component(gpus=GpuRequest(per_node=2, types=("a100",))), Component()),
    )

    assert sized(mixed, QUARTERS).gpu_parts == 1
    assert sized(a_request(1, (SHARD, "a100")), QUARTERS).gpu_parts == 1
    alike = Resources(gpus=mixed.gpus, components=(Component(gpus=mixed.gpus), Component()))
    assert (sized(alike, QUARTERS).gpu_parts, alike.gpu_count) == (4, 2)


def test_limits_and_loans_on_gpus_of_all_types_are_kept_in_parts_of_one() -> None:
    of_type = Cap(resource=Metered.GPUS, limit=2, gpu_type="a100")
    whole, parts = Cap(resource=Metered.GPUS, limit=2), Cap(resource=Metered.GPU_UNITS, limit=2 * UNITS_A_GPU)
    lent = {"lender": NLP, "borrower": ProjectName("a"), "starts_at": NOW, "due_at": after(9), "amount": 3}
    site = SitePolicy(
        projects=(ProjectPolicy(name=NLP, caps=(of_type, whole), user_caps=(whole,), member_caps=((7, (whole,)),)),),
        loans=(
            Loan(resource=Metered.GPUS, **lent),  # type: ignore[arg-type]
            Loan(resource=Metered.GPUS, gpu_type="a100", **lent),  # type: ignore[arg-type]
        ),
        gpu_shares=(("shard", 4),),
    )

    found = limited_in_units(site)

    assert found.projects == (
        ProjectPolicy(name=NLP, caps=(of_type, parts), user_caps=(parts,), member_caps=((7, (parts,)),)),
    )
    assert [(one.resource, one.amount) for one in found.loans] == [
        (Metered.GPU_UNITS, 3 * UNITS_A_GPU),
        (Metered.GPUS, 3),
    ]


def test_four_quarters_fit_where_one_gpu_may_be_held_and_a_fifth_is_told_why_it_does_not() -> None:
    made = planned(*[shares(1)] * 5, cap=Cap(resource=Metered.GPUS, limit=1))

    assert len(started(made)) == 4
    (left_out,) = {f"t{number}" for number in range(5)} - set(started(made))
    assert made.reason(TaskId(left_out)) == because(
        ReasonCode.CONCURRENCY_CAP,
        project="nlp",
        resource="gpu_units",
        asked=UNITS_A_GPU // 4,
        cap=UNITS_A_GPU,
        in_use=UNITS_A_GPU,
    )


@given(
    asked=st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=8),
    limit=st.integers(0, 4),
    resource=st.sampled_from([Metered.GPUS, Metered.GPU_S]),
)
def test_no_plan_exceeds_a_limit_on_all_gpus_however_they_are_shared(
    asked: list[tuple[int, bool]], limit: int, resource: Metered
) -> None:
    requests = [
        shares(count, walltime_s=60) if is_share else a_request(count, walltime_s=60) for count, is_share in asked
    ]
    cap = Cap(resource=resource, limit=limit * (60 if resource is Metered.GPU_S else 1))

    made = planned(*requests, cap=cap)

    of_task = {f"t{number}": Fraction(one.gpu_count, one.gpu_parts) for number, one in enumerate(requests)}
    running = set(started(made))
    total = sum((of_task[task] for task in running), Fraction(0))
    assert total <= limit
    waits = [of_task[task] for task in of_task if task not in running]
    if resource is Metered.GPUS and sum(of_task.values()) <= 8:
        assert all(total + one > limit for one in waits)


def test_a_share_is_billed_and_draws_its_part_of_a_gpu_unless_the_site_says_otherwise() -> None:
    charge = Charge(gpu_s=3600, gpu_type="shard (1/4)")

    assert billed(charge, Billing(gpu=16)) == 4
    assert billed(charge, Billing(gpu=16, gpu_types=(("shard", 5.0),))) == 5
    (shape,) = priced(Ready().add("t1", a_request(2, (SHARD,))).columns(), Power(gpu=400), [(SHARD, 4)]).shapes
    assert (shape.request.gpu_watts, shape.request.gpus.parts) == (200, 4)


PERCENTS = [
    a_node("n1", cpus=64, gpus={"mps:0": 100, "mps:1": 100}),
    a_node("n2", cpus=64, gpus={"mps:0": 100, "a100": 1}),
]


def percents(count: int, **fields: int) -> Resources:
    return Resources(gpus=GpuRequest(per_node=count, types=(MPS,), parts=100), **fields)


def packed(made: Plan) -> dict[tuple[str, str], int]:
    """Return how many percents of each GPU a plan gives away."""
    given_: dict[tuple[str, str], int] = {}
    for task in map(TaskId, started(made)):
        request = made.request(task)
        for node in made.nodes(task):
            place = (node, request.gpus.types[0])
            given_[place] = given_.get(place, 0) + request.gpus.per_node
    return given_


def test_percents_of_one_gpu_go_to_as_many_as_they_are_enough_for() -> None:
    ready = Ready()
    for number, count in enumerate((60, 60, 60, 40, 40, 40, 1)):
        ready.add(f"t{number}", percents(count), age_s=100.0 - number)

    made = a_plan(ready, a_cluster(*PERCENTS))

    assert packed(made) == {("n1", "mps:0"): 100, ("n1", "mps:1"): 100, ("n2", "mps:0"): 100}
    refused = made.reason(TaskId("t6"))
    assert (refused.code, refused.facts["resource"]) == (ReasonCode.NO_ROOM, "percents of a gpu a node")
    assert made.charge(TaskId("t0")).gpu_type == "mps (1/100)"


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 2)), max_size=12))
def test_no_gpu_is_promised_beyond_all_of_it(asked: list[tuple[int, int]]) -> None:
    ready = Ready()
    for number, (count, nodes) in enumerate(asked):
        ready.add(f"t{number}", percents(count, nodes=nodes))

    made = a_plan(ready, a_cluster(*PERCENTS))

    given_ = packed(made)
    assert all(used <= 100 for used in given_.values())
    free = [100 - given_.get(place, 0) for place in (("n1", "mps:0"), ("n1", "mps:1"), ("n2", "mps:0"))]
    waits = [count for number, (count, nodes) in enumerate(asked) if nodes == 1 and f"t{number}" not in started(made)]
    assert not waits or min(waits) > max(free)


def test_whoever_asks_for_any_gpu_gets_no_percents_and_half_a_gpu_counts_as_half() -> None:
    made = a_plan(Ready().add("t1", a_request(1)), a_cluster(*PERCENTS))

    assert made.request(TaskId("t1")).gpus.types == ("a100",)
    assert demand_of(percents(50), "mps:1", TOTAL) == UNITS_A_GPU // 2
    assert demand_of(percents(50), "mps:1", Meter(Metered.GPUS, MPS)) == 50
    assert sized(percents(50), {}) == percents(50)
