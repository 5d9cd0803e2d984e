from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.sink import FileSpool
from elisa.model import layout
from elisa.model.errors import Rejected
from elisa.model.ids import task_of
from elisa.model.states import EndReason
from elisa.runtime.eventfile import read_records
from tests.backends.simulated.conftest import HOME, KEY, World

Make = Callable[..., World]
NODES = {"nodes": {"n": {"cpus": 4, "memory": "8GiB"}}}
SAVES = {"checkpoint": {"interval_s": 100}}


def _steps(world: World, name: str, number: int = 1) -> list[Any]:
    return [record.data["step"] for record in world.events(name, number) if record.kind == "checkpoint"]


def test_a_job_says_what_a_real_agent_would(make: Make) -> None:
    world = make(**NODES, heartbeat="150s")
    outputs = [{"name": "model", "path": "/out/model"}, {"name": "items", "path": "/out/items.json"}]
    request = world.agent_request(
        "train",
        job={**SAVES, "outputs": outputs},
        sim_duration=250,
        sim_steps=10,
        sim_metrics={"loss": [2.0, 1.0], "accuracy": 0.9},
        sim_outputs={"items": [1, 2]},
    )
    native_id = world.backend.submit(request)
    world.run_to_end(native_id)
    said = [(record.kind, record.at - world.events("train")[0].at) for record in world.events("train")]

    report = ["progress", "metric", "metric"]
    assert [kind for kind, _ in said] == [
        "claimed", "started", "checkpoint", *report, "heartbeat", "checkpoint", *report,
        "output", "output", *report, "exited",
    ]  # fmt: skip
    assert [at for kind, at in said if kind in {"checkpoint", "heartbeat", "exited"}] == [100, 150, 200, 250]
    assert _steps(world, "train") == [4, 8]
    losses = [r.data["value"] for r in world.events("train") if r.data.get("name") == "loss"]
    assert losses == pytest.approx([1.6, 1.2, 1.0])
    assert world.events("train")[0].data == {"host": "n0001", "pid": 1, "native_id": native_id}
    assert world.events("train")[-1].data["exit_code"] == 0
    assert [record.seq for record in world.events("train")] == list(range(len(said)))
    assert world.spool.files[Path("/out/items.json")] == b"[1, 2]"


def test_on_more_nodes_work_that_can_be_shared_out_takes_less(make: Make) -> None:
    world = make(nodes={"n": {"count": 4, "cpus": 4}})
    request = world.agent_request("train", job={"nodes": 4}, resources={"nodes": 4}, sim_duration=1000, sim_nodes=2)
    (seen,) = world.run_to_end(world.backend.submit(request))

    assert seen.started_at is not None
    assert seen.ended_at is not None
    assert (seen.ended_at - seen.started_at).total_seconds() == 500
    assert [r.data["step"] for r in world.events("train") if r.kind == "progress"][-1] == 1000


def test_work_since_the_last_checkpoint_is_lost_with_a_node_and_the_rest_is_resumed(make: Make) -> None:
    world = make(**NODES)
    native_id = world.backend.submit(world.agent_request("train", job=SAVES, sim_duration=1000))
    world.clock.advance(250)
    world.backend.fail_nodes("n0001", for_s=1)
    world.clock.advance(1)
    resume = {"path": "/checkpoints/step-200", "step": _steps(world, "train")[-1]}
    again = world.backend.submit(world.agent_request("train", 2, job={**SAVES, "resume": resume}, sim_duration=1000))
    first, second = world.run_to_end(native_id, again)

    assert first.end_reason is EndReason.NODE_FAILURE
    assert world.kinds("train")[-1] != "exited"
    assert world.events("train", 2)[1].data["resumed_step"] == 200
    assert second.started_at is not None
    assert second.ended_at is not None
    assert (second.ended_at - second.started_at).total_seconds() == 800


@pytest.mark.parametrize("how", ["cancel", "preempt"])
def test_a_job_told_to_leave_saves_first(how: str, make: Make) -> None:
    world = make(**NODES)
    native_id = world.backend.submit(world.agent_request("train", job=SAVES, sim_duration=1000, grace_s=30.0))
    world.clock.advance(150)
    world.backend.cancel([native_id]) if how == "cancel" else world.backend.preempt(native_id)
    (seen,) = world.run_to_end(native_id)

    assert seen.end_reason is (EndReason.CANCELLED if how == "cancel" else EndReason.PREEMPTED)
    assert _steps(world, "train") == [100, 151]
    assert [kind for kind in world.kinds("train") if kind in {"stopping", "exited"}] == ["stopping", "exited"]


def test_a_save_that_takes_longer_than_the_grace_does_not_happen(make: Make) -> None:
    world = make(**NODES)
    request = world.agent_request("train", job=SAVES, sim_duration=1000, sim_save=50, grace_s=30.0)
    native_id = world.backend.submit(request)
    world.clock.advance(170)
    world.backend.cancel([native_id])
    world.run_to_end(native_id)

    # Saves take a third of the time: the first whole one is 150 s after the start, with 100 s of work.
    assert _steps(world, "train") == [100]


def test_a_time_limit_is_preceded_by_a_save_where_a_signal_was_asked_for(make: Make) -> None:
    world = make(**NODES)
    limit = {"walltime_s": 250}
    plain = world.backend.submit(world.agent_request("plain", job=SAVES, sim_duration=1000, resources=limit))
    warned = world.backend.submit(
        world.agent_request("warned", job=SAVES, sim_duration=1000, resources=limit, signal_lead_s=60)
    )
    ends = world.run_to_end(plain, warned)

    assert [end.end_reason for end in ends] == [EndReason.TIMEOUT] * 2
    assert (_steps(world, "plain"), _steps(world, "warned")) == ([100, 200], [100, 200, 250])


def test_a_failure_comes_as_often_as_it_was_asked_for(make: Make) -> None:
    world = make(**NODES)
    fail = {"at": 0.25, "exit_code": 7, "times": 2}
    ids = [
        world.backend.submit(world.agent_request("flaky", number, sim_duration=100, sim_fail=fail))
        for number in (1, 2, 3)
    ]
    ends = world.run_to_end(*ids)

    assert [(end.end_reason, end.exit_code) for end in ends] == [
        (EndReason.FAILED, 7), (EndReason.FAILED, 7), (EndReason.COMPLETED, 0),
    ]  # fmt: skip
    assert world.events("flaky")[-1].data["exit_code"] == 7


def test_an_improbable_failure_and_a_signal(make: Make) -> None:
    world = make(**NODES)
    never = world.agent_request("never", sim_duration=10, sim_fail={"probability": 0.0})
    killed = world.agent_request("killed", sim_duration=10, sim_fail={"signal": 11})
    ends = world.run_to_end(world.backend.submit(never), world.backend.submit(killed))

    assert [(end.end_reason, end.signal) for end in ends] == [(EndReason.COMPLETED, None), (EndReason.FAILED, 11)]


def test_a_second_job_for_an_attempt_is_refused_its_claim(make: Make) -> None:
    world = make(**NODES)
    first = world.backend.submit(world.agent_request("twice", sim_duration=100))
    second = world.backend.submit(world.agent_request("twice", sim_duration=100))
    first_end, second_end = world.run_to_end(first, second)

    assert (first_end.exit_code, second_end.exit_code) == (0, 75)
    assert world.kinds("twice").count("refused") == 1
    assert world.backend.find([attempt("twice")]).ids == {attempt("twice"): (first, second)}


def test_an_attempt_behind_the_fence_does_not_start(make: Make) -> None:
    world = make(**NODES)
    request = world.agent_request("fenced", sim_duration=100)
    world.spool.files[layout.fence(HOME, task_of(attempt("fenced")))] = b"2\n"
    (seen,) = world.run_to_end(world.backend.submit(request))

    assert seen.exit_code == 75
    assert world.events("fenced")[-1].data["why"] == "attempt 2 was allowed after this one"


def test_a_finished_task_does_not_run_again(make: Make) -> None:
    world = make(**NODES)
    world.run_to_end(world.backend.submit(world.agent_request("done", sim_duration=10)))
    (seen,) = world.run_to_end(world.backend.submit(world.agent_request("done", 2, sim_duration=10)))

    assert seen.exit_code == 75
    assert world.events("done", 2)[-1].data["why"] == "the task is done"


def test_a_requeued_job_speaks_as_a_new_incarnation_from_its_checkpoint(make: Make) -> None:
    world = make(**NODES, requeue=True)
    native_id = world.backend.submit(world.agent_request("again", job=SAVES, sim_duration=1000))
    world.clock.advance(250)
    world.backend.fail_nodes("n0001", for_s=1)
    (seen,) = world.run_to_end(native_id)
    started = [(r.incarnation, r.data["resumed_step"]) for r in world.events("again") if r.kind == "started"]

    assert started == [(0, None), (1, 200)]
    assert (seen.end_reason, seen.restarts) == (EndReason.COMPLETED, 1)


def test_the_duration_of_a_task_does_not_depend_on_the_attempt_or_the_order(make: Make) -> None:
    lengths = []
    for names in (("a", "b"), ("b", "a")):
        world = make(**NODES, seed=5)
        ids = {
            name: world.backend.submit(world.agent_request(name, sim_duration={"uniform": [10, 1000]}))
            for name in names
        }
        ends = dict(zip(names, world.run_to_end(*ids.values()), strict=True))
        lengths.append(
            {name: end.ended_at - end.started_at for name, end in ends.items() if end.ended_at and end.started_at}
        )

    assert lengths[0] == lengths[1]
    assert lengths[0]["a"] != lengths[0]["b"]


def test_a_call_leaves_its_result(make: Make) -> None:
    world = make(**NODES)
    call = {"file": "f.py", "function": "f", "arguments": {}, "results": {}, "result_path": "/out/result.json"}
    request = world.agent_request("call", job={"argv": None, "call": call}, sim_duration=1, sim_result=[3])
    world.run_to_end(world.backend.submit(request))

    assert world.spool.files[Path("/out/result.json")] == b"[3]"


@pytest.mark.parametrize(
    "told",
    [
        {"sim_duration": "soon"},
        {"sim_duration": {"poisson": 3}},
        {"sim_memory": "lots"},
        {"sim_fail": {"exit_code": "x"}},
        {"sim_metrics": {"a": "b"}},
        {"sim_steps": []},
    ],
)
def test_metadata_that_cannot_be_understood_is_a_rejection_with_words(told: dict[str, Any], make: Make) -> None:
    world = make(**NODES)
    with pytest.raises(Rejected) as caught:
        world.backend.submit(world.agent_request("odd", **told))

    assert caught.value.why


def test_missing_instructions_are_a_rejection(make: Make) -> None:
    world = make(**NODES)
    request = world.agent_request("lost")
    world.spool.files.clear()
    with pytest.raises(Rejected):
        world.backend.submit(request)


def test_events_in_real_files_are_read_as_a_real_agent_s(make: Make, tmp_path: Path) -> None:
    world = make(**NODES)
    request = world.agent_request("files", job={"home": str(tmp_path)}, sim_duration=10)
    path = layout.job_file(HOME, request.attempt)
    real = layout.job_file(tmp_path, request.attempt)
    real.parent.mkdir(parents=True)
    real.write_bytes(world.spool.files[path])
    request = type(request)(
        **{**{n: getattr(request, n) for n in request.__slots__}, "argv": ("x", "--job", str(real))}
    )
    backend = SimulatedBackend(world.spec, world.clock, sink=FileSpool())
    native_id = backend.submit(request)
    world.clock.advance(20)
    backend.poll([native_id])

    folder = layout.event_dir(tmp_path, request.attempt)
    assert [record.kind for record in read_records(str(folder), KEY)] == ["claimed", "started", "progress", "exited"]
    assert [file.stat().st_mode & 0o777 for file in folder.iterdir()] == [0o600]
    assert json.loads(layout.claim(tmp_path, request.attempt).read_bytes())["native_id"] == native_id
