from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import time
from pathlib import Path

import pytest

from elisa.runtime.checkpoint import hashing
from elisa.runtime.checkpoint.generations import Generation, Generations, _host
from elisa.runtime.checkpoint.manifest import (
    MANIFEST,
    DamagedError,
    FileEntry,
    Manifest,
    parse_manifest,
    read_manifest,
    render_manifest,
    verify,
)
from elisa.runtime.checkpoint.restore import Restored, clear_loading_marks, restore_newest
from tests.runtime.agent_cases import names
from tests.runtime.checkpoint.checkpoint_cases import DAMAGES, a_state, flip_a_bit, is_state, save_steps


def restore(root: Path, at_step: int | None = None) -> Restored | None:
    return restore_newest([Generations(str(root))], at_step=at_step)


def step_of(restored: Restored | None) -> int | None:
    return None if restored is None else restored.generation.step


def test_the_newest_is_restored(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3)

    restored = restore(tmp_path)

    assert restored is not None
    assert is_state(restored.state, 3)


def test_without_checkpoints_the_work_begins_at_its_beginning(tmp_path: Path) -> None:
    assert restore(tmp_path) is None
    assert restore(tmp_path / "none") is None


def test_checkpoints_are_their_owners_alone(tmp_path: Path) -> None:
    (generation,) = save_steps(tmp_path / "new", 1)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(generation.path).iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(Path(generation.path).stat().st_mode) == 0o700


@pytest.mark.parametrize("seed", range(10))
def test_every_damage_is_detected_and_the_newest_sound_one_is_restored(tmp_path: Path, seed: int) -> None:
    """10 times 100 random damages, to one or two of three generations."""
    rng = random.Random(seed)
    template = tmp_path / "template"
    save_steps(template, 1, 2, 3)

    for number in range(100):
        root = tmp_path / str(number)
        shutil.copytree(template, root)
        paths = [Path(generation.path) for generation in Generations(str(root)).newest_first()]
        damaged = rng.randint(1, 2)
        kinds = [rng.choice(DAMAGES) for _ in range(damaged)]
        for index, damage in enumerate(kinds):
            damage(paths[index], paths[2], rng)

        restored = restore(root)

        assert restored is not None, kinds
        assert step_of(restored) == 3 - damaged, kinds
        assert is_state(restored.state, 3 - damaged)
        assert len([name for name in names(root / "quarantine") if name.endswith(".why")]) == damaged
        shutil.rmtree(root)


def test_when_nothing_is_sound_the_work_begins_at_its_beginning(tmp_path: Path) -> None:
    for generation in save_steps(tmp_path, 1, 2):
        Path(generation.path, MANIFEST).unlink()

    assert restore(tmp_path) is None
    assert len(names(tmp_path / "quarantine")) == 4


def test_the_number_of_a_quarantined_one_is_not_used_again(tmp_path: Path) -> None:
    (generation,) = save_steps(tmp_path, 1)
    Path(generation.path, MANIFEST).unlink()
    restore(tmp_path)

    assert Generations(str(tmp_path)).next_number() == 2


def test_one_that_brings_the_program_down_twice_is_skipped(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)

    steps = [step_of(restore(tmp_path)) for _ in range(5)]

    assert steps == [2, 2, 1, 1, None]


def test_one_that_the_program_works_with_is_not_skipped(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    for _ in range(5):
        assert step_of(restore(tmp_path)) == 1
        clear_loading_marks(Generations(str(tmp_path)))


def test_a_decoder_that_fails_leaves_the_checkpoint_where_it_is(tmp_path: Path) -> None:
    """The files are what they were: it is the program that changed. Nothing may be thrown away for that."""
    save_steps(tmp_path, 1)

    def fails(_generation: Generation, _manifest: Manifest) -> object:
        raise AttributeError("no such class any more")

    with pytest.raises(AttributeError):
        restore_newest([Generations(str(tmp_path))], decode=fails)
    assert step_of(restore(tmp_path)) == 1


def test_going_back_to_a_step_sets_newer_ones_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 10, 20, 30)

    assert step_of(restore(tmp_path, at_step=20)) == 20
    assert len(names(tmp_path / "quarantine")) == 2


def test_having_gone_back_the_same_attempt_keeps_what_it_saved_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELISA_ATTEMPT", "t000000001.2")
    folder = Generations(str(tmp_path))
    from elisa.runtime.checkpoint.codec import Encoder

    folder.write(Manifest(1, 30, (), attempt="t000000001.2"), Encoder().encode_state(a_state(30)))

    assert step_of(restore(tmp_path, at_step=20)) == 30


def test_of_two_folders_the_newer_generation_wins_and_then_the_first_folder(tmp_path: Path) -> None:
    save_steps(tmp_path / "local", 1, 2)
    save_steps(tmp_path / "shared", 1, 2, 3)
    folders = [Generations(str(tmp_path / "local")), Generations(str(tmp_path / "shared"))]

    assert step_of(restore_newest(folders)) == 3
    shutil.rmtree(folders[1].newest_first()[0].path)
    restored = restore_newest(folders)
    assert restored is not None
    assert restored.folder is folders[0]


def failing_disk(monkeypatch: pytest.MonkeyPatch, error: OSError, part: str = "") -> None:
    real = hashing.open_regular

    def open_regular(path: str) -> int:
        if part in path and not path.endswith(MANIFEST):
            raise error
        return real(path)

    monkeypatch.setattr(hashing, "open_regular", open_regular)


def test_a_disk_that_cannot_read_one_has_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1, 2)
    failing_disk(monkeypatch, OSError(5, "Input/output error"), "step000000000002")

    assert step_of(restore(tmp_path)) == 1


def test_a_disk_out_of_reach_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1)
    failing_disk(monkeypatch, OSError(116, "Stale file handle"))

    with pytest.raises(OSError, match="Stale"):
        restore(tmp_path)
    assert len(names(tmp_path)) == 1


def test_a_file_that_goes_while_it_is_verified_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_steps(tmp_path, 1, 2)
    failing_disk(monkeypatch, FileNotFoundError(2, "No such file"), "step000000000002")

    assert step_of(restore(tmp_path)) == 1


def test_one_that_is_cleared_away_while_it_is_loaded_has_an_older_one(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)

    def decode(generation: Generation, _manifest: Manifest) -> object:
        if generation.step == 2:
            shutil.rmtree(generation.path)
            raise FileNotFoundError(generation.path)
        return "loaded"

    restored = restore_newest([Generations(str(tmp_path))], decode=decode)

    assert (step_of(restored), restored.state if restored else None) == (1, "loaded")


def test_a_file_that_the_program_misses_is_its_own_concern(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)

    def decode(_generation: Generation, _manifest: Manifest) -> object:
        raise FileNotFoundError("a file of the program")

    with pytest.raises(FileNotFoundError, match="of the program"):
        restore_newest([Generations(str(tmp_path))], decode=decode)


def as_the_first_version_wrote_it(generation: Generation) -> None:
    """Give a checkpoint a manifest of the first format: the SHA-256 of each whole file, and no name for that."""
    folder = Path(generation.path)
    manifest = read_manifest(generation.path)
    files = tuple(
        entry._replace(digest=hashlib.sha256((folder / entry.name).read_bytes()).hexdigest())
        for entry in manifest.files
    )
    (folder / MANIFEST).write_bytes(render_manifest(manifest._replace(files=files, hash_name="sha256")))


def test_checkpoints_of_the_first_format_are_verified_and_restored(tmp_path: Path) -> None:
    older, newest = save_steps(tmp_path, 1, 2)
    as_the_first_version_wrote_it(older)
    as_the_first_version_wrote_it(newest)
    assert b'"format": 1' in Path(newest.path, MANIFEST).read_bytes()
    assert b'"hash"' not in Path(newest.path, MANIFEST).read_bytes()

    assert is_state(restore(tmp_path).state, 2)  # type: ignore[union-attr]  # there is one

    flip_a_bit(Path(newest.path), Path(older.path), random.Random(1))
    assert is_state(restore(tmp_path).state, 1)  # type: ignore[union-attr]  # there is one


def test_what_cannot_be_set_aside_is_passed_over(tmp_path: Path) -> None:
    _, newest = save_steps(tmp_path, 1, 2)
    Path(newest.path, MANIFEST).unlink()
    (tmp_path / "quarantine").write_text("no folder")

    assert step_of(restore(tmp_path)) == 1


def test_a_folder_that_nothing_can_be_written_to_can_still_be_resumed_from(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    (tmp_path / ".loading").write_text("no folder")

    for _ in range(4):
        assert step_of(restore(tmp_path)) == 1


class TestSweep:
    def leftover(self, root: Path, name: str, age_s: float = 0) -> Path:
        path = root / name
        path.mkdir()
        at = time.time() - age_s
        os.utime(path, (at, at))
        return path

    @pytest.mark.parametrize(
        ("name", "age_s", "is_gone"),
        [
            (".tmp-{host}-4194303-x", 0, True),
            (".trash-{host}-4194303-x", 0, True),
            (".tmp-{host}-1-x", 0, False),
            (".tmp-{host}-1-x", 90_000, True),
            (".tmp-elsewhere-7-x", 60, False),
            (".tmp-elsewhere-7-x", 90_000, True),
            ("mine", 90_000, False),
        ],
    )
    def test_only_what_was_abandoned_is_deleted(
        self, tmp_path: Path, name: str, age_s: float, *, is_gone: bool
    ) -> None:
        path = self.leftover(tmp_path, name.format(host=_host()), age_s)

        Generations(str(tmp_path)).sweep(time.time())

        assert path.exists() != is_gone

    def test_what_somebody_else_runs_or_deletes_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def kill(_pid: int, _number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "kill", kill)
        path = self.leftover(tmp_path, f".tmp-{_host()}-1-x")
        folder = Generations(str(tmp_path))

        folder.sweep(time.time())

        assert path.exists()
        assert not folder._is_abandoned(str(tmp_path / "gone"), "elsewhere", 1, 0.0)


class TestManifest:
    SOUND = Manifest(3, 7, (FileEntry("a.npy", 5, "0" * 64),), 1.5, 0.25, "t000000001.1", 2, {"loss": 0.5})

    def test_what_is_read_is_what_was_written(self) -> None:
        assert parse_manifest(render_manifest(self.SOUND)) == self.SOUND
        assert self.SOUND.size_bytes == 5

    def test_every_changed_byte_is_seen(self) -> None:
        data = render_manifest(self.SOUND)
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 1
            with pytest.raises(DamagedError):
                parse_manifest(bytes(changed))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"a.npy"', b'"../a"'),
            (b'"a.npy"', b'"a/b"'),
            (b'"a.npy"', b'"MANIFEST.json"'),
            (b'"format": 2', b'"format": 3'),
            (b'"sha256-1m"', b'"md5"'),
            (b"\n5,", b"\n-5,"),
            (b"0" * 64, b"z" * 64),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, old: bytes, new: bytes) -> None:
        data = render_manifest(self.SOUND)
        assert old in data
        with pytest.raises(DamagedError, match="cannot be read"):
            parse_manifest(data.replace(old, new))

    @pytest.mark.parametrize("data", [b"", b"[]", b"null", b"[" * 100_000, b"\xff"])
    def test_noise_is_refused(self, data: bytes) -> None:
        with pytest.raises(DamagedError):
            parse_manifest(data)

    def test_sizes_alone_can_be_checked(self, tmp_path: Path) -> None:
        (generation,) = save_steps(tmp_path, 1)
        path = next(Path(generation.path).glob("*.npy"))
        content = path.read_bytes()
        path.write_bytes(bytes(len(content)))

        assert verify(generation.path, read_all=False) == read_manifest(generation.path)
        with pytest.raises(DamagedError, match="does not have the content"):
            verify(generation.path)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / MANIFEST)
        with pytest.raises(DamagedError, match="is not a file"):
            read_manifest(str(tmp_path))
