"""Closed times: nothing begins that would run into one, and jobs are kept off the nodes that close."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import BackendName, TaskId
from elisa.model.native import ClusterView, NodeState
from elisa.model.pipeline import SitePlacement
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.site import UNTIL_LIFTED, Closure, SitePolicy
from elisa.policies.plan import Plan
from tests.policies.build import HERE, Ready, a_cluster, a_node, a_plan, a_request, after, started

HOUR = 3600
FAR = BackendName("far")
FOUR = a_cluster(*(a_node(f"n{number}") for number in range(1, 5)))


def closed(*nodes: str, start: float = 0, end: float | None = None, backend: BackendName = HERE) -> Closure:
    ends_at = UNTIL_LIFTED if end is None else after(end)
    return Closure(backend=backend, nodes=nodes, starts_at=after(start), ends_at=ends_at, why="new roof")


def planned(ready: Ready, *closures: Closure, clusters: tuple[ClusterView, ...] = (FOUR,), **extra: object) -> Plan:
    names = [view.backend for view in clusters]
    return a_plan(ready, *clusters, site=SitePolicy(closures=closures), queueing=names, **extra)


def a_task(**request: int) -> Ready:
    return Ready().add("t1", a_request(**request))


def kept_off(made: Plan, *own: str) -> tuple[str, ...]:
    return made.kept_off(TaskId("t1"), own)


def refusal(made: Plan) -> Reason:
    assert started(made) == []
    return made.reason(TaskId("t1"))


def test_work_that_is_over_before_the_nodes_close_may_begin_on_them() -> None:
    closure = closed("n1", "n2", start=HOUR)

    assert kept_off(planned(a_task(walltime_s=HOUR), closure)) == ()
    assert kept_off(planned(a_task(walltime_s=HOUR + 1), closure)) == ("n1", "n2")


def test_nodes_that_are_open_again_are_used() -> None:
    assert kept_off(planned(a_task(walltime_s=9 * HOUR), closed("n1", start=-HOUR, end=0))) == ()


def test_the_nodes_that_a_plan_counts_on_are_open_ones() -> None:
    made = planned(a_task(walltime_s=HOUR, nodes=2), closed("n1", "n3"))

    assert made.nodes(TaskId("t1")) == ("n2", "n4")


def test_too_few_open_nodes_are_told_with_their_reason() -> None:
    made = planned(a_task(walltime_s=2 * HOUR, nodes=3), closed("n1", "n3", start=HOUR, end=9 * HOUR))

    assert refusal(made) == because(
        ReasonCode.CLOSED,
        backend=HERE,
        partition="",
        nodes="n1,n3",
        starts_at=after(HOUR).isoformat(),
        ends_at=after(9 * HOUR).isoformat(),
        why="new roof",
        walltime_s=2 * HOUR,
        pinned=0,
    )


def test_a_whole_backend_is_closed_whatever_is_known_of_its_nodes() -> None:
    bare = ClusterView(backend=HERE, nodes=(), partitions=())

    told = refusal(planned(a_task(), closed(), clusters=(bare,)))

    assert (told.facts["nodes"], told.facts["starts_at"], told.facts["ends_at"]) == ("", "", "")


def test_where_no_node_is_known_the_closed_ones_are_passed_on_by_name() -> None:
    bare = ClusterView(backend=HERE, nodes=(), partitions=())
    made = planned(a_task(), closed("n8", "n7"), clusters=(bare,))

    assert made.known(TaskId("t1"), kept_off(made)) == ("n7", "n8")


def test_work_goes_to_another_backend_unless_its_author_forbids_it() -> None:
    clusters = (FOUR, a_cluster(backend=FAR))
    free, pinned = a_task(), Ready().add("t1", a_request(), placement=SitePlacement(backend=HERE))

    (decision,) = planned(free, closed(), clusters=clusters).decisions
    told = refusal(planned(pinned, closed(), clusters=clusters))

    assert getattr(decision, "backend", "") == FAR
    assert (told.code, told.facts["pinned"]) == (ReasonCode.CLOSED, 1)


def test_the_closure_that_begins_first_is_named() -> None:
    told = refusal(planned(a_task(walltime_s=9 * HOUR), closed(start=2 * HOUR), closed(start=HOUR)))

    assert told.facts["starts_at"] == after(HOUR).isoformat()


def test_a_task_that_could_never_run_there_is_told_that_instead() -> None:
    assert refusal(planned(a_task(cpus_per_task=99), closed())).code is ReasonCode.NEVER_FITS


class TestBadNodes:
    def test_suspects_are_kept_off_as_long_as_enough_nodes_are_left(self) -> None:
        avoid = {HERE: ("n3", "n1")}

        assert kept_off(planned(a_task(nodes=2), avoid=avoid)) == ("n1", "n3")
        assert kept_off(planned(a_task(nodes=3), avoid=avoid)) == ("n3",)
        assert kept_off(planned(a_task(nodes=4), avoid=avoid)) == ()

    def test_closed_nodes_leave_less_to_be_choosy_about(self) -> None:
        assert kept_off(planned(a_task(nodes=2), closed("n2"), avoid={HERE: ("n3", "n1")})) == ("n2", "n3")

    def test_nodes_on_which_the_work_itself_broke_come_before_suspects(self) -> None:
        assert kept_off(planned(a_task(nodes=3), avoid={HERE: ("n3",)}), "n2") == ("n2",)

    def test_a_node_that_is_down_is_no_alternative_and_not_the_first_to_be_tried_again(self) -> None:
        nodes = a_cluster(a_node("n1"), a_node("n2", state=NodeState.DOWN))

        assert kept_off(planned(a_task(), clusters=(nodes,)), "n1") == ()
        assert kept_off(planned(a_task(), clusters=(nodes,)), "n2", "elsewhere") == ("n2",)

    def test_suspects_of_another_backend_are_nobodys_here(self) -> None:
        assert kept_off(planned(a_task(), avoid={FAR: ("n1",)})) == ()


def test_names_of_no_node_are_remembered_but_not_passed_on() -> None:
    made = planned(a_task(), closed("n1", "typo"))

    assert kept_off(made) == ("n1", "typo")
    assert made.known(TaskId("t1"), kept_off(made)) == ("n1",)


@given(
    wanted=st.integers(1, 6),
    down=st.sets(st.integers(1, 6)),
    suspects=st.lists(st.integers(1, 6), unique=True),
    own=st.lists(st.integers(1, 6), unique=True, max_size=2),
    shut=st.sets(st.integers(1, 6)),
)
def test_what_could_run_can_still_run(
    wanted: int, down: set[int], suspects: list[int], own: list[int], shut: set[int]
) -> None:
    state = {number: NodeState.DOWN if number in down else NodeState.UP for number in range(1, 7)}
    view = a_cluster(*(a_node(f"n{number}", state=state[number]) for number in state))
    closures = (closed(*(f"n{number}" for number in sorted(shut))),) if shut else ()
    avoid = {HERE: [f"n{number}" for number in suspects if number not in down]}

    made = planned(a_task(nodes=wanted), *closures, clusters=(view,), avoid=avoid)

    open_now = {number for number in state if number not in down | shut}
    if started(made) and len(open_now) >= wanted:
        off = set(kept_off(made, *(f"n{number}" for number in own)))
        assert len({f"n{number}" for number in open_now} - off) >= wanted
        assert {f"n{number}" for number in shut} <= off
