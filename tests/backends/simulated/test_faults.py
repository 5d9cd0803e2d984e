from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.simulated.backend import Fate
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Gone, NativeState, NodeState, Unreachable
from elisa.model.states import EndReason
from tests.backends.simulated.conftest import World
from tests.backends.worlds import START

Make = Callable[..., World]
NODES = {"nodes": {"n": {"count": 4, "cpus": 4}}}


@pytest.mark.parametrize(
    ("fate", "error", "found_now", "found_later"),
    [
        (Fate.ACCEPTED, None, True, True),
        (Fate.ACCEPT_LOST, SubmitUncertain, True, True),
        (Fate.ACCEPT_LATE, SubmitUncertain, False, True),
        (Fate.LOST, SubmitUncertain, False, False),
        (Fate.REJECTED, Rejected, False, False),
        (Fate.BUSY, Unavailable, False, False),
    ],
)
def test_a_submission_can_go_wrong_in_every_way(
    fate: Fate, error: type[Exception] | None, *, found_now: bool, found_later: bool, make: Make
) -> None:
    world = make(**NODES, faults={"answers": {"late": "2m"}})
    world.backend.fail_submit(fate)
    if error is None:
        world.backend.submit(world.request("job"))
    else:
        with pytest.raises(error):
            world.backend.submit(world.request("job"))

    tag = attempt("job")
    assert bool(world.backend.find([tag]).ids[tag]) is found_now
    world.clock.advance(120)
    assert bool(world.backend.find([tag]).ids[tag]) is found_later
    # The next one is well again.
    assert world.backend.submit(world.request("next"))


def test_an_outage_answers_nothing_and_changes_nothing(make: Make) -> None:
    world = make(**NODES)
    native_id = world.backend.submit(world.request("job", seconds=100))
    world.backend.fail_answers(60)

    assert isinstance(world.backend.poll([native_id]), Unreachable)
    assert world.backend.cancel([native_id]) == {native_id: CancelOutcome.FAILED}
    for call in (
        world.backend.cluster,
        lambda: world.backend.find([]),
        lambda: world.backend.submit(world.request("b")),
    ):
        with pytest.raises(Unavailable):
            call()
    world.clock.advance(100)
    seen = world.seen(native_id)
    assert (seen.end_reason, seen.ended_at) == (EndReason.COMPLETED, START + timedelta(seconds=100))


def test_faults_strike_as_often_as_they_were_asked_for_and_always_at_the_same_moments(make: Make) -> None:
    answers = {"accept_lost": 0.1, "accept_late": 0.1, "lost": 0.1, "reject": 0.1, "busy": 0.1, "unreachable": 0.2}
    faults = {"node_down_every": "2h", "node_down_for": "1h", "preempt_every": "1h", "outage_every": "10h", "slow": 0.3}

    def history() -> list[str]:
        world = make(**NODES, faults={**faults, "answers": answers}, purge_after="100d", seed=3)
        said = []
        for number in range(1, 201):
            world.clock.advance(600)
            try:
                said.append(world.backend.submit(world.request("job", number, seconds=3000)))
            except (Rejected, Unavailable, SubmitUncertain) as err:
                said.append(type(err).__name__)
            said.append(str(world.backend.poll(said[-1:])))
        return said

    first = history()

    assert first == history()
    assert 10 < sum(line == "SubmitUncertain" for line in first) < 120
    assert 5 < sum(line == "Rejected" for line in first) < 45
    assert 20 < sum(line.startswith("Unreachable") for line in first) < 120


def test_nodes_break_in_numbers_and_are_mended(make: Make) -> None:
    world = make(**NODES, faults={"node_down_every": "1h", "node_down_for": "30m", "nodes_at_once": 4})
    world.backend.submit(world.request("job", seconds=10**6))
    counts = set()
    for _ in range(100):
        world.clock.advance(600)
        counts.add(sum(node.state is NodeState.DOWN for node in world.backend.cluster().nodes))

    assert 0 in counts
    assert max(counts) > 1


def test_an_outage_comes_by_itself(make: Make) -> None:
    world = make(**NODES, faults={"outage_every": "1h", "outage_for": "20m"})
    answers = []
    for _ in range(200):
        world.clock.advance(300)
        answers.append(isinstance(world.backend.poll([]), Answered))

    assert {True, False} == set(answers)


def test_a_slow_job_takes_its_factor_longer(make: Make) -> None:
    world = make(**NODES, faults={"slow": 1.0, "slow_factor": 4})
    (seen,) = world.run_to_end(world.backend.submit(world.request("slow", seconds=100)))

    assert seen.ended_at == START + timedelta(seconds=400)


def test_a_preemption_hits_running_jobs(make: Make) -> None:
    world = make(**NODES, faults={"preempt_every": "10m"})
    (seen,) = world.run_to_end(world.backend.submit(world.request("victim", seconds=10**6)))

    assert seen.end_reason is EndReason.PREEMPTED


def test_a_listing_can_leave_jobs_out(make: Make) -> None:
    world = make(**NODES)
    one, two = (world.backend.submit(world.request(name)) for name in ("one", "two"))
    world.backend.hide(one)
    poll = world.backend.poll([one, two])

    assert isinstance(poll, Answered)
    assert poll.observations[one] == Gone(native_id=one)
    assert world.backend.find([attempt("one")]).ids == {attempt("one"): ()}
    world.backend.hide()
    assert world.seen(one).state is world.seen(two).state is NativeState.RUNNING


def test_listings_leave_jobs_out_at_the_rate_asked_for(make: Make) -> None:
    world = make(**NODES, faults={"answers": {"partial": 0.3}})
    native_id = world.backend.submit(world.request("job", seconds=10**6))
    missing = 0
    for _ in range(200):
        world.clock.advance(60)
        poll = world.backend.poll([native_id])
        assert isinstance(poll, Answered)
        missing += isinstance(poll.observations[native_id], Gone)

    assert 30 < missing < 90


def test_a_forgotten_job_is_gone_with_all_it_held(make: Make) -> None:
    world = make(nodes={"n": {"cpus": 4}})
    running = world.backend.submit(world.request("running", resources={"cpus_per_task": 4}))
    queued = world.backend.submit(world.request("queued", resources={"cpus_per_task": 4}))
    world.backend.forget(running, NativeId("never there"))

    assert world.backend.poll([running]) == Answered(observations={running: Gone(native_id=running)})
    assert world.seen(queued).state is NativeState.RUNNING
