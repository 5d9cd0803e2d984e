from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import AttemptId
from elisa.model.pipeline import Backoff, Grow, RestartWhen, RetryPolicy, TaskSpec
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, Task
from elisa.policies.recovery import RecoveryRules, after_end
from elisa.policies.resuming import newest_checkpoint
from elisa.policies.retrying import backoff_s
from elisa.policies.unexplained import FORGOTTEN, UNEXPLAINED, VANISHED, held_unexplained
from tests.policies.build import NOW, a_checkpoint, a_task, after, an_attempt, ended

STEADY = Backoff(initial_s=30, factor=2, maximum_s=3600, jitter=0)


def a_retrying_task(**fields: Any) -> Task:
    policy = {"backoff": STEADY, **fields.pop("retry", {})}
    spec = TaskSpec(name="train", command=("true",), retry=RetryPolicy(**policy))
    return a_task(spec=spec, **fields)


def fate(task: Task, attempt: Attempt, *siblings: Attempt, fraction: float = 0.5) -> Any:
    return after_end(task, attempt, siblings, NOW, fraction)


def test_success_ends_the_task() -> None:
    moved = fate(a_retrying_task(), ended(EndReason.COMPLETED))

    assert (moved.before, moved.after, moved.reason) == (
        TaskState.ACTIVE,
        TaskState.SUCCEEDED,
        because(ReasonCode.SUCCEEDED),
    )


def test_success_wins_over_a_late_cancel() -> None:
    moved = fate(a_retrying_task(cancel_requested=True), ended(EndReason.COMPLETED, cancel_sent=True))

    assert moved.after is TaskState.SUCCEEDED


def test_a_service_starts_again_after_success_until_its_limit() -> None:
    service = a_retrying_task(retry={"restart": RestartWhen.ALWAYS, "limit": 1})

    assert fate(service, ended(EndReason.COMPLETED)).after is TaskState.WAITING
    assert fate(service, ended(EndReason.COMPLETED, "t1.2")).after is TaskState.SUCCEEDED


def test_a_cancelled_task_stays_cancelled() -> None:
    moved = fate(a_retrying_task(cancel_requested=True), ended(EndReason.CANCELLED, cancel_sent=True))

    assert (moved.after, moved.reason.code) == (TaskState.CANCELLED, ReasonCode.CANCELLED_BY_USER)


def test_a_cancel_from_outside_is_respected() -> None:
    moved = fate(a_retrying_task(), ended(EndReason.CANCELLED, detail="CANCELLED by root"))

    assert (moved.after, moved.reason) == (
        TaskState.CANCELLED,
        because(ReasonCode.CANCELLED_OUTSIDE, native_id="77", words="CANCELLED by root"),
    )


def unexplained(attempt: str = "t1.1", **fields: Any) -> Attempt:
    return ended(EndReason.CANCELLED, attempt, detail=UNEXPLAINED, **fields)


@pytest.mark.parametrize("restart", list(RestartWhen))
def test_a_job_that_nobody_is_known_to_have_cancelled_and_that_never_began_is_tried_once_more_at_no_cost(
    restart: RestartWhen,
) -> None:
    task = a_retrying_task(retry={"restart": restart, "limit": 0}, resume_from=a_checkpoint(4))

    moved = fate(task, unexplained(native_id="77"))

    assert (moved.after, moved.not_before, moved.counts_as_failure) == (TaskState.READY, None, False)
    assert (moved.resume_from, moved.reason) == (
        a_checkpoint(4),
        because(ReasonCode.CANCELLED_UNEXPLAINED, native_id="77"),
    )


def test_after_the_second_such_job_in_a_row_the_task_is_held_for_a_person_to_say() -> None:
    moved = fate(a_retrying_task(), unexplained("t1.2", native_id="78"), unexplained(native_id="77"))

    assert (moved.after, moved.counts_as_failure) == (TaskState.HELD, False)
    assert moved.reason == because(ReasonCode.HELD_UNEXPLAINED, native_id="78", before="77")


def test_what_was_queued_ahead_in_vain_between_two_such_jobs_says_nothing_of_them() -> None:
    between = ended(EndReason.NOT_BEGUN, "t1.2", continues=AttemptId("t1.1"))

    reason = held_unexplained((unexplained(native_id="77"), between, unexplained("t1.3", native_id="78")))

    assert reason == because(ReasonCode.HELD_UNEXPLAINED, native_id="78", before="77")


def test_such_jobs_that_do_not_follow_each_other_are_each_tried_once_more() -> None:
    moved = fate(a_retrying_task(), unexplained("t1.3"), ended(EndReason.PREEMPTED, "t1.2"), unexplained())

    assert moved.after is TaskState.READY


def vanished(attempt: str = "t1.1", **fields: Any) -> Attempt:
    detail = f"not found in 3 complete listings: {VANISHED}"
    return ended(EndReason.LOST, attempt, detail=detail, **{"started_at": None, **fields})


def stopped_and_forgotten(attempt: str = "t1.1", **fields: Any) -> Attempt:
    return ended(EndReason.LOST, attempt, detail=FORGOTTEN, claimed=True, **fields)


@pytest.mark.parametrize("taken", [vanished, stopped_and_forgotten])
def test_job_that_its_manager_has_no_record_of_is_run_again_once_and_then_held(taken: Callable[..., Attempt]) -> None:
    first = fate(a_retrying_task(retry={"limit": 0}), taken(native_id="77"))
    second = fate(a_retrying_task(), taken("t1.2", native_id="78"), taken(native_id="77"))

    assert (first.after, first.counts_as_failure) == (TaskState.WAITING, False)
    assert (second.after, second.counts_as_failure) == (TaskState.HELD, False)
    assert second.reason == because(ReasonCode.HELD_FORGOTTEN, native_id="78", before="77")


def test_task_that_is_held_so_goes_on_from_what_it_saved() -> None:
    saved = stopped_and_forgotten("t1.2", last_checkpoint=a_checkpoint(4))

    assert fate(a_retrying_task(), saved, stopped_and_forgotten()).resume_from == a_checkpoint(4)


def test_jobs_that_waited_behind_others_may_have_been_ended_with_them_and_hold_nothing() -> None:
    behind = vanished("t1.2", behind=(AttemptId("t2.1"),))

    assert fate(a_retrying_task(), behind, vanished()).after is TaskState.WAITING


def test_what_must_not_run_twice_is_not_kept_for_a_person_to_let_go_on() -> None:
    task = a_retrying_task(retry={"restart": RestartWhen.NEVER})

    assert fate(task, stopped_and_forgotten("t1.2"), vanished()).after is TaskState.FAILED


def test_the_owners_wish_counts_though_nobody_knows_who_cancelled_the_job() -> None:
    assert fate(a_retrying_task(cancel_requested=True), unexplained()).after is TaskState.CANCELLED
    assert fate(a_retrying_task(hold_requested=True), unexplained()).reason.code is ReasonCode.HELD


def test_a_task_that_made_room_resumes_at_once_from_its_checkpoint() -> None:
    moved = fate(a_retrying_task(), ended(EndReason.CANCELLED, cancel_sent=True, last_checkpoint=a_checkpoint(4)))

    assert (moved.after, moved.not_before, moved.resume_from, moved.counts_as_failure) == (
        TaskState.READY,
        None,
        a_checkpoint(4),
        False,
    )
    assert moved.reason == because(ReasonCode.RESUME, end="cancelled", resume_step=4)


@pytest.mark.parametrize(("began", "keeps"), [(None, True), (after(-60), False)])
def test_a_task_keeps_its_age_if_nothing_of_it_ran(began: datetime | None, *, keeps: bool) -> None:
    moved = fate(a_retrying_task(), ended(EndReason.CANCELLED, cancel_sent=True, started_at=began))

    assert (moved.after, moved.keeps_age) == (TaskState.READY, keeps)


def test_preemption_never_uses_up_anything() -> None:
    before = [ended(EndReason.PREEMPTED, f"t1.{number}") for number in range(1, 40)]

    moved = fate(a_retrying_task(retry={"limit": 0}), ended(EndReason.PREEMPTED, "t1.40"), *before)

    assert (moved.after, moved.counts_as_failure) == (TaskState.WAITING, False)


def test_who_comes_back_five_times_without_getting_further_waits_the_longer_the_more_often() -> None:
    def nth(count: int) -> Any:
        before = [ended(EndReason.CANCELLED, f"t1.{number}", cancel_sent=True) for number in range(1, count)]
        return fate(a_retrying_task(), ended(EndReason.PREEMPTED, f"t1.{count}"), *before)

    assert [nth(count).not_before for count in (4, 5, 6, 7)] == [None, after(30), after(60), after(120)]
    assert nth(5).reason == because(
        ReasonCode.SPINS,
        times=5,
        within_s=3600,
        causes="asked to leave 4x, taken off by the resource manager 1x",
        not_before=after(30).isoformat(),
    )


def test_who_comes_back_without_getting_further_is_told_from_where_it_will_go_on() -> None:
    saved = a_checkpoint(4)
    before = [ended(EndReason.CANCELLED, f"t1.{n}", cancel_sent=True, resume_from=saved) for n in range(1, 5)]

    moved = fate(a_retrying_task(), ended(EndReason.PREEMPTED, "t1.5", resume_from=saved), *before)

    assert (moved.resume_from, moved.reason.code, moved.reason.facts["resume_step"]) == (saved, ReasonCode.SPINS, 4)


def test_a_failure_that_left_neither_a_code_nor_a_signal_is_still_the_same_failure() -> None:
    end = End(reason=EndReason.FAILED, step=12)
    first, second = (ended(EndReason.FAILED, f"t1.{n}", end=end) for n in (1, 2))

    moved = fate(a_retrying_task(failures=1, retry={"limit": 9}), second, first)

    assert moved.reason == because(ReasonCode.SAME_FAILURE, end="failed", step=12, times=2)


def test_a_turn_that_never_comes_makes_a_task_wait_too() -> None:
    missed = {"leader": AttemptId("t9.1"), "started_at": None}
    before = [ended(EndReason.NOT_BEGUN, f"t1.{number}", **missed) for number in range(1, 5)]

    moved = fate(a_retrying_task(), ended(EndReason.NOT_BEGUN, "t1.5", **missed), *before)

    assert (moved.after, moved.not_before, moved.reason.facts["causes"]) == (
        TaskState.WAITING,
        after(30),
        "turn did not come 5x",
    )


@pytest.mark.parametrize("reason", sorted(INFRASTRUCTURE_ENDS - {EndReason.PREEMPTED, EndReason.BAD_GPU}))
def test_breakdowns_cost_no_retry_but_are_spread_in_time(reason: EndReason) -> None:
    moved = fate(a_retrying_task(retry={"limit": 0}), ended(reason))

    assert (moved.after, moved.counts_as_failure, moved.not_before) == (TaskState.WAITING, False, after(30))


def test_breakdowns_without_any_progress_come_to_an_end() -> None:
    before = [ended(EndReason.NODE_FAILURE, f"t1.{number}") for number in range(1, 10)]

    moved = fate(a_retrying_task(), ended(EndReason.NODE_FAILURE, "t1.10"), *before)

    assert (moved.after, moved.reason) == (
        TaskState.FAILED,
        because(ReasonCode.RETRIES_USED_UP, end="node_failure", failures=10, limit=10),
    )


def test_progress_forgives_earlier_breakdowns() -> None:
    before = [ended(EndReason.NODE_FAILURE, f"t1.{number}") for number in range(1, 20)]
    last = ended(EndReason.NODE_FAILURE, "t1.20", resume_from=a_checkpoint(1), last_checkpoint=a_checkpoint(2))

    moved = fate(a_retrying_task(), last, *before)

    assert (moved.after, moved.not_before) == (TaskState.READY, None)


def test_after_a_lost_job_that_ran_the_successor_waits_until_the_old_one_has_fenced_itself() -> None:
    moved = after_end(a_retrying_task(), ended(EndReason.LOST, claimed=True), [], NOW, 0.5, RecoveryRules(fence_s=200))

    assert moved.not_before == after(200)


def test_never_means_never_except_for_what_never_ran() -> None:
    task = a_retrying_task(retry={"restart": RestartWhen.NEVER})

    assert fate(task, ended(EndReason.NODE_FAILURE)).reason.code is ReasonCode.NOT_RETRYABLE
    assert fate(task, ended(EndReason.FAILED)).reason.code is ReasonCode.NOT_RETRYABLE
    assert fate(task, ended(EndReason.LOST, started_at=None)).after is TaskState.WAITING


@pytest.mark.parametrize("reason", [EndReason.REJECTED, EndReason.INVALID_DATA])
def test_what_would_only_happen_again_is_not_retried_unless_asked_for(reason: EndReason) -> None:
    assert fate(a_retrying_task(), ended(reason)).after is TaskState.FAILED
    assert fate(a_retrying_task(retry={"on": (reason,)}), ended(reason)).after is TaskState.WAITING


def test_only_the_listed_ends_are_retried() -> None:
    task = a_retrying_task(retry={"on": (EndReason.TIMEOUT,)})

    assert fate(task, ended(EndReason.FAILED)).reason.code is ReasonCode.NOT_RETRYABLE
    assert fate(task, ended(EndReason.TIMEOUT)).after is TaskState.WAITING
    assert fate(task, ended(EndReason.PREEMPTED)).after is TaskState.READY


def test_a_failure_is_retried_with_backoff_and_counted() -> None:
    moved = fate(a_retrying_task(failures=1), ended(EndReason.FAILED, "t1.2", last_checkpoint=a_checkpoint(7)))

    assert (moved.after, moved.not_before, moved.counts_as_failure, moved.resume_from) == (
        TaskState.WAITING,
        after(60),
        True,
        a_checkpoint(7),
    )
    assert moved.reason == because(ReasonCode.RETRY, end="failed", failures=2, limit=2, resume_step=7)
    assert moved.request == Resources()


def test_retries_are_used_up() -> None:
    moved = fate(a_retrying_task(failures=2), ended(EndReason.FAILED, "t1.3"))

    assert (moved.after, moved.counts_as_failure, moved.reason) == (
        TaskState.FAILED,
        True,
        because(ReasonCode.RETRIES_USED_UP, end="failed", failures=3, limit=2),
    )


def test_the_same_failure_at_the_same_step_stops_early() -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9})
    first, second = (ended(EndReason.FAILED, f"t1.{n}", step=12, exit_code=1) for n in (1, 2))

    moved = fate(task, second, first)

    assert (moved.after, moved.reason) == (
        TaskState.FAILED,
        because(ReasonCode.SAME_FAILURE, end="failed", step=12, times=2, exit_code=1),
    )


def test_a_failure_by_a_signal_is_told_with_its_signal() -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9})
    end = End(reason=EndReason.FAILED, step=12, signal=11)
    first, second = (ended(EndReason.FAILED, f"t1.{n}", end=end) for n in (1, 2))

    assert fate(task, second, first).reason == because(
        ReasonCode.SAME_FAILURE, end="failed", step=12, times=2, signal=11
    )


def test_the_same_failure_on_other_chosen_nodes_is_still_the_same() -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9})
    first, second = (
        ended(EndReason.FAILED, f"t1.{n}", step=12, exit_code=1, request=Resources(nodelist=(f"n{n}",))) for n in (1, 2)
    )

    assert fate(task, second, first).reason.code is ReasonCode.SAME_FAILURE


def test_an_attempt_given_among_its_own_siblings_counts_once() -> None:
    attempt = ended(EndReason.FAILED, "t1.1", step=12, exit_code=1)

    assert fate(a_retrying_task(retry={"limit": 9}), attempt, attempt).after is TaskState.WAITING


@pytest.mark.parametrize(
    "first",
    [
        ended(EndReason.FAILED, "t1.1", step=11, exit_code=1),
        ended(EndReason.FAILED, "t1.1", step=12, exit_code=2),
        ended(EndReason.FAILED, "t1.1", step=12, exit_code=1, request=Resources(walltime_s=1)),
        ended(EndReason.PREEMPTED, "t1.1", step=12, exit_code=1),
        an_attempt("t1.1"),
    ],
)
def test_another_failure_is_worth_another_try(first: Attempt) -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9})

    assert fate(task, ended(EndReason.FAILED, "t1.2", step=12, exit_code=1), first).after is TaskState.WAITING


def test_failures_without_a_known_step_are_not_called_the_same() -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9})

    assert fate(task, ended(EndReason.FAILED, "t1.2"), ended(EndReason.FAILED, "t1.1")).after is TaskState.WAITING


def test_out_of_memory_asks_for_more_memory_up_to_the_maximum() -> None:
    grow = Grow(memory_factor=2, memory_maximum_mib=3000)
    task = a_retrying_task(retry={"grow": grow}, request=Resources(memory_mib_per_node=1000))
    moved = fate(task, ended(EndReason.OUT_OF_MEMORY))
    assert moved.request == Resources(memory_mib_per_node=2000)

    task = a_retrying_task(retry={"grow": grow}, request=Resources(memory_mib_per_node=2000))
    assert fate(task, ended(EndReason.OUT_OF_MEMORY)).request == Resources(memory_mib_per_node=3000)


def test_a_turn_that_did_not_come_neither_counts_as_a_breakdown_nor_breaks_a_row_of_them() -> None:
    broke = [ended(EndReason.NODE_FAILURE, f"t1.{number}") for number in range(1, 10)]
    waited = ended(EndReason.NOT_BEGUN, "t1.10", leader=AttemptId("t2.1"))

    not_begun = fate(a_retrying_task(), waited, *broke)
    tenth = fate(a_retrying_task(), ended(EndReason.NODE_FAILURE, "t1.11"), *broke, waited)

    assert (not_begun.after, not_begun.reason.code) == (TaskState.READY, ReasonCode.NOT_BEGUN)
    assert (tenth.after, tenth.reason.code) == (TaskState.FAILED, ReasonCode.RETRIES_USED_UP)
    assert tenth.reason.facts["failures"] == 10


def test_a_timeout_without_progress_counts_and_asks_for_more_time() -> None:
    moved = fate(a_retrying_task(request=Resources(walltime_s=100)), ended(EndReason.TIMEOUT))

    assert (moved.counts_as_failure, moved.request) == (True, Resources(walltime_s=150))


def test_a_timeout_over_real_progress_just_goes_on() -> None:
    attempt = ended(EndReason.TIMEOUT, "t1.2", resume_from=a_checkpoint(10), last_checkpoint=a_checkpoint(20))

    moved = fate(a_retrying_task(retry={"limit": 0}), attempt)

    assert (moved.after, moved.counts_as_failure, moved.resume_from, moved.request) == (
        TaskState.READY,
        False,
        a_checkpoint(20),
        Resources(),
    )


@pytest.mark.parametrize("step", [20, 21, None], ids=["at it", "in the step after it", "nobody knows where"])
def test_a_checkpoint_that_kills_twice_is_skipped(step: int | None) -> None:
    first = ended(EndReason.NODE_FAILURE, "t1.1", last_checkpoint=a_checkpoint(10))
    second = ended(EndReason.FAILED, "t1.2", resume_from=a_checkpoint(10), last_checkpoint=a_checkpoint(20))
    third, fourth = (ended(EndReason.FAILED, f"t1.{n}", resume_from=a_checkpoint(20), step=step) for n in (3, 4))

    moved = fate(a_retrying_task(failures=1, retry={"limit": 9}), fourth, first, second, third)

    assert (moved.after, moved.resume_from) == (TaskState.WAITING, a_checkpoint(10))
    assert moved.reason == because(ReasonCode.RETRY, end="failed", failures=2, limit=9, before_step=20)


def test_without_an_older_checkpoint_a_poisoned_one_means_from_the_start() -> None:
    task = a_retrying_task(failures=1, retry={"limit": 9}, resume_from=a_checkpoint(20))
    first, second = (ended(EndReason.FAILED, f"t1.{n}", resume_from=a_checkpoint(20), step=20) for n in (1, 2))

    assert fate(task, second, first).resume_from is None


def test_the_newest_checkpoint_is_the_one_with_most_work_in_it() -> None:
    attempts = [
        ended(EndReason.FAILED, "t1.1", last_checkpoint=a_checkpoint(30)),
        ended(EndReason.FAILED, "t1.2", last_checkpoint=a_checkpoint(20)),
    ]

    assert newest_checkpoint(a_task(resume_from=a_checkpoint(10)), attempts) == a_checkpoint(30)
    assert newest_checkpoint(a_task(), []) is None


def a_choice(step: int, attempt: int) -> CheckpointRef:
    return replace(a_checkpoint(step), chosen_for=attempt)


def test_what_was_saved_before_a_person_chose_a_checkpoint_counts_no_more() -> None:
    before = ended(EndReason.FAILED, "t1.1", last_checkpoint=a_checkpoint(300))
    task = a_task(resume_from=a_choice(100, attempt=2))

    assert newest_checkpoint(task, [before]) == a_choice(100, attempt=2)


def test_what_was_saved_after_the_chosen_checkpoint_counts() -> None:
    before = ended(EndReason.FAILED, "t1.1", last_checkpoint=a_checkpoint(300))
    since = ended(EndReason.PREEMPTED, "t1.2", resume_from=a_choice(100, attempt=2), last_checkpoint=a_checkpoint(150))

    assert newest_checkpoint(a_task(resume_from=a_choice(100, attempt=2)), [before, since]) == a_checkpoint(150)
    assert fate(a_task(resume_from=a_choice(100, attempt=2)), since, before).resume_from == a_checkpoint(150)


def test_a_chosen_checkpoint_stays_chosen_until_something_newer_was_saved() -> None:
    before = ended(EndReason.FAILED, "t1.1", last_checkpoint=a_checkpoint(300))
    lost = ended(EndReason.NODE_FAILURE, "t1.2", resume_from=a_choice(100, attempt=2))

    moved = fate(a_task(resume_from=a_choice(100, attempt=2)), lost, before)

    assert moved.resume_from == a_choice(100, attempt=2)


def test_the_last_choice_is_the_one_that_counts() -> None:
    first = ended(EndReason.FAILED, "t1.2", resume_from=a_choice(100, attempt=2), last_checkpoint=a_checkpoint(150))

    assert newest_checkpoint(a_task(resume_from=a_choice(100, attempt=3)), [first]) == a_choice(100, attempt=3)


def test_an_attempt_that_has_not_ended_is_refused() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        fate(a_task(), an_attempt())


@given(
    failures=st.integers(1, 10_000),
    fraction=st.floats(0, 1, exclude_max=True),
    initial_s=st.floats(0, 1e6),
    factor=st.floats(1, 10),
    maximum_s=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_the_wait_is_never_negative_and_bounded(
    *, failures: int, fraction: float, initial_s: float, factor: float, maximum_s: float, jitter: float
) -> None:
    backoff = Backoff(initial_s=initial_s, factor=factor, maximum_s=maximum_s, jitter=jitter)

    assert 0 <= backoff_s(backoff, failures, fraction) <= maximum_s * (1 + jitter)


@given(
    reason=st.sampled_from([r for r in EndReason if r is not EndReason.COMPLETED]),
    failures=st.integers(0, 5),
    limit=st.integers(0, 5),
    fraction=st.floats(0, 1, exclude_max=True),
)
def test_no_task_is_tried_more_often_than_its_limit_allows(
    reason: EndReason, failures: int, limit: int, fraction: float
) -> None:
    moved = fate(a_retrying_task(failures=failures, retry={"limit": limit}), ended(reason), fraction=fraction)

    goes_on = moved.after in {TaskState.READY, TaskState.WAITING}
    assert moved.counts_as_failure is (reason not in INFRASTRUCTURE_ENDS) or not goes_on
    assert not (goes_on and moved.counts_as_failure and failures >= limit)


def a_give_back(number: int, **fields: Any) -> Attempt:
    end = End(reason=EndReason.BAD_GPU, detail="given GPU 2 of node n1")
    return ended(EndReason.BAD_GPU, f"t1.{number}", end=end, **fields)


def test_whoever_was_given_a_bad_gpu_comes_back_at_once_and_has_lost_nothing() -> None:
    saved = a_checkpoint(4)

    moved = fate(a_retrying_task(), a_give_back(1, resume_from=saved))

    assert (moved.after, moved.not_before, moved.counts_as_failure) == (TaskState.READY, None, False)
    assert moved.reason == because(ReasonCode.GIVEN_BACK, detail="given GPU 2 of node n1", resume_step=4)
    assert fate(a_retrying_task(), a_give_back(1)).reason.facts == {"detail": "given GPU 2 of node n1"}


def test_whoever_is_given_bad_gpus_again_and_again_waits() -> None:
    moved = fate(a_retrying_task(), a_give_back(5), *(a_give_back(number) for number in range(1, 5)))

    assert (moved.after, moved.not_before) == (TaskState.WAITING, after(30))
    assert moved.reason.facts["causes"] == "given a bad GPU 5x"


def test_bad_gpus_in_between_neither_count_as_breakdowns_nor_break_a_row_of_them() -> None:
    broke = [ended(EndReason.NODE_FAILURE, f"t1.{number}") for number in range(1, 10)]

    tenth = fate(a_retrying_task(), ended(EndReason.NODE_FAILURE, "t1.11"), *broke, a_give_back(10))

    assert tenth.reason.facts["failures"] == 10
