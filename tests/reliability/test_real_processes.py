"""Real processes on this machine, killed without warning: the program, its agent, and elisa itself."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.local.backend import LocalBackend
from elisa.engine.loop import until, until_idle
from elisa.engine.outcome import TickReport
from elisa.engine.submit import submit
from elisa.engine.tick import tick
from elisa.engine.workspace import Workspace, init_workspace, open_workspace
from elisa.model import layout
from elisa.model.ids import NativeId, PipelineId, ProjectName
from elisa.model.native import JobRequest
from elisa.model.pipeline import Backoff, CheckpointPolicy, Need, Pipeline, RetryPolicy, TaskSpec
from elisa.model.resources import Resources
from elisa.model.states import FINAL_TASK_STATES, EndReason, TaskState
from elisa.store.reader import Reader
from tests.reliability.tier import SOAK

pytestmark = pytest.mark.slow

_STEPS = 40
# Notes each step it takes, and by which process, so that a test sees who ran when and from where.
_TRAIN = f"""
import os, time
from elisa import checkpoint
with checkpoint.run(interval_s=0) as saved:
    state = saved.load() or {{"total": 0}}
    for step in saved.steps({_STEPS}):
        state["total"] += step
        with open(os.environ["ELISA_TASK_DIR"] + "/steps", "a") as steps:
            steps.write(f"{{os.getpid()}} {{step}}\\n")
        time.sleep(0.02)
        saved.save(step, state)
"""
_RETRY = RetryPolicy(limit=3, backoff=Backoff(initial_s=0.0))
_DEADLINE_S = 60.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    init_workspace(home)
    layout.site_file(home).write_text("backends:\n  local: {kind: local, options: {cpus: 4}}\njobs: {heartbeat: 1s}\n")
    return home


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace(home) as workspace:
        yield workspace


def task(name: str, *command: str, needs: tuple[str, ...] = (), saves: bool = False) -> TaskSpec:
    return TaskSpec(
        name=name,
        command=command,
        needs=(Need(tasks=needs),) if needs else (),
        resources=Resources(walltime_s=120),
        checkpoint=CheckpointPolicy(interval_s=0.1) if saves else None,
        environment=(("PYTHONPATH", os.pathsep.join(sys.path)),),
        retry=_RETRY,
    )


def training() -> TaskSpec:
    return task("train", sys.executable, "-c", _TRAIN, saves=True)


def hand_in(workspace: Workspace, *tasks: TaskSpec) -> PipelineId:
    return submit(workspace, Pipeline(name="real", project=ProjectName("demo"), tasks=tasks)).pipeline_id


def steps_of(home: Path, pipeline: PipelineId) -> list[tuple[int, int]]:
    path = layout.task_dir(home, pipeline, "train") / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), int(step)) for pid, step in map(str.split, lines)]


def states_of(home: Path) -> dict[str, TaskState]:
    with Reader.open(home) as reader:
        return {row.name: row.state for row in reader.task_rows()}


def run_until_step(workspace: Workspace, pipeline: PipelineId, step: int) -> int:
    """Tick until the program has come so far; return its pid."""

    def is_there(reader: Reader, report: TickReport) -> bool:
        return any(done >= step for _, done in steps_of(workspace.home, pipeline))

    until(workspace, is_there, every_s=0.05)
    return steps_of(workspace.home, pipeline)[-1][0]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def assert_resumed(home: Path, pipeline: PipelineId) -> None:
    """The second program began beyond the start, and not before the first one had ended."""
    steps = steps_of(home, pipeline)
    pids = list(dict.fromkeys(pid for pid, _ in steps))
    assert len(pids) == 2
    second = [step for pid, step in steps if pid == pids[1]]
    assert second[0] > 1
    assert second[-1] == max(step for _, step in steps)
    assert steps == sorted(steps, key=lambda one: pids.index(one[0]))


def test_a_killed_program_resumes_from_its_checkpoint(workspace: Workspace) -> None:
    pipeline = hand_in(workspace, training())
    program = run_until_step(workspace, pipeline, 10)

    os.kill(program, signal.SIGKILL)
    until_idle(workspace)

    assert states_of(workspace.home) == {"train": TaskState.SUCCEEDED}
    assert_resumed(workspace.home, pipeline)


def test_a_killed_agent_is_followed_by_a_program_that_resumes_alone(workspace: Workspace) -> None:
    pipeline = hand_in(workspace, training())
    program = run_until_step(workspace, pipeline, 10)

    os.kill(parent_of(program), signal.SIGKILL)
    until_idle(workspace)

    assert states_of(workspace.home) == {"train": TaskState.SUCCEEDED}
    assert_resumed(workspace.home, pipeline)


def test_everything_killed_at_once_resumes(workspace: Workspace) -> None:
    pipeline = hand_in(workspace, training())
    program = run_until_step(workspace, pipeline, 10)
    agent = parent_of(program)
    supervisor = parent_of(agent)

    for pid in (supervisor, agent, program):
        os.kill(pid, signal.SIGKILL)
    until_idle(workspace)

    assert states_of(workspace.home) == {"train": TaskState.SUCCEEDED}
    assert_resumed(workspace.home, pipeline)


def in_a_child(act: Callable[[], object]) -> int:
    """Do it in a process of its own; return how that ended."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # one that hangs is to be seen, not waited for
        try:
            act()
        except BaseException:  # noqa: BLE001 - nothing of the child may reach the test
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class DieAt:
    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, _point: str) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(137)


def tick_and_die(home: Path, count: int) -> int:
    """Run a tick that is killed at its `count`-th crash point, backend and all."""
    crash = DieAt(count)

    def act() -> None:
        with open_workspace(home) as opened:
            local = LocalBackend(home, "crash", opened.backends["local"]._slots, opened.clock, crash)  # type: ignore[index,attr-defined]
            tick(replace(opened, crash=crash, backends={**opened.backends, local.name: local}))

    return in_a_child(act)


def test_elisa_killed_ever_later_in_every_tick_runs_each_program_once(home: Path, workspace: Workspace) -> None:
    note = "echo $$ >>${task_dir}/runs; sleep 0.05"
    chain = (task("a", "/bin/sh", "-c", note), task("b", "/bin/sh", "-c", note, needs=("a",)))
    pipeline = hand_in(workspace, *chain)
    deaths, count, until_s = 0, 1, time.monotonic() + _DEADLINE_S

    while not set(states_of(home).values()) <= FINAL_TASK_STATES:
        assert time.monotonic() < until_s
        died = tick_and_die(home, count) == 137
        deaths += died
        # Go on to a later point; a tick that came through starts again from the first one.
        count = count + (1 if SOAK else 2) if died else 1 + (count + 1) % 2

    assert deaths > 15
    assert states_of(home) == {"a": TaskState.SUCCEEDED, "b": TaskState.SUCCEEDED}
    for name in ("a", "b"):
        assert len((layout.task_dir(home, pipeline, name) / "runs").read_text().split()) == 1


class DoomedFirst(LocalBackend):
    """Has the agent of each task's first attempt die at one of its crash points."""

    doom = ""

    def submit(self, request: JobRequest) -> NativeId:
        if request.attempt.endswith(".1"):
            doomed = (*request.environment, ("ELISA_CRASH_AT", self.doom))
            request = replace(request, environment=doomed)
        return super().submit(request)


def test_an_agent_killed_at_any_point_is_followed_by_success(tmp_path: Path) -> None:
    count, ends = 1, set()
    while True:
        home = tmp_path / f"home-{count}"
        init_workspace(home)
        with open_workspace(home) as opened:
            local = opened.backends["local"]  # type: ignore[index]
            doomed = DoomedFirst(home, "doom", local._slots, opened.clock)  # type: ignore[attr-defined]
            doomed.doom = f"*:{count}"
            workspace = replace(opened, backends={local.name: doomed})
            hand_in(workspace, task("only", "/bin/sh", "-c", "echo done >${task_dir}/result"))
            until_idle(workspace)
        with Reader.open(home) as reader:
            [row] = reader.task_rows()
            attempts = reader.attempts_of(row.id)
        assert row.state is TaskState.SUCCEEDED
        assert len(attempts) <= 2
        ends.add(attempts[0].end.reason if attempts[0].end else None)
        if len(attempts) == 1 and count > 40:
            break
        count += 1 if SOAK else 7

    assert ends > {EndReason.COMPLETED}
