"""Attempts that are queued behind others, and wishes to hold the tasks of such."""

from __future__ import annotations

import pytest

from elisa.model.changes import CancelRequested, CancelSent, HoldRequested
from elisa.model.errors import StaleChange
from elisa.model.pipeline import NeedKind, PriorityClass
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.store.writer import Writer
from tests.builders import AttemptBuilder, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted

WAITING, READY, ACTIVE, HELD = TaskState.WAITING, TaskState.READY, TaskState.ACTIVE, TaskState.HELD
TRAIN, REPORT = an_attempt("train"), an_attempt("report")


@pytest.fixture
def running(writer: Writer) -> Writer:
    """Return a store in which `train` has a job, and `report` waits for it."""
    writer.apply((a_pipeline(a_task("train").ready(), a_task("report").needing("train")).added(),))
    writer.apply((intended(TRAIN), submitted(TRAIN)))
    return writer


def behind(attempt: AttemptBuilder, *others: AttemptBuilder) -> AttemptBuilder:
    return attempt.having(behind=tuple(other.id for other in others))


def test_a_waiting_task_becomes_active_behind_what_it_needs(running: Writer) -> None:
    chained = behind(REPORT, TRAIN)

    running.apply((intended(chained),))

    assert running.attempts_of(REPORT.task) == (chained.build(),)
    assert running.task(REPORT.task).state is ACTIVE
    assert running.verify_audit().problems == ()


def test_a_waiting_task_does_not_become_active_behind_nothing(running: Writer) -> None:
    with pytest.raises(StaleChange, match="is waiting, not ready"):
        running.apply((intended(REPORT),))


def test_a_ready_task_is_not_queued_behind_others(running: Writer) -> None:
    running.apply((moved(REPORT.task, WAITING, READY),))

    with pytest.raises(StaleChange, match="is ready, not waiting"):
        running.apply((intended(behind(REPORT, TRAIN)),))


def test_nothing_is_queued_behind_what_is_over(running: Writer) -> None:
    running.apply((ended(TRAIN, AttemptState.SUBMITTED, EndReason.FAILED), moved(TRAIN.task, ACTIVE, READY)))

    with pytest.raises(StaleChange, match="cannot be queued behind"):
        running.apply((intended(behind(REPORT, TRAIN)),))


def test_nothing_is_queued_behind_what_was_asked_to_leave(running: Writer) -> None:
    running.apply((CancelSent(attempt=TRAIN.id, reason=because(ReasonCode.CANCELLED_BY_USER)),))

    with pytest.raises(StaleChange, match="asked to leave"):
        running.apply((intended(behind(REPORT, TRAIN)),))


def test_nothing_is_queued_behind_what_may_not_have_been_submitted(writer: Writer) -> None:
    writer.apply((a_pipeline(a_task("train").ready(), a_task("report").needing("train")).added(), intended(TRAIN)))

    with pytest.raises(StaleChange, match="not known to have been submitted"):
        writer.apply((intended(behind(REPORT, TRAIN)),))


def test_next_in_line_is_who_lacks_only_what_active_tasks_will_bring(writer: Writer) -> None:
    tasks = (
        a_task("done").being(TaskState.SUCCEEDED),
        a_task("train").ready(),
        a_task("later"),
        a_task("report").needing("train", "done"),
        a_task("compare").needing("train").needing("later"),
        a_task("unwanted").needing("train"),
        a_task("look").needing("train", kind=NeedKind.DATA, output="model"),
    )
    writer.apply((a_pipeline(*tasks).added(), CancelRequested(task=a_task("unwanted").id, by="ada")))
    assert writer.next_in_line(9) == ()

    writer.apply((intended(TRAIN),))

    assert set(writer.next_in_line(9)) == {a_task("report").id, a_task("look").id}


def test_of_many_next_in_line_the_most_urgent_come_first(writer: Writer) -> None:
    tasks = [a_task(f"t{n}").needing("train").specified(importance=float(n)) for n in range(4)]
    high = a_task("high").needing("train").specified(priority=PriorityClass.HIGH)
    writer.apply((a_pipeline(a_task("train").ready(), high, *tasks).added(), intended(TRAIN)))

    assert writer.next_in_line(3) == (high.id, tasks[3].id, tasks[2].id)


def test_a_wish_to_hold_is_kept_until_the_task_is_held(running: Writer) -> None:
    running.apply((intended(behind(REPORT, TRAIN)),))
    running.apply((HoldRequested(task=REPORT.task, by="ada"),))
    assert (running.hold_wanted(), running.task(REPORT.task).hold_requested) == ((REPORT.task,), True)

    running.apply((ended(REPORT, AttemptState.INTENDED, EndReason.CANCELLED), moved(REPORT.task, ACTIVE, HELD)))

    assert (running.hold_wanted(), running.task(REPORT.task).hold_requested) == ((), False)


def test_a_wish_to_hold_may_be_taken_back(running: Writer) -> None:
    running.apply((intended(behind(REPORT, TRAIN)), HoldRequested(task=REPORT.task, by="ada")))

    running.apply((HoldRequested(task=REPORT.task, by="ada", wanted=False),))

    kinds = [row.kind for row in running.audit(subject=REPORT.task)]
    assert (running.hold_wanted(), kinds[-2:]) == ((), ["hold.requested", "hold.withdrawn"])


def test_only_an_active_task_is_to_be_held_by_a_wish(running: Writer) -> None:
    with pytest.raises(StaleChange, match="is waiting, not active"):
        running.apply((HoldRequested(task=REPORT.task, by="ada"),))
