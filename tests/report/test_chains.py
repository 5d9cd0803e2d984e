"""Jobs that wait behind others, told to a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.model.changes import HoldRequested
from elisa.model.states import AttemptState, EndReason
from elisa.report.chains import queued_behind
from elisa.report.explain import read_explanation
from elisa.report.status import read_status
from elisa.store.writer import Writer
from tests.builders import NOW, FakeClock, SeededRandom, a_pipeline, a_task, an_attempt, ended, intended, submitted

TRAIN, EVALUATE = an_attempt("train"), an_attempt("evaluate")
REPORT = an_attempt("report").on("cluster").having(behind=(TRAIN.id, EVALUATE.id))


@pytest.fixture
def chained(tmp_path: Path) -> Iterator[Writer]:
    with Writer.create(tmp_path, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        yield with_a_chain(writer)


def with_a_chain(writer: Writer) -> Writer:
    tasks = (a_task("train").ready(), a_task("evaluate").ready(), a_task("report").needing("train", "evaluate"))
    writer.apply((a_pipeline(*tasks).added(),))
    for attempt, native_id in ((TRAIN, "45.host.t1.1"), (EVALUATE, "46.host.t2.1"), (REPORT, "47.host.t3.1")):
        writer.apply((intended(attempt), submitted(attempt, native_id)))
    return writer


def note(writer: Writer) -> str:
    (found,) = [task.note for task in read_status(writer, NOW).tasks if task.row.name == "report"]
    return found


def test_jobs_in_front_are_named_by_their_tasks_and_numbers(chained: Writer) -> None:
    assert queued_behind(chained, REPORT.build().behind) == "queued behind evaluate's job 46, train's job 45"
    assert note(chained) == "queued behind evaluate's job 46, train's job 45 on cluster"


def test_what_is_over_is_not_waited_for(chained: Writer) -> None:
    chained.apply((ended(EVALUATE, AttemptState.SUBMITTED, EndReason.COMPLETED),))
    first = note(chained)
    chained.apply((ended(TRAIN, AttemptState.SUBMITTED, EndReason.COMPLETED),))

    assert (first, note(chained)) == ("queued behind train's job 45 on cluster", "submitted on cluster")
    assert queued_behind(chained, ()) == ""


def test_explanation_says_what_a_job_was_queued_behind(chained: Writer) -> None:
    now = read_explanation(chained, REPORT.task, NOW).now

    assert now.endswith("on cluster as 47.host.t3.1 (queued behind evaluate's job 46, train's job 45)")


def test_task_that_is_to_be_held_says_so(chained: Writer) -> None:
    chained.apply((HoldRequested(task=REPORT.task, by="ada"),))

    assert note(chained) == "will be held"
