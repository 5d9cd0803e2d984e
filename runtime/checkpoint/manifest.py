"""The list of what a checkpoint consists of, written last: a folder that holds a sound one is a whole checkpoint."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from typing import Any, Iterator, NamedTuple, Union

__all__ = [
    "MANIFEST",
    "DamagedError",
    "FileEntry",
    "Manifest",
    "parse_manifest",
    "read_manifest",
    "render_manifest",
    "verify",
]

MANIFEST = "MANIFEST.json"

_FORMAT = 1
_LARGEST = 64 * 1024 * 1024
_CHUNK = 4 * 1024 * 1024
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Number = Union[int, float, None]


class DamagedError(Exception):
    """A checkpoint is not what its writer left; the message says in what way."""


class FileEntry(NamedTuple):
    """One file of a checkpoint. `sha256` is of the bytes on the disk, in hexadecimal digits."""

    name: str
    size: int
    sha256: str


class Manifest(NamedTuple):
    """What a checkpoint says of itself. `saved_at` is in seconds since the epoch, `seconds` what the save took."""

    generation: int
    step: int
    files: tuple[FileEntry, ...]
    saved_at: float = 0.0
    seconds: float = 0.0
    attempt: str = ""
    world_size: int = 1
    metrics: dict[str, Number] = {}  # noqa: RUF012  (never changed)

    @property
    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(entry.size for entry in self.files)


def _body(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "generation": manifest.generation,
        "step": manifest.step,
        "saved_at": manifest.saved_at,
        "seconds": manifest.seconds,
        "attempt": manifest.attempt,
        "world_size": manifest.world_size,
        "metrics": manifest.metrics,
        "files": [list(entry) for entry in manifest.files],
    }


def render_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of the manifest's file; they carry their own digest."""
    body = _body(manifest)
    text = json.dumps(body, indent=0, sort_keys=True)
    return json.dumps({**body, "digest": hashlib.sha256(text.encode()).hexdigest()}, indent=0, sort_keys=True).encode()


def parse_manifest(data: bytes) -> Manifest:
    """Return what `render_manifest` made `data` of; raises DamagedError where a single byte differs."""
    try:
        content = json.loads(data)
        manifest = _parse_body(content)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read: {error}") from error
    if render_manifest(manifest) != data:
        raise DamagedError(f"{MANIFEST} was changed after it had been written")
    return manifest


def _parse_body(content: dict[str, Any]) -> Manifest:
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']!r} is not known")
    return Manifest(
        generation=int(content["generation"]),
        step=int(content["step"]),
        files=tuple(_parse_entry(*entry) for entry in content["files"]),
        saved_at=content["saved_at"],
        seconds=content["seconds"],
        attempt=str(content["attempt"]),
        world_size=int(content["world_size"]),
        metrics=dict(content["metrics"]),
    )


def _parse_entry(name: str, size: int, sha256: str) -> FileEntry:
    if not _SAFE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{name!r} is no file of a checkpoint")
    if not _DIGEST.fullmatch(sha256) or size < 0:
        raise ValueError(f"the entry of {name} makes no sense")
    return FileEntry(name, int(size), sha256)


def read_manifest(folder: str) -> Manifest:
    """Read the manifest in `folder`; raises DamagedError if it is missing or unsound, OSError if it cannot be read."""
    try:
        with _open(os.path.join(folder, MANIFEST)) as stream:
            return parse_manifest(stream.read(_LARGEST))
    except FileNotFoundError as error:
        raise DamagedError(f"{MANIFEST} is missing") from error


def _open(path: str) -> io.FileIO:
    """Open a file of a checkpoint: no symbolic link, no pipe that would be waited for."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise DamagedError(f"{os.path.basename(path)} is not a file")
    return io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def verify(folder: str, *, read_all: bool = True) -> Manifest:
    """Check every file in `folder` against its manifest, and return that.

    Raises DamagedError naming the first file that differs. Without `read_all` only sizes are looked at: enough for a
    login node, not for a resume.
    """
    manifest = read_manifest(folder)
    for entry in manifest.files:
        _verify_size(folder, entry)
    if read_all:
        for entry in manifest.files:
            _verify_content(folder, entry)
    return manifest


def _verify_size(folder: str, entry: FileEntry) -> None:
    try:
        found = os.lstat(os.path.join(folder, entry.name))
    except FileNotFoundError as error:
        raise DamagedError(f"{entry.name} is missing") from error
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{entry.name} is not a file")
    if found.st_size != entry.size:
        raise DamagedError(f"{entry.name} has {found.st_size} bytes instead of {entry.size}")


def _verify_content(folder: str, entry: FileEntry) -> None:
    digest = hashlib.sha256()
    for chunk in _chunks(os.path.join(folder, entry.name)):
        digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise DamagedError(f"{entry.name} does not have the content that was written")


def _chunks(path: str) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_CHUNK))
    with _open(path) as stream:
        while True:
            count = stream.readinto(buffer)
            if not count:
                return
            yield buffer[:count]
