"""Copies of a state's bytes, in memory that is used again: what is saved beside the program may change meanwhile."""

from __future__ import annotations

from typing import Iterable

from elisa.runtime.checkpoint.codec import Chunk, Piece

__all__ = ["Snapshots"]


class Snapshots:
    """Takes snapshots. Memory is handed out anew only after `give_back`: fresh pages cost more than the copy."""

    def __init__(self) -> None:
        self._free: dict[int, list[bytearray]] = {}
        self._used: list[bytearray] = []

    def take(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return pieces that hold copies of all bytes that could still change."""
        return [self._copy(piece) for piece in pieces]

    def give_back(self) -> None:
        """Say that no snapshot is needed any more."""
        self._free = {}  # memory of sizes that were not used the last time is let go
        for buffer in self._used:
            self._free.setdefault(len(buffer), []).append(buffer)
        self._used = []

    def _copy(self, piece: Piece) -> Piece:
        chunks = [chunk if isinstance(chunk, bytes) else self._fill(chunk) for chunk in piece.chunks()]
        return Piece(piece.name, piece.size, lambda: iter(chunks))

    def _fill(self, chunk: Chunk) -> memoryview:
        view = memoryview(chunk).cast("B")
        free = self._free.get(len(view))
        buffer = free.pop() if free else bytearray(len(view))
        self._used.append(buffer)
        memoryview(buffer)[:] = view
        return memoryview(buffer)
