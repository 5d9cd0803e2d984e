"""What happens to attempts in the store."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from elisa.model.changes import AttemptMoved, AttemptNoted, CancelSent
from elisa.model.charge import Charge
from elisa.model.errors import StaleChange
from elisa.model.ids import NativeId
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import ATTEMPT_MOVES, FINAL_ATTEMPT_STATES, AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef, End
from elisa.store.writer import Writer
from tests.builders import FakeClock, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted

INTENDED, SUBMITTED, QUEUED = AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED
RUNNING, ENDED = AttemptState.RUNNING, AttemptState.ENDED
SEEN = because(ReasonCode.SEEN)


@pytest.fixture
def ready(writer: Writer) -> Writer:
    writer.apply((a_pipeline(a_task("train").ready(), a_task("other").ready()).added(),))
    return writer


def go(writer: Writer, before: AttemptState, after: AttemptState, **details: object) -> None:
    change = AttemptMoved(attempt=an_attempt("train").id, before=before, after=after, reason=SEEN)
    writer.apply((replace(change, **details),))  # type: ignore[arg-type]  # any field of the change


def test_an_intended_attempt_is_read_back_and_its_task_is_active(ready: Writer) -> None:
    attempt = an_attempt("train").on("cluster", "a100").having(resume_from=CheckpointRef(path="p", step=3))

    ready.apply((intended(attempt),))

    assert ready.attempts_of(attempt.task) == (attempt.build(),)
    assert ready.live_attempts() == (attempt.build(),)
    assert ready.attempts((attempt.id,)) == {attempt.id: attempt.build()}
    task = ready.task(attempt.task)
    assert (task.state, task.attempts) == (TaskState.ACTIVE, 1)


def test_a_second_attempt_at_an_active_task_is_refused(ready: Writer) -> None:
    ready.apply((intended(an_attempt("train")),))

    with pytest.raises(StaleChange):
        ready.apply((intended(an_attempt("train", 1)),))
    with pytest.raises(StaleChange, match="is active, not ready"):
        ready.apply((intended(an_attempt("train", 2)),))


def test_an_attempt_out_of_turn_is_refused(ready: Writer) -> None:
    with pytest.raises(StaleChange, match="cannot be the next attempt"):
        ready.apply((intended(an_attempt("train", 2)),))


def test_no_task_has_two_live_attempts_whatever_its_state_says(ready: Writer) -> None:
    train = an_attempt("train").task
    ready.apply((intended(an_attempt("train")),))
    ready.apply((moved(train, TaskState.ACTIVE, TaskState.READY),))

    with pytest.raises(StaleChange):
        ready.apply((intended(an_attempt("train", 2)),))

    assert [attempt.number for attempt in ready.attempts_of(train)] == [1]


def test_an_attempt_may_end_and_be_followed_in_one_transaction(ready: Writer) -> None:
    first, second = an_attempt("train"), an_attempt("train", 2)
    ready.apply((intended(first),))

    ready.apply((
        ended(first, INTENDED, EndReason.REJECTED),
        moved(first.task, TaskState.ACTIVE, TaskState.READY),
        intended(second),
    ))  # fmt: skip

    assert [(one.number, one.state) for one in ready.attempts_of(first.task)] == [(1, ENDED), (2, INTENDED)]


def test_a_submitted_attempt_has_its_native_id(ready: Writer, clock: FakeClock) -> None:
    attempt = an_attempt("train")
    ready.apply((intended(attempt),))
    at = clock.forward(seconds=2)

    ready.apply((submitted(attempt, "42"),))
    ready.apply((submitted(attempt, "42"),))

    (found,) = ready.attempts_of(attempt.task)
    assert (found.state, found.native_id, found.submitted_at) == (SUBMITTED, NativeId("42"), at)
    assert [row.kind for row in ready.audit(subject=attempt.id)] == ["attempt.intended", "attempt.submitted"]


def test_the_native_id_may_be_learnt_after_the_job_was_heard_of(ready: Writer) -> None:
    attempt = an_attempt("train")
    ready.apply((intended(attempt),))
    go(ready, INTENDED, RUNNING)

    ready.apply((submitted(attempt, "42"),))

    (found,) = ready.attempts_of(attempt.task)
    assert (found.state, found.native_id) == (RUNNING, "42")


def test_an_attempt_does_not_change_its_native_job(ready: Writer) -> None:
    attempt = an_attempt("train")
    ready.apply((intended(attempt), submitted(attempt, "42")))

    with pytest.raises(StaleChange, match="cannot become native job 43"):
        ready.apply((submitted(attempt, "43"),))


def test_an_ended_attempt_is_not_submitted(ready: Writer) -> None:
    attempt = an_attempt("train")
    ready.apply((intended(attempt), ended(attempt, INTENDED)))

    with pytest.raises(StaleChange):
        ready.apply((submitted(attempt),))


@pytest.mark.parametrize(("before", "after"), list(product(AttemptState, AttemptState)))
def test_only_the_moves_of_the_table_are_made(ready: Writer, before: AttemptState, after: AttemptState) -> None:
    ready.apply((intended(an_attempt("train")),))
    if before is not INTENDED:
        go(ready, INTENDED, before)

    if after in ATTEMPT_MOVES[before]:
        go(ready, before, after)
    else:
        with pytest.raises(ValueError, match="no attempt goes from"):
            go(ready, before, after)

    (found,) = ready.attempts_of(an_attempt("train").task)
    assert found.state is (after if after in ATTEMPT_MOVES[before] else before)
    assert ready.verify_audit().problems == ()


def test_a_move_from_another_state_is_stale(ready: Writer) -> None:
    ready.apply((intended(an_attempt("train")),))

    with pytest.raises(StaleChange, match="is intended, not queued"):
        go(ready, QUEUED, RUNNING)


def test_an_end_is_stored_with_what_is_known_of_it(ready: Writer, clock: FakeClock) -> None:
    ready.apply((intended(an_attempt("train")),))
    started, stopped = clock.forward(minutes=1), clock.forward(minutes=1)
    end = End(reason=EndReason.TIMEOUT, exit_code=1, signal=15, detail="over its walltime", step=12)

    go(ready, INTENDED, RUNNING, started_at=started, nodes="n[1-2]")
    go(ready, RUNNING, ENDED, end=end, ended_at=stopped)

    (found,) = ready.attempts_of(an_attempt("train").task)
    assert (found.end, found.started_at, found.ended_at, found.nodes) == (end, started, stopped, "n[1-2]")
    assert ready.live_attempts() == ()


def test_an_attempt_that_nobody_timed_ends_now(ready: Writer, clock: FakeClock) -> None:
    ready.apply((intended(an_attempt("train")),))
    later = clock.forward(minutes=1)

    go(ready, INTENDED, AttemptState.LOST)

    (found,) = ready.attempts_of(an_attempt("train").task)
    assert found.ended_at == later


def test_a_requeue_settles_what_the_last_incarnation_spent(ready: Writer) -> None:
    ready.apply((intended(an_attempt("train"), Charge(node_s=100)),))
    go(ready, INTENDED, RUNNING)

    go(ready, RUNNING, QUEUED, incarnation=1, spend=Charge(node_s=30))
    go(ready, QUEUED, RUNNING)
    go(ready, RUNNING, ENDED, spend=Charge(node_s=50))

    booked = {(row.incarnation, row.kind): row.charge.node_s for row in ready.ledger()}
    assert booked == {(0, "reserve"): 100, (0, "spend"): 30, (1, "spend"): 50, (1, "refund"): 20}
    assert ready.verify_audit().problems == ()


def test_an_attempt_that_goes_on_is_not_settled(ready: Writer) -> None:
    ready.apply((intended(an_attempt("train")),))
    go(ready, INTENDED, RUNNING)

    with pytest.raises(ValueError, match="goes on"):
        go(ready, RUNNING, QUEUED, spend=Charge(node_s=30))


def test_notes_are_kept_without_an_audit_row(ready: Writer) -> None:
    attempt = an_attempt("train")
    ready.apply((intended(attempt),))
    before = ready.audit()

    ready.apply((AttemptNoted(attempt=attempt.id, absences=2, claimed=True, native_detail="Priority"),))
    ready.apply((AttemptNoted(attempt=attempt.id, quiet_ticks=1),))

    (found,) = ready.attempts_of(attempt.task)
    expected = attempt.having(absences=2, quiet_ticks=1, claimed=True, native_detail="Priority").build()
    assert found == expected
    assert ready.audit() == before
    assert ready.task_rows()[0].native_detail == "Priority"


def test_the_jobs_own_word_is_kept_until_the_manager_says_why_it_ended(ready: Writer) -> None:
    attempt, word = an_attempt("train"), End(reason=EndReason.FAILED, exit_code=85, detail="timeout", step=7)
    ready.apply((intended(attempt),))
    go(ready, INTENDED, RUNNING)

    ready.apply((AttemptNoted(attempt=attempt.id, end=word),))

    (found,) = ready.live_attempts()
    assert (found.state, found.end) == (RUNNING, word)


def test_a_requeue_forgets_the_jobs_own_word_and_what_was_counted(ready: Writer) -> None:
    attempt, word = an_attempt("train"), End(reason=EndReason.FAILED, signal=15)
    ready.apply((intended(attempt),))
    go(ready, INTENDED, RUNNING)
    ready.apply((AttemptNoted(attempt=attempt.id, end=word, absences=2, quiet_ticks=1),))

    go(ready, RUNNING, QUEUED, incarnation=1)

    (found,) = ready.live_attempts()
    assert (found.end, found.absences, found.quiet_ticks) == (None, 0, 0)


def test_a_cancel_is_written_down_once(ready: Writer) -> None:
    attempt = an_attempt("train")
    change = CancelSent(attempt=attempt.id, reason=because(ReasonCode.CANCELLED_BY_USER, by="ada"))
    ready.apply((intended(attempt), change))

    ready.apply((change,))

    assert ready.attempts_of(attempt.task)[0].cancel_sent
    assert [row.kind for row in ready.audit(subject=attempt.id)] == ["attempt.intended", "cancel.sent"]


@pytest.mark.parametrize("state", sorted(FINAL_ATTEMPT_STATES))
def test_a_change_of_an_unknown_attempt_is_stale(ready: Writer, state: AttemptState) -> None:
    with pytest.raises(StaleChange, match="there is no attempt"):
        go(ready, RUNNING, state)
