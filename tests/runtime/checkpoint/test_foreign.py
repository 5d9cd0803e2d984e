from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime import watch
from elisa.runtime.checkpoint import foreign, writer
from elisa.runtime.checkpoint.foreign import RestartFiles, Resumed
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.job import CheckpointRules
from tests.runtime.agent_cases import Case, names, python

NETCDF = b"CDF\x01" + bytes(60)


class Program:
    """A folder in which a program writes restart files, and what watches them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "task"
        self.folder.mkdir()
        self.clock = 1_000_000_000

    def watch(self, pattern: str = "restart.*.nc", complete_when: str = "", **rules: Any) -> RestartFiles:
        given = CheckpointRules(pattern=pattern, complete_when=complete_when, **rules)
        return RestartFiles(given, str(self.folder), str(self.root / "kept"), "t000000001.1")

    def write(self, name: str, content: bytes = NETCDF) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.clock += 1
        os.utime(path, ns=(self.clock * 10**9, self.clock * 10**9))
        return path

    @property
    def kept(self) -> list[int]:
        return [generation.step for generation in Generations(str(self.root / "kept")).newest_first()]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def steps(saved: list[foreign.Saved]) -> list[int]:
    return [one.generation.step for one in saved]


def test_a_sound_file_is_kept_once(program: Program) -> None:
    files = program.watch()
    program.write("restart.0005.nc")

    assert steps(files.look()) == [5]
    assert steps(files.look()) == []
    assert program.kept == [5]


def test_a_file_that_is_not_sound_yet_is_waited_for(program: Program) -> None:
    files = program.watch()
    program.write("restart.0005.nc", b"CD")
    assert files.look() == files.look() == []

    program.write("restart.0005.nc")
    assert steps(files.look()) == [5]


def test_a_file_of_unknown_format_must_lie_still(program: Program) -> None:
    files = program.watch("dump.*")
    program.write("dump.1", b"half")
    assert steps(files.look()) == []
    program.write("dump.1", b"whole")
    assert steps(files.look()) == []
    assert steps(files.look()) == [1]


def test_an_empty_file_is_never_complete(program: Program) -> None:
    files = program.watch("dump.*")
    program.write("dump.1", b"")

    assert files.look() == files.look() == files.look(is_finished=True) == []


def test_a_marker_says_that_a_file_is_complete(program: Program) -> None:
    files = program.watch("dump.*.bin", complete_when="{}.done")
    program.write("dump.1.bin.done", b"")
    program.write("dump.1.bin", b"x")
    assert steps(files.look()) == []  # the marker is of an earlier life of this name

    program.write("dump.1.bin.done", b"")
    assert steps(files.look()) == [1]


def test_a_file_written_again_and_again_counts_up(program: Program) -> None:
    files = program.watch("restart.nc")
    for _ in range(3):
        program.write("restart.nc")
        files.look()

    assert program.kept == [3, 2]


@pytest.mark.parametrize(
    ("pattern", "name", "step"),
    [
        ("restart.*.nc", "restart.2020-01-15.nc", 20200115),
        ("run2.restart.*.nc", "run2.restart.7.nc", 7),
        ("*/dump.[0-9]", "7/dump.3", 73),
        ("r?.nc", "r4.nc", 4),
        ("**/x.nc", "sub/x.nc", 1),
    ],
)
def test_the_step_stands_where_the_pattern_is_open(program: Program, pattern: str, name: str, step: int) -> None:
    files = program.watch(pattern)
    program.write(name)
    files.look()
    files.look(is_finished=True)

    assert program.kept == [step]


def test_a_link_is_not_followed(program: Program) -> None:
    (program.folder / "restart.1.nc").symlink_to("/etc/hostname")

    assert program.watch("restart.*").look(is_finished=True) == []


def test_a_marker_that_is_not_there_yet_is_waited_for(program: Program) -> None:
    files = program.watch("dump.*.bin", complete_when="{}.done")
    program.write("dump.1.bin", b"x")

    assert files.look() == files.look() == []


def test_a_file_that_changes_while_it_is_copied_is_not_kept(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    files = program.watch()
    path = program.write("restart.1.nc")
    real = writer.write_all

    def write(fd: int, data: bytes) -> None:
        real(fd, data)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(writer, "write_all", write)

    assert files.look() == []
    assert program.kept == []


def test_files_with_odd_names_are_kept_too(program: Program) -> None:
    program.write("restart.$(x)'\n.nc")

    assert steps(program.watch().look()) == [1]


class TestResuming:
    def test_the_newest_is_put_in_its_place(self, program: Program) -> None:
        files = program.watch()
        for step in (1, 2):
            program.write(f"restart.{step}.nc", NETCDF + bytes([step]))
            files.look()
        (program.folder / "restart.2.nc").unlink()

        resumed = program.watch().prepare()

        assert resumed == Resumed(str(program.folder / "restart.2.nc"), 2)
        assert (program.folder / "restart.2.nc").read_bytes() == NETCDF + b"\2"

    def test_one_that_was_overwritten_in_part_is_mended(self, program: Program) -> None:
        files = program.watch("restart.nc")
        program.write("restart.nc", NETCDF + b"good")
        files.look()
        program.write("restart.nc", b"CD")

        assert program.watch("restart.nc").prepare() is not None
        assert (program.folder / "restart.nc").read_bytes() == NETCDF + b"good"

    def test_an_unfinished_newer_one_is_set_aside(self, program: Program) -> None:
        files = program.watch()
        program.write("restart.1.nc")
        files.look()
        program.write("restart.2.nc", b"CD")

        assert program.watch().prepare() == Resumed(str(program.folder / "restart.1.nc"), 1)
        assert names(program.folder) == ["restart.1.nc"]
        assert [path.name for path in (program.root / "kept" / "quarantine").glob("*/*")] == ["restart.2.nc"]

    def test_a_finished_one_that_nobody_had_seen_is_used(self, program: Program) -> None:
        program.write("restart.1.nc")

        assert program.watch().prepare() == Resumed(str(program.folder / "restart.1.nc"), 1)

    def test_what_is_known_is_not_copied_again(self, program: Program) -> None:
        program.watch().look()
        program.write("restart.1.nc")
        for _ in range(3):
            files = program.watch()
            files.prepare()
            files.works()

        assert len(program.kept) == 1

    def test_a_copy_that_was_damaged_is_made_again(self, program: Program) -> None:
        files = program.watch()
        program.write("restart.1.nc")
        files.look()
        next((program.root / "kept").glob("g*/*.nc")).write_bytes(b"x")

        assert program.watch().prepare() == Resumed(str(program.folder / "restart.1.nc"), 1)

    def test_of_files_whose_format_nobody_knows_unseen_ones_are_not_trusted(self, program: Program) -> None:
        program.write("dump.1", b"perhaps half of it")

        assert program.watch("dump.*").prepare() is None
        assert names(program.folder) == []

    def test_before_the_first_start_all_stays_where_it_is(self, program: Program) -> None:
        program.write("dump.1", b"where to begin")
        program.write("restart.1.nc")

        assert program.watch("dump.*").prepare(is_first=True) is None
        assert program.watch().prepare(is_first=True) is not None
        assert names(program.folder) == ["dump.1", "restart.1.nc"]

    def test_one_that_brings_the_program_down_twice_is_taken_away(self, program: Program) -> None:
        files = program.watch()
        for step in (1, 2):
            program.write(f"restart.{step}.nc")
            files.look()

        resumed = [program.watch().prepare() for _ in range(3)]

        assert [one.step for one in resumed if one] == [2, 2, 1]
        assert names(program.folder) == ["restart.1.nc"]

    def test_going_back_to_a_step(self, program: Program) -> None:
        files = program.watch()
        for step in (10, 20):
            program.write(f"restart.{step}.nc")
            files.look()

        assert program.watch().prepare(at_step=10) == Resumed(str(program.folder / "restart.10.nc"), 10)
        assert names(program.folder) == ["restart.10.nc"]


def test_a_program_that_has_run_for_long_works_with_what_it_was_given(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_WORKS_AFTER_S", 0.0)
    program.watch().look()
    program.write("restart.1.nc")
    for _ in range(4):
        files = program.watch()
        assert files.prepare() == Resumed(str(program.folder / "restart.1.nc"), 1)
        watching = watch.Watch(files, lambda _kind, _data: None, 0.01)
        deadline = time.monotonic() + 10
        while names(program.root / "kept" / ".loading") and time.monotonic() < deadline:
            time.sleep(0.005)
        watching.close(is_finished=True)


MODEL = """
import os, signal, sys, time
saved = []
signal.signal(signal.SIGUSR1, lambda *a: saved.append(1))
start = int(os.environ.get("ELISA_RESUME_STEP", 0))
print("from", start, os.path.basename(os.environ.get("ELISA_RESUME_FROM", "-")), flush=True)
for step in range(start + 1, 1000):
    time.sleep(0.02)
    if step % 10 == 0 or saved:
        with open(f"restart.{step:04d}.nc", "wb") as f: f.write(b"CDF\\x01" + bytes(60))
    if saved: time.sleep(60)
    if start and step > start + 3: sys.exit(0)
"""


class TestInAJob:
    def job(self, case: Case, number: int = 1, **options: Any) -> Path:
        rules = {"pattern": "restart.*.nc", "signal": "USR1"}
        return case.job(number, argv=python(MODEL), checkpoint=rules, sample_s=0.05, **options)

    def wait_for_checkpoint(self, case: Case, number: int = 1) -> None:
        deadline = time.monotonic() + 20
        while "checkpoint" not in case.kinds(number):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_an_unchanged_program_takes_part(self, tmp_path: Path) -> None:
        case = Case(tmp_path)
        process = case.start(self.job(case))
        self.wait_for_checkpoint(case)
        process.kill()
        process.communicate()
        told = case.said("checkpoint")["step"]

        assert case.run(self.job(case, 2)) == 0

        # a file that was kept right before the agent was killed is not told of
        step = case.said("started", 2)["resumed_step"]
        assert step in {told, told + 10}
        assert case.printed.splitlines() == ["from 0 -", f"from {step} restart.{step:04d}.nc"]

    def test_asked_to_end_it_is_first_given_time_to_save(self, tmp_path: Path) -> None:
        case = Case(tmp_path)
        process = case.start(self.job(case, grace_s=20))
        self.wait_for_checkpoint(case)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.communicate(timeout=60)

        assert process.returncode == 143
        assert time.monotonic() - began < 10  # no longer than the save took
        assert len([event for event in case.events() if event.kind == "checkpoint"]) >= 2

    def test_a_folder_that_cannot_be_used_has_an_exit_record(self, tmp_path: Path) -> None:
        case = Case(tmp_path)
        (case.home / "file").write_text("")
        assert case.run(self.job(case, checkpoint_dir=str(case.home / "file"))) == 73
        assert "restart files cannot be made ready" in case.said("exited")["detail"]


@pytest.mark.parametrize("marker", ["", "{}.done"])
def test_a_program_may_write_to_the_folder_of_its_checkpoints_as_well(program: Program, marker: str) -> None:
    (program.root / "kept").mkdir()
    program.write("../kept/restart.0005.nc")
    if marker:
        program.write("../kept/restart.0005.nc.done")
    files = program.watch(complete_when=marker)

    assert steps(files.look()) == [5]
    (program.root / "kept" / "restart.0005.nc").unlink()
    resumed = program.watch(complete_when=marker).prepare()
    assert resumed is not None
    assert Path(resumed.path).resolve() == program.root / "kept" / "restart.0005.nc"
    assert Path(resumed.path).read_bytes() == NETCDF


def test_the_copies_are_no_restart_files_themselves(tmp_path: Path) -> None:
    program = Program(tmp_path)
    kept_in = program.folder / "checkpoints"
    files = RestartFiles(CheckpointRules(pattern="**/*.nc"), str(program.folder), str(kept_in), "t000000001.1")
    program.write("deep/restart.0005.nc")

    assert steps(files.look()) == [5]
    assert steps(files.look()) == []
    assert len(Generations(str(kept_in)).newest_first()) == 1


def test_older_files_whose_copies_are_gone_do_not_pass_for_the_newest(program: Program) -> None:
    files = program.watch(keep=2)
    for step in range(1, 6):
        program.write(f"restart.{step}.nc")
        files.look()
    assert program.kept == [5, 4]

    resumed = program.watch(keep=2).prepare()

    assert resumed == Resumed(str(program.folder / "restart.5.nc"), 5)
    assert program.kept == [5, 4]
    assert names(program.folder) == [f"restart.{step}.nc" for step in range(1, 6)]
