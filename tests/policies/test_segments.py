"""Which work is likely to need another attempt, and what becomes of one that was queued ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.changes import AttemptContinued, AttemptMoved, AttemptNoted, TaskMoved
from elisa.model.ids import NativeId
from elisa.model.pipeline import CheckpointPolicy, Gang, RestartWhen, RetryPolicy, TaskSpec
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Elastic, Resources
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, Task
from elisa.policies.chaining import Link, is_chained, tips_of
from elisa.policies.lifecycle import Observed
from elisa.policies.segments import chains_of, continued, hold_back, more_attempts, next_link, not_wanted
from tests.policies.build import NOW, a_task, an_attempt

HOUR = Resources(walltime_s=3600)
SHORT = Resources(walltime_s=1200)
SAVED = CheckpointRef(path="g1", step=7, chosen_for=1)
OWN = an_attempt("t1.1", request=HOUR, last_checkpoint=SAVED)  # it has run for ten minutes
NEXT = an_attempt("t1.2", AttemptState.QUEUED, request=HOUR, continues=OWN.id, native_id=NativeId("78"))
THIRD = an_attempt("t1.3", AttemptState.QUEUED, request=HOUR, continues=NEXT.id, native_id=NativeId("79"))
LONG = 10 * 3600.0


def the_task(**spec: Any) -> Task:
    wanted = {"checkpoint": CheckpointPolicy(), **spec}
    return replace(a_task(), state=TaskState.ACTIVE, request=HOUR, spec=TaskSpec(name="long", **wanted))


def link(task: Task | None = None, *chain: Attempt, left_s: float = LONG, earlier: tuple[Attempt, ...] = ()) -> Any:
    return next_link(task or the_task(), chain or (OWN,), left_s, NOW, earlier)


@pytest.mark.parametrize(
    ("walltime_s", "left_s", "count"),
    [
        (3600, 0, 0),
        (3600, 3000, 0),
        (3600, 3001, 1),
        (3600, LONG, 1),
        (86_400, 10 * LONG, 1),
        (1200, 600, 0),
        (1200, 601, 1),
        (1200, 1801, 2),
        (1200, LONG, 3),
    ],
)
def test_as_many_are_queued_ahead_as_the_work_takes_and_as_bridge_an_hour(
    walltime_s: int, left_s: float, count: int
) -> None:
    assert more_attempts(replace(OWN, request=Resources(walltime_s=walltime_s)), left_s, NOW) == count


def test_attempt_whose_start_nobody_knows_has_its_walltime_before_it() -> None:
    assert more_attempts(replace(OWN, started_at=None), 3601, NOW) == 1
    assert more_attempts(replace(OWN, request=Resources(walltime_s=0)), LONG, NOW) == 0


def test_next_attempt_goes_behind_the_present_one_and_from_what_that_saved() -> None:
    assert link() == Link(
        task=OWN.task,
        behind=(OWN.id,),
        backend=OWN.backend,
        depth=1,
        words="long's job 77",
        is_next=True,
        resume_from=CheckpointRef(path="g1", step=7),
    )


def test_one_after_that_goes_behind_the_last_that_is_queued() -> None:
    own = replace(OWN, last_checkpoint=None, request=SHORT)

    found = link(replace(the_task(), request=SHORT), own, NEXT)

    assert (found.behind, found.depth, found.resume_from) == ((NEXT.id,), 2, None)


def test_no_more_are_queued_than_the_work_will_take() -> None:
    task, own = replace(the_task(), request=SHORT), replace(OWN, request=SHORT)

    assert link(task, own, NEXT, left_s=1800) is None
    assert link(task, own, NEXT, left_s=1801) is not None


@pytest.mark.parametrize(
    "task",
    [
        the_task(checkpoint=None),
        the_task(chain=False),
        the_task(gang=Gang(name="g")),
        the_task(resources=Resources(elastic=Elastic(least=1, most=4))),
        the_task(retry=RetryPolicy(restart=RestartWhen.ALWAYS)),
        the_task(retry=RetryPolicy(restart=RestartWhen.NEVER)),
        replace(the_task(), cancel_requested=True),
        replace(the_task(), hold_requested=True),
        replace(the_task(), request=Resources(walltime_s=7200)),
    ],
    ids=[
        "saves nothing",
        "declines",
        "gang",
        "elastic",
        "service",
        "never again",
        "cancelled",
        "held",
        "of another length",
    ],
)
def test_nothing_is_queued_ahead_for_it(task: Task) -> None:
    assert link(task) is None


@pytest.mark.parametrize(
    "own",
    [
        replace(OWN, state=AttemptState.QUEUED),
        replace(OWN, native_id=None),
        replace(OWN, cancel_sent=True),
        replace(OWN, end=End(reason=EndReason.FAILED)),
        replace(OWN, leader=OWN.id),
    ],
    ids=["waits itself", "not known", "leaves", "has ended", "shares a job"],
)
def test_nothing_is_queued_behind_it(own: Attempt) -> None:
    assert link(None, own) is None


@pytest.mark.parametrize(
    ("earlier", "is_tried"),
    [
        (replace(NEXT, end=End(reason=EndReason.LOST)), False),
        (replace(NEXT, end=End(reason=EndReason.REJECTED), native_id=None), False),
        (replace(NEXT, end=End(reason=EndReason.CANCELLED), cancel_sent=True), True),
        (replace(NEXT, end=End(reason=EndReason.CANCELLED), native_id=None), True),
        (replace(THIRD, end=End(reason=EndReason.LOST)), True),
        (NEXT, True),
    ],
    ids=["came to nothing", "refused", "gave its place", "did not reach it", "behind another", "not over"],
)
def test_what_came_to_nothing_behind_a_job_is_not_tried_again_behind_it(earlier: Attempt, *, is_tried: bool) -> None:
    assert (link(earlier=(earlier,)) is not None) == is_tried


AGAIN = TaskMoved(task=OWN.task, before=TaskState.ACTIVE, after=TaskState.READY, reason=because(ReasonCode.RESUME))
ENDED = replace(OWN, state=AttemptState.ENDED, end=End(reason=EndReason.TIMEOUT))


def follows(
    moved: TaskMoved = AGAIN, ended: Attempt = ENDED, ahead: Attempt = NEXT, *, word: bool = True, begun: bool = False
) -> AttemptContinued | None:
    return continued(moved, ended, ahead, has_word=word, has_begun=begun)


def test_attempt_queued_ahead_goes_on_where_the_time_ran_out_over_progress() -> None:
    reason = because(ReasonCode.CONTINUED, end="timeout", attempt="attempt 2", resume_step=7)

    assert follows() == AttemptContinued(
        attempt=NEXT.id, after=OWN.id, reason=reason, resume_from=CheckpointRef(path="g1", step=7)
    )


@pytest.mark.parametrize(
    "told",
    [
        {"word": False},
        {"moved": replace(AGAIN, after=TaskState.WAITING)},
        {"moved": replace(AGAIN, after=TaskState.FAILED)},
        {"moved": replace(AGAIN, counts_as_failure=True)},
        {"ahead": replace(NEXT, native_id=None)},
        {"ahead": replace(NEXT, cancel_sent=True)},
        {"ahead": replace(NEXT, state=AttemptState.LOST)},
    ],
    ids=["no word", "later", "never", "a failure", "not known", "leaves", "is over"],
)
def test_attempt_queued_ahead_is_not_wanted(told: dict[str, Any]) -> None:
    assert follows(**told) is None
    # Had it begun, it would have looked by itself whether it may.
    assert follows(**told, begun=True) is not None


def test_nothing_goes_on_from_what_is_finished() -> None:
    done = replace(ENDED, end=End(reason=EndReason.COMPLETED))

    assert follows(ended=done, begun=True) is None
    assert follows(ended=replace(ENDED, end=None), begun=True) is None


def test_what_saved_nothing_says_nothing_of_a_step() -> None:
    change = follows(ended=replace(ENDED, last_checkpoint=None), begun=True)

    assert change is not None
    assert (change.resume_from, "resume_step" in change.reason.facts) == (None, False)


def observed(*ended: Attempt) -> Observed:
    moves = tuple(
        AttemptMoved(
            attempt=one.id, before=AttemptState.RUNNING, after=AttemptState.ENDED, reason=because(ReasonCode.SEEN)
        )
        for one in ended
    )
    return Observed(changes=moves, ended=ended, cancel=(), unsettled=())


def over(attempt: Attempt, **fields: Any) -> Attempt:
    return replace(attempt, state=AttemptState.ENDED, end=End(reason=EndReason.COMPLETED), **fields)


def test_end_of_what_went_on_waits_for_the_end_before_it() -> None:
    ran = over(NEXT, claimed=True)

    held = hold_back(observed(ran, over(THIRD, claimed=True)), (OWN, NEXT, THIRD))

    assert held.ended == ()
    assert held.changes == (
        AttemptNoted(attempt=NEXT.id, end=End(reason=EndReason.COMPLETED)),
        AttemptNoted(attempt=THIRD.id, end=End(reason=EndReason.COMPLETED)),
    )


def test_ends_that_come_together_are_taken_together() -> None:
    both = observed(over(NEXT, claimed=True), ENDED)

    assert hold_back(both, (OWN, NEXT)) == both


def test_what_never_began_may_end_at_any_time() -> None:
    refused = observed(over(NEXT))

    assert hold_back(refused, (OWN, NEXT)) == refused


def test_what_is_queued_behind_an_end_or_a_leaver_is_not_wanted() -> None:
    def unwanted(*live: Attempt) -> list[Attempt]:
        return list(not_wanted({one.id: one for one in live}))

    assert unwanted(OWN, NEXT, THIRD) == []
    assert unwanted(NEXT, THIRD) == [NEXT]
    assert unwanted(replace(OWN, cancel_sent=True), NEXT) == [NEXT]


def test_chain_is_a_tasks_own_attempt_with_those_behind_it() -> None:
    lost = replace(THIRD, continues=an_attempt("t1.9").id)
    other = an_attempt("t2.1")

    assert chains_of((THIRD, other, NEXT, OWN)) == {OWN.task: (OWN, NEXT, THIRD), other.task: (other,)}
    assert chains_of((OWN, NEXT, lost)) == {OWN.task: (OWN, NEXT)}
    assert chains_of((NEXT,)) == {}


def test_what_is_queued_ahead_waits_and_nothing_else_goes_behind_its_task() -> None:
    live = {one.id: one for one in (OWN, NEXT)}

    assert is_chained(NEXT, live)
    assert tips_of(live, {OWN.task: the_task()}) == {}
    assert list(tips_of({OWN.id: OWN}, {OWN.task: the_task()})) == [OWN.task]
