"""Which waiting tasks look at their needs again, and when: none is forgotten, none looks without a cause."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from elisa.model.changes import Change, CheckpointSeen, OutputSeen, PassedOver, TasksAdded
from elisa.model.ids import TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import Need, NeedKind
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import CheckpointRef
from elisa.store.writer import Writer
from tests.builders import NOW, FakeClock, a_pipeline, a_task, an_attempt, ended, intended, moved, task_id

WAITING, READY, ACTIVE = TaskState.WAITING, TaskState.READY, TaskState.ACTIVE
SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED
FIRST, SECOND, OTHER = task_id("first"), task_id("second"), task_id("other")


def looked(writer: Writer, clock: FakeClock) -> tuple[TaskId, ...]:
    """Look at every task that has to, and find that all of them wait on."""
    tasks = writer.to_check(clock.now())
    writer.apply([PassedOver(task=task, reason=because(ReasonCode.NEEDS_UNMET)) for task in tasks])
    return tasks


@pytest.fixture
def waiting(writer: Writer, clock: FakeClock) -> Writer:
    """A store where `second` waits for `first`, and both have been looked at."""
    writer.apply((a_pipeline(a_task("first"), a_task("second").needing("first"), a_task("other")).added(),))
    looked(writer, clock)
    writer.apply((moved(FIRST, WAITING, READY), intended(an_attempt("first"))))
    return writer


def test_new_tasks_look_once(writer: Writer, clock: FakeClock) -> None:
    writer.apply((a_pipeline(a_task("first"), a_task("second").ready()).added(),))

    assert looked(writer, clock) == (FIRST,)
    assert looked(writer, clock) == ()


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, TaskState.CANCELLED])
def test_the_end_of_a_task_makes_those_that_need_it_look(waiting: Writer, clock: FakeClock, state: TaskState) -> None:
    waiting.apply((ended(an_attempt("first"), AttemptState.INTENDED), moved(FIRST, ACTIVE, state)))

    assert looked(waiting, clock) == (SECOND,)
    assert looked(waiting, clock) == ()


def test_a_retry_makes_those_that_need_it_look(waiting: Writer, clock: FakeClock) -> None:
    waiting.apply((ended(an_attempt("first"), AttemptState.INTENDED), moved(FIRST, ACTIVE, FAILED)))
    looked(waiting, clock)

    waiting.apply((moved(FIRST, FAILED, WAITING),))

    assert looked(waiting, clock) == tuple(sorted((FIRST, SECOND)))


@pytest.mark.parametrize(
    "news",
    [
        CheckpointSeen(attempt=an_attempt("first").id, checkpoint=CheckpointRef(path="p", step=5)),
        OutputSeen(attempt=an_attempt("first").id, name="model", path="m", ok=True),
    ],
)
def test_a_checkpoint_or_an_output_makes_those_that_need_it_look(
    waiting: Writer, clock: FakeClock, news: Change
) -> None:
    waiting.apply((news,))

    assert looked(waiting, clock) == (SECOND,)


def test_what_happens_while_somebody_looks_is_not_lost(waiting: Writer, home: Path, clock: FakeClock) -> None:
    waiting.apply((CheckpointSeen(attempt=an_attempt("first").id, checkpoint=CheckpointRef(path="p", step=5)),))
    seen = waiting.to_check(clock.now())
    with Writer.open(home, clock=clock, actor="eve") as other:
        other.apply((ended(an_attempt("first"), AttemptState.INTENDED), moved(FIRST, ACTIVE, SUCCEEDED)))

    waiting.apply([PassedOver(task=task, reason=because(ReasonCode.NEEDS_UNMET)) for task in seen])

    assert (seen, waiting.to_check(clock.now())) == ((SECOND,), (SECOND,))


def test_a_verdict_from_somebody_who_never_looked_clears_nothing(waiting: Writer, home: Path, clock: FakeClock) -> None:
    waiting.apply((ended(an_attempt("first"), AttemptState.INTENDED), moved(FIRST, ACTIVE, SUCCEEDED)))

    with Writer.open(home, clock=clock, actor="eve") as other:
        other.apply((PassedOver(task=SECOND, reason=because(ReasonCode.NEEDS_UNMET)),))

    assert waiting.to_check(clock.now()) == (SECOND,)


def test_a_released_task_looks(waiting: Writer, clock: FakeClock) -> None:
    waiting.apply((moved(SECOND, WAITING, TaskState.HELD),))
    waiting.apply((ended(an_attempt("first"), AttemptState.INTENDED), moved(FIRST, ACTIVE, SUCCEEDED)))
    assert waiting.to_check(clock.now()) == ()

    waiting.apply((moved(SECOND, TaskState.HELD, WAITING),))

    assert waiting.to_check(clock.now()) == (SECOND,)


def test_a_task_that_backs_off_looks_when_its_time_has_come(waiting: Writer, clock: FakeClock) -> None:
    until = clock.now() + timedelta(minutes=5)
    retry = moved(FIRST, ACTIVE, WAITING, not_before=until)
    waiting.apply((ended(an_attempt("first"), AttemptState.INTENDED), retry))
    assert looked(waiting, clock) == (FIRST,)

    assert waiting.to_check(until - timedelta(microseconds=1)) == ()
    assert waiting.to_check(until) == (FIRST,)


def test_the_time_limits_of_needs_are_looked_at_one_after_the_other(writer: Writer, clock: FakeClock) -> None:
    needs = (Need(tasks=("first",), timeout_s=60), Need(tasks=("first",), timeout_s=120))
    writer.apply((a_pipeline(a_task("first"), a_task("second").specified(needs=needs)).added(),))
    looked(writer, clock)

    found = {seconds: looked_after(writer, clock, seconds) for seconds in (59, 60, 61, 120, 121)}

    assert found == {59: (), 60: (SECOND,), 61: (), 120: (SECOND,), 121: ()}


def looked_after(writer: Writer, clock: FakeClock, seconds: int) -> tuple[TaskId, ...]:
    clock.moment = NOW + timedelta(seconds=seconds)
    return looked(writer, clock)


def test_a_time_limit_that_runs_out_between_looking_and_writing_is_not_lost(writer: Writer, clock: FakeClock) -> None:
    second = a_task("second").needing("first", timeout_s=60)
    writer.apply((a_pipeline(a_task("first"), second).added(),))
    tasks = writer.to_check(clock.forward(seconds=59))
    clock.forward(seconds=2)

    writer.apply([PassedOver(task=task, reason=because(ReasonCode.NEEDS_UNMET)) for task in tasks])

    assert writer.to_check(clock.now()) == (SECOND,)


def test_the_children_of_a_template_make_it_look_and_whoever_needs_it(writer: Writer, clock: FakeClock) -> None:
    template, last = a_task("run").made_from("list"), a_task("last").needing("run")
    writer.apply((a_pipeline(a_task("list"), template, last).added(),))
    looked(writer, clock)
    child = a_task("run[0]").child_of("run").ready()

    added = TasksAdded(template=template.id, tasks=(child.build(),), reason=because(ReasonCode.EXPANDED))
    writer.apply((added, intended(an_attempt(child.id))))
    assert looked(writer, clock) == tuple(sorted((template.id, last.id)))

    writer.apply((CheckpointSeen(attempt=an_attempt(child.id).id, checkpoint=CheckpointRef(path="p", step=1)),))
    assert last.id in looked(writer, clock)

    writer.apply((ended(an_attempt(child.id), AttemptState.INTENDED), moved(child, ACTIVE, SUCCEEDED)))
    assert looked(writer, clock) == tuple(sorted((template.id, last.id)))


def test_needs_are_told_with_how_far_their_tasks_have_come(waiting: Writer) -> None:
    waiting.apply((
        CheckpointSeen(attempt=an_attempt("first").id, checkpoint=CheckpointRef(path="p", step=5)),
        OutputSeen(attempt=an_attempt("first").id, name="model", path="m", ok=False, why="cut off"),
    ))  # fmt: skip

    (resolved,) = waiting.upstream((SECOND,))[SECOND]

    target = Target(id=FIRST, name="first", group="first", state=ACTIVE, checkpoint_step=5, outputs={"model": False})
    assert resolved == ResolvedNeed(need=Need(tasks=("first",), kind=NeedKind.SUCCESS), targets=(target,))


def test_a_task_without_needs_has_none_to_tell(waiting: Writer) -> None:
    assert waiting.upstream((OTHER, TaskId("t00000000z"))) == {OTHER: ()}
