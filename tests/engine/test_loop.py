from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.backends.simulated.backend import Fate
from elisa.engine.lock import tick_lock
from elisa.engine.loop import loop, until, until_idle
from elisa.engine.outcome import TickReport
from elisa.engine.ports import CRASH_EXIT, SystemClock, SystemRandom, crash_point_from
from elisa.engine.submit import submit
from elisa.engine.waiting import pause
from elisa.engine.workspace import check_ancestors, init_workspace, open_workspace
from elisa.model import layout
from elisa.model.errors import SpecError, StoreError, UsageError
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.pipeline import Pipeline
from elisa.model.states import TaskState
from elisa.store.reader import Reader
from tests.reliability.specs import after, job
from tests.reliability.world import START, World

DAY = timedelta(days=1)


def test_a_month_of_work_is_over_in_moments_and_virtual_time_has_passed(world: World) -> None:
    chain = [job(f"t{n}", after(f"t{n - 1}"), lasts_s=3 * 86400, walltime_s=4 * 86400) for n in range(1, 10)]
    world.submit(job("t0", lasts_s=3 * 86400, walltime_s=4 * 86400), *chain)

    until_idle(world.workspace())

    assert world.is_over()
    assert 30 * DAY <= world.clock.now() - START < 31 * DAY


def test_idle_is_when_nothing_will_change_by_itself(world: World) -> None:
    world.submit(job("too large", cpus=1000), job("b"))

    report = until_idle(world.workspace())

    assert world.states() == {"b": TaskState.SUCCEEDED, "too large": TaskState.READY}
    assert report.waiting == 1


def test_a_retrys_wait_is_waited_for(world: World) -> None:
    world.submit(job("a", fails={"exit_code": 1, "at": 0.5, "times": 2}))

    until_idle(world.workspace())

    assert world.states() == {"a": TaskState.SUCCEEDED}


def test_a_lost_submission_is_waited_for(world: World) -> None:
    world.cluster.fail_submit(Fate.LOST)
    world.submit(job("a"))

    until_idle(world.workspace())

    assert world.states() == {"a": TaskState.SUCCEEDED}


def test_the_loop_goes_on_until_it_is_broken(world: World) -> None:
    seen: list[TickReport] = []

    def count(report: TickReport) -> None:
        seen.append(report)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(world.workspace(), 60.0, on_tick=count)

    assert len(seen) == 3


def test_a_tick_that_finds_another_at_work_is_no_error(world: World) -> None:
    world.submit(job("a"))
    waits: list[TickReport] = []
    lock = tick_lock(world.home, START)
    lock.__enter__()

    def wait(_ws: object, report: TickReport, _longest_s: float) -> None:
        if not waits:
            lock.__exit__(None, None, None)
        waits.append(report)

    until(world.workspace(), lambda _reader, report: bool(report.submitted), wait=wait)

    assert len(waits) == 1


def paused_s(home: Path, report: TickReport, act: Callable[[], object]) -> float:
    with open_workspace(home) as workspace:
        helper = threading.Timer(0.3, act)
        helper.start()
        began = time.monotonic()
        pause(workspace, report, 5.0)
        helper.join()
    return time.monotonic() - began


@pytest.mark.slow
def test_a_pause_ends_when_a_job_says_that_it_ended_and_not_for_a_heartbeat(tmp_path: Path) -> None:
    init_workspace(tmp_path / "home")
    with open_workspace(tmp_path / "home") as workspace:
        submit(workspace, Pipeline(name="x", project=ProjectName("y"), tasks=(job("a"),)))
    attempt = AttemptId("t7k2m9qx4t.1")
    events = layout.event_dir(tmp_path / "home", attempt)
    events.parent.mkdir()
    with Reader.open(tmp_path / "home") as reader:
        report = TickReport(at=START, live=(attempt,), revision=reader.revision())

    def write(kind: str) -> Callable[[], object]:
        def say() -> None:
            events.mkdir(exist_ok=True)
            (events / f"0-0-{kind}.jsonl").write_text(f'\n1 2 3 {{"k":"{kind}"}}\n')

        return say

    quiet_s = paused_s(tmp_path / "home", report, write("heartbeat"))
    news_s = paused_s(tmp_path / "home", report, write("exited"))

    assert quiet_s >= 5.0
    assert news_s < 2.0


@pytest.mark.slow
def test_a_pause_ends_when_a_person_changes_something(tmp_path: Path) -> None:
    home = tmp_path / "home"
    init_workspace(home)
    with Reader.open(home) as reader:
        report = TickReport(at=START, revision=reader.revision())

    def hand_in() -> None:
        with open_workspace(home) as workspace:
            submit(workspace, Pipeline(name="x", project=ProjectName("y"), tasks=(job("a"),)))

    assert paused_s(home, report, hand_in) < 3.0


def test_a_state_folder_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first, again = init_workspace(tmp_path / "home"), init_workspace(tmp_path / "home")

    assert (first.created, again.created) == (True, False)
    assert first.backends == ("local",)
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert layout.event_secret(tmp_path / "home").stat().st_mode & 0o777 == 0o600
    with open_workspace(tmp_path / "home") as workspace:
        assert list(workspace.backends) == ["local"]


def test_a_folder_without_a_state_is_told_from_one_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_workspace(tmp_path)

    assert caught.value.hint == "run `elisa init`"


def test_a_wrong_configuration_opens_nothing(tmp_path: Path) -> None:
    init_workspace(tmp_path)
    layout.site_file(tmp_path).write_text("backend: {}\n")

    with pytest.raises(SpecError):
        open_workspace(tmp_path)


def test_a_folder_that_others_may_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(StoreError) as caught:
        init_workspace(tmp_path / "open" / "home")

    assert "everybody may write in it" in caught.value.why


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    uid = os.geteuid()
    if uid == 0:
        os.chown(tmp_path, 12345, -1)

    with pytest.raises(StoreError) as caught:
        check_ancestors(tmp_path, uid + 1 if uid else 0)

    assert "user" in caught.value.why


def test_the_systems_own_time_and_chance_are_what_they_say() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)
    assert 0 <= SystemRandom().bits(8) < 256
    assert 0 <= SystemRandom().uniform() < 1


@pytest.mark.parametrize("text", ["x", "x:", ":1", "x:y"])
def test_a_crash_point_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        crash_point_from({"ELISA_CRASH_AT": text})


@pytest.mark.parametrize(("asked", "passes"), [("b:2", "abab"), ("*:3", "abc")])
def test_a_crash_point_ends_the_process_at_once(asked: str, passes: str) -> None:
    child = os.fork()
    if child == 0:
        crash = crash_point_from({"ELISA_CRASH_AT": asked})
        for point in passes:
            crash(point)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == CRASH_EXIT


def test_without_the_variable_nothing_crashes() -> None:
    crash_point_from({})("store.begin")
