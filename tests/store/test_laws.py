"""Whatever is applied in whatever order, the laws of the store hold after every transaction."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elisa.model.changes import (
    AttemptIntended,
    AttemptMoved,
    AttemptSubmitted,
    CancelRequested,
    Change,
    CheckpointSeen,
    CursorMoved,
    MetricSeen,
    OutputSeen,
    UsageSeen,
)
from elisa.model.charge import Charge
from elisa.model.errors import PolicyError, StaleChange
from elisa.model.ids import NativeId, ProjectName, TaskId, attempt_id
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.model.states import (
    ATTEMPT_MOVES,
    FINAL_ATTEMPT_STATES,
    TASK_MOVES,
    AttemptState,
    TaskState,
)
from elisa.model.task import CheckpointRef, Usage
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task, an_attempt, moved, task_id

NAMES = ("a", "b", "c")
CAP = 1000
tasks = st.sampled_from([task_id(name) for name in NAMES])
numbers = st.integers(0, 300)
SEEN = because(ReasonCode.SEEN)


class Laws(RuleBasedStateMachine):
    """Two writers take turns; half of what they try no longer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="elisa-test-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = FakeClock()
        self.applied: list[Sequence[Change]] = []
        self.offset = 0

    @initialize()
    def begin(self) -> None:
        self.writers = [
            Writer.create(self.home, clock=self.clock, random=SeededRandom(), actor=name) for name in ("one", "two")
        ]
        chain = (a_task("a").ready(), a_task("b").needing("a"), a_task("c").needing("a", "b"))
        self.writers[0].apply((a_pipeline(*chain).added(),))
        caps = (Cap(resource=Metered.NODE_S, limit=CAP),)
        self.writers[0].set_policy(SitePolicy(projects=(ProjectPolicy(name=ProjectName("nlp"), caps=caps),)))

    def attempt(self, *changes: Change, by: int = 0) -> None:
        """Apply changes; refused ones must leave no trace."""
        before = self.audited()
        self.clock.forward(seconds=1)
        try:
            self.writers[by].apply(changes)
            self.applied.append(changes)
        except (StaleChange, PolicyError, ValueError):
            assert self.audited() == before

    def audited(self) -> int:
        return len(self.writers[0].audit())

    @rule(task=tasks, before=st.sampled_from(TaskState), after=st.sampled_from(TaskState), by=st.integers(0, 1))
    def move(self, task: TaskId, before: TaskState, after: TaskState, by: int) -> None:
        self.attempt(moved(task, before, after), by=by)

    @rule(task=tasks, data=st.data())
    def move_on(self, task: TaskId, data: st.DataObject) -> None:
        before = self.writers[0].task(task).state
        if TASK_MOVES[before]:
            after = data.draw(st.sampled_from(sorted(TASK_MOVES[before])))
            self.attempt(moved(task, before, after, counts_as_failure=after is TaskState.WAITING))

    @rule(task=tasks, reserve=numbers, number=st.integers(0, 1), by=st.integers(0, 1))
    def intend(self, task: TaskId, reserve: int, number: int, by: int) -> None:
        attempt = an_attempt(task, self.writers[by].task(task).attempts + number)
        if attempt.number:
            charge = Charge(node_s=reserve)
            self.attempt(
                AttemptIntended(attempt=attempt.build(), reserve=charge, reason=because(ReasonCode.CHOSEN)), by=by
            )

    @rule(task=tasks, native=st.sampled_from(["1", "2"]))
    def submit(self, task: TaskId, native: str) -> None:
        number = max(1, self.writers[0].task(task).attempts)
        self.attempt(AttemptSubmitted(attempt=attempt_id(task, number), native_id=NativeId(native), reason=SEEN))

    @rule(task=tasks, spent=numbers, data=st.data())
    def progress(self, task: TaskId, spent: int, data: st.DataObject) -> None:
        for attempt in self.writers[0].attempts_of(task)[-1:]:
            moves = sorted(ATTEMPT_MOVES[attempt.state])
            if moves:
                after = data.draw(st.sampled_from(moves))
                change = AttemptMoved(attempt=attempt.id, before=attempt.state, after=after, reason=SEEN)
                if after in FINAL_ATTEMPT_STATES:
                    change = replace(change, spend=Charge(node_s=spent))
                elif after is AttemptState.QUEUED and attempt.state is AttemptState.RUNNING:
                    change = replace(change, spend=Charge(node_s=spent), incarnation=attempt.incarnation + 1)
                self.attempt(change)

    @rule(task=tasks)
    def wish(self, task: TaskId) -> None:
        self.attempt(CancelRequested(task=task, by="ada"))

    @rule(task=tasks, step=numbers, loss=st.floats(allow_nan=False))
    def tell(self, task: TaskId, step: int, loss: float) -> None:
        for attempt in self.writers[0].attempts_of(task)[-1:]:
            length = self.offset + 10
            self.attempt(
                CheckpointSeen(attempt=attempt.id, checkpoint=CheckpointRef(path=f"s{step}", step=step)),
                MetricSeen(attempt=attempt.id, name="loss", value=loss),
                UsageSeen(attempt=attempt.id, usage=Usage(cpu_s=float(step))),
                OutputSeen(attempt=attempt.id, name="model", path="m", ok=step > 9),
                CursorMoved(file="a", inode=1, offset=length, before=self.offset),
            )
            self.offset = self.writers[0].events_cursor().get("a", (1, 0))[1]

    @precondition(lambda self: self.applied)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Nothing that was applied can be applied again, or else it changes nothing that anybody may see."""
        changes = data.draw(st.sampled_from(self.applied))
        told = any(isinstance(change, CursorMoved) for change in changes)
        before = [self.writers[0].tasks_of(a_pipeline().id), self.writers[0].live_attempts()]
        try:
            self.writers[1].apply(changes)
        except (StaleChange, PolicyError, ValueError):
            pass
        else:
            # A move may be right a second time: the task came back to where it was.
            assert not told
            return
        assert [self.writers[0].tasks_of(a_pipeline().id), self.writers[0].live_attempts()] == before

    @invariant()
    def audit_ledger_and_state_agree(self) -> None:
        if hasattr(self, "writers"):
            assert self.writers[0].verify_audit().problems == ()

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        if hasattr(self, "writers"):
            booked = self.writers[0].ledger(project="nlp")
            signs = {"reserve": 1, "spend": 0, "refund": -1, "overrun": 0}
            assert sum(signs[row.kind] * row.charge.node_s for row in booked) <= CAP

    @invariant()
    def a_task_has_one_live_attempt_at_most(self) -> None:
        if hasattr(self, "writers"):
            live = [attempt.task for attempt in self.writers[0].live_attempts()]
            assert len(live) == len(set(live))

    def teardown(self) -> None:
        for writer in getattr(self, "writers", []):
            writer.close()
        try:
            with Reader.open(self.home) as reader:
                assert reader.verify_audit().problems == ()
        finally:
            shutil.rmtree(self.home)


TestLaws = pytest.mark.slow(Laws.TestCase)
TestLaws.settings = settings(max_examples=60, stateful_step_count=30)
