from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import Fate, SimulatedBackend
from elisa.engine.advance import Evidence, with_progress
from elisa.engine.commands import cancel
from elisa.engine.files import OsFiles
from elisa.engine.plan import preview
from elisa.engine.spool import SpoolNews
from elisa.engine.tick import tick
from elisa.model import layout
from elisa.model.changes import MetricSeen
from elisa.model.errors import ExitCode, StoreDamaged, StoreError
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import CancelOutcome
from elisa.model.pipeline import OnUnmet, RetryPolicy
from elisa.model.reasons import ReasonCode
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.policies.evidence import listen
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import after, job
from tests.reliability.world import START, World

READY, ACTIVE, SUCCEEDED, FAILED = TaskState.READY, TaskState.ACTIVE, TaskState.SUCCEEDED, TaskState.FAILED


def notes(world: World) -> dict[str, str]:
    """Return what `elisa status` notes beside each task that does not run."""
    with Reader.open(world.home) as reader:
        shown = read_status(reader, world.clock.now(), everything=True).tasks
    return {task.row.name: task.note for task in shown if task.row.state is not ACTIVE}


def test_a_ready_task_is_submitted_with_its_instructions(world: World) -> None:
    world.submit(job("a"))

    report = world.tick()

    [attempt] = world.attempts("a")
    assert report.submitted == (attempt.id,)
    assert (attempt.state, attempt.native_id) == (AttemptState.SUBMITTED, "1")
    assert layout.job_file(world.home, attempt.id).stat().st_mode & 0o777 == 0o600


def test_a_chain_runs_to_its_end_and_each_link_waits_for_the_one_before(world: World) -> None:
    world.submit(job("a"), job("b", after("a")))

    world.run()

    assert world.states() == {"a": SUCCEEDED, "b": SUCCEEDED}
    [first], [second] = world.attempts("a"), world.attempts("b")
    assert first.ended_at is not None
    assert second.intended_at >= first.ended_at


def test_a_task_that_needs_a_failed_one_is_skipped_in_the_same_tick(world: World) -> None:
    world.submit(
        job("a", fails={"exit_code": 1, "at": 0.5, "times": 9}, retry=RetryPolicy(limit=0)),
        job("b", after("a")),
        job("c", after("b")),
    )

    world.run()

    assert world.states() == {"a": FAILED, "b": TaskState.SKIPPED, "c": TaskState.SKIPPED}


def test_a_rejected_request_ends_the_attempt_with_the_managers_words(world: World) -> None:
    world.cluster.fail_submit(Fate.REJECTED)
    world.submit(job("a"))

    report = world.tick()

    [attempt] = world.attempts("a")
    assert report.rejected == (attempt.id,)
    assert attempt.end is not None
    assert attempt.end.reason is EndReason.REJECTED
    assert "Invalid account or partition" in attempt.end.detail
    assert world.states() == {"a": FAILED}
    assert notes(world) == {"a": f"rejected: {attempt.end.detail}"}


def test_a_full_manager_gets_nothing_more_in_this_tick_and_tasks_stay_ready(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPTED, Fate.BUSY)
    world.submit(*(job(name) for name in "abc"))

    report = world.tick()

    assert len(report.submitted) == 1
    assert len(report.withdrawn) == 2
    assert sorted(world.states().values()) == [ACTIVE, READY, READY]
    assert report.exit_code is ExitCode.DONE
    assert len(world.recorder.accepted) == 1
    assert [note.partition(":")[0] for note in notes(world).values()].count("not submitted") == 2
    assert_sound(world)


def test_a_manager_that_stays_full_is_asked_less_and_less(world: World) -> None:
    world.cluster.fail_submit(*[Fate.BUSY] * 50)
    world.submit(job("a"))
    for _ in range(60):
        world.tick()
        world.pass_time(1)

    assert len(world.attempts("a")) < 10


def test_a_lost_answer_leaves_the_attempt_intended_and_the_exit_is_not_zero(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST)
    world.submit(job("a"), job("b"))

    report = world.tick()

    [attempt] = [a for name in "ab" for a in world.attempts(name) if a.state is AttemptState.INTENDED]
    assert report.unsettled == (attempt.id,)
    assert report.exit_code is ExitCode.UNREACHABLE
    assert len(world.recorder.accepted) == 1


def test_an_accepted_job_whose_answer_was_lost_is_found_by_its_tag(world: World) -> None:
    world.cluster.fail_submit(Fate.ACCEPT_LOST)
    world.submit(job("a"))
    world.tick()

    report = world.tick()

    [attempt] = world.attempts("a")
    assert attempt.native_id == "1"
    assert report.unsettled == ()
    assert len(world.recorder.accepted) == 1


def test_a_lost_submission_is_repeated_after_grace_and_three_listings(world: World) -> None:
    world.cluster.fail_submit(Fate.LOST)
    world.submit(job("a"))

    world.run()

    first, second = world.attempts("a")
    assert first.end is not None
    assert (first.state, first.end.reason) == (AttemptState.LOST, EndReason.LOST)
    assert (second.intended_at - first.intended_at).total_seconds() >= 120
    assert world.tasks()["a"].failures == 0


def test_nothing_is_submitted_where_nobody_answers(world: World) -> None:
    world.submit(job("a"))
    world.cluster.fail_answers(60)

    report = world.tick()

    assert world.states() == {"a": READY}
    assert list(report.unreachable) == ["sim"]
    assert report.exit_code is ExitCode.UNREACHABLE
    with Reader.open(world.home) as reader:
        verdict = reader.verdict(world.tasks()["a"].id)
        told = read_status(reader, world.clock.now()).warning
    assert verdict is not None
    assert verdict.code == ReasonCode.BACKEND_UNREACHABLE
    assert told.startswith(f"no answer at the last tick from sim: {report.unreachable['sim']}; nothing is concluded")


def test_a_running_job_is_cancelled_once_and_its_task_is_cancelled(world: World) -> None:
    world.submit(job("a", lasts_s=3600))
    world.tick()
    world.pass_time(60)

    cancel(world.workspace(), [world.tasks()["a"].id])
    reports = [world.tick() for _ in range(3)]
    world.run()

    assert [len(report.stopped) for report in reports] == [1, 0, 0]
    assert world.states() == {"a": TaskState.CANCELLED}


def test_a_job_that_does_not_hear_a_cancel_is_asked_again_later(world: World) -> None:
    world.submit(job("a", lasts_s=36000, walltime_s=40000))
    world.tick()
    world.pass_time(60)
    cancel(world.workspace(), [world.tasks()["a"].id])
    deaf = Deaf(world.cluster)
    world.extra["sim"] = deaf

    for _ in range(25):
        world.tick()
        world.pass_time(60)

    assert deaf.asked == [60, 720, 1380]  # ten minutes and its grace later, as the ticks come


class Deaf:
    """A manager that takes note of a wish to cancel and does nothing."""

    def __init__(self, inner: SimulatedBackend) -> None:
        self.inner = inner
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def cancel(self, ids: list[NativeId]) -> dict[NativeId, CancelOutcome]:
        self.asked.append(int((self.inner._clock.now() - START).total_seconds()))
        return dict.fromkeys(ids, CancelOutcome.ASKED)


def test_a_task_of_an_expansion_is_made_for_each_item(world: World) -> None:
    world.submit(
        job("list", leaves={"items": [1, 2]}), job("each", after("list"), foreach="list"), job("all", after("each"))
    )

    world.run()

    assert world.states() == dict.fromkeys(("list", "each", "each-item=1", "each-item=2", "all"), SUCCEEDED)


@pytest.mark.parametrize(
    ("leaves", "words"), [({"items": {"a": 1}}, "expected a JSON list"), ({"other": []}, "left no items")]
)
def test_a_list_that_is_none_fails_its_template(world: World, leaves: dict[str, object], words: str) -> None:
    world.submit(job("list", leaves=leaves), job("each", after("list"), foreach="list"))

    world.run()

    assert world.states() == {"list": SUCCEEDED, "each": FAILED}
    with Reader.open(world.home) as reader:
        told = [row.facts for row in reader.audit(subject=world.tasks()["each"].id)]
    assert words in str(told[-1])


def test_an_empty_list_makes_no_tasks_and_its_dependents_go_on(world: World) -> None:
    world.submit(
        job("list", leaves={"items": []}), job("each", after("list"), foreach="list"), job("all", after("each"))
    )

    world.run()

    assert world.states() == {"list": SUCCEEDED, "each": SUCCEEDED, "all": SUCCEEDED}


def test_a_deep_chain_of_skips_is_settled_in_one_tick(world: World) -> None:
    chain = [job(f"t{n}", after(f"t{n - 1}")) for n in range(1, 40)]
    world.submit(job("t0", fails={"exit_code": 1, "at": 0.5, "times": 9}, retry=RetryPolicy(limit=0)), *chain)
    world.tick()
    world.pass_time(300)

    report = world.tick()

    assert report.moved == 39
    assert world.is_over()


def test_a_need_that_times_out_lets_its_task_run(world: World) -> None:
    world.submit(job("slow", lasts_s=3000), job("b", after("slow", timeout_s=300, on_unmet=OnUnmet.RUN)))

    for _ in range(7):
        world.tick()
        world.pass_time(60)

    assert world.states() == {"slow": ACTIVE, "b": ACTIVE}


def test_the_plan_shows_what_the_next_tick_does_and_changes_nothing(world: World) -> None:
    world.submit(job("a"), job("b", after("a")))
    with Reader.open(world.home) as reader:
        before = reader.revision()

    seen = preview(world.workspace())

    task = world.tasks()["a"].id
    assert [decision.task for decision in seen.plan.decisions] == [task]  # type: ignore[union-attr]
    assert seen.names[task] == "a"
    with Reader.open(world.home) as reader:
        assert reader.revision() == before
    assert world.recorder.accepted == []


def test_an_unmounted_spool_stops_everything_with_an_alarm(world: World) -> None:
    world.submit(job("a"))
    layout.spool_sentinel(world.home).unlink()

    report = world.tick()

    assert report.exit_code is ExitCode.UNREACHABLE
    assert "not mounted" in report.alarms[0]
    assert world.states() == {"a": READY}


class FullDisk(OsFiles):
    def write_all(self, contents: Mapping[Path, bytes]) -> None:
        for path in contents:
            if path.name == "job.json":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        super().write_all(contents)


def test_a_full_disk_submits_nothing_and_says_so(world: World) -> None:
    world.submit(job("a"), job("b"))
    ours = world.workspace()

    with pytest.raises(StoreError) as caught:
        tick(replace(ours, files=FullDisk()))

    assert "No space left on device" in caught.value.why
    assert world.recorder.accepted == []
    assert world.states() == {"a": READY, "b": READY}
    world.run()
    assert world.states() == {"a": SUCCEEDED, "b": SUCCEEDED}


def test_a_damaged_database_submits_nothing(world: World) -> None:
    world.submit(job("a"))
    path = layout.database(world.home)
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)

    with pytest.raises(StoreDamaged):
        world.tick()

    assert world.recorder.accepted == []


class Broken:
    """A backend with a bug in it."""

    def __init__(self, inner: SimulatedBackend, *broken: str) -> None:
        self.inner = inner
        self.broken = broken

    def __getattr__(self, name: str) -> object:
        if name in self.broken:
            raise RuntimeError(f"a bug in {name}")
        return getattr(self.inner, name)


@pytest.mark.parametrize("name", ["poll", "cluster", "submit", "find", "cancel"])
def test_a_bug_in_a_backend_is_uncertainty_and_no_more(world: World, name: str) -> None:
    world.submit(job("a", lasts_s=600))
    world.tick() if name in {"poll", "cancel"} else None
    if name == "cancel":
        cancel(world.workspace(), [world.tasks()["a"].id])
    if name == "find":
        world.cluster.fail_submit(Fate.ACCEPT_LOST)
        world.tick()
    world.extra["sim"] = Broken(world.cluster, name)

    report = world.tick()

    assert report.exit_code is ExitCode.UNREACHABLE or name == "cancel"
    world.extra.clear()
    world.run()
    assert len(world.recorder.accepted) == 1
    assert_sound(world)


def test_a_backend_that_left_the_configuration_keeps_its_jobs_in_doubt(world: World) -> None:
    world.submit(job("a"))
    world.tick()
    ours = world.workspace()

    report = tick(replace(ours, backends={}))

    assert report.unreachable == {"sim": "it is not configured any more, but has live jobs"}
    assert world.states() == {"a": ACTIVE}


def test_an_attempt_that_was_released_in_a_lost_life_is_not_submitted_again(world: World) -> None:
    """A database restored from an old copy knows less than the spool: what it does not know may still run."""
    world.submit(job("a"))
    seen = AttemptId(f"{world.tasks()['a'].id}.1")
    OsFiles().make_folder(layout.spool_dir(world.home, seen))
    OsFiles().write(layout.job_file(world.home, seen), b"{}")

    report = world.tick()
    world.run()

    assert report.unsettled == (seen,)
    assert world.recorder.accepted == [AttemptId(f"{world.tasks()['a'].id}.2")]
    assert world.states() == {"a": SUCCEEDED}


def test_a_task_finished_by_an_attempt_that_was_given_up_is_finished(world: World) -> None:
    """The first attempt is lost to the manager and to us, finishes all the same, and its successor is turned away."""
    world.submit(job("a", lasts_s=400))
    world.tick()
    world.pass_time(30)
    world.tick()
    first = world.attempts("a")[0]
    assert first.native_id is not None
    done = layout.done_mark(world.home, first.task)
    done.write_text(json.dumps({"attempt": first.id, "incarnation": 0, "exited": {"exit_code": 0}}))
    world.cluster.forget(first.native_id)

    world.run()

    assert world.states() == {"a": SUCCEEDED}
    assert len(world.attempts("a")) == 2
    with Reader.open(world.home) as reader:
        moves = [row for row in reader.audit(subject=first.task) if row.kind == "task.moved"]
    assert moves[-1].facts["reason"] == ReasonCode.RAN_ELSEWHERE


def test_an_unknown_poll_answer_is_kept_to_what_it_says(world: World) -> None:
    """A tick over a job that is still queued changes nothing about it."""
    world.submit(*(job(f"t{n}", cpus=4) for n in range(3)))
    world.tick()
    world.tick()

    states = [attempt.state for name in ("t0", "t1", "t2") for attempt in world.attempts(name)]
    assert sorted(states) == [AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.RUNNING]


@pytest.mark.parametrize("is_told_again", [False, True])
def test_where_a_job_failed_does_not_depend_on_where_a_tick_cuts_its_words_in_two(
    world: World, *, is_told_again: bool
) -> None:
    world.submit(job("a"))
    world.tick()
    [attempt] = world.attempts("a")
    with world.workspace().writer() as writer:
        writer.apply([MetricSeen(attempt=attempt.id, name="progress", value=0.7, step=step) for step in (3, 7)])

        def event(kind: EventKind, seq: int, **data: int) -> RuntimeEvent:
            at = world.clock.now()
            return RuntimeEvent(attempt=attempt.id, incarnation=0, rank=0, seq=seq, at=at, kind=kind, data=data)

        exited, newer = event(EventKind.EXITED, 9, exit_code=3), event(EventKind.PROGRESS, 8, step=8)
        news = SpoolNews(events=(newer, exited) if is_told_again else (exited,))
        evidence = Evidence(now=world.clock.now(), live=(attempt,), news=news, polls={}, found={})
        heard = listen(with_progress(writer, evidence).news.events)

    assert (heard.exited, heard.step) == (exited, 8 if is_told_again else 7)
