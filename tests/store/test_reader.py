"""What may be asked of the store."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.model.changes import CancelRequested, CheckpointSeen, PassedOver
from elisa.model.columns import GangRow, Shape
from elisa.model.errors import StoreError, UsageError
from elisa.model.ids import BackendName, ProjectName, TaskId
from elisa.model.pipeline import SitePlacement
from elisa.model.reasons import ReasonCode, because
from elisa.model.rows import PipelineSummary, TaskRow
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef
from elisa.store.migrations import latest_version
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import (
    NOW,
    OWNER_UID,
    FakeClock,
    a_pipeline,
    a_task,
    an_attempt,
    ended,
    intended,
    moved,
    pipeline_id,
    submitted,
    task_id,
)

WAITING, READY, ACTIVE = TaskState.WAITING, TaskState.READY, TaskState.ACTIVE


def test_reading_loads_no_orm() -> None:
    heavy = "{'sqlalchemy', 'sqlmodel', 'pydantic', 'numpy', 'ctypes'}"
    code = f"import sys, elisa.store.reader; print(sorted({heavy} & sys.modules.keys()))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_a_folder_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refusal:
        Reader.open(tmp_path)

    assert str(refusal.value) == (
        f"there is no elisa state in {tmp_path}\n"
        f"  why: {tmp_path / 'elisa.db'} does not exist\n"
        "hint: run `elisa init`, or set ELISA_HOME"
    )


def test_a_reader_sees_what_was_committed_and_changes_nothing(writer: Writer, home: Path) -> None:
    with Reader.open(home) as reader:
        writer.apply((a_pipeline().added(),))

        assert [row.name for row in reader.task_rows()] == ["train"]
        with pytest.raises(StoreError, match="cannot be written"):
            reader._db.run("DELETE FROM task")


def test_the_store_says_when_the_last_tick_was(writer: Writer, clock: FakeClock) -> None:
    new = writer.meta()
    at = clock.forward(minutes=1)
    writer.ticked({"submitted": 3})
    writer.ticked({"submitted": 4})

    meta = writer.meta()
    assert (new.ticks, new.last_tick_at, dict(new.last_tick)) == (0, None, {})
    assert (meta.ticks, meta.last_tick_at, dict(meta.last_tick)) == (2, at, {"submitted": 4})
    assert (len(meta.instance), meta.created_at, meta.schema_version) == (12, NOW, latest_version())


def test_the_revision_changes_with_every_transaction(writer: Writer) -> None:
    first = writer.revision()
    writer.apply((a_pipeline().added(),))
    writer.apply(())

    assert writer.revision() == first + 1


def test_pipelines_are_listed_with_the_states_of_their_tasks(writer: Writer) -> None:
    deadline = NOW + timedelta(days=1)
    old = a_pipeline(a_task("a"), a_task("b"), a_task("c").ready(), name="old").specified(deadline=deadline)
    done = a_pipeline(a_task("d").being(TaskState.SUCCEEDED), name="done").in_project("vision")
    writer.apply((done.submitted(NOW + timedelta(hours=1)).added(), old.added()))

    first, second = writer.pipelines()

    assert first == PipelineSummary(
        id=old.id,
        name="old",
        project=ProjectName("nlp"),
        owner_uid=OWNER_UID,
        owner="ada",
        submitted_at=NOW,
        deadline=deadline,
        counts={WAITING: 2, READY: 1},
    )
    assert (second.id, dict(second.counts)) == (done.id, {TaskState.SUCCEEDED: 1})
    assert writer.pipelines(unfinished_only=True) == (first,)
    assert writer.pipelines(project="vision") == (second,)


def test_a_pipeline_that_is_not_there_is_a_usage_error(writer: Writer) -> None:
    with pytest.raises(UsageError, match="nothing is called"):
        writer.pipeline(pipeline_id("nowhere"))
    with pytest.raises(UsageError, match="there is no task"):
        writer.task(task_id("nowhere"))


@pytest.fixture
def named(writer: Writer) -> Writer:
    """Two pipelines, one of them twice submitted, and an attempt."""
    again = a_pipeline(a_task("train").in_pipeline("again"), name="again").specified(name="study")
    writer.apply((a_pipeline(a_task("train").ready(), a_task("eval")).added(), again.added()))
    writer.apply((intended(an_attempt("train")),))
    return writer


def test_a_few_letters_of_an_id_are_enough(named: Writer) -> None:
    attempt, task, pipeline = an_attempt("train").id, task_id("eval"), pipeline_id()

    found = [named.resolve(text) for text in (attempt, attempt[:-1], task, task[:5], pipeline, pipeline[:5])]

    assert found == [attempt, attempt, task, task, pipeline, pipeline]


def test_a_task_may_be_named_within_its_pipeline(named: Writer) -> None:
    assert named.resolve("study/eval") == task_id("eval")
    assert named.resolve(f"{pipeline_id()[:5]}/train") == task_id("train")


def test_what_means_two_things_is_told_with_both(named: Writer) -> None:
    with pytest.raises(UsageError) as refusal:
        named.resolve("study/train")

    assert refusal.value.what == "`study/train` means more than one thing"
    assert set(refusal.value.why.split(", ")) == {task_id("train"), task_id("train", "again")}


def test_a_pipeline_may_be_named_if_only_one_has_that_name(writer: Writer) -> None:
    writer.apply((a_pipeline(a_task("train")).added(),))

    assert writer.resolve("study") == pipeline_id()


def test_a_name_that_several_pipelines_have_is_told_with_their_ids(named: Writer) -> None:
    with pytest.raises(UsageError) as refusal:
        named.resolve("study")

    assert set(refusal.value.why.split(", ")) == {pipeline_id(), pipeline_id("again")}
    assert refusal.value.hint == "use one of these ids; `elisa status --all` tells them apart"


def test_a_whole_id_wins_over_a_pipeline_that_is_called_like_it(named: Writer) -> None:
    named.apply((a_pipeline(a_task("odd").in_pipeline("odd"), name="odd").specified(name=task_id("eval")).added(),))

    assert named.resolve(task_id("eval")) == task_id("eval")


@pytest.mark.parametrize("text", ["", "x", "p999999999", "study/nothing", "%", "t'; DROP TABLE task;--", "T", "/"])
def test_what_means_nothing_is_told(named: Writer, text: str) -> None:
    with pytest.raises(UsageError, match="nothing is called"):
        named.resolve(text)


def test_many_candidates_are_not_all_listed(writer: Writer) -> None:
    writer.apply((a_pipeline(*(a_task(f"n{n}") for n in range(20))).added(),))

    with pytest.raises(UsageError) as refusal:
        writer.resolve("t")

    assert len(refusal.value.why.split(", ")) == 11
    assert refusal.value.why.endswith(", ...")


def test_a_status_row_tells_of_the_newest_checkpoint(writer: Writer) -> None:
    attempt = an_attempt("train").on("local")
    writer.apply((a_pipeline(a_task("train").ready()).added(), intended(attempt)))
    (before,) = writer.task_rows()
    writer.apply((CheckpointSeen(attempt=attempt.id, checkpoint=CheckpointRef(path="c", step=12)),))

    (after,) = writer.task_rows()

    assert (before.saved_step, after.saved_step) == (None, 12)


def test_a_status_row_tells_of_the_newest_attempt(writer: Writer, clock: FakeClock) -> None:
    task = a_task("train").specified(group="sweep").ready()
    first, second = an_attempt("train").on("cluster", "a100"), an_attempt("train", 2).on("local")
    writer.apply((a_pipeline(task).added(), intended(first), submitted(first, "41")))
    writer.apply((ended(first, AttemptState.SUBMITTED, EndReason.TIMEOUT),))
    retried_at = clock.forward(minutes=1)
    writer.apply((moved(task, ACTIVE, READY, counts_as_failure=True),))
    (between,) = writer.task_rows()
    writer.apply((intended(second), CancelRequested(task=task.id, by="ada")))

    (row,) = writer.task_rows()

    assert (between.attempt, between.attempt_state, between.end_reason) == (first.id, AttemptState.ENDED, "timeout")
    assert row == TaskRow(
        id=task.id,
        name="train",
        group="sweep",
        pipeline=pipeline_id(),
        pipeline_name="study",
        project=ProjectName("nlp"),
        owner_uid=OWNER_UID,
        state=ACTIVE,
        attempts=2,
        failures=1,
        cancel_requested=True,
        submitted_at=NOW,
        ready_at=retried_at,
        ended_at=None,
        not_before=None,
        reason="",
        attempt=second.id,
        attempt_state=AttemptState.INTENDED,
        backend=BackendName("local"),
        partition="",
        native_id=None,
        native_detail="",
        started_at=None,
        end_reason="",
    )


def test_status_rows_can_be_narrowed(writer: Writer) -> None:
    one = a_pipeline(a_task("a"), a_task("b").ready(), name="one")
    two = a_pipeline(a_task("c").ready(), name="two").in_project("vision").submitted(NOW + timedelta(hours=1))
    writer.apply((two.added(), one.added()))
    writer.apply((PassedOver(task=task_id("c", "two"), reason=because(ReasonCode.NO_ROOM)),))

    def names(**narrowed: object) -> list[str]:
        return [row.name for row in writer.task_rows(**narrowed)]  # type: ignore[arg-type]  # any of its filters

    assert names() == ["a", "b", "c"]
    assert names(limit=2) == ["a", "b"]
    assert names(project="vision") == ["c"]
    assert names(pipeline=one.id, states=[WAITING]) == ["a"]
    assert names(states=(READY, WAITING), limit=9) == ["a", "b", "c"]
    assert names(states=()) == []
    assert [row.reason for row in writer.task_rows(project="vision")] == ["no_room"]


def test_thousands_of_ids_are_asked_for_at_once(writer: Writer) -> None:
    tasks = [a_task(f"n{n}") for n in range(5001)]
    writer.apply((a_pipeline(*tasks).added(),))

    found = writer.tasks([task.id for task in tasks] + [TaskId("t00000000z")])

    assert found.keys() == {task.id for task in tasks}


def test_ready_tasks_are_columns_with_what_they_ask_for_told_once(writer: Writer, clock: FakeClock) -> None:
    deadline = NOW + timedelta(hours=1)
    gpu, cpu = a_task("gpu").asking(gpus=2).ready(), a_task("cpu").ready()
    placed = a_task("placed").specified(placement=SitePlacement(backend="cluster")).ready()
    unwanted = a_task("unwanted").ready().having(cancel_requested=True)
    tasks = (gpu, cpu, a_task("cpu2").ready(), placed, unwanted, a_task("waiting"))
    writer.apply((a_pipeline(*tasks).specified(deadline=deadline).added(),))

    ready = writer.ready_columns()

    found = {task: ready.shapes[shape] for task, shape in zip(ready.task, ready.shape, strict=True)}
    plain = Shape(cpu.build().request)
    assert found == {
        gpu.id: Shape(gpu.build().request),
        cpu.id: plain,
        task_id("cpu2"): plain,
        placed.id: Shape(plain.request, SitePlacement(backend="cluster")),
    }
    assert len(ready.shapes) == 3
    assert set(ready.deadline_us) == {round(deadline.timestamp() * 1e6)}
    assert set(ready.submitted_us) == set(ready.ready_us) == {round(NOW.timestamp() * 1e6)}
    assert (ready.owners, set(ready.owner), set(ready.gang)) == ([("nlp", OWNER_UID)], {0}, {-1})


def test_a_gang_is_counted_by_the_states_of_its_members(writer: Writer) -> None:
    members = [a_task(f"m{n}").in_gang("all", minimum=2).ready() for n in range(4)]
    done = a_task("done").in_gang("all", minimum=2).being(TaskState.SUCCEEDED)
    elsewhere = a_task("m9").in_gang("all").ready().in_pipeline("two")
    writer.apply((a_pipeline(*members, done).added(), a_pipeline(elsewhere, name="two").added()))
    writer.apply((intended(an_attempt("m0")),))

    ready = writer.ready_columns()

    gang_of = {task: ready.gangs[gang] for task, gang in zip(ready.task, ready.gang, strict=True)}
    assert gang_of == {
        **{member.id: GangRow(3, minimum=2, live=1, name=f"{pipeline_id()}/all") for member in members[1:]},
        elsewhere.id: GangRow(1, name=f"{pipeline_id('two')}/all"),
    }


def test_a_gang_waits_for_no_more_members_than_have_not_finished(writer: Writer) -> None:
    states = (TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.READY)
    members = [a_task(f"m{n}").in_gang("all", minimum=3).being(state) for n, state in enumerate(states)]
    writer.apply((a_pipeline(*members).added(),))

    assert list(writer.ready_columns().gangs) == [GangRow(size=1, minimum=2, name=f"{pipeline_id()}/all")]


@pytest.mark.parametrize(("minimum", "left"), [(0, 0), (4, 2), (1, 1)])
def test_members_that_succeeded_count_towards_the_minimum_of_the_active_ones(
    writer: Writer, minimum: int, left: int
) -> None:
    states = (TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.ACTIVE)
    members = [a_task(f"m{n}").in_gang("all", minimum=minimum).being(state) for n, state in enumerate(states)]
    elsewhere = a_task("m9").in_gang("all", minimum=3).being(TaskState.ACTIVE).in_pipeline("two")
    writer.apply((a_pipeline(*members).added(), a_pipeline(elsewhere, name="two").added()))

    found = {task: member.minimum for task, member in writer.gang_members().items()}
    assert found == {members[3].id: left, elsewhere.id: 3}


def test_nothing_is_ready_in_a_new_store(writer: Writer) -> None:
    assert [list(column) for column in writer.ready_columns()[:10]] == [[]] * 10
    assert writer.usage(NOW).rows == ()
