"""A job that its manager calls running, and whose agent never gave a sign, is given up; nothing else that is silent is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from elisa.model.changes import AttemptMoved, AttemptNoted
from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId
from elisa.model.native import NativeState, Seen
from elisa.model.pipeline import RestartWhen, RetryPolicy
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt
from elisa.policies.blame import own_bad_nodes
from elisa.policies.lifecycle import LifecycleRules, Observed, observe
from elisa.policies.recovery import RecoveryRules, after_end
from elisa.policies.unexplained import is_unheard
from elisa.policies.unheard import UnheardRules
from tests.policies.build import NOW, a_task, after, an_attempt, an_event, answered, seen

BOUND_S, OLDER_S = 900, 300
RULES = LifecycleRules(absences=3, unheard=UnheardRules(bound_s=BOUND_S, older_s=OLDER_S))
LEADER, SECOND = AttemptId("t1.1"), AttemptId("t2.1")


def running(given_s: float, **fields: object) -> Seen:
    return replace(seen(NativeState.RUNNING, nodes="n1"), given_at=after(-given_s), **fields)  # type: ignore[arg-type]  # of a table


def watch(*live: Attempt, given: Seen, events: Sequence[RuntimeEvent] = (), rules: LifecycleRules = RULES) -> Observed:
    return observe(live, events, answered(given), {}, NOW, rules=rules)


def given_up(observed: Observed) -> list[AttemptId]:
    return [attempt.id for attempt in observed.ended]


def silent(quiet_ticks: int = 2, **fields: object) -> Attempt:
    return an_attempt(quiet_ticks=quiet_ticks, **fields)


def test_a_job_that_never_began_is_given_up_after_its_time_and_so_many_answers() -> None:
    first, second = (watch(silent(ticks), given=running(1000)) for ticks in (0, 1))
    third = watch(silent(2), given=running(1000))

    assert [one.changes for one in (first, second)] == [
        (AttemptNoted(attempt=LEADER, absences=0, quiet_ticks=ticks),) for ticks in (1, 2)
    ]
    [moved] = [change for change in third.changes if isinstance(change, AttemptMoved)]
    assert (moved.after, moved.nodes) == (AttemptState.LOST, "n1")
    assert moved.reason == because(ReasonCode.NEVER_BEGAN, native_id="77", given_s=1000)
    assert moved.end is not None
    assert (moved.end.reason, moved.end.detail) == (EndReason.LOST, "its agent never gave a sign")
    assert is_unheard(third.ended[0])


@pytest.mark.parametrize(
    "attempt",
    [silent(state=AttemptState.QUEUED), silent(cancel_sent=True), silent(continues=AttemptId("t1.0"))],
    ids=["only sent to its node", "asked to stop, and its manager does not", "queued ahead"],
)
def test_it_is_given_up_whatever_else_was_wanted_of_it(attempt: Attempt) -> None:
    assert given_up(watch(attempt, given=running(1000))) == [LEADER]
    assert given_up(watch(attempt, given=replace(running(1000), state=NativeState.QUEUED))) == [LEADER]


@pytest.mark.parametrize(
    ("attempt", "given", "rules"),
    [
        (silent(), running(BOUND_S), RULES),
        (silent(claimed=True), running(1000), RULES),
        (silent(), replace(running(1000), given_at=None), RULES),
        (silent(), running(1000), replace(RULES, unheard=UnheardRules(bound_s=0))),
        (silent(number=2), running(BOUND_S + OLDER_S), RULES),
        (silent(), running(-3600), RULES),
    ],
    ids=["not yet", "it spoke once", "suspended", "switched off", "it may wait for an older one", "a clock set back"],
)
def test_who_may_still_speak_is_waited_for(attempt: Attempt, given: Seen, rules: LifecycleRules) -> None:
    assert given_up(watch(attempt, given=given, rules=rules)) == []


@pytest.mark.parametrize("kind", [EventKind.CLAIMED, EventKind.HEARTBEAT])
def test_the_first_sign_counts_however_late_it_comes(kind: EventKind) -> None:
    observed = watch(silent(), given=running(1000), events=[an_event(kind)])

    assert given_up(observed) == []
    assert AttemptNoted(attempt=LEADER, claimed=True) in observed.changes
    assert AttemptNoted(attempt=LEADER, absences=0, quiet_ticks=0) in observed.changes


def a_bundle(**second: object) -> list[Attempt]:
    facts = {"state": AttemptState.QUEUED, "quiet_ticks": 2, "leader": LEADER}
    return [an_attempt("t1.1", **facts), an_attempt("t2.1", **{**facts, **second})]  # type: ignore[arg-type]  # a builder


def test_a_shared_job_is_given_up_as_a_whole() -> None:
    assert given_up(watch(*a_bundle(), given=running(1000))) == [LEADER, SECOND]


@pytest.mark.parametrize(
    ("live", "events"),
    [
        (a_bundle(claimed=True), []),
        (a_bundle(), [an_event(EventKind.CLAIMED, SECOND)]),
        (a_bundle()[1:], []),
    ],
    ids=["another ran", "another begins", "the first is over"],
)
def test_nobody_is_given_up_in_a_shared_job_in_which_somebody_spoke(
    live: list[Attempt], events: list[RuntimeEvent]
) -> None:
    assert given_up(watch(*live, given=running(1000), events=events)) == []


def lost(**fields: object) -> Attempt:
    [attempt] = watch(silent(**fields), given=running(1000, started_at=after(-1000))).ended
    return attempt


@pytest.mark.parametrize("restart", [RestartWhen.ON_FAILURE, RestartWhen.NEVER])
def test_its_task_is_tried_again_at_no_cost_even_if_it_may_run_only_once(restart: RestartWhen) -> None:
    task = a_task(spec_fields={"retry": RetryPolicy(limit=0, restart=restart)})
    moved = after_end(task, lost(), (), NOW, 0.0)

    assert (moved.after, moved.counts_as_failure) == (TaskState.WAITING, False)
    assert moved.not_before is not None


def test_the_next_attempt_sees_another_node() -> None:
    assert own_bad_nodes([replace(lost(), nodes="n1")]) == {"n1"}


def a_second_life(state: AttemptState = AttemptState.QUEUED, incarnation: int = 1) -> Attempt:
    return silent(state=state, incarnation=incarnation, claimed=True)


def test_a_job_that_is_sent_again_and_does_not_begin_is_given_up_and_its_successor_waits_until_it_is_surely_dead() -> (
    None
):
    sent = replace(running(1000), state=NativeState.QUEUED, restarts=1)
    [given] = watch(a_second_life(), given=sent).ended
    moved = after_end(a_task(), given, (), NOW, 0.0, RecoveryRules(fence_s=1125))

    assert is_unheard(given)
    assert (moved.after, moved.counts_as_failure) == (TaskState.WAITING, False)
    assert moved.not_before == after(1125)


def test_what_was_heard_before_may_have_run_and_is_not_tried_again_where_it_may_run_only_once() -> None:
    [given] = watch(a_second_life(), given=replace(running(1000), state=NativeState.QUEUED, restarts=1)).ended
    once = a_task(spec_fields={"retry": RetryPolicy(restart=RestartWhen.NEVER)})

    assert after_end(once, given, (), NOW, 0.0).after is TaskState.FAILED


@pytest.mark.parametrize(
    "attempt",
    [a_second_life(AttemptState.RUNNING), a_second_life(incarnation=0)],
    ids=["it began again", "it was never put back"],
)
def test_what_speaks_in_this_life_is_left_alone(attempt: Attempt) -> None:
    given = replace(running(1000), state=NativeState.QUEUED, restarts=attempt.incarnation)

    assert given_up(watch(attempt, given=given)) == []
