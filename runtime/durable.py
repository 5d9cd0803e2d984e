"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import os

from elisa.runtime.crash import crash
from elisa.runtime.lean import Ignored
from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Union

    StrPath = Union[str, "os.PathLike[str]"]

__all__ = [
    "create_file",
    "leave_mark",
    "make_folder",
    "new_file",
    "publish_file",
    "replace_file",
    "sync_folder",
    "write_all",
]

# Some user-space filesystems have no hard links; there O_EXCL decides, and a reader may see a half-written file.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: StrPath) -> None:
    """Make the names in `folder` survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: StrPath) -> None:
    """Make a folder that only its owner may enter, and those above it that are missing, unless it is there."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        make_folder(os.path.dirname(os.path.abspath(path)))
        os.mkdir(path, 0o700)
    except OSError:  # some filesystems do not let you make what is there, and do not say that it is there
        if not os.path.isdir(path):
            raise


def new_file(path: StrPath) -> int:
    """Open a file that must not exist yet, readable by its owner only; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def create_file(path: StrPath, data: bytes) -> None:
    """Write `data` to a new file and to the disk. The name is not on the disk before `sync_folder`."""
    crash("file.create")
    fd = new_file(path)
    try:
        crash("file.write")
        write_all(fd, data)
        crash("file.sync")
        os.fsync(fd)
    finally:
        os.close(fd)


def leave_mark(path: StrPath, *, is_durable: bool = True) -> None:
    """Put an empty file at `path`, with `is_durable` on the disk when this returns, whoever else may have done so.

    With nothing in it, it is whole from the moment that it has its name, and only the name has to reach the disk.
    """
    crash("mark.create")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    crash("mark.created")
    if is_durable:
        sync_folder(os.path.dirname(os.path.abspath(path)))


def _draft(path: StrPath) -> str:
    return f"{os.fspath(path)}.{os.getpid()}.{os.urandom(4).hex()}.tmp"


def replace_file(path: StrPath, data: bytes) -> None:
    """Put `data` at `path`: a reader finds the old file or the new one, never part of one."""
    draft = _draft(path)
    try:
        create_file(draft, data)
        crash("file.rename")
        os.replace(draft, path)
    except OSError:
        _forget(draft)
        raise
    crash("file.renamed")
    sync_folder(os.path.dirname(os.path.abspath(path)))


def publish_file(path: StrPath, data: bytes) -> bool:
    """Put `data` at `path` unless something is there; tell whether this call did it.

    Of any number of processes on any number of hosts just one gets True, and nobody ever sees half of the file. A hard
    link decides, since a network filesystem may repeat a request whose answer was lost: the link count tells the truth.
    """
    draft = _draft(path)
    create_file(draft, data)
    try:
        crash("file.link")
        if not _link(draft, path, data):
            return False
        crash("file.linked")
    finally:
        _forget(draft)
    sync_folder(os.path.dirname(os.path.abspath(path)))
    return True


def _link(draft: str, path: StrPath, data: bytes) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return os.stat(draft).st_nlink > 1
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create(path, data)
    return True


def _create(path: StrPath, data: bytes) -> bool:
    try:
        create_file(path, data)
    except FileExistsError:
        return False
    return True


def _forget(path: str) -> None:
    with Ignored(FileNotFoundError):
        os.unlink(path)
