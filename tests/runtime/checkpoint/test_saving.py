from __future__ import annotations

import errno
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from elisa.runtime.checkpoint import saver as savers
from elisa.runtime.checkpoint import writer as writers
from elisa.runtime.checkpoint.codec import Chunk, Encoder, Piece
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.levels import Levels
from elisa.runtime.checkpoint.manifest import Manifest, verify
from elisa.runtime.checkpoint.restore import restore_newest
from elisa.runtime.checkpoint.retention import Kept, Retention, superfluous
from elisa.runtime.checkpoint.saver import Saved, Saver, SaverThread
from elisa.runtime.checkpoint.snapshot import Snapshots
from elisa.runtime.checkpoint.writer import PieceWriter
from tests.runtime.agent_cases import names

NOISE = np.random.default_rng(0).bytes(3 * 2**20)


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def steps_in(folder: Path) -> list[int]:
    return [generation.step for generation in Generations(str(folder)).newest_first()]


def save(saver: Saver, step: int, **state: Any) -> Saved | None:
    metrics = {"loss": float(state["loss"])} if "loss" in state else {}
    about = Manifest(saver.generations.next_number(), step, (), metrics=metrics)
    return saver.save(about, Encoder().encode_state({"step": step, **state}))


def a_saver(folder: Path, **rules: Any) -> Saver:
    return Saver(Generations(str(folder)), Retention(**rules))


class TestRetention:
    FOUND = tuple(Kept(number, 10 * number, 100, {"loss": abs(number - 3.0)}) for number in range(6, 0, -1))

    @pytest.mark.parametrize(
        ("rules", "gone"),
        [
            (Retention(), [1, 2, 3, 4]),
            (Retention(keep=0), [1, 2, 3, 4, 5]),
            (Retention(keep=9), []),
            (Retention(keep=1, keep_every=20), [1, 3, 5]),
            (Retention(keep=1, keep_best="-loss"), [1, 2, 4, 5]),
            (Retention(keep=1, keep_best="loss", keep_best_count=2), [1, 2, 3, 4]),
            (Retention(keep=1, keep_best="unheard_of"), [1, 2, 3, 4, 5]),
            (Retention(keep=6, max_bytes=250), [1, 2, 3, 4]),
            (Retention(keep=6, max_bytes=1), [1, 2, 3, 4, 5]),
        ],
    )
    def test_what_the_rules_do_not_keep_goes(self, rules: Retention, gone: list[int]) -> None:
        assert superfluous(self.FOUND, rules) == gone

    def test_a_metric_that_is_no_number_is_never_the_best(self) -> None:
        found = [Kept(3, 3, 1, {}), Kept(2, 2, 1, {"loss": math.nan}), Kept(1, 1, 1, {"loss": 9.0})]

        assert superfluous(found, Retention(keep=1, keep_best="-loss")) == [2]


class TestClearing:
    def test_the_newest_are_kept(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path, keep=2)
        for step in range(5):
            assert save(saver, step) is not None

        assert steps_in(tmp_path) == [4, 3]

    def test_the_best_is_kept_across_restarts(self, tmp_path: Path) -> None:
        for step, loss in enumerate([5.0, 1.0, 4.0, 3.0]):
            save(a_saver(tmp_path, keep=1, keep_best="-loss"), step, loss=loss)

        assert steps_in(tmp_path) == [3, 1]

    def test_nothing_goes_while_the_newest_is_not_sound(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unsound(_path: str) -> Manifest:
            raise savers.DamagedError("on purpose")

        monkeypatch.setattr(savers, "verify", unsound)
        saver = a_saver(tmp_path, keep=1)
        for step in range(3):
            save(saver, step)

        assert steps_in(tmp_path) == [2, 1, 0]

    def test_one_that_cannot_be_deleted_is_tried_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saver = a_saver(tmp_path, keep=1)
        save(saver, 0)
        with monkeypatch.context() as patch:
            patch.setattr(saver.generations, "remove", _fails(errno.EBUSY))
            save(saver, 1)
            assert steps_in(tmp_path) == [1, 0]
        save(saver, 2)

        assert steps_in(tmp_path) == [2]

    def test_one_whose_manifest_is_gone_counts_as_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "g00000001-step000000000000").mkdir()
        save(a_saver(tmp_path, keep=1), 1)

        assert steps_in(tmp_path) == [1]


def _fails(number: int) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fails


class TestRoom:
    def test_where_room_is_short_older_ones_go_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saver = a_saver(tmp_path, keep=5)
        for step in range(3):
            save(saver, step)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(10**9, 10**9, 10))

        assert save(saver, 3) is not None
        assert steps_in(tmp_path) == [3, 2]

    def test_a_disk_that_fills_up_is_cleared_and_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saver = a_saver(tmp_path, keep=5)
        for step in range(3):
            save(saver, step)
        full = iter([True, False])
        real = writers.write_all

        def write(fd: int, data: Chunk) -> None:
            if next(full, False):
                raise OSError(errno.ENOSPC, "full")
            real(fd, data)

        monkeypatch.setattr(writers, "write_all", write)

        assert save(saver, 3) is not None
        assert steps_in(tmp_path) == [3, 2]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    def test_a_save_that_fails_leaves_what_there_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        saver = a_saver(tmp_path)
        save(saver, 0)
        monkeypatch.setattr(writers, "write_all", _fails(number))

        assert save(saver, 1) is None
        assert (steps_in(tmp_path), names(tmp_path)) == ([0], ["g00000001-step000000000000"])


class TestLinking:
    def inode(self, saved: Saved | None) -> tuple[int, int]:
        assert saved is not None
        found = Path(saved.generation.path, "00000.bin").stat()
        return found.st_ino, found.st_nlink

    def test_what_did_not_change_is_linked(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path)

        first, second = self.inode(save(saver, 1, b=NOISE)), self.inode(save(saver, 2, b=NOISE))

        assert (first[0], second[1]) == (second[0], 2)
        assert verify(Generations(str(tmp_path)).newest_first()[0].path).step == 2

    def test_what_changed_is_written(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path)
        save(saver, 1, b=NOISE)
        changed = NOISE[:-1] + b"?"

        assert self.inode(save(saver, 2, b=changed))[1] == 1
        assert Path(Generations(str(tmp_path)).newest_first()[0].path, "00000.bin").read_bytes() == changed

    def test_what_changed_once_is_not_compared_for_a_while(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path)
        contents = [NOISE, NOISE[::-1], NOISE[::-1], *[NOISE[::-1]] * 9]

        links = [self.inode(save(saver, step, b=content))[1] for step, content in enumerate(contents)]

        assert links == [1] * 10 + [2, 2]

    def test_a_file_is_not_shared_by_too_many(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path, keep=20)

        links = [self.inode(save(saver, step, b=NOISE))[1] for step in range(10)]

        assert links == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]

    def test_after_a_restart_it_is_linked_from_what_was_restored(self, tmp_path: Path) -> None:
        save(a_saver(tmp_path), 1, b=NOISE)
        restored = restore_newest([Generations(str(tmp_path))])
        assert restored is not None
        saver = a_saver(tmp_path)
        saver.take_over(restored.generation, restored.manifest)

        assert self.inode(save(saver, 2, b=NOISE))[1] == 2

    def test_what_cannot_be_linked_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saver = a_saver(tmp_path)
        save(saver, 1, b=NOISE)
        monkeypatch.setattr(os, "link", _fails(errno.EPERM))

        assert self.inode(save(saver, 2, b=NOISE))[1] == 1

    def test_a_file_that_is_gone_is_no_candidate(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path)
        save(saver, 1, b=NOISE)
        Path(Generations(str(tmp_path)).newest_first()[0].path, "00000.bin").unlink()

        assert self.inode(save(saver, 2, b=NOISE))[1] == 1

    def test_links_can_be_forgone(self, tmp_path: Path) -> None:
        saver = Saver(Generations(str(tmp_path), PieceWriter(incremental=False)), Retention())

        assert [self.inode(save(saver, step, b=NOISE))[1] for step in range(2)] == [1, 1]


class TestCompressing:
    def saved_as(self, folder: Path, content: bytes, writer: PieceWriter) -> list[str]:
        saver = Saver(Generations(str(folder), writer), Retention())
        saved = save(saver, 1, b=content)
        assert saved is not None
        restored = restore_newest([saver.generations])
        assert restored is not None
        assert restored.state["b"] == content
        return names(Path(saved.generation.path))

    def slow_disk(self) -> PieceWriter:
        writer = PieceWriter()
        writer._speed = 1.0
        return writer

    def test_on_a_slow_disk_what_shrinks_is_compressed(self, tmp_path: Path) -> None:
        assert self.saved_as(tmp_path, bytes(20 * 2**20), self.slow_disk())[0] == "00000.bin.z"

    def test_noise_is_not(self, tmp_path: Path) -> None:
        assert self.saved_as(tmp_path, NOISE, self.slow_disk())[0] == "00000.bin"

    def test_on_a_fast_disk_nothing_is(self, tmp_path: Path) -> None:
        writer = PieceWriter()
        writer._speed = 1e12
        assert self.saved_as(tmp_path, bytes(2**20), writer)[0] == "00000.bin"

    def test_small_files_are_not(self, tmp_path: Path) -> None:
        assert self.saved_as(tmp_path, bytes(5000), self.slow_disk())[0] == "00000.bin"

    def test_it_can_be_forgone(self, tmp_path: Path) -> None:
        assert self.saved_as(tmp_path, bytes(2**20), PieceWriter(compress=False))[0] == "00000.bin"


class TestSnapshots:
    def test_a_copy_does_not_change_with_its_original(self) -> None:
        array = np.zeros(5000)
        snapshots = Snapshots()
        piece = snapshots.take(Encoder().encode_state({"a": array}))[0]
        array[:] = 1

        assert b"".join(piece.chunks()).endswith(bytes(40_000))

    def test_memory_is_used_again(self) -> None:
        def views(pieces: Sequence[Piece]) -> list[object]:
            return [chunk.obj for chunk in pieces[0].chunks() if isinstance(chunk, memoryview)]

        snapshots = Snapshots()
        pieces = Encoder().encode_state({"a": np.zeros(5000)})
        first = views(snapshots.take(pieces))
        snapshots.give_back()
        second = views(snapshots.take(pieces))

        assert all(one is other for one, other in zip(first, second, strict=True))


class TestBeside:
    def test_the_program_goes_on_while_its_state_is_saved(self, tmp_path: Path) -> None:
        saver, go, told = a_saver(tmp_path), threading.Event(), []

        def slow(about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
            go.wait(20)
            return saver.save(about, pieces)

        thread = SaverThread(slow, told.append)
        array = np.zeros(5000)
        thread.begin(Manifest(1, 1, ()), Encoder().encode_state({"a": array}))
        array[:] = 1
        is_busy = thread.is_busy
        go.set()
        thread.wait()

        restored = restore_newest([saver.generations])
        assert restored is not None
        assert (is_busy, thread.is_busy, len(told)) == (True, False, 1)
        assert not restored.state["a"].any()

    def test_one_save_waits_for_the_other(self, tmp_path: Path) -> None:
        saver = a_saver(tmp_path, keep=9)
        thread = SaverThread(saver.save, lambda _saved: None)
        for number in (1, 2, 3):
            thread.begin(Manifest(number, number, ()), Encoder().encode_state({"n": number}))
        thread.wait()
        thread.wait()

        assert steps_in(tmp_path) == [3, 2, 1]

    def test_a_save_that_fails_is_not_told(self) -> None:
        told: list[Saved] = []
        thread = SaverThread(lambda _about, _pieces: None, told.append)
        thread.begin(Manifest(1, 1, ()), [])
        thread.wait()

        assert told == []

    def test_a_mistake_reaches_the_program(self) -> None:
        def wrong(_about: Manifest, _pieces: Sequence[Piece]) -> Saved | None:
            raise ZeroDivisionError

        thread = SaverThread(wrong, lambda _saved: None)
        thread.begin(Manifest(1, 1, ()), [])
        with pytest.raises(ZeroDivisionError):
            thread.wait()
        thread.wait()


class TestLevels:
    def levels(self, tmp_path: Path) -> tuple[Levels, list[Saved]]:
        told: list[Saved] = []
        local, shared = a_saver(tmp_path / "local"), a_saver(tmp_path / "shared")
        return Levels(local, shared, told.append), told

    def save(self, levels: Levels, step: int) -> Saved | None:
        return levels.save(Manifest(step, step, ()), Encoder().encode_state({"b": NOISE, "step": step}))

    def test_the_first_is_carried_on_at_once_and_the_others_now_and_then(self, tmp_path: Path) -> None:
        levels, told = self.levels(tmp_path)
        for step in (1, 2, 3):
            self.save(levels, step)
            levels.wait()

        assert steps_in(tmp_path / "local") == [3, 2]
        assert steps_in(tmp_path / "shared") == [1]
        assert [saved.generation.step for saved in told] == [1]

    def test_before_the_node_is_left_the_newest_is_carried_on(self, tmp_path: Path) -> None:
        levels, _ = self.levels(tmp_path)
        for step in (1, 2):
            self.save(levels, step)
        levels.carry_newest()
        levels.carry_newest()

        restored = restore_newest([Generations(str(tmp_path / "shared"))])
        assert restored is not None
        assert (restored.state["step"], restored.state["b"]) == (2, NOISE)

    def test_without_local_checkpoints_there_is_nothing_to_carry(self, tmp_path: Path) -> None:
        levels, told = self.levels(tmp_path)
        levels.carry_newest()

        assert told == []

    def test_what_is_not_sound_is_not_carried_on(self, tmp_path: Path) -> None:
        levels, told = self.levels(tmp_path)
        self.save(levels, 1)
        levels.wait()
        self.save(levels, 2)
        next(Path(Generations(str(tmp_path / "local")).newest_first()[0].path).glob("*.bin")).write_bytes(b"x")
        levels.carry_newest()

        assert [saved.generation.step for saved in told] == [1]

    def test_where_the_local_disk_fails_the_shared_one_takes_it(self, tmp_path: Path) -> None:
        (tmp_path / "local").write_text("no folder")
        levels, told = self.levels(tmp_path)

        assert self.save(levels, 1) is not None
        assert [saved.generation.step for saved in told] == [1]

    def test_where_both_fail_nothing_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "local").write_text("no folder")
        (tmp_path / "shared").write_text("no folder")
        levels, told = self.levels(tmp_path)

        assert (self.save(levels, 1), told) == (None, [])


def test_a_piece_that_cannot_be_read_fails_the_save(tmp_path: Path) -> None:
    def chunks() -> Iterator[Chunk]:
        yield b"x"
        raise OSError(errno.EIO, "no more")

    saver = a_saver(tmp_path)

    assert saver.save(Manifest(1, 1, ()), [Piece("a.bin", 2, chunks)]) is None
    assert names(tmp_path) == []


def test_a_large_file_is_written_whole_though_the_disk_is_hurried(tmp_path: Path) -> None:
    state = {"large": np.random.default_rng(0).integers(0, 2**63, 2_500_000)}

    generation, manifest = Generations(str(tmp_path)).write(Manifest(1, 1, ()), Encoder().encode_state(state))

    assert manifest.size_bytes > 2 * 8 * 2**20
    assert verify(generation.path) == manifest
