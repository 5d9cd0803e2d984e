"""Files that a program writes by itself, taken into its checkpoints."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Chunk, Decoder, Encoder

__all__ = ["File", "decode", "encode"]

_BLOCK = 8 * 2**20


class File:
    """A file as part of a state: `{"log": checkpoint.File("events.log")}`. It must be closed or flushed when saving.

    Restored, it knows the file's content of then; `put_back` brings that to its place, at once and whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self._kept = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def put_back(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write what was saved to `path`, or where it came from; return that. To be called before the next save."""
        target = os.path.abspath(path or self.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        draft = f"{target}.{os.getpid()}.tmp"
        shutil.copyfile(self._kept, draft)
        os.replace(draft, target)
        return target


def encode(value: object, encoder: Encoder, _where: str) -> dict[str, Any] | None:
    """Return the node of a `File`; its content is read when it is written."""
    if not isinstance(value, File):
        return None
    path = value.path
    name = encoder.add(os.path.splitext(path)[1][:16] or ".file", os.path.getsize(path), lambda: _blocks(path))
    return {"$": "elisa.file", "path": path, "at": name}


def _blocks(path: str) -> Iterator[Chunk]:
    with open(path, "rb") as stream:
        yield from iter(lambda: stream.read(_BLOCK), b"")


def decode(node: dict[str, Any], decoder: Decoder) -> File:
    """Return the file; its content stays in the checkpoint until it is put back."""
    file = File(node["path"])
    file._kept = decoder.plain_path(node["at"])  # noqa: SLF001  (this module's own)
    return file
