"""Which work tries a type of GPU that its kind was never measured on: little of it, and none that would suffer."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import Outlook, ProjectUsage
from elisa.model.ids import TaskId
from elisa.model.native import NodeState
from elisa.model.site import Exploration, SitePolicy
from elisa.policies.exploring import Known, idle_gpus, trials, with_trials
from elisa.policies.plan import plan
from elisa.policies.score import weighed
from elisa.policies.snapshot import Snapshot
from elisa.report.words import in_words
from tests.policies.build import NOW, Ready, a_cluster, a_node, a_request

KINDS = (("a", "p", "train"), ("a", "p", "tune"))
TYPES = ("a100", "h100", "v100")
RULES = Exploration(enabled=True, longest_s=3600.0)
EITHER = a_request(1, ("v100", "h100"), walltime_s=1800)
IDLE = {"v100": 4, "h100": 4}


def known(*tasks: str, measured: frozenset[str] = frozenset({"v100"}), times: int = 0, live: int = 0) -> Known:
    """Return that all tasks are of one kind, and what is known of it; `times` and `live` are attempts on an h100."""
    kinds = {TaskId(task): KINDS[0] for task in tasks}
    return Known(kinds, {KINDS[0]: measured}, {(KINDS[0], "h100"): (times, live)})


def test_the_task_that_is_over_soonest_tries_the_type_that_nobody_measured() -> None:
    ready = Ready().add("t0", EITHER).add("t1", EITHER, predicted_s=60.0).add("t2", EITHER, predicted_s=90.0)

    assert trials(ready.columns(), known("t0", "t1", "t2"), IDLE, RULES) == {1: "h100"}


@pytest.mark.parametrize(
    ("row", "facts", "idle"),
    [
        ({"deadline_s": 7200.0}, {}, IDLE),
        ({"priority": 1}, {}, IDLE),
        ({"gang": 0}, {}, IDLE),
        ({"predicted_s": 3601.0}, {}, IDLE),
        ({}, {"measured": frozenset({"v100", "h100"})}, IDLE),
        ({}, {"measured": frozenset()}, IDLE),
        ({}, {"times": 3}, IDLE),
        ({}, {"times": 1, "live": 1}, IDLE),
        ({}, {}, {"v100": 4}),
    ],
)
def test_nobody_tries_where_it_could_hurt_or_tells_nothing_new(
    row: dict[str, float], facts: dict[str, object], idle: dict[str, int]
) -> None:
    ready = Ready().add("t0", EITHER, **row).columns()

    assert trials(ready, known("t0", **facts), idle, RULES) == {}  # type: ignore[arg-type]  # as `known` takes them


def test_work_for_one_type_or_on_several_nodes_tries_nothing() -> None:
    ready = Ready().add("t0", a_request(1, ("v100",))).add("t1", replace(EITHER, nodes=2)).add("t2", a_request())

    assert trials(ready.columns(), known("t0", "t1", "t2"), IDLE, RULES) == {}


def test_idle_is_what_one_node_that_is_up_has_free() -> None:
    nodes = (
        a_node("n1", gpus={"h100": 2}),
        a_node("n2", gpus={"h100": 4, "v100": 1}),
        a_node("n3", gpus={"a100": 8}, state=NodeState.DOWN),
    )

    assert idle_gpus([a_cluster(*nodes)]) == {"h100": 4, "v100": 1}


@given(
    st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 4), st.integers(1, 7200)), max_size=8),
    st.dictionaries(st.sampled_from(KINDS), st.frozensets(st.sampled_from(TYPES)), max_size=2),
    st.dictionaries(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(TYPES)), st.tuples(st.integers(0, 4), st.integers(0, 1))
    ),
    st.dictionaries(st.sampled_from(TYPES), st.integers(0, 4)),
    st.randoms(use_true_random=False),
)
def test_each_kind_tries_each_type_once_at_a_time_whatever_the_order_of_the_tasks(
    work: list[tuple[int, bool, int, int]],
    measured: dict[tuple[str, str, str], frozenset[str]],
    tried: dict[tuple[tuple[str, str, str], str], tuple[int, int]],
    idle: dict[str, int],
    random: Random,
) -> None:
    rows = [
        (f"t{number}", KINDS[kind], {"deadline_s": 60.0 * due, "priority": priority, "predicted_s": float(lasts_s)})
        for number, (kind, due, priority, lasts_s) in enumerate(work)
    ]
    facts = Known({TaskId(name): kind for name, kind, _ in rows}, measured, tried)

    def chosen(order: list[tuple[str, tuple[str, str, str], dict[str, float]]]) -> dict[str, str]:
        ready = Ready()
        for name, _, row in order:
            ready.add(name, a_request(2, TYPES), **row)
        columns = ready.columns() if order else None
        return {order[row][0]: to for row, to in trials(columns, facts, idle, RULES).items()} if columns else {}

    found = chosen(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)

    assert chosen(shuffled) == found
    pairs = [(facts.kinds[TaskId(name)], gpu_type) for name, gpu_type in found.items()]
    assert len(set(pairs)) == len(pairs)
    for kind, gpu_type in pairs:
        times, live = tried.get((kind, gpu_type), (0, 0))
        assert measured[kind]
        assert gpu_type not in measured[kind]
        assert (live, times < 3, idle[gpu_type] >= 2) == (0, True, True)
    for name, _, row in rows:
        assert name not in found or (not row["deadline_s"] and row["priority"] >= 2 and row["predicted_s"] <= 3600)


def planned(*, free: int) -> tuple[str, str]:
    """Return where a task goes that is to try an h100 of which so many are free, and what is told of it."""
    nodes = (a_node("n1", gpus={"v100": 4}), a_node("n2", gpus={"h100": 4}, free_gpus=(("h100", free),)))
    ready, made = with_trials(Ready().add("t0", EITHER).add("t1", EITHER, priority=3).columns(), {0: "h100"})
    outlook = Outlook(speeds={(number, "v100"): 9.0 for number in range(len(made))})
    snapshot = Snapshot.build(ready, ProjectUsage(), [a_cluster(*nodes)], [], SitePolicy(), NOW, outlook=outlook)
    plan_ = plan(snapshot)
    assert plan_.request(TaskId("t1")).gpus.types == ("v100",)
    places = [weighed(one, snapshot) for one in plan_.places(TaskId("t0"))]
    assert [(one.gpu_type, one.is_trial) for one in places] == [("h100", True), ("v100", False)]
    return plan_.request(TaskId("t0")).gpus.types[0], in_words(plan_.reason(TaskId("t0")))


def test_a_trial_goes_there_first_whatever_is_known_of_other_types_and_is_told() -> None:
    gpu_type, words = planned(free=4)

    assert gpu_type == "h100"
    assert words.endswith(", on h100 to measure how fast such work is there")


def test_a_trial_that_finds_no_room_goes_where_it_would_have_gone() -> None:
    gpu_type, words = planned(free=0)

    assert gpu_type == "v100"
    assert "measure" not in words
