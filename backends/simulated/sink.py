"""Where simulated jobs leave what real ones leave in the spool: claims, events, outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

__all__ = ["FileSpool", "MemorySpool", "SpoolSink"]


class SpoolSink(Protocol):
    """The files that a job reads and writes. A simulated cluster never asks whether they are real."""

    def read(self, path: Path) -> bytes | None:
        """Return what a file holds; None if there is none."""
        ...

    def create(self, path: Path, data: bytes) -> bool:
        """Write a file that must not exist; False if it does."""
        ...

    def append(self, path: Path, data: bytes) -> None:
        """Add to a file, which is made if there is none."""
        ...


class FileSpool:
    """Real files, with the modes and folders that a real agent would make."""

    def read(self, path: Path) -> bytes | None:
        """Return what a file holds; None if there is none."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def create(self, path: Path, data: bytes) -> bool:
        """Write a file that must not exist; False if it does."""
        try:
            self._write(path, os.O_EXCL, data)
        except FileExistsError:
            return False
        return True

    def append(self, path: Path, data: bytes) -> None:
        """Add to a file, which is made if there is none."""
        self._write(path, os.O_APPEND, data)

    def _write(self, path: Path, flags: int, data: bytes) -> None:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)


class MemorySpool:
    """Files that exist in this process only."""

    def __init__(self) -> None:
        self.files: dict[Path, bytes] = {}

    def read(self, path: Path) -> bytes | None:
        """Return what a file holds; None if there is none."""
        return self.files.get(path)

    def create(self, path: Path, data: bytes) -> bool:
        """Write a file that must not exist; False if it does."""
        return path not in self.files and self.files.setdefault(path, data) is data

    def append(self, path: Path, data: bytes) -> None:
        """Add to a file, which is made if there is none."""
        self.files[path] = self.files.get(path, b"") + data
