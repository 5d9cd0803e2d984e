"""What jobs tell of themselves, told once or twice."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from elisa.model.changes import CheckpointSeen, CursorMoved, MetricSeen, Noted, OutputSeen, UsageSeen
from elisa.model.errors import StaleChange
from elisa.model.task import CheckpointRef, Usage
from elisa.store.writer import Writer
from tests.builders import NOW, a_pipeline, a_task, an_attempt, intended

ATTEMPT = an_attempt("train")


@pytest.fixture
def running(writer: Writer) -> Writer:
    writer.apply((a_pipeline(a_task("train").ready()).added(), intended(ATTEMPT)))
    return writer


def seen(step: int, path: str = "", seconds: float | None = None) -> CheckpointSeen:
    saved_at = None if seconds is None else NOW + timedelta(seconds=seconds)
    checkpoint = CheckpointRef(path=path or f"step-{step}", step=step, size_bytes=9, seconds=0.5, saved_at=saved_at)
    return CheckpointSeen(attempt=ATTEMPT.id, checkpoint=checkpoint)


def test_the_last_checkpoint_announced_is_the_newest(running: Writer) -> None:
    changes = [seen(10, seconds=1), seen(20, seconds=2)]

    running.apply(changes)

    assert running.attempts_of(ATTEMPT.task)[0].last_checkpoint == changes[1].checkpoint
    assert running.checkpoints_of(ATTEMPT.task) == tuple(change.checkpoint for change in changes)


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_a_checkpoint_told_again_changes_nothing(running: Writer, seconds: float | None) -> None:
    first, second = seen(10, seconds=seconds), seen(20, seconds=seconds and seconds + 1)
    running.apply((first, second))
    before = (running.audit(), running.attempts_of(ATTEMPT.task), running.checkpoints_of(ATTEMPT.task))

    running.apply((first,))
    running.apply((first, first))

    assert (running.audit(), running.attempts_of(ATTEMPT.task), running.checkpoints_of(ATTEMPT.task)) == before


def test_a_step_that_was_saved_anew_is_the_newest(running: Writer) -> None:
    again = seen(10, seconds=3)

    running.apply((seen(10, seconds=1), seen(20, seconds=2), again))

    assert running.attempts_of(ATTEMPT.task)[0].last_checkpoint == again.checkpoint
    assert len(running.checkpoints_of(ATTEMPT.task)) == 2


def test_the_newest_value_of_a_metric_counts(running: Writer) -> None:
    reports = [("loss", 0.9, 1), ("loss", 0.4, 2), ("accuracy", 0.8, None), ("accuracy", 0.9, None)]

    running.apply([MetricSeen(attempt=ATTEMPT.id, name=name, value=value, step=step) for name, value, step in reports])

    assert dict(running.task(ATTEMPT.task).metrics) == {"loss": 0.4, "accuracy": 0.9}


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e-320, 0.1])
def test_every_number_is_kept_exactly(running: Writer, value: float) -> None:
    running.apply((MetricSeen(attempt=ATTEMPT.id, name="loss", value=value),))

    assert running.task(ATTEMPT.task).metrics["loss"] == value


def test_what_is_not_a_number_is_kept_as_that(running: Writer) -> None:
    running.apply((MetricSeen(attempt=ATTEMPT.id, name="loss", value=math.nan),))

    assert math.isnan(running.task(ATTEMPT.task).metrics["loss"])


def test_a_metric_of_an_unknown_attempt_is_stale(running: Writer) -> None:
    with pytest.raises(StaleChange):
        running.apply((MetricSeen(attempt=an_attempt("other").id, name="loss", value=1.0),))


def test_use_only_grows(running: Writer) -> None:
    much = Usage(cpu_s=10.5, max_memory_mib=300, gpu_s=2.0, max_gpu_memory_mib=40)
    mixed = Usage(cpu_s=11.0, max_memory_mib=200, gpu_s=1.0, max_gpu_memory_mib=50)

    running.apply((UsageSeen(attempt=ATTEMPT.id, usage=much),))
    running.apply((UsageSeen(attempt=ATTEMPT.id, usage=mixed),))

    most = Usage(cpu_s=11.0, max_memory_mib=300, gpu_s=2.0, max_gpu_memory_mib=50)
    assert running.attempts_of(ATTEMPT.task)[0].usage == most


def test_the_newest_word_about_an_output_counts(running: Writer) -> None:
    bad = OutputSeen(attempt=ATTEMPT.id, name="model", path="model.json", ok=False, why="cut off")
    good = OutputSeen(attempt=ATTEMPT.id, name="model", path="model.json", ok=True)

    running.apply((bad, good))

    assert [row.facts["ok"] for row in running.audit(subject=ATTEMPT.id)[1:]] == [False, True]
    assert {name: (row.path, row.ok, row.why) for name, row in running.outputs_of(ATTEMPT.task).items()} == {
        "model": ("model.json", True, "")
    }


def test_an_event_file_is_read_on_from_its_cursor(running: Writer) -> None:
    # Lustre and NFS have inode numbers that need all 64 bits.
    running.apply((CursorMoved(file="a", inode=2**64 - 1, offset=100, seq=7, before=0),))
    running.apply((CursorMoved(file="a", inode=2**64 - 1, offset=150, seq=9, before=100),))
    running.apply((CursorMoved(file="b", inode=3, offset=0),))

    assert running.events_cursor() == {"a": (2**64 - 1, 150), "b": (3, 0)}
    assert running.last_seqs() == {"a": 9, "b": -1}


@pytest.mark.parametrize("stale", [{"offset": 150, "before": 50}, {"offset": 90}, {"offset": 150, "before": 0}])
def test_news_that_somebody_else_has_read_already_do_not_count_twice(running: Writer, stale: dict[str, int]) -> None:
    running.apply((CursorMoved(file="a", inode=3, offset=100, before=0),))
    metric = MetricSeen(attempt=ATTEMPT.id, name="loss", value=1.0)

    with pytest.raises(StaleChange, match="was read to 100 already"):
        running.apply((metric, CursorMoved(file="a", inode=3, **stale)))

    assert running.task(ATTEMPT.task).metrics == {}


def test_a_file_in_the_place_of_another_is_read_from_its_start(running: Writer) -> None:
    running.apply((CursorMoved(file="a", inode=3, offset=100),))

    running.apply((CursorMoved(file="a", inode=4, offset=10, before=0),))

    assert running.events_cursor() == {"a": (4, 10)}


def test_a_note_is_in_the_audit_alone(running: Writer) -> None:
    running.apply((Noted(subject="cluster", what="bad_event", facts={"file": "a", "count": 2}),))

    (row,) = running.audit(subject="cluster")
    assert (row.kind, dict(row.facts)) == ("noted.bad_event", {"file": "a", "count": 2})
