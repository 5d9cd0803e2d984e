"""What the store remembers of past attempts, and a checkpoint that a person chose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from elisa.model.changes import AttemptMoved, CheckpointSeen, ResumeChosen
from elisa.model.errors import StaleChange
from elisa.model.reasons import ReasonCode, because
from elisa.model.rows import PastRun
from elisa.model.states import AttemptState, EndReason, TaskState
from elisa.model.task import CheckpointRef, End
from elisa.store.writer import Writer
from tests.builders import NOW, AttemptBuilder, a_pipeline, a_task, an_attempt, intended, pipeline_id

CHOSEN = because(ReasonCode.RESUME_CHOSEN, by="ada", resume_step=7)


def saved(step: int, seconds: float) -> CheckpointRef:
    return CheckpointRef(path=f"/c/{step}", step=step, size_bytes=10, seconds=seconds, saved_at=NOW)


def ran(attempt: AttemptBuilder, end: EndReason, run_s: float) -> AttemptMoved:
    return AttemptMoved(
        attempt=attempt.id,
        before=AttemptState.INTENDED,
        after=AttemptState.ENDED,
        reason=because(ReasonCode.SAID_BY_JOB),
        end=End(reason=end),
        nodes="n1",
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=run_s),
    )


def test_saves_of_a_group_leave_out_the_task_itself(writer: Writer) -> None:
    tasks = [a_task(name).specified(group="train").ready() for name in ("one", "two")]
    attempts = [an_attempt("one"), an_attempt("two")]
    writer.apply((a_pipeline(*tasks).added(), *map(intended, attempts)))
    writer.apply(
        [CheckpointSeen(attempt=one.id, checkpoint=saved(1, s)) for one, s in zip(attempts, (1.5, 2.5), strict=True)]
    )

    assert writer.saves_of_group(pipeline_id("study"), "train", "one") == (2.5,)


def test_a_past_run_tells_where_it_ran_and_what_saving_took(writer: Writer) -> None:
    attempt = an_attempt("train").on("slurm", "a100").asking(nodes=2)
    writer.apply((a_pipeline(a_task("train").ready()).added(), intended(attempt)))
    writer.apply((CheckpointSeen(attempt=attempt.id, checkpoint=saved(2, 0.5)),))
    writer.apply((ran(attempt, EndReason.NODE_FAILURE, 60),))

    (run,) = writer.past_runs(NOW)

    assert run == PastRun(
        attempt=attempt.id,
        task=attempt.task,
        pipeline=pipeline_id("study"),
        group="train",
        backend="slurm",
        partition="a100",
        nodes="n1",
        node_count=2,
        end=EndReason.NODE_FAILURE,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=60),
        save_s=0.5,
    )
    assert run.run_s == 60
    assert writer.past_runs(NOW + timedelta(hours=1)) == ()


def test_a_chosen_checkpoint_is_stored_and_leaves_the_state_alone(writer: Writer) -> None:
    task = a_task("train")
    writer.apply((a_pipeline(task).added(),))
    chosen = replace(saved(7, 0.5), chosen_for=1)

    writer.apply((ResumeChosen(task=task.id, before=TaskState.WAITING, checkpoint=chosen, reason=CHOSEN),))

    assert writer.task(task.id) == replace(task.build(), resume_from=chosen)
    assert [row.kind for row in writer.audit(subject=task.id)] == ["task.added", "resume.chosen"]
    assert writer.verify_audit().is_sound


def test_choosing_a_checkpoint_for_a_task_that_has_moved_on_is_stale(writer: Writer) -> None:
    task = a_task("train")
    writer.apply((a_pipeline(task).added(),))

    with pytest.raises(StaleChange):
        writer.apply((ResumeChosen(task=task.id, before=TaskState.HELD, checkpoint=saved(7, 0.5), reason=CHOSEN),))
