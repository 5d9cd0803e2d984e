from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa import checkpoint
from elisa.runtime import program
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.eventfile import Record, read_records
from tests.runtime.agent_cases import KEY, names

ATTEMPT = "t000000001.1"


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Let the library look at the environment again, and no test's stop reach the next."""
    program.forget()
    yield
    program.forget()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


class Job:
    """What an agent sets up for a program."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._patch = monkeypatch
        (home / "events").mkdir()
        self.instruct()
        for name, value in {
            "ELISA_ATTEMPT": ATTEMPT,
            "ELISA_TASK": "t000000001",
            "ELISA_JOB": str(home / "job.json"),
            "ELISA_EVENTS": str(home / "events"),
            "ELISA_STOP": str(home / "stop"),
            "ELISA_CHECKPOINT_DIR": str(home / "checkpoints"),
        }.items():
            monkeypatch.setenv(name, value)

    def instruct(self, **content: Any) -> None:
        (self.home / "job.json").write_text(json.dumps({"key": KEY.hex(), **content}))
        program.forget()

    def ends_in(self, seconds: float) -> None:
        self._patch.setenv("ELISA_DEADLINE", str(time.time() + seconds))

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [record.data for record in self.records() if record.kind == kind]

    def records(self) -> list[Record]:
        return read_records(str(self.home / "events"), KEY)

    @property
    def steps(self) -> list[int]:
        return [generation.step for generation in Generations(str(self.home / "checkpoints")).newest_first()]


def train(steps: int, folder: Path | None = None, until: int | None = None, **options: Any) -> list[int]:
    """Run as a user's program would; return the steps that were done. It is killed, so to speak, after `until`."""
    done = []
    with checkpoint.run(folder, **{"interval_s": 0, **options}) as ckpt:
        state = ckpt.load() or {"sum": np.zeros(3)}
        for step in ckpt.steps(steps):
            state["sum"] = state["sum"] + step
            done.append(step)
            ckpt.save(step, state)
            if step == until:
                raise KeyboardInterrupt
    assert state["sum"][0] == sum(range(steps))
    return done


def test_a_run_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(10, tmp_path, until=6)

    assert train(10, tmp_path) == [7, 8, 9]
    assert train(10, tmp_path) == []


def test_beside_the_program_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(10, tmp_path, until=6, beside=True)

    assert train(10, tmp_path, beside=True) == [7, 8, 9]


def test_through_a_fast_disk_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(10, tmp_path / "shared", until=6, local=tmp_path / "local")

    assert train(10, tmp_path / "shared", local=tmp_path / "local") == [7, 8, 9]
    assert Generations(str(tmp_path / "shared")).newest_first()[0].step == 9


def test_without_elisa_the_folder_is_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(2)

    assert names(tmp_path) == ["checkpoints"]
    assert not program.is_in_job()
    assert program.time_left() == float("inf")


def test_the_jobs_settings_hold_unless_the_program_has_its_own(job: Job) -> None:
    job.instruct(checkpoint={"interval_s": 0, "keep": 3})
    train(6, interval_s=None)
    assert job.steps == [5, 4, 3]

    train(8, interval_s=None, keep=1)
    assert job.steps == [7]


def test_elisa_is_told(job: Job) -> None:
    train(3)

    saved = job.said("checkpoint")
    assert [data["step"] for data in saved] == [0, 1, 2]
    assert saved[-1]["path"] == Generations(str(job.home / "checkpoints")).newest_first()[0].path
    assert saved[-1]["size_bytes"] > 0
    assert (saved[-1]["bound"], saved[-1]["interval_s"], saved[-1]["mtbf_s"]) == ("fixed", 0, 86400)
    assert job.said("progress") == [{"step": step, "total": 3} for step in (1, 2, 3)]


def test_a_persistent_generator_tells_each_step_and_goes_on_counting_where_it_was(job: Job) -> None:
    job.instruct(checkpoint={"interval_s": 0})

    lives = iter([2, 9])

    @checkpoint.persistent
    def count(total: int, state: int = 0) -> Generator[int, None, int]:
        dies_at = next(lives)
        while state < total:
            if state == dies_at:
                raise KeyboardInterrupt
            state += 1
            yield state
        return state

    with pytest.raises(KeyboardInterrupt):
        count(3)
    assert count(3) == 3

    assert job.said("progress") == [{"step": step, "total": None} for step in (1, 2, 3)]


def test_a_damaged_checkpoint_is_told(job: Job) -> None:
    train(3)
    newest = Generations(str(job.home / "checkpoints")).newest_first()[0]
    Path(newest.path, "state.json").write_text("{}")

    assert train(3) == [2]
    assert job.said("quarantined")[0]["why"].startswith("state.json has 2 bytes")


def test_an_interval_that_is_not_over_saves_nothing_but_the_last_step(tmp_path: Path) -> None:
    with checkpoint.run(tmp_path, interval_s=3600) as ckpt:
        saved = [ckpt.save(step, {}) for step in ckpt.steps(4)]

    assert saved == [True, False, False, True]


def test_a_save_can_be_forced_and_its_state_made_when_it_is_time(tmp_path: Path) -> None:
    made = []
    with checkpoint.run(tmp_path, interval_s=3600) as ckpt:
        for step in range(3):
            ckpt.save(step, lambda step=step: made.append(step) or {"n": step}, force=step == 2)  # type: ignore[misc]

    assert made == [0, 2]


def test_the_interval_is_chosen_and_explained(tmp_path: Path) -> None:
    with checkpoint.run(tmp_path) as ckpt:
        saved = [ckpt.save(step, {}) for step in range(3)]
        choice = ckpt.explain()

    assert saved == [True, False, False]
    assert (choice.bound, choice.mtbf_s) == ("optimum", 86400)
    assert choice.save_s < 5


def test_a_program_may_ask_before_it_makes_its_state(tmp_path: Path) -> None:
    with checkpoint.run(tmp_path, interval_s=3600) as ckpt:
        asked = [(ckpt.is_due(step), ckpt.save(step, {})) for step in ckpt.steps(3)]

    assert asked == [(True, True), (False, False), (True, True)]


def test_the_best_is_kept(tmp_path: Path) -> None:
    with checkpoint.run(tmp_path, interval_s=0, keep=1, keep_best="-loss") as ckpt:
        for step, loss in enumerate([3.0, 1.0, 2.0]):
            ckpt.save(step, {}, metrics={"loss": loss})

    assert [generation.step for generation in Generations(str(tmp_path)).newest_first()] == [2, 1]


def test_what_cannot_be_saved_is_the_programs_mistake(tmp_path: Path) -> None:
    with checkpoint.run(tmp_path) as ckpt, pytest.raises(checkpoint.NotSavableError):
        ckpt.save(0, {"f": print})


def test_a_folder_that_cannot_be_used_is_found_out_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(NotADirectoryError), checkpoint.run(tmp_path / "file"):
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elisa.runtime.checkpoint import writer

    def full(_fd: int, _data: bytes) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(writer, "write_all", full)
    with checkpoint.run(tmp_path, interval_s=0) as ckpt:
        assert [ckpt.save(step, {}) for step in ckpt.steps(2)] == [False, False]


def leaves(
    body: Callable[[checkpoint.Checkpointer, int], object], folder: Path | None = None, steps: int = 10, **options: Any
) -> list[int]:
    """Run a program that is asked to stop and leaves; return the steps it did."""
    done = []

    def work() -> None:
        with checkpoint.run(folder, **options) as ckpt:
            for step in ckpt.steps(steps):
                done.append(step)
                body(ckpt, step)

    with pytest.raises(SystemExit) as left:
        work()
    assert left.value.code == 85
    return done


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
    def test_asked_to_stop_it_saves_and_leaves(self, tmp_path: Path, number: int) -> None:
        def body(ckpt: checkpoint.Checkpointer, step: int) -> None:
            if step == 3:
                os.kill(os.getpid(), number)
            ckpt.save(step, {"step": step})

        assert leaves(body, tmp_path, interval_s=3600) == [0, 1, 2, 3]
        assert Generations(str(tmp_path)).newest_first()[0].step == 3

    def test_a_second_request_is_not_ignored(self, tmp_path: Path) -> None:
        got: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, _frame: got.append(number))
        try:
            with checkpoint.run(tmp_path) as ckpt:
                os.kill(os.getpid(), signal.SIGTERM)
                assert ckpt.should_stop
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)

        assert got == [signal.SIGTERM]

    def test_the_agents_file_says_the_same(self, job: Job) -> None:
        (job.home / "stop").touch()

        assert leaves(lambda ckpt, step: ckpt.save(step, {})) == []
        assert job.steps == []  # it was asked before anything was done

    def test_the_end_of_the_walltime_too(self, job: Job) -> None:
        job.instruct(checkpoint={"interval_s": 3600})
        job.ends_in(0.4)

        def body(ckpt: checkpoint.Checkpointer, step: int) -> None:
            time.sleep(0.02)
            ckpt.save(step, {})

        done = leaves(body, steps=1000)

        assert len(done) < 30
        assert job.steps[0] == done[-1]
        assert job.said("stopping") == [{"signal": None, "why": "walltime"}]

    def test_a_program_that_saves_now_and_then_is_not_left_before_it_did(self, tmp_path: Path) -> None:
        def body(ckpt: checkpoint.Checkpointer, step: int) -> None:
            if step == 3:
                program.ask_to_stop("test")
            if step % 3 == 2:
                ckpt.save(step, {})

        assert leaves(body, tmp_path, interval_s=0)[-1] == 5

    def test_the_last_step_is_finished_in_order(self, tmp_path: Path) -> None:
        with checkpoint.run(tmp_path, interval_s=0) as ckpt:
            for step in ckpt.steps(3):
                if step == 2:
                    program.ask_to_stop("test")
                ckpt.save(step, {})

        assert Generations(str(tmp_path)).newest_first()[0].step == 2

    def test_leaving_can_be_left_to_the_program(self, tmp_path: Path) -> None:
        with checkpoint.run(tmp_path, interval_s=0, exit_on_stop=False) as ckpt:
            for step in ckpt.steps(5):
                ckpt.save(step, {})
                program.ask_to_stop("test")
                if ckpt.should_stop:
                    break

        assert step == 0

    def test_beside_the_program_the_last_save_is_waited_for(self, tmp_path: Path) -> None:
        def body(ckpt: checkpoint.Checkpointer, step: int) -> None:
            if step == 3:
                program.ask_to_stop("test")
            ckpt.save(step, {"a": np.zeros(5000)})

        leaves(body, tmp_path, interval_s=3600, beside=True)

        assert Generations(str(tmp_path)).newest_first()[0].step == 3

    def test_in_another_thread_signals_are_left_alone(self, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGTERM)
        seen: list[Any] = []

        def work() -> None:
            with checkpoint.run(tmp_path):
                seen.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

        assert seen == [before]


class TestVoice:
    def test_metrics_and_progress_are_told(self, job: Job) -> None:
        checkpoint.metric("loss", 0.5, 3)
        checkpoint.metric("accuracy", np.float32(1))
        checkpoint.progress(3)

        assert job.said("metric") == [
            {"name": "loss", "value": 0.5, "step": 3},
            {"name": "accuracy", "value": 1.0, "step": None},
        ]
        assert job.said("progress") == [{"step": 3, "total": None}]

    def test_a_forked_child_has_a_voice_of_its_own(self, job: Job) -> None:
        checkpoint.progress(1)
        child = os.fork()
        if child == 0:
            checkpoint.progress(2)
            os._exit(0)
        os.waitpid(child, 0)
        checkpoint.progress(3)

        assert [(record.rank > 1, record.seq) for record in job.records()] == [(False, 0), (False, 1), (True, 0)]

    @pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"])
    def test_ranks_have_voices_of_their_own(self, job: Job, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "7")
        checkpoint.progress(1)

        assert [record.rank for record in job.records()] == [8]

    def test_without_elisa_nothing_is_said(self) -> None:
        checkpoint.metric("loss", 0.5)
        assert not program.tell("progress", {})

    @pytest.mark.parametrize("content", ["{", "[]", '{"key": "00"}'])
    def test_with_instructions_that_cannot_be_read_neither(self, job: Job, content: str) -> None:
        (job.home / "job.json").write_text(content)
        program.forget()

        assert not program.tell("progress", {})

    def test_a_disk_that_fails_does_not_end_the_program(self, job: Job) -> None:
        (job.home / "events").rmdir()

        assert not program.tell("progress", {})

    def test_settings_inside_one_another_are_found(self, job: Job) -> None:
        job.instruct(checkpoint={"keep": 3})

        assert program.job_setting("checkpoint", "keep") == 3
        assert program.job_setting("checkpoint", "keep", "deeper") is None
        assert program.job_setting("none") is None

    def test_what_is_left_of_the_walltime_is_known(self, job: Job) -> None:
        job.ends_in(100)
        assert program.time_left() == pytest.approx(100, abs=5)

    def test_a_clock_that_jumps_changes_nothing_of_it(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        job.ends_in(100)
        program.time_left()
        tomorrow = time.time() + 86_400
        monkeypatch.setattr("elisa.runtime.program.time.time", lambda: tomorrow)

        assert program.time_left() == pytest.approx(100, abs=5)

    def test_the_stop_file_is_looked_at_once_a_second_at_most(self, job: Job) -> None:
        assert not program.should_stop()
        (job.home / "stop").touch()
        assert not program.should_stop()
        program.mine().looked_at -= 1
        assert program.should_stop()

    def test_the_runtime_offers_the_same(self) -> None:
        import elisa.runtime

        assert elisa.runtime.metric is checkpoint.metric
        assert elisa.runtime.checkpoint.run is checkpoint.run
        for module in (elisa.runtime, checkpoint):
            with pytest.raises(AttributeError, match="nothing"):
                module.nothing  # noqa: B018  (asked for to fail)


def test_a_site_with_fast_disks_uses_them(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELISA_LOCAL_CHECKPOINT_DIR", str(job.home / "nvme"))
    train(3)

    assert names(job.home / "nvme") == ["t000000001"]
    assert job.steps[0] == 2


@pytest.mark.parametrize(("disk", "is_used"), [("{home}", True), ("", False)])
def test_a_site_may_name_its_fast_disks_by_a_variable_of_the_job(
    job: Job, monkeypatch: pytest.MonkeyPatch, disk: str, *, is_used: bool
) -> None:
    monkeypatch.setenv("ELISA_LOCAL_CHECKPOINT_DIR", "$NODE_DISK/checkpoints")
    monkeypatch.delenv("NODE_DISK", raising=False)
    if disk:
        monkeypatch.setenv("NODE_DISK", disk.format(home=job.home))
    train(3)

    assert (job.home / "checkpoints" / "t000000001").exists() == is_used
    assert job.steps[0] == 2


PROGRAM = """
import os, signal, sys
import numpy as np
from elisa import checkpoint
with checkpoint.run(sys.argv[1], interval_s=0) as ckpt:
    state = ckpt.load() or {"w": np.zeros(2000), "rng": np.random.default_rng(0).bit_generator.state}
    rng = np.random.default_rng()
    for step in ckpt.steps(40):
        rng.bit_generator.state = state["rng"]
        state["w"] += rng.standard_normal(2000)
        state["rng"] = rng.bit_generator.state
        ckpt.save(step, state)
print(state["w"].tobytes().hex())
"""


@pytest.mark.slow
def test_killed_at_random_the_result_is_the_uninterrupted_runs_to_the_bit(tmp_path: Path) -> None:
    def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", PROGRAM, str(folder)]
        return subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, check=False)

    expected = run(tmp_path / "whole").stdout
    assert len(expected) > 1000

    for point in (30, 77, 141, 300):
        killed = run(tmp_path / "killed", ELISA_CRASH_AT=f"*:{point}")
        assert killed.returncode == 137
    assert run(tmp_path / "killed").stdout == expected
