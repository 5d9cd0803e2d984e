"""How long work took, what of it is saved, and which room was kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from elisa.model.changes import AttemptMoved, CheckpointSeen, Noted, PassedOver
from elisa.model.charge import Charge
from elisa.model.notes import DEADLINE_LOST, DEADLINE_REGAINED
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Elastic, Resources
from elisa.model.rows import FinishedWork, WorkName
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef, End
from elisa.store.writer import Writer
from tests.builders import NOW, AttemptBuilder, FakeClock, a_pipeline, a_task, an_attempt, intended, moved, pipeline_id

SAVED = CheckpointRef(path="/c/1", step=1, saved_at=NOW + timedelta(seconds=40))


def ran(attempt: AttemptBuilder, end: EndReason, began_s: float, run_s: float) -> AttemptMoved:
    return AttemptMoved(
        attempt=attempt.id,
        before=AttemptState.INTENDED,
        after=AttemptState.ENDED,
        reason=because(ReasonCode.SAID_BY_JOB),
        end=End(reason=end),
        started_at=NOW + timedelta(seconds=began_s),
        ended_at=NOW + timedelta(seconds=began_s + run_s),
    )


def interrupted(writer: Writer) -> AttemptBuilder:
    """Add a task whose first attempt was stopped after a minute, with 40 seconds of it saved; return the second attempt."""
    task, first = a_task("train").ready(), an_attempt("train")
    writer.apply((a_pipeline(task).added(), intended(first)))
    writer.apply((ran(first, EndReason.PREEMPTED, 0, 60), CheckpointSeen(attempt=first.id, checkpoint=SAVED)))
    writer.apply((moved(task, TaskState.ACTIVE, TaskState.READY, resume_from=SAVED),))
    return an_attempt("train", 2).having(resume_from=SAVED)


def test_work_that_went_on_from_a_checkpoint_counts_every_run(writer: Writer) -> None:
    second = interrupted(writer)
    writer.apply((intended(second),))
    writer.apply((ran(second, EndReason.COMPLETED, 100, 30),))

    assert writer.finished_work(NOW) == (
        FinishedWork(WorkName("nlp", "study", "train", "train"), 3600, 90.0, "", is_resumed=True),
    )
    assert writer.finished_work(NOW + timedelta(days=1)) == ()


def test_elastic_work_counts_as_what_it_would_take_on_its_fewest_nodes(writer: Writer) -> None:
    wide = Resources(nodes=4, elastic=Elastic(least=2, most=8))
    once, task = a_task("once").ready(), a_task("train").ready()
    alone = an_attempt("once").having(request=wide)
    first, second = an_attempt("train").having(request=wide), an_attempt("train", 2).having(resume_from=SAVED)
    writer.apply((a_pipeline(once, task).added(), intended(alone), intended(first)))
    writer.apply((ran(first, EndReason.CANCELLED, 0, 60), CheckpointSeen(attempt=first.id, checkpoint=SAVED)))
    writer.apply((moved(task, TaskState.ACTIVE, TaskState.READY, resume_from=SAVED),))
    saved = writer.saved_work([task.id])
    writer.apply((intended(second.having(request=replace(wide, nodes=2))),))
    writer.apply((ran(second, EndReason.COMPLETED, 100, 30), ran(alone, EndReason.COMPLETED, 0, 50)))

    assert saved == {task.id: 80.0}
    assert {work.name.task: work.work_s for work in writer.finished_work(NOW)} == {"once": 100.0, "train": 150.0}


def test_of_a_ready_task_the_saved_part_is_known_and_that_it_has_one(writer: Writer) -> None:
    second = interrupted(writer)

    assert writer.saved_work([second.task]) == {second.task: 40.0}
    assert [row.has_saved for row in writer.ready_work()] == [True]
    assert writer.ready_work(saved_only=True) == writer.ready_work()
    assert writer.work_of(second.task) == writer.ready_work()[0]


def test_a_task_that_is_over_has_no_work_left(writer: Writer) -> None:
    task = a_task("train").being(TaskState.SUCCEEDED)
    writer.apply((a_pipeline(task).added(),))

    assert writer.work_of(task.id) is None
    assert writer.active_work() == ()


def test_a_lost_deadline_counts_until_it_is_regained(writer: Writer, clock: FakeClock) -> None:
    lost, found = pipeline_id("lost"), pipeline_id("found")
    for subject, what in ((lost, DEADLINE_LOST), (found, DEADLINE_LOST), (found, DEADLINE_REGAINED)):
        writer.apply((Noted(subject=subject, what=what, facts={}),))

    assert writer.lost_deadlines([lost, found]) == {lost: clock.now()}


def test_only_room_that_was_kept_for_one_task_is_a_promise(writer: Writer) -> None:
    kept = {"starts_at": "2026-03-01T12:10:00+00:00", "nodes": "n1,n2"}
    verdicts: dict[str, Reason] = {
        "kept": because(ReasonCode.NO_ROOM, **kept),
        "passed": because(ReasonCode.RESERVED_FOR_HIGHER, **kept),
        "behind": because(ReasonCode.RESERVED_FOR_HIGHER, starts_at=kept["starts_at"]),
        "closed": because(ReasonCode.CLOSED, **kept),
    }
    tasks = {name: a_task(name).ready() for name in verdicts}
    ganged = a_task("ganged").ready().in_gang("g")
    writer.apply((a_pipeline(*tasks.values(), ganged).added(),))
    writer.apply([PassedOver(task=tasks[name].id, reason=reason) for name, reason in verdicts.items()])
    writer.apply((PassedOver(task=ganged.id, reason=verdicts["kept"]),))

    promises = {task: (at.isoformat(), nodes) for task, at, nodes in writer.promises()}

    assert promises == dict.fromkeys((tasks["kept"].id, tasks["passed"].id), (kept["starts_at"], ("n1", "n2")))


def test_a_pipelines_unfinished_work_names_its_needs_and_the_tasks_made_from_templates(writer: Writer) -> None:
    first, second = a_task("first").being(TaskState.ACTIVE), a_task("second").needing("first")
    record = a_pipeline(first, second)
    added = record.added()
    deadline = replace(added.record.pipeline, deadline=NOW + timedelta(hours=1))
    writer.apply((replace(added, record=replace(added.record, pipeline=deadline)),))

    rows = {row.name.task: row for row in writer.unfinished_of(pipeline_id("study"))}

    assert rows["second"].needs == (first.id,)
    assert (rows["first"].is_active, rows["second"].is_active) == (True, False)
    assert writer.unfinished_due() == writer.unfinished_of(pipeline_id("study"))


def _begun(attempt: AttemptBuilder) -> AttemptMoved:
    return AttemptMoved(
        attempt=attempt.id,
        before=AttemptState.INTENDED,
        after=AttemptState.RUNNING,
        reason=because(ReasonCode.SAID_BY_JOB),
        started_at=NOW,
    )


def test_attempts_that_save_tell_their_steps_a_second_whether_they_finished_or_not(writer: Writer) -> None:
    wide = Resources(nodes=4, elastic=Elastic(least=2, most=8))
    names = ("cut", "wide", "once", "more", "live")
    tries = [an_attempt(name) for name in names]
    tries[1] = tries[1].having(request=wide)
    tries[3] = tries[3].having(resume_from=SAVED)
    writer.apply((a_pipeline(*(a_task(name).ready() for name in names)).added(),))
    writer.apply(tuple(intended(one, Charge(gpu_type="a100")) for one in tries))
    saves = (((100, 10), (160, 40)), ((0, 10), (60, 40)), ((500, 50),), ((501, 50),), ((5, 10), (10, 20), (15, 30)))
    for one, marks in zip(tries, saves, strict=True):
        for step, at_s in marks:
            mark = CheckpointRef(path=f"/c/{step}", step=step, saved_at=NOW + timedelta(seconds=at_s))
            writer.apply((CheckpointSeen(attempt=one.id, checkpoint=mark),))
    writer.apply(tuple(ran(one, EndReason.PREEMPTED, 0, 60) for one in tries[:4]))
    writer.apply((_begun(tries[4]),))

    rates = {one.name.task: one.steps_per_s for one in writer.step_rates(NOW) if one.gpu_type == "a100"}

    assert rates == pytest.approx({"cut": 2.0, "wide": 1.0, "once": 10.0, "more": 10.0, "live": 0.5})
    assert writer.step_rates(NOW + timedelta(days=1)) == ()
    tried = {one.name.task: (one.gpu_type, one.times, one.live) for one in writer.tried(NOW - timedelta(days=1))}
    assert tried["cut"] == ("a100", 1, 0)
    assert tried["live"] == ("a100", 1, 1)
    assert writer.tried(NOW + timedelta(days=1)) == ()
