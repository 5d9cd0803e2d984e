"""The list of what a checkpoint consists of, written last: a folder that holds a sound one is a whole checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from typing import Any, Generator, NamedTuple, Union

from elisa.runtime.checkpoint.hashing import HASH, HASHES, Extent, digests_of, open_regular

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

_FIRST_FORMAT = 1  # it has no name for its hash, which is the SHA-256 of each whole file
_FORMAT = 2
_LARGEST = 64 * 1024 * 1024
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Number = Union[int, float, None]


class DamagedError(Exception):
    """A checkpoint is not what its writer left; the message says in what way."""


class FileEntry(NamedTuple):
    """One file of a checkpoint. `digest` is of the bytes on the disk, in hexadecimal digits, by the manifest's hash."""

    name: str
    size: int
    digest: str


class Manifest(NamedTuple):
    """What a checkpoint says of itself. `saved_at` is in seconds since the epoch, `seconds` what the save took.

    `hash_name` is one of `hashing.HASHES`.
    """

    generation: int
    step: int
    files: tuple[FileEntry, ...]
    saved_at: float = 0.0
    seconds: float = 0.0
    attempt: str = ""
    world_size: int = 1
    metrics: dict[str, Number] = {}  # noqa: RUF012  (never changed)
    hash_name: str = HASH

    @property
    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(entry.size for entry in self.files)


def _body(manifest: Manifest) -> dict[str, Any]:
    is_first = manifest.hash_name != HASH
    return {
        **({"format": _FIRST_FORMAT} if is_first else {"format": _FORMAT, "hash": manifest.hash_name}),
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
    if content["format"] not in {_FIRST_FORMAT, _FORMAT}:
        raise ValueError(f"format {content['format']!r} is not known")
    hash_name = content["hash"] if content["format"] == _FORMAT else HASHES[-1]
    if hash_name not in HASHES:
        raise ValueError(f"the hash {hash_name!r} is not known")
    return Manifest(
        generation=int(content["generation"]),
        step=int(content["step"]),
        files=tuple(_parse_entry(*entry) for entry in content["files"]),
        saved_at=content["saved_at"],
        seconds=content["seconds"],
        attempt=str(content["attempt"]),
        world_size=int(content["world_size"]),
        metrics=dict(content["metrics"]),
        hash_name=hash_name,
    )


def _parse_entry(name: str, size: int, digest: str) -> FileEntry:
    if not _SAFE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{name!r} is no file of a checkpoint")
    if not _DIGEST.fullmatch(digest) or size < 0:
        raise ValueError(f"the entry of {name} makes no sense")
    return FileEntry(name, int(size), digest)


def read_manifest(folder: str) -> Manifest:
    """Read the manifest in `folder`; raises DamagedError if it is missing or unsound, OSError if it cannot be read."""
    try:
        with os.fdopen(open_regular(os.path.join(folder, MANIFEST)), "rb") as stream:
            return parse_manifest(stream.read(_LARGEST))
    except FileNotFoundError as error:
        raise DamagedError(f"{MANIFEST} is missing") from error
    except IsADirectoryError as error:
        raise DamagedError(f"{MANIFEST} is not a file") from error


def verify(folder: str, *, read_all: bool = True) -> Manifest:
    """Check every file in `folder` against its manifest, and return that.

    Raises DamagedError naming the first file that differs. Without `read_all` only sizes are looked at: enough for a
    login node, not for a resume.
    """
    manifest = read_manifest(folder)
    for entry in manifest.files:
        _verify_size(folder, entry)
    if read_all:
        _verify_contents(folder, manifest)
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


def _verify_contents(folder: str, manifest: Manifest) -> None:
    extents = [Extent(os.path.join(folder, entry.name), entry.size, manifest.hash_name) for entry in manifest.files]
    with contextlib.closing(digests_of(extents)) as digests:
        for entry in manifest.files:
            if _found(entry, digests) != entry.digest:
                raise DamagedError(f"{entry.name} does not have the content that was written")


def _found(entry: FileEntry, digests: Generator[str, None, None]) -> str:
    try:
        return next(digests)
    except FileNotFoundError as error:  # it was there a moment ago
        raise DamagedError(f"{entry.name} is missing") from error
