"""Work that can run on more nodes or fewer: how many it gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import GangRow
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import ClusterView, PartitionView
from elisa.model.reasons import ReasonCode
from elisa.model.resources import Elastic, Resources
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.elastic import sized, sizes_above
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, started

BEST, NORMAL, WORST = 0, 2, 4


def elastic(least: int, most: int, *, step: int = 1, **fields: Any) -> Resources:
    asked: dict[str, Any] = {"cpus_per_task": 8, **fields}
    return a_request(nodes=least, elastic=Elastic(least=least, most=most, step=step), **asked)


def whole(nodes: int = 1) -> Resources:
    return a_request(nodes=nodes, cpus_per_task=8)


def machine(count: int, **fields: Any) -> ClusterView:
    return a_cluster(*(a_node(f"n{number:02}", **fields) for number in range(count)), partitions=["main"])


def size(made: Plan, task: str) -> int:
    return made.request(TaskId(task)).nodes


def project_with(*caps: Cap) -> SitePolicy:
    return SitePolicy(projects=(ProjectPolicy(name=ProjectName("vision"), caps=caps),))


@pytest.mark.parametrize(("free", "given"), [(2, 2), (5, 5), (8, 8), (20, 8)])
def test_it_starts_with_what_is_there_within_its_bounds(free: int, given: int) -> None:
    made = a_plan(Ready().add("t1", elastic(2, 8)), machine(free))

    assert size(made, "t1") == given
    assert len(made.nodes(TaskId("t1"))) == given
    assert made.charge(TaskId("t1")).node_s == given * 3600
    assert {"size": given, "least": 2, "most": 8}.items() <= made.decisions[0].reason.facts.items()


def test_with_less_than_the_least_it_waits_and_says_so() -> None:
    made = a_plan(Ready().add("t1", elastic(2, 8)), machine(2, free_cpus=7))

    assert started(made) == []
    assert made.reason(TaskId("t1")).code is ReasonCode.NO_ROOM


def test_one_that_even_the_empty_machine_is_too_small_for_never_fits() -> None:
    assert a_plan(Ready().add("t1", elastic(3, 8)), machine(2)).reason(TaskId("t1")).code is ReasonCode.NEVER_FITS


def test_only_multiples_of_its_step_will_do() -> None:
    assert size(a_plan(Ready().add("t1", elastic(2, 8, step=2)), machine(7)), "t1") == 6


def test_others_of_its_class_get_room_before_it_gets_more_than_its_least() -> None:
    made = a_plan(Ready().add("t1", elastic(2, 8), importance=9).add("t2", whole(3)).add("t3", whole()), machine(8))

    assert started(made) == ["t1", "t3", "t2"]
    assert size(made, "t1") == 4


def test_those_of_worse_classes_get_what_it_leaves() -> None:
    ready = Ready().add("t1", elastic(2, 6), priority=NORMAL).add("t2", whole(4), priority=WORST)

    made = a_plan(ready.add("t3", whole(2), priority=WORST), machine(8))

    assert (started(made), size(made, "t1")) == (["t1", "t3"], 6)


def test_of_two_the_first_in_the_order_gets_what_is_left() -> None:
    made = a_plan(Ready().add("t1", elastic(2, 4), importance=1).add("t2", elastic(2, 8)), machine(8))

    assert (size(made, "t1"), size(made, "t2")) == (4, 4)


def test_it_grows_no_further_than_its_budget() -> None:
    made = a_plan(
        Ready().add("t1", elastic(2, 8)),
        machine(8),
        site=project_with(Cap(resource=Metered.NODE_S, limit=5 * 3600 + 1)),
    )

    assert size(made, "t1") == 5


def test_what_must_wait_in_a_queue_asks_for_the_least() -> None:
    made = a_plan(Ready().add("t1", elastic(2, 8)), machine(8, free_cpus=0), queueing=[HERE])

    assert (started(made), size(made, "t1"), made.nodes(TaskId("t1"))) == (["t1"], 2, ())


def test_the_longest_of_a_partition_bounds_it_as_its_nodes_do() -> None:
    small = replace(machine(8), partitions=(PartitionView(name="main", is_default=True, max_nodes=3),))
    made = a_plan(Ready().add("t1", elastic(2, 8)), small)

    assert size(made, "t1") == 3


def test_a_wide_range_is_tried_in_sixteen_steps_at_most() -> None:
    sizes = sizes_above(elastic(1, 1000))

    assert (sizes[0], len(sizes) <= 16) == (1000, True)
    assert sizes_above(a_request(nodes=4)) == ()


def test_what_more_nodes_draw_is_in_proportion() -> None:
    asked = elastic(2, 8, watts=201, gpu_watts=800)

    assert sized(asked, 3) == replace(asked, nodes=3, watts=302, gpu_watts=1200)


tasks = st.lists(
    st.tuples(
        st.sampled_from([whole(), whole(3), elastic(1, 4), elastic(2, 8), elastic(2, 6, step=2), elastic(3, 40)]),
        st.integers(0, 4),
        st.sampled_from(["vision", "nlp"]),
        st.sampled_from([-1, -1, 0]),
    ),
    max_size=8,
)


@given(tasks=tasks, nodes=st.integers(1, 16), limit=st.integers(0, 20), queues=st.booleans())
def test_sizes_lie_within_bounds_room_and_caps_whatever_else_is_there(
    tasks: list[tuple[Resources, int, str, int]], nodes: int, limit: int, *, queues: bool
) -> None:
    ready = Ready()
    for number, (request, rank, project, gang) in enumerate(tasks):
        ready.add(f"t{number}", request, priority=rank, project=project, gang=gang)
    ready.gangs = [GangRow(sum(gang == 0 for *_, gang in tasks))]

    made = a_plan(
        ready,
        machine(nodes),
        site=project_with(Cap(resource=Metered.NODES, limit=limit)),
        queueing=[HERE] if queues else [],
    )

    taken = [node for task in started(made) for node in made.nodes(TaskId(task))]
    assert len(taken) == len(set(taken)) <= nodes
    assert sum(size(made, task) for task in started(made) if project_of(task, tasks) == "vision") <= limit
    for task in started(made):
        request = tasks[int(task[1:])][0]
        assert size(made, task) in {request.nodes, *sizes_above(request)}
    in_gang = {f"t{number}" for number, (*_, gang) in enumerate(tasks) if gang == 0}
    assert in_gang.isdisjoint(started(made)) or in_gang <= set(started(made))


@given(tasks=tasks, nodes=st.integers(1, 16))
def test_nobody_of_its_class_or_a_better_one_starts_less_because_it_is_elastic(
    tasks: list[tuple[Resources, int, str, int]], nodes: int
) -> None:
    fixed, ready = Ready(), Ready()
    for number, (request, rank, project, _) in enumerate(tasks):
        ready.add(f"t{number}", request, priority=rank, project=project)
        fixed.add(f"t{number}", a_request(nodes=request.nodes, cpus_per_task=8), priority=rank, project=project)

    one, other = a_plan(ready, machine(nodes)), a_plan(fixed, machine(nodes))

    best = min((rank for request, rank, *_ in tasks if request.elastic), default=5)
    assert [task for task in started(other) if tasks[int(task[1:])][1] <= best] == [
        task for task in started(one) if tasks[int(task[1:])][1] <= best
    ]


def project_of(task: str, tasks: list[tuple[Resources, int, str, int]]) -> str:
    return tasks[int(task[1:])][2]
