from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

from elisa.model.states import (
    ATTEMPT_MOVES,
    FINAL_ATTEMPT_STATES,
    FINAL_TASK_STATES,
    INFRASTRUCTURE_ENDS,
    LIVE_ATTEMPT_STATES,
    TASK_MOVES,
    AttemptState,
    EndReason,
    TaskState,
)

State = TypeVar("State")


def reachable(start: State, moves: Mapping[State, frozenset[State]]) -> set[State]:
    found = {start}
    edge = {start}
    while edge:
        edge = {after for state in edge for after in moves[state]} - found
        found |= edge
    return found


def test_every_state_says_where_it_may_lead() -> None:
    assert set(TASK_MOVES) == set(TaskState)
    assert set(ATTEMPT_MOVES) == set(AttemptState)


def test_every_state_can_be_reached_from_the_first() -> None:
    assert reachable(TaskState.WAITING, TASK_MOVES) == set(TaskState)
    assert reachable(AttemptState.INTENDED, ATTEMPT_MOVES) == set(AttemptState)


@pytest.mark.parametrize("state", list(AttemptState))
def test_every_attempt_can_come_to_an_end(state: AttemptState) -> None:
    assert reachable(state, ATTEMPT_MOVES) & FINAL_ATTEMPT_STATES


@pytest.mark.parametrize("state", list(TaskState))
def test_every_task_can_come_to_an_end(state: TaskState) -> None:
    assert reachable(state, TASK_MOVES) & FINAL_TASK_STATES


def test_an_attempt_that_ended_stays_so() -> None:
    assert all(not ATTEMPT_MOVES[state] for state in FINAL_ATTEMPT_STATES)


def test_a_final_task_moves_only_when_somebody_retries_it() -> None:
    assert {state: set(TASK_MOVES[state]) for state in FINAL_TASK_STATES} == {
        TaskState.SUCCEEDED: set(),
        TaskState.FAILED: {TaskState.WAITING},
        TaskState.CANCELLED: {TaskState.WAITING},
        TaskState.SKIPPED: {TaskState.WAITING},
    }


def test_a_task_becomes_active_when_it_is_ready_or_queued_behind_what_it_waits_for() -> None:
    found = [state for state in TaskState if TaskState.ACTIVE in TASK_MOVES[state]]

    assert found == [TaskState.WAITING, TaskState.READY]


def test_an_attempt_never_returns_to_before_its_submission() -> None:
    early = {AttemptState.INTENDED, AttemptState.SUBMITTED}

    assert all(not (ATTEMPT_MOVES[state] & early) for state in AttemptState if state not in early)
    assert AttemptState.INTENDED not in ATTEMPT_MOVES[AttemptState.SUBMITTED]


def test_an_attempt_is_either_live_or_final() -> None:
    assert set(AttemptState) == LIVE_ATTEMPT_STATES | FINAL_ATTEMPT_STATES
    assert not LIVE_ATTEMPT_STATES & FINAL_ATTEMPT_STATES


def test_nobody_in_the_task_is_at_fault_for_the_infrastructure() -> None:
    assert not INFRASTRUCTURE_ENDS & {EndReason.FAILED, EndReason.OUT_OF_MEMORY, EndReason.TIMEOUT, EndReason.COMPLETED}
