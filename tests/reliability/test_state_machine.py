"""A user, a cluster and their accidents in any order that Hypothesis can think of, over the real tick."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from elisa.backends.simulated.backend import Fate
from elisa.engine import commands
from elisa.engine.config import Site
from elisa.model import layout
from elisa.model.errors import StoreBusy
from elisa.model.ids import NativeId, TaskId
from elisa.model.ports import no_crash
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound, assert_still
from tests.reliability.specs import after, job
from tests.reliability.swarm import CrashNow
from tests.reliability.tier import SOAK
from tests.reliability.world import World, scratch_folder

WISHES = ("cancel", "hold", "release", "retry")
SITE = Site.model_validate(
    {
        "backends": {"sim": {"kind": "simulated"}},
        "projects": {"nlp": {"budget": {"cpu_hours": 50}, "at_once": {"cpus": 6}}},
        "jobs": {"self_fence": "60s"},
    }
)


class Universe(RuleBasedStateMachine):
    """Rules are what may happen; whatever their order, no invariant breaks, and peace brings everything to its end."""

    tasks = Bundle("tasks")

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(scratch_folder())
        self.world = World.make(Path(folder) / "home", seed=seed, site=SITE)
        self.submissions = 0

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            self._make_peace()

    def _make_peace(self) -> None:
        """Faults are over and nothing is held any more: all must end (I1)."""
        world = self.world
        world.cluster.fail_answers(0)
        world.cluster._fates.clear()
        world.cluster.hide()
        commands.release(world.workspace(), [task.id for task in world.tasks().values()])
        for _ in range(300):
            world.tick()
            if world.is_over():
                break
            world.pass_time(60)
        assert world.is_over(), world.states()
        assert_sound(world)
        assert_still(world)

    @precondition(lambda self: self.submissions < 3)
    @rule(target=tasks, length=st.integers(1, 3), lasts_s=st.sampled_from([30, 200, 600]), saves=st.booleans())
    def submit(self, length: int, lasts_s: int, saves: bool) -> object:  # noqa: FBT001 - drawn
        self.submissions += 1
        names = [f"p{self.submissions}t{number}" for number in range(length)]
        saves_every_s = 60 if saves else None
        needs = [()] + [(after(name),) for name in names]
        self.world.submit(
            *(
                job(name, *need, lasts_s=lasts_s, saves_every_s=saves_every_s)
                for name, need in zip(names, needs, strict=False)
            )
        )
        return multiple(*(self.world.tasks()[name].id for name in names))

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule(point=st.integers(1, 120))
    def tick_and_die(self, point: int) -> None:
        left = point

        def die(_point: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise CrashNow

        self.world.crash = die
        with suppress(CrashNow):
            self.world.tick()
        self.world.crash = no_crash

    @rule(point=st.integers(1, 60))
    def tick_and_pause_while_another_ticks(self, point: int) -> None:
        left, is_inside = point, False

        def pause(passed: str) -> None:
            nonlocal left, is_inside
            is_inside = (is_inside or passed == "store.begin") and passed != "store.committed"
            left -= not is_inside
            if left == 0 and not is_inside:
                left = -1
                self.world.crash = no_crash
                with suppress(StoreBusy):
                    self.world.tick()

        self.world.crash = pause
        self.world.tick()
        self.world.crash = no_crash

    @rule(seconds=st.sampled_from([1, 30, 60, 200, 1000]))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(fates=st.lists(st.sampled_from([fate for fate in Fate if fate is not Fate.REJECTED]), min_size=1, max_size=3))
    def answer_wrongly(self, fates: list[Fate]) -> None:
        self.world.cluster.fail_submit(*fates)

    @rule(for_s=st.sampled_from([30, 300, 1500]))
    def fall_silent(self, for_s: int) -> None:
        self.world.cluster.fail_answers(for_s)

    @rule(for_s=st.sampled_from([60, 600]), all_of_them=st.booleans())
    def lose_nodes(self, for_s: int, all_of_them: bool) -> None:  # noqa: FBT001 - drawn
        names = [node.name for node in self.world.cluster._cluster.room.nodes]
        self.world.cluster.fail_nodes(*(names if all_of_them else names[:1]), for_s=for_s)

    @rule(task=tasks)
    def preempt(self, task: TaskId) -> None:
        running = self._running(task)
        if running:
            self.world.cluster.preempt(*running)

    @rule(task=tasks)
    def lose_a_job(self, task: TaskId) -> None:
        self.world.cluster.forget(*self._running(task))

    def _running(self, task: TaskId) -> list[NativeId]:
        jobs = self.world.cluster._cluster.jobs.values()
        return [one.id for one in jobs if one.is_up and one.attempt.startswith(task)]

    @rule(task=tasks, wish=st.sampled_from(WISHES))
    def wish(self, task: TaskId, wish: str) -> None:
        getattr(commands, wish)(self.world.workspace(), [task])

    @rule(task=tasks, rubbish=st.binary(max_size=60))
    def scribble_into_the_events(self, task: TaskId, rubbish: bytes) -> None:
        with Reader.open(self.world.home) as reader:
            attempts = reader.attempts_of(task)
        for attempt in attempts[-1:]:
            folder = layout.event_dir(self.world.home, attempt.id)
            if folder.is_dir():
                with (folder / "0-9-0.jsonl").open("ab") as file:
                    file.write(b"\n" + rubbish + b"\n")

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "world"):
            assert_sound(self.world)

    @invariant()
    def what_is_over_stays_over_or_is_retried(self) -> None:
        if hasattr(self, "world"):
            for task in self.world.tasks().values():
                assert task.state in FINAL_TASK_STATES or task.ended_at is None
                assert task.state is not TaskState.ACTIVE or task.attempts > 0


Universe.TestCase.settings = settings(
    max_examples=300 if SOAK else 15,
    stateful_step_count=60 if SOAK else 30,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
TestUniverse = pytest.mark.slow(Universe.TestCase)
