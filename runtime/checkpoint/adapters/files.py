"""Files that a program writes by itself, taken into its checkpoints."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Chunk, Decoder, Encoder

__all__ = ["File", "Folder", "decode", "encode"]

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


class Folder:
    """A folder of files as part of a state, such as a framework's own checkpoint."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self._files: dict[str, File] = {}

    def put_back(self, path: str | os.PathLike[str] | None = None) -> str:
        """Make the folder at `path`, or where it came from, hold what was saved; return that."""
        target = os.path.abspath(path or self.path)
        os.makedirs(target, exist_ok=True)
        for name, file in self._files.items():
            file.put_back(os.path.join(target, name))
        return target

    def _found(self) -> dict[str, File]:
        paths = [os.path.join(top, name) for top, _, names in os.walk(self.path) for name in sorted(names)]
        return {os.path.relpath(path, self.path): File(path) for path in paths}


def encode(value: object, encoder: Encoder, where: str) -> dict[str, Any] | None:
    """Return the node of a `File` or `Folder`; the content is read when it is written."""
    if isinstance(value, Folder):
        files = {name: encode(file, encoder, where) for name, file in value._found().items()}  # noqa: SLF001  (here)
        return {"$": "files.folder", "path": value.path, "files": files}
    if not isinstance(value, File):
        return None
    path = value.path
    name = encoder.add(os.path.splitext(path)[1][:16] or ".file", os.path.getsize(path), lambda: _blocks(path))
    return {"$": "files.file", "path": path, "at": name}


def _blocks(path: str) -> Iterator[Chunk]:
    with open(path, "rb") as stream:
        yield from iter(lambda: stream.read(_BLOCK), b"")


def decode(node: dict[str, Any], decoder: Decoder) -> File | Folder:
    """Return the file or folder; its content stays in the checkpoint until it is put back."""
    return _decode_folder(node, decoder) if node["$"] == "files.folder" else _decode_file(node, decoder)


def _decode_folder(node: dict[str, Any], decoder: Decoder) -> Folder:
    folder = Folder(node["path"])
    folder._files = {name: _decode_file(item, decoder) for name, item in node["files"].items()}  # noqa: SLF001  (here)
    return folder


def _decode_file(node: dict[str, Any], decoder: Decoder) -> File:
    file = File(node["path"])
    file._kept = decoder.plain_path(node["at"])  # noqa: SLF001  (this module's own)
    return file
