"""Attempts given up for lost: shut out for good, found alive after all, or found to have finished the task, which they keep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.engine.fence import read_fence
from elisa.engine.files import OsFiles
from elisa.engine.settle import call_off, confirm_losses, finished_by, forget_finish
from elisa.model import layout
from elisa.model.changes import AttemptMoved, AttemptNoted
from elisa.model.ids import AttemptId, task_of
from elisa.model.pipeline import RestartWhen, RetryPolicy
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt, End
from elisa.policies.lifecycle import Observed
from tests.policies.build import a_task, after, an_attempt

ID = "t7k2m9qx4t.2"


def lost(*, claimed: bool = False, end: EndReason = EndReason.LOST) -> Attempt:
    state = AttemptState.LOST if end is EndReason.LOST else AttemptState.ENDED
    return replace(an_attempt(ID, state), claimed=claimed, end=End(reason=end), ended_at=after(0))


def given_up(attempt: Attempt) -> Observed:
    moved = AttemptMoved(
        attempt=attempt.id,
        before=AttemptState.RUNNING,
        after=AttemptState.LOST,
        reason=because(ReasonCode.GONE_AFTER_GRACE),
        end=attempt.end,
    )
    return Observed(changes=(moved,), ended=(attempt,), cancel=(), unsettled=())


def fence(home: Path) -> int:
    return read_fence(OsFiles(), home, task_of(AttemptId(ID)))


@pytest.mark.parametrize("claimed", [False, True])
def test_what_is_given_up_can_never_start_again(tmp_path: Path, *, claimed: bool) -> None:
    observed = given_up(lost(claimed=claimed))

    assert confirm_losses(OsFiles(), tmp_path, observed) == observed
    assert fence(tmp_path) == 3


def test_a_job_that_comes_to_life_while_it_is_given_up_stays_alive(tmp_path: Path) -> None:
    claim = layout.claim(tmp_path, AttemptId(ID))
    claim.parent.mkdir(parents=True)
    claim.touch()

    observed = confirm_losses(OsFiles(), tmp_path, given_up(lost()))

    assert observed.changes == (AttemptNoted(attempt=AttemptId(ID), claimed=True),)
    assert (observed.ended, observed.unsettled) == ((), (AttemptId(ID),))


@pytest.mark.parametrize(
    ("end", "claimed", "expected"),
    [(EndReason.NODE_FAILURE, True, 3), (EndReason.NODE_FAILURE, False, 0), (EndReason.FAILED, True, 0)],
    ids=["ran on a failed node", "never ran", "ended where we saw it"],
)
def test_only_what_may_still_run_unseen_is_called_off(
    tmp_path: Path, *, end: EndReason, claimed: bool, expected: int
) -> None:
    call_off(OsFiles(), tmp_path, [lost(claimed=claimed, end=end)])

    assert fence(tmp_path) == expected


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ({"attempt": "t7k2m9qx4t.1", "exited": {"exit_code": 0}}, "t7k2m9qx4t.1"),
        ({"attempt": "t7k2m9qx4t.1", "exited": {"exit_code": 1}}, None),
        ({"attempt": ID, "exited": {"exit_code": 0}}, None),
        ({"attempt": "tzzzzzzzzz.1", "exited": {"exit_code": 0}}, None),
        ({"attempt": 7, "exited": None}, None),
        (["attempt"], None),
    ],
    ids=["an earlier attempt", "one that failed", "itself", "another task's", "nonsense", "no mapping"],
)
def test_only_an_earlier_attempt_that_succeeded_has_finished_the_task(
    tmp_path: Path, mark: object, expected: str | None
) -> None:
    done = layout.done_mark(tmp_path, task_of(AttemptId(ID)))
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps(mark))

    assert finished_by(OsFiles(), tmp_path, lost()) == expected
    assert finished_by(OsFiles(), tmp_path, lost(end=EndReason.FAILED)) is None


@pytest.mark.parametrize(
    ("words", "end", "restart", "is_forgotten"),
    [
        ({"attempt": ID, "exited": {"exit_code": 0}}, EndReason.COMPLETED, RestartWhen.ON_FAILURE, True),
        ({"attempt": ID, "exited": {"exit_code": 0}}, EndReason.NODE_FAILURE, RestartWhen.ON_FAILURE, False),
        ({"attempt": ID, "exited": {"exit_code": 0}}, EndReason.NODE_FAILURE, RestartWhen.ALWAYS, True),
        ({"attempt": ID, "exited": {"exit_code": 0}}, EndReason.LOST, RestartWhen.ON_FAILURE, False),
        (["attempt"], EndReason.NODE_FAILURE, RestartWhen.ON_FAILURE, True),
    ],
    ids=["finished, as we heard", "finished unheard", "to be run for ever", "given up, and finished", "nobody's mark"],
)
def test_that_a_task_was_finished_is_forgotten_only_where_it_is_to_run_again(
    tmp_path: Path, words: object, end: EndReason, restart: RestartWhen, *, is_forgotten: bool
) -> None:
    done = layout.done_mark(tmp_path, task_of(AttemptId(ID)))
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps(words))
    cut_off = replace(lost(end=EndReason.PREEMPTED), id=AttemptId("t7k2m9qx4t.1"), number=1)
    task = a_task(id=task_of(AttemptId(ID)), spec_fields={"retry": RetryPolicy(restart=restart)})

    forget_finish(OsFiles(), tmp_path, task, [cut_off, lost(end=end)])

    assert done.exists() != is_forgotten
