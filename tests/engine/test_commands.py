from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from elisa.engine import commands
from elisa.engine.commands import cancel, hold, release, retry
from elisa.model.changes import TaskMoved
from elisa.model.errors import StaleChange, UsageError
from elisa.model.ids import TaskId
from elisa.model.pipeline import RetryPolicy
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import TaskState
from elisa.report.explain import read_explanation
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.reliability.specs import after, job
from tests.reliability.world import World

NEVER = RetryPolicy(limit=0)
FAILS = {"exit_code": 1, "at": 0.5, "times": 1}


def ids(world: World, *names: str) -> list[TaskId]:
    return [world.tasks()[name].id for name in names]


def test_what_has_not_started_is_cancelled_at_once(world: World) -> None:
    pipeline = world.submit(job("a"), job("b", after("a")))

    done = cancel(world.workspace(), [pipeline])

    assert set(done.changed) == set(ids(world, "a", "b"))
    assert world.states() == {"a": TaskState.CANCELLED, "b": TaskState.CANCELLED}


def test_what_runs_is_marked_for_the_next_tick(world: World) -> None:
    world.submit(job("a"))
    world.tick()
    [task] = ids(world, "a")

    first, again = cancel(world.workspace(), [task]), cancel(world.workspace(), [task])

    assert (first.changed, dict(again.unchanged)) == ((task,), {task: "it is being cancelled"})
    assert world.states() == {"a": TaskState.ACTIVE}
    assert world.tasks()["a"].cancel_requested


def test_it_is_told_who_cancelled_what_ran(world: World) -> None:
    world.submit(job("a"))
    world.tick()
    cancel(replace(world.workspace(), actor="ada"), ids(world, "a"))
    world.run()

    with Reader.open(world.home) as reader:
        told = read_explanation(reader, ids(world, "a")[0], world.clock.now())

    assert told.now == "cancelled: ada cancelled it"
    assert [one.words for one in told.history if "ada" in one.words] == [
        "ada asked for it to be cancelled",
        "ada cancelled it",
        "ada cancelled it",
    ]


def test_what_is_over_is_left_as_it_is(world: World) -> None:
    world.submit(job("a"))
    world.run()
    [task] = ids(world, "a")

    for wish in (cancel, hold, release, retry):
        assert dict(wish(world.workspace(), [task]).unchanged) == {task: "it is succeeded"}


def test_a_held_task_does_not_start_before_it_is_released(world: World) -> None:
    world.submit(job("a"))
    hold(world.workspace(), ids(world, "a"))
    world.tick()
    held = world.states()

    release(world.workspace(), ids(world, "a"))
    world.run()

    assert held == {"a": TaskState.HELD}
    assert world.states() == {"a": TaskState.SUCCEEDED}


def test_a_retry_brings_back_what_was_skipped_on_its_account(world: World) -> None:
    world.submit(job("a", fails=FAILS, retry=NEVER), job("b", after("a")), job("c", after("b")), job("d"))
    world.run()

    done = retry(world.workspace(), ids(world, "a"))
    world.run()

    assert set(done.changed) == set(ids(world, "a", "b", "c"))
    assert world.states() == dict.fromkeys("abcd", TaskState.SUCCEEDED)


def test_a_retry_forgets_earlier_failures(world: World) -> None:
    world.submit(job("a", fails={**FAILS, "times": 2}, retry=RetryPolicy(limit=1, backoff=job("x").retry.backoff)))
    world.run()
    assert world.tasks()["a"].failures == 2

    retry(world.workspace(), ids(world, "a"))

    assert world.tasks()["a"].failures == 0


def test_names_prefixes_and_attempts_stand_for_their_tasks(world: World) -> None:
    pipeline = world.submit(job("a"), job("b"))
    world.tick()
    first, second = ids(world, "a", "b")

    done = cancel(world.workspace(), [f"{pipeline}/a", f"{second}.1"])

    assert set(done.changed) == {first, second}


def test_a_template_stands_for_the_tasks_made_from_it(world: World) -> None:
    world.submit(job("list", leaves={"items": [1, 2]}), job("each", after("list"), foreach="list", lasts_s=3000))
    world.tick()
    world.pass_time(300)
    world.tick()

    done = cancel(world.workspace(), ids(world, "each"))

    assert set(done.changed) == set(ids(world, "each-item=1", "each-item=2"))


def test_an_id_that_nobody_has_is_an_error(world: World) -> None:
    with pytest.raises(UsageError):
        cancel(world.workspace(), ["t000000000"])


def test_a_task_that_moves_meanwhile_is_looked_at_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.submit(job("a"))
    [task] = ids(world, "a")
    apply, moved = Writer.apply, [False]

    def race(self: Writer, changes: Sequence[object]) -> None:
        if not moved[0]:
            moved[0] = True
            reason = because(ReasonCode.HELD, by="somebody else")
            apply(self, [TaskMoved(task=task, before=TaskState.READY, after=TaskState.HELD, reason=reason)])
        apply(self, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "apply", race)
    done = cancel(world.workspace(), [task])

    assert done.changed == (task,)
    assert world.states() == {"a": TaskState.CANCELLED}


def test_a_task_that_never_stands_still_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.submit(job("a"))
    [task] = ids(world, "a")
    tries: list[int] = []

    def refuse(_self: Writer, changes: Sequence[object]) -> None:
        tries.append(len(changes))
        raise StaleChange("it moved")

    monkeypatch.setattr(Writer, "apply", refuse)
    with pytest.raises(StaleChange):
        cancel(world.workspace(), [task])

    assert tries == [1] * commands._TRIES
