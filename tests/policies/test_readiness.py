from __future__ import annotations

from typing import Any

import pytest

from elisa.model.changes import PassedOver, TaskMoved
from elisa.model.ids import TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import Expansion, Need, NeedKind, OnUnmet, TaskSpec
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Task
from elisa.policies.readiness import settle
from tests.policies.build import NOW, a_task, after


def a_waiting_task(when: str = "", expansion: Expansion | None = None, **fields: Any) -> Task:
    spec = TaskSpec(name="train", command=("true",), when=when, expansion=expansion)
    return a_task(TaskState.WAITING, spec=spec, **fields)


def a_target(name: str, state: TaskState = TaskState.SUCCEEDED, **fields: Any) -> Target:
    return Target(id=TaskId(f"t-{name}"), name=name, state=state, **fields)


def a_need(*targets: Target, **fields: Any) -> ResolvedNeed:
    return ResolvedNeed(need=Need(tasks=tuple(t.name for t in targets) or ("x",), **fields), targets=targets)


def fate(task: Task, *needs: ResolvedNeed) -> TaskMoved | PassedOver | None:
    return settle(task, needs, after(-1000), NOW)


def moved_to(state: TaskState, reason: Reason) -> TaskMoved:
    return TaskMoved(task=TaskId("t1"), before=TaskState.WAITING, after=state, reason=reason)


READY = moved_to(TaskState.READY, because(ReasonCode.NEEDS_MET))


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.WAITING])
def test_only_waiting_tasks_are_settled(state: TaskState) -> None:
    assert fate(a_task(state)) is None


def test_a_task_without_needs_is_ready() -> None:
    assert fate(a_waiting_task()) == READY


def test_a_cancelled_task_waits_for_nothing() -> None:
    moved = fate(a_waiting_task(cancel_requested=True), a_need(a_target("prepare", TaskState.ACTIVE)))

    assert moved == moved_to(TaskState.CANCELLED, because(ReasonCode.CANCELLED_BY_USER))


def test_a_retry_waits_for_its_time() -> None:
    later = after(10)

    assert fate(a_waiting_task(not_before=later, failures=2)) == PassedOver(
        task=TaskId("t1"), reason=because(ReasonCode.BACKING_OFF, not_before=later.isoformat(), failures=2)
    )
    assert fate(a_waiting_task(not_before=NOW)) == READY


@pytest.mark.parametrize(
    ("kind", "target", "is_met"),
    [
        (NeedKind.SUCCESS, a_target("a"), True),
        (NeedKind.SUCCESS, a_target("a", TaskState.ACTIVE), False),
        (NeedKind.COMPLETION, a_target("a", TaskState.FAILED), True),
        (NeedKind.COMPLETION, a_target("a", TaskState.SKIPPED), True),
        (NeedKind.COMPLETION, a_target("a", TaskState.HELD), False),
        (NeedKind.CHECKPOINT, a_target("a", TaskState.ACTIVE, checkpoint_step=10), True),
        (NeedKind.CHECKPOINT, a_target("a", TaskState.ACTIVE, checkpoint_step=9), False),
        (NeedKind.CHECKPOINT, a_target("a", TaskState.ACTIVE), False),
        (NeedKind.DATA, a_target("a", TaskState.ACTIVE, outputs={"model": True}), True),
        (NeedKind.DATA, a_target("a", TaskState.ACTIVE, outputs={"model": False}), False),
        (NeedKind.DATA, a_target("a", TaskState.ACTIVE, outputs={"other": True}), False),
    ],
)
def test_each_kind_of_need_is_met_by_its_own_fact(*, kind: NeedKind, target: Target, is_met: bool) -> None:
    outcome = fate(a_waiting_task(), a_need(target, kind=kind, step=10, output="model"))

    expected = PassedOver(task=TaskId("t1"), reason=because(ReasonCode.NEEDS_UNMET, waiting_for="a", missing=1))
    assert outcome == (READY if is_met else expected)


@pytest.mark.parametrize("state", sorted(FINAL_TASK_STATES - {TaskState.SUCCEEDED}))
def test_what_can_no_longer_succeed_skips_its_dependents(state: TaskState) -> None:
    outcome = fate(a_waiting_task(), a_need(a_target("prepare", state)))

    assert outcome == moved_to(TaskState.SKIPPED, because(ReasonCode.NEED_FAILED, task="prepare", state=state.value))


@pytest.mark.parametrize(
    ("on_unmet", "expected"),
    [
        (OnUnmet.SKIP, TaskState.SKIPPED),
        (OnUnmet.FAIL, TaskState.FAILED),
        (OnUnmet.RUN, TaskState.READY),
        (OnUnmet.WAIT, None),
    ],
)
def test_the_author_says_what_an_unmet_need_means(on_unmet: OnUnmet, expected: TaskState | None) -> None:
    outcome = fate(a_waiting_task(), a_need(a_target("prepare", TaskState.FAILED), on_unmet=on_unmet))

    assert (outcome.after if isinstance(outcome, TaskMoved) else None) is expected


def test_a_checkpoint_or_piece_of_data_that_never_came_is_unmet() -> None:
    for kind in (NeedKind.CHECKPOINT, NeedKind.DATA):
        outcome = fate(a_waiting_task(), a_need(a_target("a"), kind=kind, step=1, output="model"))
        assert outcome == moved_to(TaskState.SKIPPED, because(ReasonCode.NEED_FAILED, task="a", state="succeeded"))


def test_some_of_many_are_enough_when_that_is_asked() -> None:
    targets = [a_target("a"), a_target("b", TaskState.FAILED), a_target("c", TaskState.ACTIVE)]

    assert fate(a_waiting_task(), a_need(*targets, at_least=1)) == READY
    assert isinstance(fate(a_waiting_task(), a_need(*targets, at_least=2)), PassedOver)
    assert fate(a_waiting_task(), a_need(*targets, at_least=3)) == moved_to(
        TaskState.SKIPPED, because(ReasonCode.NEED_FAILED, task="b", state="failed")
    )


def test_more_than_there_are_can_never_be_met() -> None:
    assert fate(a_waiting_task(), a_need(a_target("a"), at_least=2)) == moved_to(
        TaskState.SKIPPED, because(ReasonCode.NEED_FAILED, task="a", state="too few")
    )


def test_a_need_times_out_from_the_pipelines_submission() -> None:
    late = a_target("a", TaskState.ACTIVE)

    assert fate(a_waiting_task(), a_need(late, timeout_s=1000)) == moved_to(
        TaskState.SKIPPED, because(ReasonCode.NEED_TIMED_OUT, waited_s=1000)
    )
    assert isinstance(fate(a_waiting_task(), a_need(late, timeout_s=1001)), PassedOver)
    assert fate(a_waiting_task(), a_need(late, timeout_s=1, on_unmet=OnUnmet.RUN)) == READY


def test_a_need_that_was_met_does_not_time_out() -> None:
    assert fate(a_waiting_task(), a_need(a_target("a"), timeout_s=1)) == READY


def test_long_lists_are_cut_short() -> None:
    outcome = fate(a_waiting_task(), a_need(*(a_target(f"w{n}", TaskState.READY) for n in range(7))))

    assert outcome == PassedOver(
        task=TaskId("t1"),
        reason=because(ReasonCode.NEEDS_UNMET, waiting_for="w0, w1, w2, w3, w4 and 2 more", missing=7),
    )


def test_a_condition_decides_over_what_the_needed_tasks_report() -> None:
    train = a_need(
        a_target("train-1", metrics={"acc": 0.95}, group="train"),
        a_target("train-2", group="train", metrics={"acc": 0.5}),
    )

    assert fate(a_waiting_task("max(train.acc) > 0.9"), train) == READY
    assert fate(a_waiting_task("min(train.acc) > 0.9"), train) == moved_to(
        TaskState.SKIPPED, because(ReasonCode.CONDITION_FALSE, when="min(train.acc) > 0.9")
    )


def test_a_condition_that_cannot_be_told_fails_loudly() -> None:
    outcome = fate(a_waiting_task("train.loss < 1"), a_need(a_target("train")))

    assert outcome == moved_to(
        TaskState.FAILED, because(ReasonCode.CONDITION_UNDECIDABLE, when="train.loss < 1", missing="train.loss")
    )


def test_a_template_waits_for_its_list_and_never_runs_itself() -> None:
    template = a_waiting_task(expansion=Expansion(source="list", output="items"))

    assert fate(template, a_need(a_target("list"))) == PassedOver(
        task=TaskId("t1"), reason=because(ReasonCode.EXPANSION_PENDING, source="list")
    )
