"""Checkpoints of distributed jobs: one generation of all ranks, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any, Callable, Sequence

from elisa.runtime.checkpoint.codec import TREE, Decoder, Piece
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.group import Group, GroupError, Plan
from elisa.runtime.checkpoint.manifest import DamagedError, FileEntry, Manifest, read_manifest
from elisa.runtime.checkpoint.restore import Restored, restore_newest
from elisa.runtime.checkpoint.retention import Retention
from elisa.runtime.checkpoint.saver import Saved, Saver, SaverThread
from elisa.runtime.checkpoint.storage import Told, announce
from elisa.runtime.checkpoint.writer import PieceWriter
from elisa.runtime.durable import sync_folder

__all__ = ["Agreement", "TogetherStorage", "decode_rank", "prefix_of", "restore_together"]

_MOST_AHEAD = 1024


def prefix_of(rank: int) -> str:
    """Return what the names of a rank's files begin with."""
    return f"rank{rank:05d}-"


def decode_rank(path: str, rank: int, world_size: int) -> Any:  # noqa: ANN401  (whatever was saved)
    """Return what `rank` is to go on from: what it saved itself; in a world of another size, what its like saved."""
    alone = os.path.exists(os.path.join(path, TREE)) or os.path.exists(os.path.join(path, TREE + ".z"))
    return Decoder(path, prefix="" if alone else prefix_of(rank % world_size)).decode_state()


def restore_together(group: Group, folder: Generations, at_step: int | None) -> Restored | None:
    """Let the first rank choose and verify a checkpoint, and load this rank's part of it. Raises GroupError."""

    def choose() -> dict[str, Any]:
        folder.sweep(time.time())
        found = restore_newest([folder], decode=lambda _generation, _manifest: None, at_step=at_step)
        return {"generation": found.generation if found else None}

    chosen = group.join(choose)["generation"]
    if chosen is None:
        return None
    generation = Generation(*chosen)
    manifest = read_manifest(generation.path)
    return Restored(generation, manifest, decode_rank(generation.path, group.world.rank, manifest.world_size), folder)


class Agreement:
    """Lets all ranks save the same steps. The first announces a step that none has reached; the others look it up.

    In a program whose ranks step together, as those that exchange gradients do, one step ahead is enough. When a rank
    has gone further, that save is given up, and the next is announced earlier.
    """

    def __init__(self, group: Group) -> None:
        self.seq = 0
        self.is_stop = False
        self._group = group
        self._ahead = 1
        self._announced: Plan | None = None

    def is_agreed(self, step: int, *, is_due: bool, is_stop: bool, is_certain: bool) -> bool:
        """Tell whether all save the state after `step`. `is_certain`: every rank knows that by itself."""
        if is_certain:
            self._announced = None
            return True
        return self._decide(step, is_due=is_due, is_stop=is_stop) if self._group.is_first else self._follow(step)

    def _decide(self, step: int, *, is_due: bool, is_stop: bool) -> bool:
        if self._announced is not None and step >= self._announced.step:
            self.is_stop, self._announced = self._announced.is_stop, None
            return True
        if self._announced is None and (is_due or is_stop):
            self._announced = Plan(self.seq, step + self._ahead, is_stop)
            self._group.announce(self._announced)
        return False

    def _follow(self, step: int) -> bool:
        plan = self._group.plan()
        if plan is None or plan.seq != self.seq or step < plan.step:
            return False
        self.is_stop = plan.is_stop
        if step > plan.step:
            os.makedirs(self._group.draft(self.seq), mode=0o700, exist_ok=True)
            self._group.contribute(self.seq, {"why": f"it was at step {step} already", "entries": []})
            self.seq += 1
            return False
        return True

    def leave(self, *, is_well: bool) -> None:
        """Let the others wait for this rank no more."""
        self._group.leave(is_well=is_well)

    def is_broken(self) -> bool:
        """Tell whether a rank is known to have died."""
        return self._group.is_broken()

    def look_further_ahead(self) -> None:
        """Announce the next save earlier: some rank had gone further."""
        self._ahead = min(2 * self._ahead, _MOST_AHEAD)


class TogetherStorage:
    """Saves one generation of all ranks, or, with `is_replicated`, of the first rank for all."""

    def __init__(
        self,
        group: Group,
        folder: Generations,
        rules: Retention,
        *,
        is_replicated: bool,
        took: Callable[[float], None] | None,
        told: Told = announce,
    ) -> None:
        self.folders = [folder]
        self.agreement = Agreement(group)
        self._group = group
        self._saver = Saver(folder, rules)
        self._writer = PieceWriter()
        self._is_replicated = is_replicated
        self._told = told
        self._thread = SaverThread(self._save_now, lambda saved: took(saved.seconds)) if took else None

    @property
    def prefix(self) -> str:
        return "" if self._is_replicated else prefix_of(self._group.world.rank)

    def restore(self, at_step: int | None) -> Restored | None:
        """Load this rank's part of the checkpoint that the first rank chose. Raises GroupError."""
        restored = restore_together(self._group, self.folders[0], at_step)
        if restored is not None:
            self._saver.take_over(restored.generation, restored.manifest)
            self._writer.remember(restored.generation.path, restored.manifest)
        return restored

    def next_number(self) -> int:
        """Return the number of the next generation; the first rank's holds."""
        return self.folders[0].next_number() if self._group.is_first else 0

    def save(self, about: Manifest, pieces: Sequence[Piece]) -> bool:
        """Save with all others, or begin to; tell whether it succeeded."""
        if self._thread is not None:
            self._thread.begin(about, pieces)
            return True
        return self._save_now(about, pieces) is not None

    def finish(self, *, is_leaving: bool) -> None:  # noqa: ARG002  (there is one folder only)
        """Return when everything is on the disk."""
        if self._thread is not None:
            self._thread.wait()

    def _save_now(self, about: Manifest, pieces: Sequence[Piece]) -> Saved | None:
        began = time.monotonic()
        seq = self.agreement.seq
        self.agreement.seq += 1
        self._contribute(seq, about.step, pieces)
        if self._group.is_first:
            path = self._seal(seq, about, began)
            self._group.tell_outcome(seq, path)
        else:
            path = self._group.outcome(seq)
        return self._saved(path, began)

    def _contribute(self, seq: int, step: int, pieces: Sequence[Piece]) -> None:
        draft = self._group.draft(seq)
        is_silent = self._is_replicated and not self._group.is_first
        try:
            os.makedirs(draft, mode=0o700, exist_ok=True)
            entries = [] if is_silent else [self._writer.write(draft, piece) for piece in pieces]
            sync_folder(draft)
            why = ""
        except OSError as error:
            entries, why = [], str(error)
        self._group.contribute(seq, {"why": why, "step": step, "entries": entries})

    def _seal(self, seq: int, about: Manifest, began: float) -> str:
        """Make one generation of what all have written; return its path, empty if there is none."""
        draft = self._group.draft(seq)
        try:
            parts = self._group.collect(seq)
            if any(part["step"] != about.step for part in parts):
                raise GroupError("the ranks were not at the same step")
            files = tuple(FileEntry(*entry) for part in parts for entry in part["entries"])
            for rank in range(len(parts)):
                os.unlink(os.path.join(draft, f"part-{rank:05d}.json"))
            size = 1 if self._is_replicated else len(parts)
            seconds = round(time.monotonic() - began, 6)
            generation = self.folders[0].seal(draft, about._replace(files=files, world_size=size, seconds=seconds))
        except (GroupError, OSError):
            self.agreement.look_further_ahead()
            shutil.rmtree(draft, ignore_errors=True)
            return ""
        self._saver.clear()
        return generation.path

    def _saved(self, path: str, began: float) -> Saved | None:
        if not path:
            return None
        with contextlib.suppress(DamagedError, OSError):
            manifest = read_manifest(path)
            saved = Saved(Generation(manifest.generation, manifest.step, path), manifest, time.monotonic() - began)
            self._writer.remember(path, manifest)
            if self._group.is_first:
                self._told(saved)
            return saved
        return None
