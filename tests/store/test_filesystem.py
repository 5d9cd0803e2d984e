"""Where SQLite may trust locks: only where both the mount table and the kernel say that the filesystem is local."""

from __future__ import annotations

from pathlib import Path

import pytest

from elisa.store import filesystem
from elisa.store.filesystem import Filesystem, choose_filesystem, magic_of, probe
from elisa.store.sqlite import allows_wal

EXT4, NFS, LUSTRE = 0xEF53, 0x6969, 0x0BD00BD0
MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 22 0:26 / /home/ada/local rw - xfs /dev/sdb1 rw
32 22 0:27 / /lustre/my\040scratch rw - lustre mds@tcp:/scratch rw,flock
33 22 0:28 / /hidden rw - ext4 /dev/sdc1 rw
34 33 0:29 / /hidden rw - fuse.sshfs ada@host: rw
"""


@pytest.mark.parametrize(
    ("path", "magic", "expected"),
    [
        ("/var/lib", EXT4, ("ext4", "/", True)),
        ("/home/ada", NFS, ("nfs4", "/home", False)),
        ("/home/ada/local/state", 0x58465342, ("xfs", "/home/ada/local", True)),
        ("/homes/ada", EXT4, ("ext4", "/", True)),
        ("/lustre/my scratch/ada", LUSTRE, ("lustre", "/lustre/my scratch", False)),
        ("/hidden/ada", 0x65735546, ("fuse.sshfs", "/hidden", False)),
        # They disagree, or one of them does not know: a network, to be safe.
        ("/var/lib", NFS, ("ext4", "/", False)),
        ("/var/lib", None, ("ext4", "/", False)),
        ("/home/ada", EXT4, ("nfs4", "/home", False)),
    ],
)
def test_the_longest_mount_above_a_folder_is_its_filesystem(
    path: str, magic: int | None, expected: tuple[str, str, bool]
) -> None:
    name, mount_point, is_local = expected

    found = choose_filesystem(MOUNTS, path, magic)

    assert found == Filesystem(name=name, mount_point=mount_point, is_local=is_local)


def test_without_a_mount_table_nothing_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")

    assert probe(tmp_path) == Filesystem(name="unknown", mount_point="/", is_local=False)


def test_this_machine_is_asked_itself(tmp_path: Path) -> None:
    found = probe(tmp_path)

    assert str(tmp_path).startswith(found.mount_point)
    assert found.name != "unknown"


def test_the_kernel_is_asked_for_its_own_name_of_a_filesystem() -> None:
    proc = 0x9FA0

    assert (magic_of("/proc"), magic_of("/no/such/folder")) == (proc, None)


@pytest.mark.parametrize(
    ("version", "allowed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_a_write_ahead_log_needs_a_sqlite_that_resets_it_safely(
    version: tuple[int, int, int],
    allowed: bool,  # noqa: FBT001
) -> None:
    assert allows_wal(version) is allowed
