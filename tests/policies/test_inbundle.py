"""What an answer about a native job says of each attempt in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elisa.model.events import EventKind
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import NativeState
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt
from elisa.policies.evidence import Sightings
from elisa.policies.inbundle import agreed_ids, own_part
from tests.policies.build import after, an_attempt, an_event, gone, seen

LEADER = AttemptId("t1.1")


def member(id_: str = "t1.1", **fields: Any) -> Attempt:
    return an_attempt(id_, AttemptState.SUBMITTED, leader=LEADER, **fields)


@pytest.mark.parametrize("answer", [None, gone(), seen(NativeState.QUEUED), seen(NativeState.UNKNOWN)])
def test_what_is_true_of_all_who_share_a_job_is_true_of_each(answer: Any) -> None:
    assert own_part(member(), answer, ()) is answer


def test_a_job_of_its_own_speaks_for_its_attempt() -> None:
    answer = seen(NativeState.ENDED, end_reason=EndReason.FAILED, exit_code=3)

    assert own_part(an_attempt(), answer, ()) is answer


def test_while_the_job_runs_only_those_have_begun_who_said_so() -> None:
    runs = seen(NativeState.RUNNING, started_at=after(-60), detail="on n1")

    begun, waits = replace(runs, detail=""), replace(runs, state=NativeState.QUEUED)
    assert own_part(member(claimed=True), runs, ()) == replace(begun, started_at=None)
    assert own_part(member(), runs, [an_event(EventKind.STARTED)]) == replace(begun, started_at=None)
    for said in ((), [an_event(EventKind.REFUSED)]):
        assert own_part(member(), runs, said) == replace(waits, started_at=None)


@pytest.mark.parametrize(
    ("claimed", "of_job", "own"),
    [
        (True, EndReason.PREEMPTED, EndReason.PREEMPTED),
        (False, EndReason.PREEMPTED, EndReason.LOST),
        (True, EndReason.FAILED, EndReason.LOST),
        (False, EndReason.CANCELLED, EndReason.CANCELLED),
    ],
)
def test_the_end_of_a_job_is_that_of_whom_it_was_taken_from(
    of_job: EndReason, own: EndReason, *, claimed: bool
) -> None:
    ended = seen(NativeState.ENDED, end_reason=of_job, exit_code=1)

    assert own_part(member(claimed=claimed), ended, ()) == replace(ended, end_reason=own, exit_code=None)


class TestAgreed:
    def test_what_one_member_knows_holds_for_all(self) -> None:
        live = [member(), member("t2.1", native_id=None), an_attempt("t3.1", native_id=None)]

        assert agreed_ids(live, {}, {}) == {LEADER: NativeId("77")}

    def test_those_who_know_need_no_agreement(self) -> None:
        assert agreed_ids([member(), member("t2.1")], {}, {}) == {}

    def test_what_a_member_claimed_under_comes_before_what_a_search_found(self) -> None:
        live = [member(native_id=None), member("t2.1", native_id=None)]
        said = {AttemptId("t2.1"): [an_event(EventKind.CLAIMED, "t2.1", native_id="8")]}
        found = {LEADER: Sightings(ids=(NativeId("91"), NativeId("9")), complete=True)}

        assert agreed_ids(live, said, found) == {LEADER: NativeId("8")}
        assert agreed_ids(live, {}, found) == {LEADER: NativeId("9")}
        assert agreed_ids(live, {}, {}) == {}
