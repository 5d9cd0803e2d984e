"""The backend over a PBS that goes wrong: nothing lost, nothing doubled, nothing concluded from silence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.registry import open_backend
from elisa.backends.under_test import BackendUnderTest
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import Answered, CancelOutcome, Gone, NativeState, NodeState, Seen, Unreachable
from elisa.model.ports import no_crash
from elisa.model.states import EndReason
from tests.backends.openpbs.parts import a_backend, a_world
from tests.backends.worlds import WallClock
from tests.fakes.openpbs.fake_openpbs import FakeOpenPbs


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeOpenPbs]:
    fake = FakeOpenPbs(tmp_path / "pbs")
    yield fake
    fake.stop()


@pytest.fixture
def world(fake: FakeOpenPbs, tmp_path: Path) -> BackendUnderTest:
    return a_world(tmp_path, fake)


def _number(native_id: NativeId) -> str:
    return native_id.partition(".")[0]


@pytest.mark.parametrize(
    ("kind", "error", "is_there"),
    [
        ("lose_answer", SubmitUncertain, True),
        ("lose_number", SubmitUncertain, True),
        ("die", SubmitUncertain, True),
        ("hang", SubmitUncertain, False),
        ("garbage", SubmitUncertain, False),
    ],
)
def test_a_lost_answer_is_uncertain_and_the_job_is_found_if_it_is_there(
    kind: str, error: type[Exception], is_there: object, fake: FakeOpenPbs, world: BackendUnderTest
) -> None:
    backend = a_backend(fake, submit_timeout_s=0.3 if kind == "hang" else 30.0)
    fake.fault("qsub", kind, words="Welcome to the cluster!\n")
    tag = attempt("lost")
    with pytest.raises(error):
        backend.submit(world.job(tag, "exit 0"))

    assert bool(backend.find([tag]).ids.get(tag, ())) is is_there
    assert len(fake.names()) == int(bool(is_there))


def test_an_answer_that_comes_after_all_is_found_when_it_has_come(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    tag = attempt("late")
    fake.fault("qsub", "late")
    with pytest.raises(SubmitUncertain):
        world.backend.submit(world.job(tag, "exit 0"))

    assert world.backend.find([tag]).ids.get(tag, ()) == ()
    fake.let_late_in()
    (native_id,) = world.backend.find([tag]).ids[tag]
    assert world.end_of(native_id).end_reason is EndReason.COMPLETED


def test_a_server_that_is_down_changes_nothing(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    native_id = world.backend.submit(world.job(attempt("outage"), "sleep 300"))
    world.wait_for(native_id, NativeState.RUNNING)
    fake.down()

    assert isinstance(world.backend.poll([native_id]), Unreachable)
    assert world.backend.cancel([native_id]) == {native_id: CancelOutcome.FAILED}
    calls: list[Callable[[], object]] = [
        world.backend.cluster,
        lambda: world.backend.find([attempt("outage")]),
        lambda: world.backend.submit(world.job(attempt("other"), "exit 0")),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    fake.down(is_down=False)
    assert world.observe(native_id) == world.wait_for(native_id, NativeState.RUNNING)
    assert len(fake.names()) == 1


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("hang", {}),
        ("garbage", {"words": "<html>502</html>"}),
        ("garbage", {"words": ""}),
        ("fail", {"words": "qstat: End of File", "status": 1}),
        ("fail", {"words": "Segmentation fault", "status": 139}),
    ],
)
def test_an_answer_that_is_none_is_no_news(
    kind: str, facts: dict[str, str | int], fake: FakeOpenPbs, world: BackendUnderTest
) -> None:
    native_id = world.backend.submit(world.job(attempt("noise"), "sleep 300"))
    backend = a_backend(fake, dialect="openpbs", query_timeout_s=1.0)
    fake.fault("qstat", kind, times=2, **facts)
    poll = backend.poll([native_id])

    said = poll.observations[native_id] if isinstance(poll, Answered) else None
    assert isinstance(poll, Unreachable) or (isinstance(said, Seen) and said.state is NativeState.UNKNOWN)


@pytest.mark.parametrize("kind", ["partial", "cut"])
def test_a_listing_that_breaks_off_ends_no_job(kind: str, fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    ids = [world.backend.submit(world.job(attempt("half", number), "sleep 300")) for number in (1, 2, 3, 4)]
    fake.fault("qstat", kind)
    poll = world.backend.poll(ids)

    states = (
        [seen.state for seen in poll.observations.values() if isinstance(seen, Seen)]
        if isinstance(poll, Answered)
        else []
    )
    assert NativeState.ENDED not in states


def test_an_id_that_was_given_to_another_job_is_gone(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    first = world.backend.submit(world.job(attempt("first"), "exit 0"))
    world.end_of(first)
    fake.forget(_number(first))
    fake.renumber(int(_number(first)))
    second = world.backend.submit(world.job(attempt("second"), "sleep 300"))

    assert _number(first) == _number(second)
    assert world.observe(first) == Gone(native_id=first)
    assert world.backend.cancel([first]) == {first: CancelOutcome.ALREADY_GONE}
    assert world.wait_for(second, NativeState.RUNNING).native_id == second


def test_without_history_a_finished_job_is_gone_and_a_live_one_is_seen(tmp_path: Path) -> None:
    fake = FakeOpenPbs(tmp_path / "forgetful", history=False)
    world = a_world(tmp_path, fake)
    short = world.backend.submit(world.job(attempt("short"), "exit 0"))
    long = world.backend.submit(world.job(attempt("long"), "sleep 300"))
    for _ in range(200):
        if isinstance(world.observe(short), Gone):
            break
        time.sleep(0.02)

    assert world.observe(short) == Gone(native_id=short)
    assert world.wait_for(long, NativeState.RUNNING).native_id == long
    assert world.backend.find([attempt("long")]).ids == {attempt("long"): (long,)}
    fake.stop()


def test_a_lost_node_is_told_from_a_failure(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    native_id = world.backend.submit(world.job(attempt("node"), "sleep 300"))
    world.wait_for(native_id, NativeState.RUNNING)
    fake.node("down")
    seen = world.end_of(native_id)

    # Submitted as not to be run again by PBS itself: elisa does that.
    assert (seen.end_reason, seen.exit_code, seen.signal) == (EndReason.NODE_FAILURE, None, None)
    assert [node.state for node in world.backend.cluster().nodes] == [NodeState.DOWN]


def test_a_deleted_job_is_cancelled_whatever_its_exit_status(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    ends = {}
    for number, script in enumerate(
        ("sleep 300", "trap 'exit 42' TERM; sleep 300 & wait", "trap '' TERM; sleep 300"), 1
    ):
        native_id = world.backend.submit(world.job(attempt("deleted", number), f"{script}; sleep 300"))
        world.wait_for(native_id, NativeState.RUNNING)
        time.sleep(0.2)
        world.backend.cancel([native_id])
        ends[script] = world.end_of(native_id).end_reason

    assert set(ends.values()) == {EndReason.CANCELLED}


def test_a_job_whose_predecessor_failed_never_ran(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    first = world.backend.submit(world.job(attempt("pred"), "exit 1"))
    second = world.backend.submit(replace(world.job(attempt("succ"), "exit 0"), after=(first,)))
    seen = world.end_of(second)

    assert (seen.end_reason, seen.started_at) == (EndReason.LOST, None)
    assert "never ran" in seen.detail


def test_a_successor_runs_when_its_predecessor_has_succeeded(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    first = world.backend.submit(world.job(attempt("pred"), "sleep 0.3"))
    second = world.backend.submit(replace(world.job(attempt("succ"), "exit 0"), after=(first,)))

    assert world.observe(second).native_id == second
    assert world.end_of(second).end_reason is EndReason.COMPLETED


@pytest.mark.parametrize(
    ("queue", "words"),
    [("nosuch", "Unknown queue"), ("short", "violates queue and/or server resource limits")],
)
def test_a_refusal_carries_the_server_s_words(queue: str, words: str, world: BackendUnderTest) -> None:
    request = replace(world.job(attempt("refused"), "exit 0"), partition=queue)
    request = replace(request, resources=replace(request.resources, walltime_s=3600))
    with pytest.raises(Rejected) as caught:
        world.backend.submit(request)

    assert words in caught.value.why


def test_the_names_of_jobs_fit_an_old_server(fake: FakeOpenPbs, world: BackendUnderTest) -> None:
    backend = a_backend(fake, name_limit=15)
    tag = attempt("short name")
    native_id = backend.submit(world.job(tag, "exit 0"))

    assert fake.names() == {"1": tag}
    assert backend.find([tag]).ids == {tag: (native_id,)}


def test_the_registry_opens_it(fake: FakeOpenPbs, tmp_path: Path) -> None:
    options = {"path": str(fake.bin)}
    backend = open_backend(
        "cluster",
        "pbs",
        options,
        home=tmp_path,
        instance="4f2a",
        clock=WallClock(),
        random=None,  # type: ignore[arg-type]
        crash=no_crash,
    )

    assert isinstance(backend, PbsBackend)
    assert [node.cpus for node in backend.cluster().nodes] == [32]
