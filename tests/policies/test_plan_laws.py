"""What holds of every plan, whatever the load."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.changes import Charge
from elisa.model.columns import GangRow, ProjectUsage, UsageRow
from elisa.model.decisions import Submit
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import ClusterView
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request

PROJECTS = ("ml", "nlp", "vision")
REQUESTS = [
    a_request(),
    a_request(cpus_per_task=3, memory_mib_per_node=9000),
    a_request(nodes=2, cpus_per_task=2),
    a_request(1),
    a_request(2, ("a100", "v100")),
    a_request(1, ("v100",), exclusive=True),
    a_request(nodes=3, cpus_per_task=8),
    a_request(9),
]

rows = st.lists(
    st.fixed_dictionaries(
        {
            "request": st.sampled_from(REQUESTS),
            "project": st.sampled_from(PROJECTS),
            "owner_uid": st.integers(1, 2),
            "priority": st.integers(0, 4),
            "importance": st.sampled_from([0.0, 0.5, 2.0]),
            "age_s": st.sampled_from([0, 5, 600]),
            "deadline_s": st.sampled_from([0, 3600, 7200]),
            "gang": st.sampled_from([-1, -1, -1, 0, 1]),
        }
    ),
    max_size=25,
)
nodes = st.lists(st.tuples(st.sampled_from([{}, {"a100": 2}, {"v100": 3}]), st.integers(0, 8)), min_size=1, max_size=4)
caps = st.lists(
    st.builds(
        Cap,
        # Parts of GPUs are never of one type, and have laws of their own in `test_shares.py`.
        resource=st.sampled_from([one for one in Metered if one is not Metered.GPU_UNITS]),
        limit=st.integers(0, 60_000) | st.integers(0, 12),
        gpu_type=st.sampled_from(["", "a100"]),
    ),
    max_size=3,
).map(tuple)
Row = dict[str, Any]


def ready_of(tasks: list[tuple[str, Row]]) -> Ready:
    ready = Ready()
    sizes = Counter(row["gang"] for _, row in tasks)
    ready.gangs = [GangRow(sizes[0], minimum=2), GangRow(sizes[1])]
    for id_, row in tasks:
        ready.add(id_, row["request"], **{key: value for key, value in row.items() if key != "request"})
    return ready


def numbered(tasks: list[Row]) -> list[tuple[str, Row]]:
    return [(f"t{number:02}", row) for number, row in enumerate(tasks)]


def cluster_of(shapes: list[tuple[dict[str, int], int]]) -> ClusterView:
    built = [a_node(f"n{n}", gpus=gpus, free_cpus=free) for n, (gpus, free) in enumerate(shapes)]
    return a_cluster(*built, partitions=["main"])


def site_of(limits: tuple[Cap, ...], *, window: int = 3) -> SitePolicy:
    projects = tuple(ProjectPolicy(name=ProjectName(name), caps=limits, user_caps=limits[:1]) for name in PROJECTS)
    return SitePolicy(projects=projects, default_window=window)


def submits(made: Plan) -> list[Submit]:
    return [decision for decision in made.decisions if isinstance(decision, Submit)]


USAGE = ProjectUsage(
    rows=[UsageRow("ml", 1, "a100", Charge(gpu_s=50), Charge(cpu_s=500, gpu_s=70), jobs=1, gpus=1, cpus=2)]
)


@given(tasks=rows, shapes=nodes, limits=caps, order=st.randoms(use_true_random=False), queues=st.booleans())
def test_the_plan_does_not_depend_on_the_order_of_its_input(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]], limits: tuple[Cap, ...], order: Any, *, queues: bool
) -> None:
    one = numbered(tasks)
    other = list(one)
    order.shuffle(other)
    extra = {"site": site_of(limits), "usage": USAGE, "queueing": [HERE] if queues else []}

    first = a_plan(ready_of(one), cluster_of(shapes), **extra)
    second = a_plan(ready_of(other), cluster_of(shapes[::1]), **extra)

    assert first.decisions == second.decisions
    assert {p.task: p.reason for p in first.passed_over()} == {p.task: p.reason for p in second.passed_over()}


@given(tasks=rows, shapes=nodes, limits=caps, queues=st.booleans())
def test_every_ready_task_is_started_or_told_why_not(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]], limits: tuple[Cap, ...], *, queues: bool
) -> None:
    made = a_plan(
        ready_of(numbered(tasks)), cluster_of(shapes), site=site_of(limits), queueing=[HERE] if queues else []
    )

    started = [decision.task for decision in submits(made)]
    passed = [one.task for one in made.passed_over()]
    assert sorted([*started, *passed]) == [id_ for id_, _ in numbered(tasks)]


@given(tasks=rows, shapes=nodes, limits=caps, queues=st.booleans())
def test_no_hard_cap_is_exceeded_at_any_moment(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]], limits: tuple[Cap, ...], *, queues: bool
) -> None:
    rows_of = dict(numbered(tasks))
    made = a_plan(
        ready_of(numbered(tasks)),
        cluster_of(shapes),
        site=site_of(limits),
        usage=USAGE,
        queueing=[HERE] if queues else [],
    )

    used: dict[tuple[str, int], int] = defaultdict(int)
    for number, cap in enumerate(limits):
        used["ml", number] = usage_of(cap)
    for decision in submits(made):
        row = rows_of[decision.task]
        request, charge = row["request"], made.charge(decision.task)
        for number, cap in enumerate(limits):
            if cap.gpu_type in {"", charge.gpu_type}:
                asked = amounts(request, charge)[cap.resource]
                used[row["project"], number] += asked
                assert asked == 0 or used[row["project"], number] <= cap.limit


def usage_of(cap: Cap) -> int:
    used = {
        Metered.GPU_S: 120,
        Metered.CPU_S: 500,
        Metered.JOBS: 1,
        Metered.GPUS: 1,
        Metered.CPUS: 2,
    }
    return used.get(cap.resource, 0)


def amounts(request: Any, charge: Charge) -> dict[Metered, int]:
    return {
        Metered.NODE_S: charge.node_s,
        Metered.CPU_S: charge.cpu_s,
        Metered.MEMORY_MIB_S: charge.memory_mib_s,
        Metered.GPU_S: charge.gpu_s,
        Metered.WATT_S: charge.watt_s,
        Metered.JOBS: 1,
        Metered.NODES: request.nodes,
        Metered.CPUS: request.cpus,
        Metered.MEMORY_MIB: request.memory_mib,
        Metered.GPUS: request.gpu_count,
        Metered.WATTS: request.draw_w,
    }


@given(tasks=rows, shapes=nodes)
def test_what_starts_at_once_fits_on_the_nodes_together(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]]
) -> None:
    made = a_plan(ready_of(numbered(tasks)), cluster_of(shapes))

    rows_of = dict(numbered(tasks))
    cpus = sum(rows_of[d.task]["request"].cpus for d in submits(made) if not rows_of[d.task]["request"].exclusive)
    memory = sum(rows_of[d.task]["request"].memory_mib for d in submits(made))
    gpus = Counter[str]()
    for decision in submits(made):
        gpus[made.charge(decision.task).gpu_type] += rows_of[decision.task]["request"].gpu_count
    assert cpus <= sum(free for _, free in shapes)
    assert memory <= 32768 * len(shapes)
    assert all(gpus[kind] <= sum(g.get(kind, 0) for g, _ in shapes) for kind in ("a100", "v100"))


@given(tasks=rows, shapes=nodes, limits=caps, queues=st.booleans())
def test_of_two_that_ask_for_the_same_the_one_in_front_is_never_passed_over(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]], limits: tuple[Cap, ...], *, queues: bool
) -> None:
    made = a_plan(
        ready_of(numbered(tasks)), cluster_of(shapes), site=site_of(limits), queueing=[HERE] if queues else []
    )

    started = {decision.task for decision in submits(made)}
    alike: dict[Any, list[tuple[int, bool]]] = defaultdict(list)
    for id_, row in numbered(tasks):
        if row["gang"] < 0:
            key = (row["request"], row["project"], row["owner_uid"])
            alike[key].append((made.rank(TaskId(id_)), id_ in started))
    for group in alike.values():
        flags = [is_started for _, is_started in sorted(group)]
        assert flags == sorted(flags, reverse=True)


@given(tasks=rows, shapes=nodes, limits=caps, queues=st.booleans())
def test_a_gang_starts_with_enough_members_or_not_at_all(
    tasks: list[Row], shapes: list[tuple[dict[str, int], int]], limits: tuple[Cap, ...], *, queues: bool
) -> None:
    made = a_plan(
        ready_of(numbered(tasks)), cluster_of(shapes), site=site_of(limits), queueing=[HERE] if queues else []
    )

    rows_of = dict(numbered(tasks))
    sizes = Counter(row["gang"] for row in tasks)
    started = Counter(rows_of[decision.task]["gang"] for decision in submits(made))
    assert started[0] == 0 or started[0] >= 2
    assert started[1] in {0, sizes[1]}


@given(tasks=rows, window=st.integers(0, 4))
def test_a_full_cluster_gets_no_more_than_its_window(tasks: list[Row], window: int) -> None:
    made = a_plan(
        ready_of(numbered(tasks)),
        cluster_of([({"a100": 9}, 0)]),
        site=site_of((), window=window),
        queueing=[HERE],
    )

    assert len(submits(made)) <= window
