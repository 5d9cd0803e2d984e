"""Attempts queued ahead, behind the present one at the same task."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.changes import AttemptContinued, CancelSent, Charge
from elisa.model.errors import StaleChange, StoreError
from elisa.model.ids import AttemptId
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef
from elisa.store import sqlite
from elisa.store.writer import Writer
from tests.builders import AttemptBuilder, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted

SUBMITTED, READY, ACTIVE = AttemptState.SUBMITTED, TaskState.READY, TaskState.ACTIVE
FIRST = an_attempt("train")
SECOND = an_attempt("train", 2).having(continues=FIRST.id)
THIRD = an_attempt("train", 3).having(continues=SECOND.id)
SAVED = CheckpointRef(path="g4", step=4)


@pytest.fixture
def running(writer: Writer) -> Writer:
    """Return a store in which `train` has a job."""
    writer.apply((a_pipeline(a_task("train").ready()).added(),))
    writer.apply((intended(FIRST), submitted(FIRST)))
    return writer


def goes_on(attempt: AttemptBuilder, after: AttemptId, saved: CheckpointRef | None = SAVED) -> AttemptContinued:
    return AttemptContinued(
        attempt=attempt.id, after=after, reason=because(ReasonCode.CONTINUED, end="timeout"), resume_from=saved
    )


def test_next_attempt_is_queued_while_the_present_one_lives_and_holds_its_own_budget(running: Writer) -> None:
    running.apply((intended(SECOND, Charge(node_s=100)),))

    task = running.task(FIRST.task)
    assert [one.continues for one in running.attempts_of(FIRST.task)] == [None, FIRST.id]
    assert (task.state, task.attempts) == (ACTIVE, 2)
    assert running.usage(task.submitted_at).rows[0].reserved.node_s == 3600 + 100
    assert running.task_rows()[0].attempt == FIRST.id
    assert running.verify_audit().problems == ()


def test_any_number_may_be_queued_ahead_one_behind_another(running: Writer) -> None:
    running.apply((intended(SECOND), submitted(SECOND)))

    running.apply((intended(THIRD),))

    assert [one.number for one in running.live_attempts()] == [1, 2, 3]


def test_attempt_becomes_its_tasks_own_when_the_one_before_it_ends(running: Writer) -> None:
    running.apply((intended(SECOND), submitted(SECOND)))

    running.apply((ended(FIRST, SUBMITTED, EndReason.TIMEOUT), goes_on(SECOND, FIRST.id)))

    (_, second) = running.attempts_of(FIRST.task)
    assert (second.continues, second.resume_from) == (None, SAVED)
    assert (running.task(FIRST.task).state, running.task_rows()[0].attempt) == (ACTIVE, SECOND.id)
    assert running.verify_audit().problems == ()


def test_several_may_end_and_go_on_in_one_transaction(running: Writer) -> None:
    running.apply((intended(SECOND), submitted(SECOND)))
    running.apply((intended(THIRD), submitted(THIRD)))

    running.apply((
        ended(SECOND, SUBMITTED, EndReason.TIMEOUT),
        ended(FIRST, SUBMITTED, EndReason.TIMEOUT),
        goes_on(SECOND, FIRST.id),
        goes_on(THIRD, SECOND.id),
    ))  # fmt: skip

    assert [one.continues for one in running.attempts_of(FIRST.task)] == [None, None, None]
    assert [one.id for one in running.live_attempts()] == [THIRD.id]


def test_attempt_queued_in_vain_ends_and_its_task_is_left_alone(running: Writer) -> None:
    running.apply((intended(SECOND, Charge(node_s=100)), submitted(SECOND)))
    running.apply((ended(FIRST, SUBMITTED, EndReason.COMPLETED), moved(FIRST.task, ACTIVE, TaskState.SUCCEEDED)))

    running.apply((ended(SECOND, SUBMITTED, EndReason.CANCELLED),))

    assert running.task(FIRST.task).state is TaskState.SUCCEEDED
    assert running.task_rows()[0].attempt == FIRST.id
    assert running.usage(running.task(FIRST.task).submitted_at).rows[0].reserved == Charge()
    assert running.verify_audit().problems == ()


@pytest.mark.parametrize(
    "before",
    [
        (ended(FIRST, SUBMITTED, EndReason.FAILED), moved(FIRST.task, ACTIVE, READY)),
        (ended(FIRST, SUBMITTED, EndReason.TIMEOUT),),
        (CancelSent(attempt=FIRST.id, reason=because(ReasonCode.CANCELLED_BY_USER)),),
    ],
    ids=["ready again", "over", "asked to leave"],
)
def test_nothing_is_queued_behind_what_does_not_go_on(running: Writer, before: tuple[CancelSent, ...]) -> None:
    running.apply(before)

    with pytest.raises(StaleChange):
        running.apply((intended(SECOND),))


def test_attempt_does_not_go_on_beside_the_one_before_it(running: Writer) -> None:
    running.apply((intended(SECOND), submitted(SECOND)))

    with pytest.raises(StaleChange, match="cannot go on"):
        running.apply((goes_on(SECOND, FIRST.id),))
    with pytest.raises(StaleChange, match="cannot go on"):
        running.apply((ended(FIRST, SUBMITTED, EndReason.TIMEOUT), goes_on(FIRST, FIRST.id)))


def test_no_task_has_two_live_attempts_of_its_own(running: Writer, home: Path) -> None:
    running.apply((intended(SECOND),))

    with closing(sqlite.connect(layout.database(home), "rw", 1.0)) as other, pytest.raises(StoreError, match="UNIQUE"):
        other.rows("UPDATE attempt SET continues = NULL RETURNING id")
