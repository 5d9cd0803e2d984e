"""What happens to tasks in the store."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest

from elisa.model.changes import CancelRequested, PassedOver, TasksAdded
from elisa.model.errors import StaleChange, UsageError
from elisa.model.pipeline import PriorityClass
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import TASK_MOVES, TaskState
from elisa.model.task import CheckpointRef, Verdict
from elisa.store.writer import Writer
from tests.builders import NOW, FakeClock, a_pipeline, a_task, an_attempt, intended, moved

WAITING, READY, ACTIVE = TaskState.WAITING, TaskState.READY, TaskState.ACTIVE


def test_a_submitted_pipeline_is_read_back_as_it_was_given(writer: Writer) -> None:
    pipeline = a_pipeline(a_task("prepare"), a_task("train").needing("prepare").asking(gpus=4, nodes=2))
    added = pipeline.specified(importance=2.0, folder="/data/study").added()

    writer.apply((added,))

    assert writer.pipeline(pipeline.id) == added.record
    assert writer.tasks_of(pipeline.id) == added.tasks


def test_a_move_is_stored_with_its_moment(writer: Writer, clock: FakeClock) -> None:
    task = a_task("train")
    writer.apply((a_pipeline(task).added(),))

    later = clock.forward(minutes=5)
    writer.apply((moved(task, WAITING, READY),))

    assert writer.task(task.id) == replace(task.build(), state=READY, ready_at=later)


@pytest.mark.parametrize(("path", "keeps"), [((READY,), True), ((READY,), False), ((WAITING, READY), True)])
def test_what_comes_back_has_waited_all_the_while_only_if_it_keeps_its_age(
    writer: Writer, clock: FakeClock, path: tuple[TaskState, ...], *, keeps: bool
) -> None:
    task = a_task("train").ready()
    writer.apply((a_pipeline(task).added(), intended(an_attempt(task.id))))
    since = writer.task(task.id).ready_at

    back = clock.forward(minutes=5)
    writer.apply((moved(task, ACTIVE, path[0], keeps_age=keeps),))
    clock.forward(minutes=5)
    writer.apply(tuple(moved(task, before, after) for before, after in pairwise(path)))

    assert writer.task(task.id).ready_at == (since if keeps else back)


def test_a_final_move_ends_the_task_and_forgets_the_wish_to_cancel(writer: Writer, clock: FakeClock) -> None:
    task = a_task("train")
    writer.apply((a_pipeline(task).added(), CancelRequested(task=task.id, by="ada")))
    assert writer.cancel_wanted() == (task.id,)

    writer.apply((moved(task, WAITING, TaskState.CANCELLED),))

    assert writer.task(task.id) == replace(task.build(), state=TaskState.CANCELLED, ended_at=clock.now())
    assert writer.cancel_wanted() == ()


def test_a_task_that_is_over_or_asked_already_is_not_asked_again(writer: Writer) -> None:
    task = a_task("train")
    wish = CancelRequested(task=task.id, by="ada")
    writer.apply((a_pipeline(task).added(), wish))

    writer.apply((wish,))
    writer.apply((moved(task, WAITING, TaskState.SKIPPED),))
    writer.apply((wish,))

    assert not writer.task(task.id).cancel_requested
    assert [row.kind for row in writer.audit(subject=task.id)] == ["task.added", "cancel.requested", "task.moved"]


@pytest.mark.parametrize(("before", "after"), list(product(TaskState, TaskState)))
def test_only_the_moves_of_the_table_are_made(writer: Writer, before: TaskState, after: TaskState) -> None:
    task = a_task("train").being(before)
    writer.apply((a_pipeline(task).added(),))

    if after in TASK_MOVES[before]:
        writer.apply((moved(task, before, after),))
        assert writer.task(task.id).state is after
    else:
        with pytest.raises(ValueError, match="no task goes from"):
            writer.apply((moved(task, before, after),))
        assert writer.task(task.id).state is before


def test_a_stale_move_rolls_back_everything_that_came_with_it(writer: Writer) -> None:
    first, second = a_task("first"), a_task("second")
    writer.apply((a_pipeline(first, second).added(),))
    before = writer.audit()

    with pytest.raises(StaleChange, match=f"task {second.id} is waiting, not ready"):
        writer.apply((moved(first, WAITING, READY), moved(second, READY, WAITING)))

    assert {task.state for task in writer.tasks((first.id, second.id)).values()} == {WAITING}
    assert writer.audit() == before


def test_a_change_of_an_unknown_task_is_stale(writer: Writer) -> None:
    with pytest.raises(StaleChange, match="there is no task"):
        writer.apply((moved(a_task("nowhere"), WAITING, READY),))


def test_the_next_attempt_is_described_by_the_move_that_asks_for_it(writer: Writer, clock: FakeClock) -> None:
    task = a_task("train").ready()
    writer.apply((a_pipeline(task).added(), intended(an_attempt(task.id))))
    checkpoint = CheckpointRef(path="step-7", step=7)
    not_before = clock.forward(minutes=1)
    more = Resources(memory_mib_per_node=4096)

    retry = {"request": more, "not_before": not_before, "resume_from": checkpoint, "counts_as_failure": True}
    writer.apply((moved(task, ACTIVE, WAITING, **retry),))
    writer.apply((moved(task, WAITING, READY),))

    found = writer.task(task.id)
    assert (found.request, found.resume_from, found.not_before, found.failures) == (more, checkpoint, None, 1)


def test_a_retry_from_the_start_forgets_the_checkpoint(writer: Writer) -> None:
    task = a_task("train").ready().having(resume_from=CheckpointRef(path="step-7", step=7))
    writer.apply((a_pipeline(task).added(), intended(an_attempt(task.id))))

    writer.apply((moved(task, ACTIVE, READY),))

    assert writer.task(task.id).resume_from is None


def test_a_task_retried_by_its_owner_keeps_its_checkpoint_and_forgets_its_failures(writer: Writer) -> None:
    checkpoint = CheckpointRef(path="step-7", step=7)
    task = a_task("train").being(TaskState.FAILED).having(resume_from=checkpoint, failures=3, ended_at=NOW)
    writer.apply((a_pipeline(task).added(),))

    writer.apply((moved(task, TaskState.FAILED, WAITING, resets_failures=True),))

    found = writer.task(task.id)
    assert (found.resume_from, found.failures, found.ended_at) == (checkpoint, 0, None)


def test_a_verdict_keeps_the_moment_since_which_it_holds(writer: Writer, clock: FakeClock) -> None:
    task = a_task("train").ready()
    writer.apply((a_pipeline(task).added(),))
    first = clock.now()
    writer.apply((PassedOver(task=task.id, reason=because(ReasonCode.NO_ROOM, free=2)),))
    clock.forward(minutes=1)
    writer.apply((PassedOver(task=task.id, reason=because(ReasonCode.NO_ROOM, free=1)),))

    assert writer.verdict(task.id) == Verdict(task=task.id, code="no_room", facts={"free": 1}, since=first)

    later = clock.forward(minutes=1)
    writer.apply((PassedOver(task=task.id, reason=because(ReasonCode.WINDOW_FULL)),))
    assert writer.verdict(task.id) == Verdict(task=task.id, code="window_full", facts={}, since=later)


def test_a_task_that_moved_has_no_verdict(writer: Writer) -> None:
    task = a_task("train").ready()
    writer.apply((a_pipeline(task).added(),))
    writer.apply((PassedOver(task=task.id, reason=because(ReasonCode.NO_ROOM)),))

    writer.apply((moved(task, READY, TaskState.HELD),))

    assert writer.verdict(task.id) is None


def test_a_move_and_a_verdict_in_one_transaction_count_in_their_order(writer: Writer) -> None:
    one, other = a_task("one"), a_task("other")
    writer.apply((a_pipeline(one, other).added(),))
    verdicts = [PassedOver(task=task.id, reason=because(ReasonCode.NO_ROOM)) for task in (one, other)]

    writer.apply((verdicts[0], moved(one, WAITING, READY), moved(other, WAITING, READY), verdicts[1]))

    assert [writer.verdict(task.id) is None for task in (one, other)] == [True, False]


def test_tasks_made_from_a_template_stand_after_it_in_their_order(writer: Writer) -> None:
    listing, template, last = a_task("list"), a_task("run").made_from("list"), a_task("last").needing("run")
    writer.apply((a_pipeline(listing, template, last).added(),))
    children = [a_task(f"run[{n}]").child_of("run").needing("list") for n in range(3)]

    reason = because(ReasonCode.EXPANDED, count=3)
    writer.apply((TasksAdded(template=template.id, tasks=tuple(c.build() for c in children), reason=reason),))

    assert writer.children_of(template.id) == tuple(child.id for child in children)
    assert [row.name for row in writer.task_rows()] == ["list", "run", "run[0]", "run[1]", "run[2]", "last"]
    assert writer.pipeline(a_pipeline().id).pipeline.tasks == (listing.spec, template.spec, last.spec)
    (need,) = writer.upstream((children[0].id,))[children[0].id]
    assert [target.name for target in need.targets] == ["list"]
    (need,) = writer.upstream((last.id,))[last.id]
    assert [target.name for target in need.targets] == ["run[0]", "run[1]", "run[2]"]


def test_a_need_of_a_task_that_is_not_there_is_refused(writer: Writer) -> None:
    with pytest.raises(UsageError, match="needs `prepare`"):
        writer.apply((a_pipeline(a_task("train").needing("prepare")).added(),))

    assert writer.pipelines() == ()


def test_a_need_of_a_group_stands_for_its_members(writer: Writer) -> None:
    seeds = [a_task(f"train-{seed}").specified(group="train") for seed in range(3)]
    writer.apply((a_pipeline(*seeds, a_task("report").needing("train")).added(),))

    report = a_task("report").id
    assert [target.id for need in writer.upstream((report,))[report] for target in need.targets] == sorted(
        seed.id for seed in seeds
    )


@pytest.mark.parametrize(
    ("of_task", "of_pipeline", "rank"),
    [
        (PriorityClass.NORMAL, PriorityClass.NORMAL, 2),
        (PriorityClass.NORMAL, PriorityClass.CRITICAL, 0),
        (PriorityClass.LOW, PriorityClass.CRITICAL, 3),
    ],
)
def test_a_task_without_a_class_of_its_own_has_that_of_its_pipeline(
    writer: Writer, of_task: PriorityClass, of_pipeline: PriorityClass, rank: int
) -> None:
    task = a_task("train").specified(priority=of_task, importance=1.0).ready()
    writer.apply((a_pipeline(task).specified(priority=of_pipeline, importance=0.5).added(),))

    ready = writer.ready_columns()

    assert (list(ready.priority), list(ready.importance)) == ([rank], [1.5])
