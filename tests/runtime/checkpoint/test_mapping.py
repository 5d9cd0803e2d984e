from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa.runtime.checkpoint import mapping
from elisa.runtime.checkpoint.codec import Decoder, Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.manifest import Manifest, verify
from elisa.runtime.checkpoint.mapping import private_bytes

MIB = 2**20
MOUNTS = r"""21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/fast\040disk rw shared:2 master:3 - lustre mgs:/x rw
32 21 0:32 / /scratch rw - nfs4 server:/old rw
33 21 0:33 / /scratch rw - xfs /dev/vdb rw
"""


@pytest.fixture(params=["ext4", "nfs4"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    monkeypatch.setattr(mapping, "_kind_of_disk", lambda _folder: kind)
    return kind


def a_file(folder: Path, size: int) -> Path:
    path = folder / "content"
    path.write_bytes(os.urandom(size))
    return path


@pytest.mark.parametrize("size", [0, 5, MIB, 3 * MIB + 1])
def test_the_bytes_are_the_files_and_writing_to_them_does_not_change_it(tmp_path: Path, disk: str, size: int) -> None:
    path = a_file(tmp_path, size)
    before = path.read_bytes()

    found = private_bytes(str(path))
    assert found.tobytes() == before
    if size:
        found[0] ^= 1

    assert path.read_bytes() == before
    assert isinstance(found.obj, mmap.mmap) == (disk == "ext4" and size >= MIB)


def test_the_bytes_stay_when_the_file_is_deleted(tmp_path: Path, disk: str) -> None:
    path = a_file(tmp_path, 2 * MIB)
    before = path.read_bytes()

    found = private_bytes(str(path))
    path.unlink()

    assert found.tobytes() == before


def test_what_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_kind_of_disk", lambda _folder: "xfs")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    path = a_file(tmp_path, 2 * MIB)

    assert private_bytes(str(path)).tobytes() == path.read_bytes()


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", lambda *_: 0)

    with pytest.raises(EOFError, match="5 bytes ended after 0"):
        private_bytes(str(a_file(tmp_path, 5)))


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/homes/ann", "ext4"),
        ("/home/ann", "nfs4"),
        ("/home/fast disk/x", "lustre"),
        ("/scratch", "xfs"),
    ],
)
def test_the_nearest_mount_above_a_folder_counts_and_of_two_the_last(folder: str, kind: str) -> None:
    assert mapping._kind_at(folder, MOUNTS) == kind


def test_the_filesystem_of_a_real_folder_is_known(tmp_path: Path) -> None:
    mapping._kind_of_disk.cache_clear()

    assert mapping._kind_of_disk(str(tmp_path)) != ""


def test_a_system_that_tells_nothing_of_its_disks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_MOUNTS", str(tmp_path / "none"))
    mapping._kind_of_disk.cache_clear()

    assert mapping._kind_of_disk(str(tmp_path)) == ""
    mapping._kind_of_disk.cache_clear()


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "c": rng.random((500, 700)),
        "fortran": np.asfortranarray(rng.random((700, 500))),
        "named": np.zeros(200_000, dtype=[("x", "<i4"), ("y", "<f8")]),
        "small": rng.random(2000),
        "empty": np.empty((3, 0, 2), order="F"),
        "one": np.array(5.0),
    }


def test_restored_arrays_are_equal_aligned_and_may_be_changed_without_spoiling_the_checkpoint(
    tmp_path: Path, disk: str
) -> None:
    state = arrays()
    generation, _ = Generations(str(tmp_path)).write(Manifest(1, 1, ()), Encoder().encode_state(state))

    for _ in range(2):
        found = Decoder(generation.path).decode_state()
        for name, array in state.items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes("A") == array.tobytes("A")
            assert found[name].flags.f_contiguous == array.flags.f_contiguous
            assert found[name].flags.writeable
            assert found[name].flags.aligned
        found["c"] += 1
        found["fortran"] += 1
    verify(generation.path)
