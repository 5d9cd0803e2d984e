"""Draining by hand: what is written down, whom it concerns, what is refused; and avoiding by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.avoidance import learnt
from elisa.engine.drain import drain, undrain
from elisa.engine.loop import until_idle
from elisa.engine.site_sections import BackendConfig
from elisa.model.errors import StaleChange, Unavailable, UsageError
from elisa.model.ids import BackendName
from elisa.model.native import Capabilities, ClusterView
from elisa.model.pipeline import SitePlacement
from elisa.model.site import Closure
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.store.reader import Reader
from tests.engine.test_closures import HOUR, a_world, long, minutes, rounds
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

NODES = ("n0001", "n0002", "n0003", "n0004")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_world(tmp_path / "home")


def closures(world: World) -> tuple[Closure, ...]:
    with Reader.open(world.home) as reader:
        return reader.closures(world.clock.now())


def also(world: World, name: str, cpus: int) -> None:
    spec = ClusterSpec(nodes=(NodeType(name="m", count=1, cpus=cpus),), heartbeat_s=30)
    world.extra[name] = SimulatedBackend(spec, world.clock, name=name)
    other = BackendConfig(kind="simulated")
    world.site = world.site.model_copy(update={"backends": {**world.site.backends, name: other}})


class NoAnswer:
    """A backend that is away, and cannot keep jobs off nodes."""

    name = BackendName("away")
    capabilities = Capabilities(queues=True, excludes=False)

    def cluster(self) -> ClusterView:
        raise Unavailable("away does not answer", "connection refused")


def test_a_drain_is_written_down_with_who_did_it_and_tells_whom_it_concerns(world: World) -> None:
    world.submit(long("saves"), long("begins", saves_every_s=None), long("stays", preemptible=False))
    minutes(world, 2)
    nodes = sorted(world.attempts(name)[0].nodes for name in world.states())

    done = drain(world.workspace(), "sim", nodes=",".join(nodes), why="new roof")

    (closure,) = closures(world)
    assert (closure, closure.by, closure.why) == (done.closure, "ada", "new roof")
    assert closure.nodes == tuple(nodes)
    assert {one.name: (one.saves, one.moves, one.stays) for one in done.affected} == {
        "saves": (True, "on other nodes of sim", ""),
        "begins": (False, "on other nodes of sim", ""),
        "stays": (True, "", "it may not be preempted; --force moves it too"),
    }


@pytest.mark.slow
def test_work_moves_to_another_cluster_that_can_hold_it_with_what_it_saved(world: World) -> None:
    world.submit(long(placement=SitePlacement()))
    rounds(world, 10, 600)
    also(world, "far", cpus=4)

    done = drain(world.workspace(), "sim")
    minutes(world, 4)

    assert [one.moves for one in done.affected] == ["on far"]
    [stopped, second] = world.attempts("long")
    assert (second.backend, second.state) == ("far", AttemptState.RUNNING)
    assert second.resume_from is not None
    assert second.resume_from == stopped.last_checkpoint
    assert second.resume_from.step > 5000
    world.run(step_s=600)
    assert world.tasks()["long"].failures == 0
    assert world.states() == {"long": TaskState.SUCCEEDED}
    with Reader.open(world.home) as reader:
        assert reader.verify_audit().problems == ()


def test_nobody_is_sent_to_a_cluster_that_is_closed_too(world: World) -> None:
    world.submit(long(placement=SitePlacement()))
    minutes(world, 2)
    also(world, "far", cpus=4)
    now = world.clock.now()
    drain(world.workspace(), "far", begin=now + timedelta(hours=1))

    at_once, later = (drain(world.workspace(), "sim", begin=begin) for begin in (now, now + timedelta(hours=2)))

    assert [one.moves for done in (at_once, later) for one in done.affected] == [
        "on far",
        "once sim is open again: no other that is open can hold it",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("placement", "cpus", "words"),
    [
        (SitePlacement(backend=BackendName("sim")), 4, "once sim is open again: its placement allows no other"),
        (SitePlacement(), 1, "once sim is open again: no other that is open can hold it"),
    ],
    ids=["pinned", "too small"],
)
def test_why_work_cannot_move_is_told(world: World, placement: SitePlacement, cpus: int, words: str) -> None:
    also(world, "far", cpus=cpus)
    world.submit(replace(long(), placement=placement))
    minutes(world, 2)

    done = drain(world.workspace(), "sim")
    minutes(world, 4)

    assert [one.moves for one in done.affected] == [words]
    assert len(world.attempts("long")) == 1


def test_some_nodes_of_a_drain_are_opened_again_and_the_others_stay_closed(world: World) -> None:
    drain(world.workspace(), "sim", nodes="n000[1-3]")

    done = undrain(world.workspace(), "sim", nodes="n0002")

    assert [one.nodes for one in done.lifted] == [("n0001", "n0002", "n0003")]
    assert closures(world) == done.left
    assert [one.nodes for one in done.left] == [("n0001", "n0003")]
    undrain(world.workspace(), "sim")
    assert closures(world) == ()
    with Reader.open(world.home) as reader:
        assert reader.verify_audit().problems == ()


def test_what_cannot_be_is_refused_and_nothing_is_written(world: World) -> None:
    ws, hour = world.workspace(), timedelta(hours=1)
    now = world.clock.now()

    with pytest.raises(UsageError, match="no backend sum") as wrong:
        drain(ws, "sum")
    assert wrong.value.hint == "did you mean `sim`?"
    with pytest.raises(UsageError, match="no node n7"):
        drain(ws, "sim", nodes="n0001,n7")
    with pytest.raises(UsageError, match="names no node"):
        drain(ws, "sim", nodes=" , ")
    for begin, end in ((now + hour, now + hour), (now - 2 * hour, now - hour)):
        with pytest.raises(UsageError, match="cannot end before"):
            drain(ws, "sim", begin=begin, end=end)
    with pytest.raises(UsageError, match="sim is not closed"):
        undrain(ws, "sim")
    assert closures(world) == ()


def test_a_whole_backend_is_not_opened_node_by_node(world: World) -> None:
    drain(world.workspace(), "sim")

    with pytest.raises(UsageError, match="all of sim is closed"):
        undrain(world.workspace(), "sim", nodes="n0001")

    assert len(closures(world)) == 1


def test_work_of_other_clusters_or_that_will_be_over_in_time_is_not_concerned(world: World) -> None:
    world.submit(long())
    minutes(world, 2)
    also(world, "far", cpus=4)

    assert drain(world.workspace(), "far").affected == ()
    assert drain(world.workspace(), "sim", begin=world.clock.now() + timedelta(hours=6)).affected == ()


def test_a_closure_that_somebody_else_lifts_meanwhile_is_lifted_once(world: World) -> None:
    drain(world.workspace(), "sim", nodes="n0001")
    drain(world.workspace(), "sim", nodes="n0002")
    ours = world.workspace()
    meanwhile = [lambda: undrain(world.workspace(), "sim", nodes="n0001")]

    def crash(point: str) -> None:
        if point == "store.begin" and meanwhile:
            meanwhile.pop()()

    done = undrain(replace(ours, crash=crash), "sim")

    assert [one.nodes for one in done.lifted] == [("n0002",)]
    assert closures(world) == ()
    with Reader.open(world.home) as reader:
        assert reader.verify_audit().problems == ()


def test_when_others_change_closures_all_the_time_that_is_said(world: World) -> None:
    drain(world.workspace(), "sim", nodes="n0001")
    inner: list[str] = []

    def crash(point: str) -> None:
        if point == "store.begin" and not inner:
            inner.append(point)
            undrain(world.workspace(), "sim")
            drain(world.workspace(), "sim", nodes="n0001")
            inner.clear()

    with pytest.raises(StaleChange):
        undrain(replace(world.workspace(), crash=crash), "sim")

    assert len(closures(world)) == 1


def test_the_sites_own_rules_are_not_lifted_by_hand(tmp_path: Path) -> None:
    rules = [{"backend": "sim", "from": "2026-03-02T08:00:00Z", "until": "2026-03-03T12:00:00Z"}]
    world = a_world(tmp_path / "home", closures=rules)

    with pytest.raises(UsageError, match="not closed") as refusal:
        undrain(world.workspace(), "sim")

    assert "site.yaml" in refusal.value.why


def test_a_backend_that_is_away_or_cannot_exclude_is_drained_with_a_word_of_warning(world: World) -> None:
    world.extra["away"] = NoAnswer()  # type: ignore[assignment]

    done = drain(world.workspace(), "away", nodes="n1")

    assert [words.partition(",")[0] for words in done.notes] == [
        "away does not answer",
        "away cannot be told to keep a job off n1: take them out of service there too",
    ]


def test_a_simulated_site_waits_for_its_closed_places_to_open(world: World) -> None:
    drain(world.workspace(), "sim", end=world.clock.now() + timedelta(hours=5))
    world.submit(long())

    until_idle(world.workspace())

    [attempt] = world.attempts("long")
    assert attempt.end is not None
    assert attempt.end.reason is EndReason.COMPLETED


@pytest.mark.slow
def test_a_node_that_breaks_its_work_gets_none_until_that_has_faded(world: World) -> None:
    world.submit(*(job(f"sound{number}", cpus=4, lasts_s=60) for number in range(4)))
    minutes(world, 4)
    world.submit(*(job(f"t{number}", cpus=4, lasts_s=HOUR, walltime_s=2 * HOUR) for number in range(5)))
    minutes(world, 2)
    bad = NODES[0]
    for _ in range(2):
        world.cluster.fail_nodes(bad, for_s=60)
        minutes(world, 6)
    broken_at = world.clock.now()

    with Reader.open(world.home) as reader:
        (avoided,) = learnt(reader, broken_at)
        later = learnt(reader, broken_at + timedelta(days=3))
    world.submit(*(job(f"later{number}", cpus=4, lasts_s=HOUR, walltime_s=2 * HOUR) for number in range(6)))
    world.run(step_s=900)

    assert (avoided.backend, avoided.node, avoided.broken) == ("sim", bad, 2)
    assert broken_at < avoided.until < broken_at + timedelta(days=1)
    assert later == ()
    assert {world.attempts(f"later{number}")[0].nodes for number in range(6)} == set(NODES) - {bad}
    assert set(world.states().values()) == {"succeeded"}
    assert_sound(world)


@pytest.mark.slow
def test_where_every_node_breaks_its_work_none_is_avoided(world: World) -> None:
    world.submit(*(job(f"t{number}", cpus=4, lasts_s=HOUR, walltime_s=2 * HOUR) for number in range(4)))
    minutes(world, 2)
    for _ in range(2):
        world.cluster.fail_nodes(*NODES, for_s=60)
        minutes(world, 6)

    with Reader.open(world.home) as reader:
        assert learnt(reader, world.clock.now()) == ()
    world.run(step_s=600)
    assert set(world.states().values()) == {"succeeded"}
    assert {task.failures for task in world.tasks().values()} == {0}
    assert_sound(world)
