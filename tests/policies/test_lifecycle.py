from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from time import process_time

import pytest

from elisa.model.changes import (
    AttemptMoved,
    AttemptNoted,
    AttemptSubmitted,
    Charge,
    CheckpointSeen,
    MetricSeen,
    Noted,
    OutputSeen,
    UsageSeen,
)
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import Answered, NativeState, Poll, Seen, Unreachable
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt, CheckpointRef, End, Usage
from elisa.policies.lifecycle import LifecycleRules, Observed, Sightings, observe
from elisa.policies.unexplained import FORGOTTEN, UNEXPLAINED
from tests.policies.build import HERE, NOW, after, an_attempt, an_event, answered, gone, seen

NOTHING = Observed(changes=(), ended=(), cancel=(), unsettled=())
LOST_AFTER = LifecycleRules(grace_s=120, absences=3, linger_ticks=2)


def watch(
    attempt: Attempt,
    *,
    events: Sequence[RuntimeEvent] = (),
    polls: Mapping[BackendName, Poll] | None = None,
    found: Mapping[AttemptId, Sightings] | None = None,
) -> Observed:
    return observe([attempt], events, polls or {}, found or {}, NOW, rules=LOST_AFTER)


def end_of(observed: Observed) -> End | None:
    return observed.ended[0].end if observed.ended else None


def listed(*ids: str, complete: bool = True) -> Mapping[AttemptId, Sightings]:
    return {AttemptId("t1.1"): Sightings(ids=tuple(NativeId(i) for i in ids), complete=complete)}


def test_a_running_job_that_is_still_running_changes_nothing() -> None:
    assert watch(an_attempt(), polls=answered(seen(NativeState.RUNNING))) == NOTHING


def test_silence_of_the_manager_changes_nothing() -> None:
    assert watch(an_attempt(), polls={HERE: Unreachable(what="timed out")}) == NOTHING


def test_a_state_that_nobody_knows_changes_no_state() -> None:
    observed = watch(an_attempt(), polls=answered(seen(NativeState.UNKNOWN, raw="XYZ")))

    assert observed.changes == (AttemptNoted(attempt=AttemptId("t1.1"), native_detail="XYZ"),)


def test_a_queued_job_that_starts_is_running_where_the_manager_says() -> None:
    observed = watch(
        an_attempt(state=AttemptState.QUEUED),
        polls=answered(seen(NativeState.RUNNING, nodes="n[1-2]", started_at=after(-30))),
    )

    assert observed.changes == (
        AttemptMoved(
            attempt=AttemptId("t1.1"),
            before=AttemptState.QUEUED,
            after=AttemptState.RUNNING,
            reason=because(ReasonCode.SEEN, state="running", detail=""),
            nodes="n[1-2]",
            started_at=after(-30),
        ),
    )


def test_a_held_job_counts_as_queued_and_its_reason_is_kept() -> None:
    observed = watch(
        an_attempt(state=AttemptState.SUBMITTED), polls=answered(seen(NativeState.HELD, detail="JobHeldUser"))
    )

    assert [type(change) for change in observed.changes] == [AttemptMoved, AttemptNoted]
    assert observed.changes[1] == AttemptNoted(attempt=AttemptId("t1.1"), native_detail="JobHeldUser")


def test_late_news_never_moves_an_attempt_back() -> None:
    assert watch(an_attempt(), polls=answered(seen(NativeState.QUEUED))) == NOTHING


def test_the_job_says_that_it_started_before_the_manager_does() -> None:
    observed = watch(
        an_attempt(state=AttemptState.QUEUED),
        events=[an_event(EventKind.STARTED, host="n1")],
        polls=answered(seen(NativeState.QUEUED)),
    )

    moved = [change for change in observed.changes if isinstance(change, AttemptMoved)]
    assert [(move.after, move.started_at) for move in moved] == [(AttemptState.RUNNING, after(-5))]


def test_success_is_believed_at_once_when_the_program_says_it() -> None:
    observed = watch(
        an_attempt(),
        events=[an_event(EventKind.EXITED, exit_code=0, run_s=12.2)],
        polls=answered(seen(NativeState.RUNNING)),
    )

    assert end_of(observed) == End(reason=EndReason.COMPLETED, exit_code=0)
    moved = observed.changes[-1]
    assert isinstance(moved, AttemptMoved)
    assert (moved.after, moved.spend) == (AttemptState.ENDED, Charge(node_s=13, cpu_s=13))


def test_a_plain_failure_is_believed_at_once() -> None:
    observed = watch(an_attempt(), events=[an_event(EventKind.EXITED, exit_code=3, run_s=1)])

    assert end_of(observed) == End(reason=EndReason.FAILED, exit_code=3)


@pytest.mark.parametrize(
    ("resource", "reason"),
    [("memory", EndReason.OUT_OF_MEMORY), ("walltime", EndReason.TIMEOUT), ("output", EndReason.FAILED)],
)
def test_what_the_agent_stopped_it_names_itself(resource: str, reason: EndReason) -> None:
    events = [
        an_event(EventKind.OVER_LIMIT, seq=1, resource=resource, limit=10, seen=12),
        an_event(EventKind.EXITED, seq=2, exit_code=None if resource != "output" else 1, signal=9),
    ]
    observed = watch(an_attempt(), events=events, polls=answered(seen(NativeState.ENDED, end_reason=EndReason.FAILED)))

    assert observed.ended[0].end is not None
    assert observed.ended[0].end.reason is reason


@pytest.mark.parametrize("reason", [EndReason.OUT_OF_MEMORY, EndReason.TIMEOUT])
def test_what_the_agent_stopped_is_known_by_its_last_word_if_the_limit_was_told_in_an_earlier_tick(
    reason: EndReason,
) -> None:
    exited = an_event(EventKind.EXITED, exit_code=None, signal=15, why=reason.value)

    observed = watch(
        an_attempt(), events=[exited], polls=answered(seen(NativeState.ENDED, end_reason=EndReason.FAILED))
    )

    assert observed.ended[0].end is not None
    assert observed.ended[0].end.reason is reason


def test_a_killed_program_waits_for_the_managers_reason_and_gets_it() -> None:
    killed = an_event(EventKind.EXITED, signal=9, exit_code=None)
    first = watch(an_attempt(claimed=True), events=[killed], polls=answered(seen(NativeState.RUNNING)))
    kept = End(reason=EndReason.FAILED, signal=9)

    assert first.changes == (
        AttemptNoted(attempt=AttemptId("t1.1"), end=kept),
        AttemptNoted(attempt=AttemptId("t1.1"), quiet_ticks=1),
    )

    second = watch(
        an_attempt(claimed=True, end=kept, quiet_ticks=1),
        polls=answered(seen(NativeState.ENDED, end_reason=EndReason.OUT_OF_MEMORY, detail="oom-kill")),
    )
    assert end_of(second) == End(reason=EndReason.OUT_OF_MEMORY, signal=9, detail="oom-kill")


def test_a_killed_program_is_believed_when_the_manager_never_says_why() -> None:
    kept = End(reason=EndReason.FAILED, signal=9)
    attempt = an_attempt(claimed=True, end=kept, quiet_ticks=2)

    assert end_of(watch(attempt, polls=answered(gone()))) == kept
    assert end_of(watch(replace(attempt, cancel_sent=True), polls=answered(gone()))) == End(
        reason=EndReason.CANCELLED, signal=9
    )
    assert watch(attempt, polls={HERE: Unreachable(what="down")}) == NOTHING


def test_leaving_early_after_a_signal_is_no_success() -> None:
    events = [
        an_event(EventKind.PROGRESS, seq=1, step=40, total=100),
        an_event(EventKind.STOPPING, seq=2, signal=15),
        an_event(EventKind.EXITED, seq=3, exit_code=0),
    ]
    observed = watch(
        an_attempt(claimed=True),
        events=events,
        polls=answered(seen(NativeState.ENDED, end_reason=EndReason.COMPLETED, exit_code=0)),
    )

    assert end_of(observed) == End(reason=EndReason.PREEMPTED, exit_code=0, step=40)


@pytest.mark.parametrize(
    ("why", "said", "reason"),
    [
        # it was warned before it was preempted, and left: Slurm calls that a failure, for its status is not 0
        ("stopped", EndReason.FAILED, EndReason.PREEMPTED),
        ("stopped", EndReason.CANCELLED, EndReason.CANCELLED),
        # nobody asked it to
        ("", EndReason.FAILED, EndReason.FAILED),
    ],
)
def test_a_program_that_saved_and_left_when_it_was_asked_to_has_not_failed(
    why: str, said: EndReason, reason: EndReason
) -> None:
    events = [
        an_event(EventKind.STOPPING, seq=1, signal=12, why="warned"),
        an_event(EventKind.EXITED, seq=2, exit_code=85, why=why),
    ]

    observed = watch(
        an_attempt(claimed=True),
        events=events,
        polls=answered(seen(NativeState.ENDED, end_reason=said, exit_code=85)),
    )

    assert end_of(observed) == End(reason=reason, exit_code=85, detail=why)


@pytest.mark.parametrize(("exit_code", "signal"), [(85, None), (3, None), (None, 15)])
def test_what_we_asked_to_leave_by_a_signal_was_cancelled_whatever_its_manager_makes_of_it(
    exit_code: int | None, signal: int | None
) -> None:
    events = [
        an_event(EventKind.STOPPING, seq=1, signal=15, why="asked"),
        an_event(EventKind.EXITED, seq=2, exit_code=exit_code, signal=signal, why="stopped"),
    ]

    observed = watch(
        an_attempt(cancel_sent=True, claimed=True),
        events=events,
        polls=answered(seen(NativeState.ENDED, end_reason=EndReason.FAILED, exit_code=exit_code)),
    )

    assert end_of(observed) == End(reason=EndReason.CANCELLED, exit_code=exit_code, signal=signal, detail="stopped")


@pytest.mark.parametrize(
    ("said", "expected"), [(EndReason.FAILED, EndReason.PREEMPTED), (EndReason.CANCELLED, EndReason.CANCELLED)]
)
def test_the_last_event_alone_tells_that_it_was_to_stop_if_an_earlier_tick_heard_of_the_signal(
    said: EndReason, expected: EndReason
) -> None:
    left = [an_event(EventKind.EXITED, exit_code=85, why="stopped")]

    before = watch(an_attempt(claimed=True), events=left, polls=answered(seen(NativeState.RUNNING)))
    end = end_of(watch(an_attempt(claimed=True), events=left, polls=answered(seen(NativeState.ENDED, end_reason=said))))

    assert before.ended == ()
    assert end is not None
    assert end.reason is expected


def test_a_cancel_that_comes_too_late_does_not_undo_success() -> None:
    observed = watch(
        an_attempt(cancel_sent=True, claimed=True),
        events=[an_event(EventKind.EXITED, exit_code=0, run_s=5)],
        polls=answered(seen(NativeState.ENDED, end_reason=EndReason.CANCELLED)),
    )

    assert end_of(observed) == End(reason=EndReason.COMPLETED, exit_code=0)


@pytest.mark.parametrize(
    "reason",
    [EndReason.PREEMPTED, EndReason.NODE_FAILURE, EndReason.TIMEOUT, EndReason.OUT_OF_MEMORY, EndReason.BOOT_FAILURE],
)
def test_the_manager_knows_what_took_the_allocation(reason: EndReason) -> None:
    ended = seen(NativeState.ENDED, end_reason=reason, exit_code=1, started_at=after(-100), ended_at=after(-40))
    observed = watch(an_attempt(claimed=True), polls=answered(ended))

    assert end_of(observed) == End(reason=reason, exit_code=1)
    moved = observed.changes[-1]
    assert isinstance(moved, AttemptMoved)
    assert (moved.spend, moved.ended_at) == (Charge(node_s=60, cpu_s=60), after(-40))


def test_success_that_only_the_manager_tells_waits_a_little_for_the_job() -> None:
    ended = answered(seen(NativeState.ENDED, end_reason=EndReason.COMPLETED, exit_code=0))

    assert watch(an_attempt(), polls=ended).changes == (AttemptNoted(attempt=AttemptId("t1.1"), quiet_ticks=1),)
    assert end_of(watch(an_attempt(quiet_ticks=2), polls=ended)) == End(reason=EndReason.COMPLETED, exit_code=0)


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (seen(NativeState.ENDED, exit_code=0), EndReason.COMPLETED),
        (seen(NativeState.ENDED, exit_code=0, signal=9), EndReason.FAILED),
        (seen(NativeState.ENDED, exit_code=1), EndReason.FAILED),
        (seen(NativeState.ENDED, end_reason=EndReason.COMPLETED, exit_code=2), EndReason.FAILED),
        (seen(NativeState.ENDED, exit_code=74), EndReason.INVALID_DATA),
        (seen(NativeState.ENDED, exit_code=75), EndReason.LOST),
        (seen(NativeState.ENDED), EndReason.LOST),
        (seen(NativeState.ENDED, end_reason=EndReason.REJECTED), EndReason.REJECTED),
    ],
)
def test_the_managers_word_alone_is_read_with_care(observation: Seen, reason: EndReason) -> None:
    end = end_of(watch(an_attempt(quiet_ticks=2), polls=answered(observation)))

    assert end is not None
    assert end.reason is reason


def test_gone_is_not_finished() -> None:
    observed = watch(an_attempt(), polls=answered(gone()))

    assert observed.changes == (AttemptNoted(attempt=AttemptId("t1.1"), absences=1, quiet_ticks=1),)
    assert observed.ended == ()


def test_gone_for_good_is_lost_after_grace_listings_and_silence() -> None:
    observed = watch(an_attempt(absences=2, quiet_ticks=2), polls=answered(gone()))

    assert end_of(observed) == End(reason=EndReason.LOST, detail="not found in 3 complete listings")
    assert observed.ended[0].state is AttemptState.LOST


def test_job_that_vanished_from_the_queue_is_tried_again_and_its_end_says_that_nobody_knows_who_took_it_out() -> None:
    attempt = an_attempt(absences=2, quiet_ticks=2, state=AttemptState.QUEUED)
    end = end_of(watch(attempt, polls=answered(gone())))

    words = "it had not begun, and its resource manager has no record of who took it out of the queue"
    assert end == End(reason=EndReason.LOST, detail=f"not found in 3 complete listings: {words}")


def test_a_job_that_speaks_is_not_lost_however_long_it_is_gone() -> None:
    observed = watch(
        an_attempt(absences=9, quiet_ticks=2, claimed=True),
        events=[an_event(EventKind.HEARTBEAT, cpu_s=3.0)],
        polls=answered(gone()),
    )

    assert observed.ended == ()
    assert observed.changes[-1] == AttemptNoted(attempt=AttemptId("t1.1"), absences=10, quiet_ticks=0)


def test_a_job_that_is_listed_again_starts_its_count_anew() -> None:
    observed = watch(an_attempt(absences=2, quiet_ticks=2), polls=answered(seen(NativeState.RUNNING)))

    assert observed.changes == (AttemptNoted(attempt=AttemptId("t1.1"), absences=0, quiet_ticks=0),)


MANAGERS = seen(NativeState.ENDED, end_reason=EndReason.CANCELLED, is_managers_doing=True)
NOBODY_KNOWS = seen(NativeState.ENDED, end_reason=EndReason.CANCELLED, is_unexplained=True)
NOT_LAUNCHED = "launch failed: its resource manager cancelled it before its script began"


@pytest.mark.parametrize(
    ("known", "cancelled", "expected"),
    [
        ({}, MANAGERS, (EndReason.BOOT_FAILURE, NOT_LAUNCHED)),
        ({}, NOBODY_KNOWS, (EndReason.CANCELLED, UNEXPLAINED)),
        ({"claimed": True}, MANAGERS, (EndReason.CANCELLED, "")),
        ({"claimed": True}, NOBODY_KNOWS, (EndReason.CANCELLED, "")),
        ({"cancel_sent": True}, MANAGERS, (EndReason.CANCELLED, "")),
        ({"cancel_sent": True}, NOBODY_KNOWS, (EndReason.CANCELLED, "")),
    ],
)
def test_job_that_was_cancelled_before_it_began_failed_to_start_unless_somebody_is_known_to_have_wished_it(
    known: dict[str, bool], cancelled: Seen, expected: tuple[EndReason, str]
) -> None:
    end = end_of(watch(an_attempt(**known), polls=answered(cancelled)))

    assert end is not None
    assert (end.reason, end.detail) == expected


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365), timedelta(hours=1)])
def test_a_clock_that_jumps_expires_nothing_alone(jump: timedelta) -> None:
    attempt = an_attempt(state=AttemptState.INTENDED, absences=0)

    observed = observe([attempt], [], {}, listed(), NOW + jump, rules=LOST_AFTER)

    assert observed.ended == ()


STOPPED = End(reason=EndReason.FAILED, signal=15, detail="stopped")


def test_job_that_somebody_stopped_and_that_its_manager_forgot_is_lost_and_not_failed() -> None:
    end = end_of(watch(an_attempt(end=STOPPED, claimed=True, quiet_ticks=2), polls=answered(gone())))

    assert end is not None
    assert (end.reason, end.signal) == (EndReason.LOST, 15)
    assert "no record" in end.detail


@pytest.mark.parametrize(
    "own",
    [
        End(reason=EndReason.FAILED, signal=11),
        End(reason=EndReason.OUT_OF_MEMORY, signal=15, detail="memory"),
        End(reason=EndReason.COMPLETED, exit_code=0, detail="stopped"),
    ],
    ids=["its own signal", "its agent", "done all the same"],
)
def test_of_a_job_that_its_manager_forgot_its_own_word_stands(own: End) -> None:
    assert end_of(watch(an_attempt(end=own, claimed=True, quiet_ticks=2), polls=answered(gone()))) == own


@pytest.mark.parametrize(
    ("why", "taken", "reason", "detail"),
    [
        ("stopped", "cancelled", EndReason.CANCELLED, "terminated by ada@login"),
        ("stopped", "preempted", EndReason.PREEMPTED, "terminated by ada@login"),
        ("not_begun", "cancelled", EndReason.CANCELLED, "terminated by ada@login"),
        ("not_begun", "preempted", EndReason.NOT_BEGUN, "terminated by ada@login"),
        ("stopped", "abducted", EndReason.LOST, FORGOTTEN),
        ("memory", "cancelled", EndReason.OUT_OF_MEMORY, "memory"),
    ],
)
def test_what_its_manager_told_a_job_while_it_deleted_it_is_known_though_it_forgets_it(
    why: str, taken: str, reason: EndReason, detail: str
) -> None:
    events = [
        an_event(EventKind.STOPPING, seq=1, signal=15, why="asked"),
        *([an_event(EventKind.OVER_LIMIT, seq=2, resource="memory", limit=1, seen=2)] if why == "memory" else []),
        an_event(EventKind.EXITED, seq=3, signal=15, why=why, taken=taken, detail="terminated by ada@login"),
    ]
    observed = watch(an_attempt(claimed=True, quiet_ticks=2), events=events, polls=answered(gone()))

    assert end_of(observed) == End(reason=reason, signal=15, detail=detail)


def test_a_clock_set_back_does_not_keep_a_lost_job_for_ever() -> None:
    attempt = an_attempt(absences=11, quiet_ticks=11, submitted_at=after(10**7))

    observed = watch(attempt, polls=answered(gone()))

    assert [one.state for one in observed.ended] == [AttemptState.LOST]


def test_before_grace_is_over_listings_prove_nothing_and_counting_stops() -> None:
    attempt = an_attempt(state=AttemptState.INTENDED, intended_at=after(-10), absences=12, quiet_ticks=12)

    observed = watch(attempt, found=listed())

    assert observed == Observed(changes=(), ended=(), cancel=(), unsettled=(AttemptId("t1.1"),))


def test_an_intent_that_was_found_is_adopted_and_its_duplicates_cancelled() -> None:
    observed = watch(an_attempt(state=AttemptState.INTENDED), found=listed("82", "81"))

    assert observed.changes == (
        AttemptSubmitted(
            attempt=AttemptId("t1.1"), native_id=NativeId("81"), reason=because(ReasonCode.ADOPTED, native_id="81")
        ),
    )
    assert observed.cancel == (
        (AttemptId("t1.1"), NativeId("82"), because(ReasonCode.DUPLICATE_CANCELLED, native_id="82")),
    )
    assert observed.unsettled == ()


def test_of_several_duplicates_the_one_that_claimed_is_kept() -> None:
    observed = watch(
        an_attempt(state=AttemptState.INTENDED),
        events=[an_event(EventKind.CLAIMED, native_id="82")],
        found=listed("81", "82"),
    )

    submitted = [change for change in observed.changes if isinstance(change, AttemptSubmitted)]
    assert [change.native_id for change in submitted] == [NativeId("82")]
    assert [native_id for _, native_id, _ in observed.cancel] == [NativeId("81")]


@pytest.mark.parametrize(
    ("absences", "age_s", "claimed", "found", "is_given_up"),
    [
        (2, 3600, False, listed(), True),
        (1, 3600, False, listed(), False),
        (2, 60, False, listed(), False),
        (2, 3600, False, listed(complete=False), False),
        (2, 3600, False, {}, False),
    ],
)
def test_an_intent_is_given_up_only_when_every_proof_is_there(
    *, absences: int, age_s: float, claimed: bool, found: Mapping[AttemptId, Sightings], is_given_up: bool
) -> None:
    attempt = an_attempt(
        state=AttemptState.INTENDED, absences=absences, quiet_ticks=absences, intended_at=after(-age_s), claimed=claimed
    )

    observed = watch(attempt, found=found)

    assert bool(observed.ended) is is_given_up
    assert observed.unsettled == (() if is_given_up else (attempt.id,))


def test_an_intent_given_up_was_never_submitted_and_costs_nothing() -> None:
    observed = watch(an_attempt(state=AttemptState.INTENDED, absences=2, quiet_ticks=2), found=listed())

    moved = observed.changes[-1]
    assert isinstance(moved, AttemptMoved)
    assert (moved.reason.code, moved.spend) == (ReasonCode.NEVER_SUBMITTED, Charge())


def test_an_intent_whose_job_already_finished_needs_no_manager() -> None:
    observed = watch(
        an_attempt(state=AttemptState.INTENDED),
        events=[an_event(EventKind.EXITED, exit_code=0, run_s=3)],
        found=listed(),
    )

    assert end_of(observed) == End(reason=EndReason.COMPLETED, exit_code=0)


def test_a_requeue_is_a_new_incarnation_and_forgets_the_old_ones_end() -> None:
    observed = watch(
        an_attempt(end=End(reason=EndReason.FAILED, signal=15), quiet_ticks=1),
        polls=answered(seen(NativeState.QUEUED, restarts=1)),
    )

    moved = [change for change in observed.changes if isinstance(change, AttemptMoved)]
    assert [(move.before, move.after, move.incarnation) for move in moved] == [
        (AttemptState.RUNNING, AttemptState.QUEUED, 1)
    ]
    assert observed.ended == ()


def test_the_reason_of_an_end_that_the_job_told_holds_its_status() -> None:
    for told in ({"exit_code": 3, "signal": None}, {"exit_code": 0, "signal": None}):
        moved = watch(an_attempt(claimed=True), events=[an_event(EventKind.EXITED, **told)]).changes[-1]
        assert isinstance(moved, AttemptMoved)
        assert moved.reason == because(ReasonCode.SAID_BY_JOB, exit_code=told["exit_code"])


@pytest.mark.parametrize(("exit_code", "is_believed"), [(127, True), (128, False), (137, False)])
def test_a_status_that_stands_for_a_signal_waits_for_the_managers_word(*, exit_code: int, is_believed: bool) -> None:
    observed = watch(an_attempt(claimed=True), events=[an_event(EventKind.EXITED, exit_code=exit_code)])

    assert bool(observed.ended) is is_believed


def test_clocks_that_disagree_book_nothing_rather_than_less_than_nothing() -> None:
    backwards = seen(NativeState.ENDED, end_reason=EndReason.TIMEOUT, started_at=after(60), ended_at=after(10))
    by_job = [an_event(EventKind.EXITED, exit_code=1, run_s=-5)]

    for observed in (
        watch(an_attempt(claimed=True), polls=answered(backwards)),
        watch(an_attempt(claimed=True), events=by_job),
        watch(an_attempt(claimed=True, started_at=after(99)), events=[an_event(EventKind.EXITED, exit_code=1)]),
    ):
        moved = observed.changes[-1]
        assert isinstance(moved, AttemptMoved)
        assert moved.spend == Charge()


def test_bad_data_is_named_by_the_agent_that_refused_it() -> None:
    observed = watch(an_attempt(), events=[an_event(EventKind.EXITED, exit_code=74, why="invalid_data")])

    assert end_of(observed) == End(reason=EndReason.INVALID_DATA, exit_code=74, detail="invalid_data")


def test_progress_without_an_end_in_sight_is_no_share() -> None:
    observed = watch(an_attempt(claimed=True), events=[an_event(EventKind.PROGRESS, step=3, total=None)])

    assert observed.changes == ()


def test_a_job_that_gave_way_ends_without_the_managers_word_after_a_while() -> None:
    kept = End(reason=EndReason.LOST, exit_code=75, detail="refused to start: held by 78")
    observed = watch(an_attempt(end=kept, quiet_ticks=2), polls=answered(seen(NativeState.RUNNING)))

    moved = observed.changes[-1]
    assert isinstance(moved, AttemptMoved)
    assert (end_of(observed), moved.reason) == (kept, because(ReasonCode.RAN_ELSEWHERE, why=kept.detail))


def test_a_silent_manager_keeps_the_jobs_word_waiting() -> None:
    killed = an_event(EventKind.EXITED, signal=15, exit_code=None)

    observed = watch(an_attempt(claimed=True), events=[killed], polls={HERE: Unreachable(what="down")})

    assert observed.changes == (AttemptNoted(attempt=AttemptId("t1.1"), end=End(reason=EndReason.FAILED, signal=15)),)


def test_a_requeue_before_it_was_seen_running_is_told_with_its_next_move() -> None:
    observed = watch(an_attempt(state=AttemptState.QUEUED), polls=answered(seen(NativeState.RUNNING, restarts=2)))

    moved = [change for change in observed.changes if isinstance(change, AttemptMoved)]
    assert [(move.after, move.incarnation) for move in moved] == [(AttemptState.RUNNING, 2)]


def test_a_requeue_that_already_runs_again_passes_through_the_queue() -> None:
    observed = watch(an_attempt(), events=[an_event(EventKind.STARTED, incarnation=1)], polls={})

    moved = [change for change in observed.changes if isinstance(change, AttemptMoved)]
    assert [(move.after, move.incarnation) for move in moved] == [(AttemptState.QUEUED, 1), (AttemptState.RUNNING, 1)]


def test_the_exit_of_an_older_incarnation_does_not_end_the_attempt() -> None:
    events = [
        an_event(EventKind.EXITED, incarnation=0, seq=9, exit_code=0),
        an_event(EventKind.HEARTBEAT, incarnation=1, seq=0, cpu_s=1.0),
    ]

    assert watch(an_attempt(), events=events).ended == ()


def test_only_the_first_rank_speaks_of_the_end() -> None:
    assert watch(an_attempt(), events=[an_event(EventKind.EXITED, rank=3, exit_code=0)]).ended == ()


def test_a_refused_duplicate_leaves_the_attempt_that_runs_alone() -> None:
    refused = an_event(EventKind.REFUSED, native_id="78", why="claimed by 77")

    observed = watch(an_attempt(claimed=True), events=[refused], polls=answered(seen(NativeState.RUNNING)))

    assert observed.changes == (
        Noted(subject="t1.1", what="refused", facts={"native_id": "78", "why": "claimed by 77"}),
    )


def test_an_attempt_that_gave_way_is_lost_once_the_manager_confirms() -> None:
    refused = an_event(EventKind.REFUSED, native_id="77", why="task already done")
    first = watch(an_attempt(), events=[refused], polls=answered(seen(NativeState.RUNNING)))
    kept = End(reason=EndReason.LOST, exit_code=75, detail="refused to start: task already done")

    assert first.ended == ()
    assert AttemptNoted(attempt=AttemptId("t1.1"), end=kept) in first.changes

    second = watch(an_attempt(end=kept, quiet_ticks=1), polls=answered(seen(NativeState.ENDED, exit_code=75)))
    assert end_of(second) == kept

    claimed_after_all = watch(an_attempt(end=kept, claimed=True), polls=answered(seen(NativeState.RUNNING)))
    assert claimed_after_all.ended == ()


def test_what_jobs_report_is_recorded_once() -> None:
    events = [
        an_event(EventKind.CLAIMED, seq=0, native_id="77"),
        an_event(EventKind.METRIC, seq=1, name="loss", value=0.5, step=1),
        an_event(EventKind.METRIC, seq=2, name="loss", value=0.25, step=2),
        an_event(EventKind.CHECKPOINT, seq=3, path="c2", step=2, size_bytes=10, seconds=1.5),
        an_event(EventKind.HEARTBEAT, seq=4, cpu_s=7.0, max_memory_mib=100),
        an_event(EventKind.OUTPUT, seq=5, name="model", path="model.pt", ok=True, why=None),
        an_event(EventKind.QUARANTINED, seq=6, path="c1", why="bad hash"),
    ]

    observed = watch(an_attempt(), events=events[::-1])

    attempt = AttemptId("t1.1")
    checkpoint = CheckpointRef(path="c2", step=2, size_bytes=10, seconds=1.5, saved_at=after(-5))
    assert observed.changes == (
        Noted(subject="t1.1", what="quarantined", facts={"path": "c1", "why": "bad hash"}),
        OutputSeen(attempt=attempt, name="model", path="model.pt", ok=True),
        CheckpointSeen(attempt=attempt, checkpoint=checkpoint),
        MetricSeen(attempt=attempt, name="loss", value=0.25, step=2),
        UsageSeen(attempt=attempt, usage=Usage(cpu_s=7.0, max_memory_mib=100)),
        AttemptNoted(attempt=attempt, claimed=True),
    )


def test_progress_becomes_a_metric_and_the_step_of_the_end() -> None:
    events = [
        an_event(EventKind.PROGRESS, seq=1, step=3, total=4),
        an_event(EventKind.EXITED, seq=2, exit_code=1, why="program failed"),
    ]

    observed = watch(an_attempt(claimed=True), events=events)

    assert MetricSeen(attempt=AttemptId("t1.1"), name="progress", value=0.75, step=3) in observed.changes
    assert end_of(observed) == End(reason=EndReason.FAILED, exit_code=1, detail="program failed", step=3)


def test_ended_attempts_carry_their_newest_checkpoint_and_use() -> None:
    events = [
        an_event(EventKind.CHECKPOINT, seq=1, path="c9", step=9),
        an_event(EventKind.EXITED, seq=2, exit_code=1, cpu_s=4.0, gpu_s=2.0, max_memory_mib=5, max_gpu_memory_mib=6),
    ]

    ended = watch(an_attempt(claimed=True), events=events).ended[0]

    assert ended.last_checkpoint == CheckpointRef(path="c9", step=9, saved_at=after(-5))
    assert ended.usage == Usage(cpu_s=4.0, gpu_s=2.0, max_memory_mib=5, max_gpu_memory_mib=6)


def test_our_own_clock_never_books_more_than_the_walltime() -> None:
    attempt = an_attempt(request=Resources(walltime_s=100), started_at=after(-5000))

    observed = watch(attempt, polls=answered(seen(NativeState.ENDED, end_reason=EndReason.NODE_FAILURE)))

    moved = observed.changes[-1]
    assert isinstance(moved, AttemptMoved)
    assert moved.spend == Charge(node_s=100, cpu_s=100)


def test_bad_values_in_events_are_left_out() -> None:
    events = [
        an_event(EventKind.METRIC, seq=1, name="loss", value="low"),
        an_event(EventKind.CHECKPOINT, seq=2, path=None, step=2),
        an_event(EventKind.CLAIMED, seq=3, native_id=None),
    ]

    assert watch(an_attempt(claimed=True), events=events) == NOTHING


@pytest.mark.slow
def test_ten_thousand_live_attempts_take_no_more_than_their_number() -> None:
    live = [an_attempt(f"t{number}.1", native_id=NativeId(str(number))) for number in range(10_000)]
    polls = {
        HERE: Answered(
            observations={
                NativeId(str(n)): Seen(native_id=NativeId(str(n)), state=NativeState.RUNNING) for n in range(10_000)
            }
        )
    }
    events = [an_event(EventKind.HEARTBEAT, f"t{number}.1", cpu_s=1.0) for number in range(0, 10_000, 5)]

    began = process_time()
    observed = observe(live, events, polls, {}, NOW)
    took_s = process_time() - began

    assert len(observed.changes) == 2 * 2_000  # claimed, and its use
    # 0.05 s by itself (`observe_10k_ms` in benchmarks/); the rest is for coverage and busy machines.
    assert took_s < 2.0


@pytest.mark.parametrize("is_told", [True, False], ids=["told by the agent", "by its exit status alone"])
def test_a_program_killed_because_the_state_folder_was_out_of_reach_ended_with_its_node_not_by_its_own_fault(
    is_told: bool,  # noqa: FBT001 - a column of the table
) -> None:
    told = [an_event(EventKind.EXITED, exit_code=None, signal=9, why="fenced")] if is_told else []
    manager = answered(seen(NativeState.ENDED, end_reason=EndReason.FAILED, exit_code=76))

    end = end_of(watch(an_attempt(claimed=True), events=told, polls=manager))

    assert end is not None
    assert end.reason is EndReason.NODE_FAILURE


@pytest.mark.parametrize("is_told", [True, False], ids=["told by the agent", "by its exit status alone"])
def test_an_attempt_that_was_given_a_bad_gpu_says_so_whatever_its_manager_makes_of_it(
    is_told: bool,  # noqa: FBT001 - a column of the table
) -> None:
    words = "given GPU 2 of node n1"
    told = [an_event(EventKind.EXITED, exit_code=None, why="bad_gpu", detail=words)] if is_told else []
    manager = answered(seen(NativeState.ENDED, end_reason=EndReason.FAILED, exit_code=77))

    end = end_of(watch(an_attempt(claimed=True), events=told, polls=manager))

    assert end is not None
    assert (end.reason, end.detail) == (EndReason.BAD_GPU, words if is_told else "")


@pytest.mark.parametrize(("known", "nodes"), [("", "n1"), ("n1-other-name", None)])
def test_an_attempt_given_back_before_anybody_saw_where_it_ran_names_its_node_itself(
    known: str, nodes: str | None
) -> None:
    told = [an_event(EventKind.EXITED, exit_code=None, why="bad_gpu", detail="given GPU 2", node="n1")]

    observed = watch(an_attempt(claimed=True, nodes=known), events=told, polls={HERE: Unreachable(what="down")})

    [moved] = [change for change in observed.changes if isinstance(change, AttemptMoved)]
    assert moved.nodes == nodes


@pytest.mark.parametrize("quiet_ticks", [0, 5])
def test_job_that_its_manager_calls_done_is_not_done_while_it_still_speaks(quiet_ticks: int) -> None:
    done = answered(seen(NativeState.ENDED, end_reason=EndReason.COMPLETED, exit_code=0))
    observed = watch(
        an_attempt(claimed=True, quiet_ticks=quiet_ticks), events=[an_event(EventKind.HEARTBEAT)], polls=done
    )

    assert observed.ended == ()
    assert observed.changes[-1] == AttemptNoted(attempt=AttemptId("t1.1"), quiet_ticks=0)
