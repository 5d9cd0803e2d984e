"""Reserved room: nobody else's work runs into it, its holder's work uses it, and it is over at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.columns import GangRow, Outlook, RunningRow
from elisa.model.decisions import Park, Preempt
from elisa.model.ids import BackendName, ProjectName, RuleId, TaskId
from elisa.model.native import ClusterView, NodeState
from elisa.model.pipeline import PriorityClass
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.site import CLASS_RANK, Closure, FusionRules, Metered, PreemptionRules, Reservation, SitePolicy, Taint
from elisa.model.states import AttemptState
from elisa.model.task import Attempt
from elisa.policies.claims import claiming
from elisa.policies.plan import Plan
from elisa.policies.reservations import capacity_of
from tests.policies.build import (
    HERE,
    NOW,
    Ready,
    a_cluster,
    a_node,
    a_plan,
    a_request,
    after,
    an_attempt,
    started,
)

HOUR = 3600
GPU_NODE = a_node("n1", gpus={"a100": 4})


def reserved(amount: int = 2, begin_s: float = -60, end_s: float = HOUR, **fields: Any) -> Reservation:
    given_ = {"resource": Metered.GPUS, "gpu_type": "a100", **fields}
    defaults: dict[str, Any] = {
        "project": ProjectName("vision"),
        "backend": HERE,
        "amount": amount,
        "starts_at": after(begin_s),
        "ends_at": after(end_s),
        "id": RuleId("r1"),
    }
    return Reservation(**{**defaults, **given_})


def site(*reservations: Reservation, **rules: Any) -> SitePolicy:
    return SitePolicy(reservations=reservations, **{"fusion": FusionRules(enabled=False), **rules})


def gpus(count: int, walltime_s: int = 600, **fields: Any) -> Resources:
    return a_request(count, ("a100",), walltime_s=walltime_s, **fields)


def running(
    id_: str, request: Resources, nodes: str, project: str, *, began_s: float = -60
) -> tuple[Attempt, RunningRow]:
    attempt = an_attempt(id_, nodes=nodes, request=request, started_at=after(began_s))
    return attempt, row_of(attempt, project)


def row_of(attempt: Attempt, project: str, **fields: Any) -> RunningRow:
    begun = attempt.state is AttemptState.RUNNING
    defaults: dict[str, Any] = {
        "attempt": attempt.id,
        "task": attempt.task,
        "project": project,
        "owner_uid": 1000,
        "backend": attempt.backend,
        "nodes": tuple(attempt.nodes.split(",")) if attempt.nodes else (),
        "request": attempt.request,
        "priority": 2,
        "started_us": int(attempt.started_at.timestamp() * 1e6) if begun and attempt.started_at else 0,
        "is_queued": not begun,
        "partition": attempt.partition,
    }
    return RunningRow(**{**defaults, **fields})


def live(*pairs: tuple[Attempt, RunningRow]) -> dict[str, Any]:
    return {"live": [attempt for attempt, _ in pairs], "running": [row for _, row in pairs]}


def why(made: Plan, task: str) -> Any:
    return made.reason(TaskId(task))


def test_others_get_what_is_not_reserved_and_the_holder_gets_all() -> None:
    ready = Ready().add("t1", gpus(3), project="nlp").add("t2", gpus(2), project="nlp", importance=-1)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(2)))

    assert started(made) == ["t2"]
    assert why(made, "t1") == because(
        ReasonCode.HELD_FOR,
        project="vision",
        backend="here",
        partition="",
        what="2 a100",
        begins_at="",
        until=after(HOUR).isoformat(),
        walltime_s=600,
        reservation="r1",
        starts_at=after(HOUR).isoformat(),
        nodes="n1",
    )
    assert started(a_plan(Ready().add("t1", gpus(4)), a_cluster(GPU_NODE), site=site(reserved(2)))) == ["t1"]


def test_a_gpu_is_reserved_with_its_part_of_cores_and_memory() -> None:
    ready = Ready().add("t1", a_request(cpus_per_task=5), project="nlp")
    ready.add("t2", a_request(cpus_per_task=4, memory_mib_per_node=16384), project="nlp", importance=-1)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(2)))

    assert started(made) == ["t2"]


def test_work_that_is_over_before_it_begins_may_use_the_room() -> None:
    ready = Ready().add("t1", gpus(4, 601), project="nlp").add("t2", gpus(4, 600), project="nlp", importance=-1)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(1, begin_s=600), backfill_depth=0))

    assert started(made) == ["t2"]
    alone = a_plan(
        Ready().add("t1", gpus(4, 601), project="nlp"), a_cluster(GPU_NODE), site=site(reserved(1, begin_s=600))
    )
    assert why(alone, "t1").facts["begins_at"] == after(600).isoformat()


def test_it_is_over_by_itself() -> None:
    ready = Ready().add("t1", gpus(4), project="nlp")

    assert started(a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(4, begin_s=-600, end_s=0)))) == ["t1"]


def test_what_its_holder_has_counts_towards_it_until_that_is_over() -> None:
    node = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 2),), free_cpus=7)
    ready = Ready().add("t1", gpus(2, 500), project="nlp").add("t2", gpus(2, 700), project="nlp", importance=-1)
    own = running("t0.1", gpus(2, 660), "n1", "vision")

    made = a_plan(ready, a_cluster(node), site=site(reserved(2)), **live(own))
    longer = a_plan(
        Ready().add("t2", gpus(2, 700), project="nlp"), a_cluster(node), site=site(reserved(2)), **live(own)
    )

    assert started(made) == ["t1"]
    # The two that are free stay free for the holder once its job is over only if nobody else takes those that it gives back.
    assert started(longer) == ["t2"]
    other = running("t0.1", gpus(2, 660), "n1", "nlp")
    assert started(a_plan(ready, a_cluster(node), site=site(reserved(2)), **live(other))) == []


def test_it_lies_where_its_holder_runs_so_that_other_nodes_are_whole_for_others() -> None:
    busy = a_node("n2", gpus={"a100": 4}, free_gpus=(("a100", 0),), free_cpus=7)
    ready = Ready().add("t1", gpus(4), project="nlp")
    own = running("t0.1", gpus(4, 7200), "n2", "vision")

    assert started(a_plan(ready, a_cluster(GPU_NODE, busy), site=site(reserved(4)), **live(own))) == ["t1"]


def test_only_the_users_it_is_for_may_use_it() -> None:
    ready = Ready().add("t1", gpus(4), owner_uid=7).add("t2", gpus(4), owner_uid=8, importance=9)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(4, users=(7,))))

    assert started(made) == ["t1"]
    assert why(made, "t2").facts["users"] == "7"


@pytest.mark.parametrize(
    ("resource", "amount", "fits", "too_much"),
    [
        (Metered.CPUS, 6, a_request(cpus_per_task=2), a_request(cpus_per_task=3)),
        (Metered.NODES, 1, a_request(cpus_per_task=1), a_request(cpus_per_task=1, nodes=2)),
    ],
)
def test_cores_and_whole_nodes_are_reserved_too(
    resource: Metered, amount: int, fits: Resources, too_much: Resources
) -> None:
    nodes = (a_node("n1"),) if resource is Metered.CPUS else (a_node("n1"), a_node("n2"))
    rules = site(reserved(amount, resource=resource, gpu_type=""))

    assert started(a_plan(Ready().add("t1", fits, project="nlp"), a_cluster(*nodes), site=rules)) == ["t1"]
    assert started(a_plan(Ready().add("t1", too_much, project="nlp"), a_cluster(*nodes), site=rules)) == []


def test_a_type_of_gpu_that_is_not_there_holds_nothing() -> None:
    ready = Ready().add("t1", gpus(4), project="nlp")

    assert started(a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(4, gpu_type="h100")))) == ["t1"]
    assert started(queueing(ready, site(reserved(4, gpu_type="h100")))) == ["t1"]


def test_marked_nodes_are_reserved_last_and_nodes_that_are_down_not_at_all() -> None:
    marked, plain = a_node("n1", gpus={"a100": 4}), a_node("n2", gpus={"a100": 4})
    down = a_node("n0", gpus={"a100": 4}, state=NodeState.DOWN)
    rules = site(reserved(4), taints=(Taint(name="new", backend=HERE, nodes=("n1",)),))
    ready = Ready().add("t1", gpus(4, tolerations=("new",)), project="nlp")

    made = a_plan(ready, a_cluster(down, marked, plain), site=rules)

    assert started(made) == ["t1"]
    assert made.nodes(TaskId("t1")) == ("n1",)
    assert "n2" in made.kept_off(TaskId("t1"))


def test_what_its_holder_starts_in_it_is_not_kept_a_second_time() -> None:
    ready = Ready().add("t1", gpus(1), importance=9).add("t2", gpus(3), project="nlp", importance=8)
    ready.add("t3", gpus(2), project="nlp").add("t4", gpus(1), importance=-1)

    made = a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(2), backfill_depth=0))

    assert started(made) == ["t1", "t3", "t4"]


def test_what_is_over_before_it_begins_or_ends_after_it_counts_towards_it_only_meanwhile() -> None:
    node = a_node("n1", gpus={"a100": 4}, cpus=8)
    rules = site(reserved(2, begin_s=600, end_s=1200), backfill_depth=0)
    brief = Ready().add("t1", gpus(2, 300), importance=9).add("t2", gpus(3, 900), project="nlp")
    long = Ready().add("t1", gpus(2, 900), importance=9).add("t2", gpus(2, 1800), project="nlp")

    assert started(a_plan(brief, a_cluster(node), site=rules)) == ["t1"]
    assert started(a_plan(long, a_cluster(node), site=rules)) == ["t1", "t2"]


def test_its_holder_starts_where_it_lies() -> None:
    small = a_node("n1", gpus={"a100": 2})
    ready = Ready().add("t1", gpus(2), importance=9).add("t2", gpus(2), project="nlp")

    made = a_plan(ready, a_cluster(small, a_node("n2", gpus={"a100": 4})), site=site(reserved(4), backfill_depth=0))

    assert started(made) == ["t1", "t2"]
    assert [made.nodes(TaskId(task)) for task in ("t1", "t2")] == [("n2",), ("n1",)]


def test_a_start_fills_one_reservation_of_its_project_after_the_other() -> None:
    ready = Ready().add("t1", gpus(3), importance=9).add("t2", gpus(1), project="nlp")
    both = site(reserved(2), reserved(2, id=RuleId("r2")), backfill_depth=0)

    assert started(a_plan(ready, a_cluster(GPU_NODE), site=both)) == ["t1"]
    wider = a_cluster(a_node("n1", gpus={"a100": 5}, cpus=10))
    assert started(a_plan(ready, wider, site=both)) == ["t1", "t2"]


def test_what_a_gang_took_on_trial_of_its_reservation_is_kept_again() -> None:
    ready = Ready()
    ready.gangs.append(GangRow(size=3))
    for number in range(3):
        ready.add(f"t{number}", gpus(2), gang=0, importance=9)
    ready.add("t8", gpus(3), project="nlp").add("t9", gpus(2), project="nlp", importance=-9)

    assert started(a_plan(ready, a_cluster(GPU_NODE), site=site(reserved(2), backfill_depth=0))) == ["t9"]


def test_two_reservations_do_not_lie_in_the_same_room() -> None:
    ready = Ready().add("t1", gpus(3), project="vision").add("t2", gpus(2), project="speech", importance=-1)
    ready.add("t3", gpus(1), project="nlp", importance=9)
    rules = site(reserved(2), reserved(2, project=ProjectName("speech"), id=RuleId("r2")))

    made = a_plan(ready, a_cluster(GPU_NODE), site=rules)

    assert started(made) == ["t2"]
    assert why(made, "t3").code is ReasonCode.HELD_FOR


def test_what_counts_for_one_reservation_of_a_project_counts_for_no_other() -> None:
    node = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 2),), free_cpus=7)
    own = running("t0.1", gpus(2, 7200), "n1", "vision")
    ready = Ready().add("t1", gpus(1), project="nlp")

    both = site(reserved(2), reserved(2, id=RuleId("r2")))

    assert started(a_plan(ready, a_cluster(node), site=both, **live(own))) == []
    assert started(a_plan(ready, a_cluster(node), site=site(reserved(2)), **live(own))) == ["t1"]


def test_room_promised_to_a_blocked_task_and_closed_times_are_kept_beside_it() -> None:
    busy = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 0),), free_cpus=7)
    other = running("t0.1", gpus(4, 660), "n1", "nlp")
    ready = Ready().add("t1", gpus(2, 600), project="nlp").add("t2", gpus(4, 600), project="vision", importance=-1)
    shut = Closure(backend=HERE, starts_at=after(2 * HOUR), ends_at=after(3 * HOUR))
    rules = site(reserved(4, end_s=HOUR), closures=(shut,), backfill_depth=2)

    made = a_plan(ready, a_cluster(busy), site=rules, **live(other))

    assert why(made, "t1").facts["starts_at"] == after(HOUR).isoformat(timespec="seconds")
    assert why(made, "t2").facts["starts_at"] == after(600).isoformat(timespec="seconds")


def test_a_task_that_lacks_room_for_another_reason_is_told_that() -> None:
    busy = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 1),), free_cpus=7)
    ready = Ready().add("t1", gpus(2), project="nlp")

    assert why(a_plan(ready, a_cluster(busy), site=site(reserved(1))), "t1").code is ReasonCode.NO_ROOM


def test_nobody_is_preempted_for_room_that_is_reserved_for_others() -> None:
    busy = a_node("n1", gpus={"a100": 4}, free_gpus=(("a100", 0),), free_cpus=7)
    own = running("t0.1", gpus(4, 7200), "n1", "vision", began_s=-1000)
    critical = CLASS_RANK[PriorityClass.CRITICAL]
    rules = PreemptionRules(enabled=True)
    ready = Ready().add("t1", gpus(4), project="nlp", priority=critical)

    free = a_plan(ready, a_cluster(busy), site=site(preemption=rules), **live(own))
    held = a_plan(ready, a_cluster(busy), site=site(reserved(4), preemption=rules), **live(own))

    assert [type(one) for one in free.decisions] == [Preempt]
    assert held.decisions == ()


def test_a_bundle_of_short_tasks_does_not_grow_into_it() -> None:
    node = a_node("n1", cpus=1)
    ready = Ready()
    for number in range(3):
        ready.add(f"t{number}", a_request(walltime_s=60), project="nlp", brief_s=5.0)
    soon = reserved(1, begin_s=100, resource=Metered.CPUS, gpu_type="")

    def bundled(*reservations: Reservation) -> int:
        site = SitePolicy(reservations=reservations, backfill_depth=0)
        return len(started(a_plan(ready, a_cluster(node), site=site)))

    assert bundled() == 3
    assert bundled(soon) == 1


# where a resource manager places jobs


def queueing(ready: Ready, rules: SitePolicy, *pairs: tuple[Attempt, RunningRow], **node: Any) -> Plan:
    view = a_cluster(a_node("n1", gpus={"a100": 8}, **node), partitions=("main",))
    return a_plan(ready, view, site=rules, queueing=[HERE], **live(*pairs))


def test_in_a_queue_others_leave_as_much_as_is_reserved() -> None:
    ready = Ready()
    for number in range(3):
        ready.add(f"t{number}", gpus(1), project="nlp", importance=-number)
    ready.add("t9", gpus(8), project="vision", importance=-9)

    made = queueing(ready, site(reserved(6)))

    assert started(made) == ["t0", "t1", "t9"]
    assert (why(made, "t2").code, why(made, "t2").facts["partition"]) == (ReasonCode.HELD_FOR, "main")


def test_in_a_queue_what_others_have_already_counts() -> None:
    ready = Ready().add("t1", gpus(1), project="nlp")
    others = running("t0.1", gpus(2, 7200), "n1", "nlp")

    assert started(queueing(ready, site(reserved(6)), others)) == []
    assert started(queueing(ready, site(reserved(5)), others)) == ["t1"]
    assert started(queueing(ready, site(reserved(6)), running("t0.1", gpus(2, 7200), "n1", "vision"))) == ["t1"]


def test_in_a_queue_the_nodes_or_cores_of_others_are_counted_likewise() -> None:
    def of(resource: Metered, amount: int) -> SitePolicy:
        return site(reserved(amount, resource=resource, gpu_type=""))

    ready = Ready().add("t1", a_request(cpus_per_task=3), project="nlp")

    assert started(queueing(ready, of(Metered.CPUS, 5))) == ["t1"]
    assert started(queueing(ready, of(Metered.CPUS, 6))) == []
    assert started(queueing(ready, of(Metered.NODES, 1))) == []


@pytest.mark.parametrize(
    ("reservation", "request_"),
    [
        (reserved(8, begin_s=601), gpus(1, 600)),
        (reserved(8, native="maint"), gpus(1)),
        (reserved(8, backend=BackendName("elsewhere")), gpus(1)),
        (reserved(8), a_request()),
    ],
    ids=["it is over before", "the manager keeps it", "another backend", "it takes none of it"],
)
def test_in_a_queue_it_concerns_nobody_else(reservation: Reservation, request_: Resources) -> None:
    assert started(queueing(Ready().add("t1", request_, project="nlp"), site(reservation))) == ["t1"]


def test_a_gang_that_is_not_admitted_leaves_what_it_took_on_trial() -> None:
    ready = Ready()
    ready.gangs.append(GangRow(size=3))
    for number in range(3):
        ready.add(f"t{number}", gpus(1), project="nlp", gang=0)
    ready.add("t8", gpus(2), project="nlp", importance=-9)

    assert started(queueing(ready, site(reserved(6)))) == ["t8"]


def test_waiting_jobs_that_could_run_into_it_are_taken_back_the_last_first() -> None:
    pairs = []
    for number in range(3):
        attempt = an_attempt(f"t{number}.1", AttemptState.QUEUED, request=gpus(1), submitted_at=after(-300 + number))
        pairs.append((attempt, row_of(attempt, "nlp")))
    plain = an_attempt("t9.1", AttemptState.QUEUED, request=a_request(), submitted_at=after(-1))

    made = queueing(Ready(), site(reserved(7)), *pairs, (plain, row_of(plain, "nlp")))

    assert [one.attempt for one in made.decisions if isinstance(one, Park)] == ["t2.1", "t1.1"]
    assert {one.reason.code for one in made.decisions if isinstance(one, Park)} == {ReasonCode.HELD_FOR}


def test_shapes_are_split_only_for_work_that_may_use_a_reservation() -> None:
    columns = Ready().add("t1", gpus(1)).add("t2", gpus(1), project="nlp").columns()
    outlook = Outlook(speeds={(0, "a100"): 2.0})

    same = claiming(columns, outlook, [reserved(project=ProjectName("speech"))])
    split, known = claiming(columns, outlook, [reserved(), reserved(id=RuleId("r1"))])

    assert same == (columns, outlook)
    assert [shape.claims for shape in split.shapes] == [(), ("r1",)]
    assert (list(split.shape), known.speeds) == ([1, 0], {(0, "a100"): 2.0, (1, "a100"): 2.0})


# the law


@st.composite
def busy_clusters(draw: st.DrawFn) -> tuple[ClusterView, list[tuple[Attempt, RunningRow]]]:
    nodes, pairs = [], []
    for number in range(draw(st.integers(1, 3))):
        total = free = draw(st.integers(1, 4))
        jobs = 0
        for place in range(draw(st.integers(0, 2))):
            count = draw(st.integers(1, 2))
            if count <= free:
                free, jobs = free - count, jobs + 1
                request = gpus(count, draw(st.integers(2, 12)) * 100)
                project = draw(st.sampled_from(["vision", "nlp"]))
                pairs.append(running(f"old{number}{place}.1", request, f"n{number}", project))
        node = a_node(f"n{number}", gpus={"a100": total}, cpus=4 * total, memory_mib=8192 * total)
        nodes.append(replace(node, free_gpus=(("a100", free),), free_cpus=4 * total - jobs))
    return a_cluster(*nodes), pairs


def _room(view: ClusterView, pairs: Sequence[tuple[Attempt, RunningRow]], moment_s: float) -> dict[str, int]:
    """Return how many GPUs of each node the holder has or could have at a moment."""
    left = {node.name: dict(node.gpus)["a100"] for node in view.nodes}
    for attempt, row in pairs:
        assert attempt.started_at is not None
        over_s = (attempt.started_at - NOW).total_seconds() + attempt.request.walltime_s
        if row.project != "vision" and moment_s < over_s:
            left[attempt.nodes] -= attempt.request.gpu_count
    return left


@given(
    busy=busy_clusters(),
    wanted=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12), st.booleans()), max_size=8),
    amount=st.integers(1, 8),
    begin=st.integers(-1, 8),
    length=st.integers(1, 8),
    depth=st.integers(0, 2),
)
def test_no_start_of_others_ever_takes_from_what_a_reservation_could_have(
    busy: tuple[ClusterView, list[tuple[Attempt, RunningRow]]],
    wanted: list[tuple[int, int, bool]],
    amount: int,
    begin: int,
    length: int,
    depth: int,
) -> None:
    view, pairs = busy
    ready = Ready()
    for number, (count, hundreds, is_holders) in enumerate(wanted):
        ready.add(
            f"t{number}", gpus(count, hundreds * 100), project="vision" if is_holders else "nlp", importance=-number
        )
    one = reserved(amount, begin_s=begin * 100, end_s=(begin + length) * 100)

    made = a_plan(ready, view, site=site(one, backfill_depth=depth), **live(*pairs))

    new = [
        running(f"{task}.1", gpus(*wanted[int(task[1:])][:1], wanted[int(task[1:])][1] * 100), node, "nlp", began_s=0)
        for task in started(made)
        if not wanted[int(task[1:])][2]
        for node in made.nodes(TaskId(task))
    ]
    moments = [moment * 100.0 for moment in range(max(0, begin), begin + length)]
    if moments:
        # The same GPUs for all of its time, as a job of the holder needs them.
        before = sum(min(room) for room in zip(*(_room(view, pairs, at_s).values() for at_s in moments), strict=True))
        after_ = [_room(view, [*pairs, *new], at_s) for at_s in moments]
        assert sum(min(room) for room in zip(*(one.values() for one in after_), strict=True)) >= min(amount, before)


def test_a_cluster_has_what_is_on_nodes_that_are_up() -> None:
    view = a_cluster(a_node("n1", gpus={"a100": 4}), a_node("n2", gpus={"a100": 4}, state=NodeState.DOWN))

    def has(resource: Metered, gpu_type: str = "") -> int:
        return capacity_of(view, reserved(resource=resource, gpu_type=gpu_type))

    assert [has(Metered.GPUS, "a100"), has(Metered.GPUS, "h100"), has(Metered.CPUS), has(Metered.NODES)] == [4, 0, 8, 1]
