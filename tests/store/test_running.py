"""Live attempts as plans see them: who may change its size, and what became of it before."""

from __future__ import annotations

from dataclasses import replace

from elisa.model.changes import CancelSent, Noted
from elisa.model.notes import ROOM_GONE, ROOM_TO_GROW
from elisa.model.pipeline import CheckpointPolicy, Gang
from elisa.model.reasons import ReasonCode, because
from elisa.model.resources import Elastic, Resources
from elisa.model.states import EndReason, TaskState
from elisa.store.writer import Writer
from tests.builders import NOW, AttemptBuilder, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted

WIDE = Resources(nodes=4, elastic=Elastic(least=2, most=8))


def live(writer: Writer, attempt: AttemptBuilder) -> None:
    writer.apply((intended(attempt.having(request=WIDE)),))
    writer.apply((submitted(attempt),))


def stopped(writer: Writer, attempt: AttemptBuilder, code: ReasonCode, **facts: str | int) -> None:
    live(writer, attempt)
    writer.apply((CancelSent(attempt=attempt.id, reason=because(code, **facts)),))
    end = replace(ended(attempt, reason=EndReason.CANCELLED), before=writer.attempts_of(attempt.task)[-1].state)
    writer.apply((end,))
    writer.apply((moved(attempt.task, TaskState.ACTIVE, TaskState.READY),))


def test_elastic_work_that_saves_may_change_its_size_in_a_gang_too(writer: Writer) -> None:
    saves = {"checkpoint": CheckpointPolicy()}
    tasks = {
        "saves": a_task("saves").specified(**saves),
        "forgets": a_task("forgets"),
        "firm": a_task("firm").specified(**saves, preemptible=False),
        "bound": a_task("bound").specified(**saves, gang=Gang(name="g")),
    }
    writer.apply((a_pipeline(*(task.ready() for task in tasks.values())).added(),))
    for name in tasks:
        live(writer, an_attempt(name))

    resizable = {row.task: row.gang.rpartition("/")[2] for row in writer.running(NOW) if row.may_resize}

    assert resizable == {tasks["saves"].id: "", tasks["bound"].id: "g"}


def test_a_change_of_size_is_remembered_and_is_no_preemption(writer: Writer) -> None:
    task = a_task("train").specified(checkpoint=CheckpointPolicy()).ready()
    writer.apply((a_pipeline(task).added(),))
    stopped(writer, an_attempt("train"), ReasonCode.SHRINKS, task="t2", was=8, size=2)
    stopped(writer, an_attempt("train", 2), ReasonCode.GROWS, was=2, size=8, idle_s=60)
    stopped(writer, an_attempt("train", 3), ReasonCode.PREEMPTED_FOR, task="t3")
    live(writer, an_attempt("train", 4))

    (row,) = writer.running(NOW)

    assert (row.gave_way_to, row.grew_from, row.times_preempted) == (("t2",), 2, 1)


def test_since_when_there_is_room_is_known_until_it_is_gone(writer: Writer) -> None:
    task = a_task("train").specified(checkpoint=CheckpointPolicy()).ready()
    writer.apply((a_pipeline(task).added(),))
    attempt = an_attempt("train")
    live(writer, attempt)

    writer.apply((Noted(subject=attempt.id, what=ROOM_TO_GROW, facts={"size": 8}),))
    since = [row.roomy_us for row in writer.running(NOW)]
    writer.apply((Noted(subject=attempt.id, what=ROOM_GONE, facts={}),))

    assert since[0] > 0
    assert [row.roomy_us for row in writer.running(NOW)] == [0]
