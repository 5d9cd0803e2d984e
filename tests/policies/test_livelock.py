"""Work that comes back without getting any further: what counts, and what ends a row."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import AttemptId
from elisa.model.states import EndReason
from elisa.model.task import Attempt
from elisa.policies.livelock import Rounds, SpinRules, got_further, rounds_of
from tests.policies.build import NOW, a_checkpoint, after, an_attempt, ended


def sent_back(number: int, **fields: Any) -> Attempt:
    return ended(EndReason.CANCELLED, f"t1.{number}", cancel_sent=True, **fields)


def test_five_rounds_in_a_row_are_a_livelock_and_four_are_not() -> None:
    five = [sent_back(number) for number in range(1, 6)]

    assert rounds_of(five, NOW) == Rounds(times=5, since=after(-3600), causes=(("asked to leave", 5),))
    assert rounds_of(five[1:], NOW) is None


def test_a_live_attempt_is_no_round_and_ends_no_row() -> None:
    attempts = [*(sent_back(number) for number in range(1, 6)), an_attempt("t1.6")]

    assert rounds_of(attempts, NOW) == rounds_of(attempts[:5], NOW)


def test_whoever_got_further_in_between_is_in_none() -> None:
    attempts = [sent_back(number) for number in range(1, 8)]
    attempts[3] = sent_back(4, resume_from=a_checkpoint(3), last_checkpoint=a_checkpoint(4))

    assert rounds_of(attempts, NOW) is None
    assert got_further(attempts[3])
    assert not got_further(sent_back(4, resume_from=a_checkpoint(4), last_checkpoint=a_checkpoint(4)))


def test_an_end_of_its_own_ends_the_row_and_a_breakdown_does_not() -> None:
    attempts = [sent_back(number) for number in range(1, 8)]

    assert rounds_of([*attempts[:4], ended(EndReason.NODE_FAILURE, "t1.5"), *attempts[5:]], NOW) is not None
    assert rounds_of([*attempts[:4], ended(EndReason.FAILED, "t1.5"), *attempts[5:]], NOW) is None


def test_what_sent_it_back_is_told_by_kind() -> None:
    missed = ended(EndReason.NOT_BEGUN, "t1.3", leader=AttemptId("t9.1"))
    attempts = [sent_back(1), sent_back(2, started_at=None), missed, ended(EndReason.PREEMPTED, "t1.4"), sent_back(5)]

    found = rounds_of(attempts, NOW)

    assert found is not None
    assert found.facts(NOW) == {
        "times": 5,
        "within_s": 3600,
        "causes": "asked to leave 2x, taken back from the queue 1x, taken off by the resource manager 1x,"
        " turn did not come 1x",
    }


def test_what_was_long_ago_does_not_count() -> None:
    old = [sent_back(number, ended_at=after(-7 * 3600)) for number in range(1, 4)]

    assert rounds_of([*old, *(sent_back(number) for number in range(4, 8))], NOW) is None


@given(st.lists(st.sampled_from(["stopped", "saved", "failed", "broke", "preempted"]), max_size=12))
def test_it_is_one_if_the_newest_ends_but_for_breakdowns_are_fruitless_and_enough(ends: list[str]) -> None:
    kinds = {
        "stopped": lambda name: ended(EndReason.CANCELLED, name, cancel_sent=True),
        "saved": lambda name: ended(EndReason.PREEMPTED, name, last_checkpoint=a_checkpoint(9)),
        "failed": lambda name: ended(EndReason.FAILED, name),
        "broke": lambda name: ended(EndReason.NODE_FAILURE, name),
        "preempted": lambda name: ended(EndReason.PREEMPTED, name),
    }
    attempts = [kinds[kind](f"t1.{number}") for number, kind in enumerate(ends, start=1)]

    row = 0
    for kind in reversed(ends):
        if kind in {"saved", "failed"}:
            break
        row += kind != "broke"
    found = rounds_of(attempts, NOW)

    assert (found.times if found else 0) == (row if row >= SpinRules().rounds else 0)
