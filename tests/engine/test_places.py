"""Jobs that wait in a native queue are kept in elisa's order, through whole ticks on a simulated cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.places import arrival, as_asked
from elisa.model import layout
from elisa.model.changes import CancelSent
from elisa.model.errors import Unavailable
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import Capabilities
from elisa.model.reasons import ReasonCode, because
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

ONE_NODE = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=4),), heartbeat_s=30)


class Reordering:
    """The simulated cluster, which writes down in which order it was asked to serve its queue."""

    def __init__(self, cluster: SimulatedBackend) -> None:
        self._cluster = cluster
        self.asked: list[dict[str, int]] = []
        self.is_away = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._cluster, name)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._cluster.capabilities, reorders=True, submits_at_once=4)

    def reorder(self, priorities: Mapping[NativeId, int]) -> None:
        if self.is_away:
            raise Unavailable("qalter failed", "no answer")
        self.asked.append({str(native_id): priority for native_id, priority in sorted(priorities.items())})


def site(*order: str) -> Site:
    return Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "order": list(order)})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a cluster of one node, which is busy, and four jobs that wait for it as they came."""
    made = World.make(tmp_path / "home", spec=ONE_NODE, site=site("fifo"))
    made.extra["sim"] = Reordering(made.cluster)  # type: ignore[assignment]
    made.submit(job("busy", cpus=4, lasts_s=7200, walltime_s=14400))
    made.tick()
    for number in range(4):
        made.pass_time(60)
        made.submit(job(f"w{number}", cpus=4, lasts_s=600, importance=float(number == 2)))
        made.tick()
    return made


def queue(world: World) -> Reordering:
    found = world.extra["sim"]
    assert isinstance(found, Reordering)
    return found


def native(world: World, name: str) -> str:
    return str(world.attempts(name)[-1].native_id)


def test_queue_that_is_in_order_costs_no_call(world: World) -> None:
    world.tick()

    assert queue(world).asked == []


def test_change_of_the_rules_moves_jobs_in_the_queue_once(world: World) -> None:
    world.site = site("importance", "fifo")

    reports = [world.tick() for _ in range(3)]

    # the others stay where their class has put them: the important one goes before them all
    assert queue(world).asked == [{native(world, "w2"): 4}]
    assert [report.reordered for report in reports] == [(world.attempts("w2")[-1].id,), (), ()]
    assert_sound(world)


def test_jobs_that_were_asked_for_side_by_side_are_in_order_however_they_came(world: World) -> None:
    wanted = [replace(world.attempts("w0")[0], id=AttemptId(f"t{number}.1")) for number in range(12)]
    came = [wanted[number] for number in (1, 2, 0, 3, 5, 4, 6, 10, 7, 8, 9, 11)]

    assert as_asked(came, wanted, 4) == wanted
    assert as_asked(came, wanted, 1) == came


def test_job_that_more_were_asked_for_after_than_may_run_beside_it_is_out_of_order(world: World) -> None:
    wanted = [replace(world.attempts("w0")[0], id=AttemptId(f"t{number}.1")) for number in range(12)]
    came = [wanted[11], *wanted[:11]]

    assert as_asked(came, wanted, 4) == [*wanted[:3], wanted[11], *wanted[3:11]]


def test_jobs_that_were_asked_for_side_by_side_follow_a_later_change_of_the_rules(tmp_path: Path) -> None:
    world = World.make(tmp_path / "home", spec=ONE_NODE, site=site("fifo"))
    world.extra["sim"] = Reordering(world.cluster)  # type: ignore[assignment]
    world.submit(job("busy", cpus=4, lasts_s=7200, walltime_s=14400))
    world.tick()
    world.submit(*(job(f"w{number}", cpus=4, importance=float(number == 0)) for number in range(4)))
    world.tick()
    before = list(queue(world).asked)

    world.site = site("importance", "fifo")
    for _ in range(3):
        world.tick()

    assert len({world.attempts(f"w{number}")[0].submitted_at for number in range(4)}) == 1
    assert (before, queue(world).asked) == ([], [{native(world, "w0"): 4}])


def test_job_of_another_tick_was_not_asked_for_side_by_side(world: World) -> None:
    first, second = (world.attempts(name)[0] for name in ("w0", "w1"))

    assert as_asked([first, second], [second, first], 4) == [first, second]


@pytest.mark.parametrize("form", ["7_{0}.t3.1+t0.1", "7[{0}].server+t0.1", "{0}.t3.1", "{0}.server"])
def test_elements_of_an_array_came_in_the_order_of_their_numbers(world: World, form: str) -> None:
    one = world.attempts("w0")[0]
    elements = [replace(one, native_id=NativeId(form.format(number))) for number in range(120)]
    as_text = sorted(elements, key=lambda attempt: str(attempt.native_id))

    assert as_text != elements
    assert sorted(as_text, key=arrival) == elements


def test_manager_that_does_not_hear_is_asked_again(world: World) -> None:
    world.site = site("importance", "fifo")
    queue(world).is_away = True
    report = world.tick()
    queue(world).is_away = False
    world.pass_time(600)

    world.tick()

    assert "sim" in report.unreachable
    assert report.reordered == ()
    assert len(queue(world).asked) == 1


def test_loss_of_the_file_of_places_costs_a_call_and_no_more(world: World) -> None:
    world.site = site("importance", "fifo")
    world.tick()
    Path(layout.queue_places(world.home)).write_text("{torn")

    world.tick()
    world.tick()

    assert len(queue(world).asked) == 2
    assert queue(world).asked[0] == queue(world).asked[1]


def test_jobs_that_were_asked_to_leave_are_not_moved(world: World) -> None:
    world.site = site("importance", "fifo")
    with world.workspace().writer() as writer:
        attempts = [world.attempts("w2")[-1].id]
        writer.apply([CancelSent(attempt=one, reason=because(ReasonCode.HELD)) for one in attempts])

    world.tick()

    assert queue(world).asked == []
