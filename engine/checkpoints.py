"""The checkpoints of a task as they lie on the disk: which there are, and whether they are sound."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, TaskId, task_of
from elisa.model.task import CheckpointRef, Task
from elisa.policies.recovery import newest_checkpoint
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, verify
from elisa.store.reader import Reader

__all__ = ["SetAside", "Shelf", "Stored", "folders_of", "read_shelf", "resolve_task"]

_SIMULATED = "simulated"
_LONGEST_WHY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One checkpoint. `seconds` is what the save took; `fault` says what is wrong with it, "" if nothing was found.

    In a simulation there are no files: `generation` is 0 then, and what was announced is believed.
    """

    step: int
    path: str
    generation: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    saved_at: datetime | None = None
    attempt: str = ""
    fault: str = ""

    @property
    def is_sound(self) -> bool:
        return not self.fault

    def ref(self) -> CheckpointRef:
        """Return it as an attempt would announce it."""
        return CheckpointRef(
            path=self.path, step=self.step, size_bytes=self.size_bytes, seconds=self.seconds, saved_at=self.saved_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A checkpoint that is never resumed from again, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """All checkpoints of a task, the newest first. `is_verified`: their contents were read, not only names and sizes.

    `next_step` is where the next attempt will begin, None for the beginning; `is_chosen` if a person chose that.
    """

    task: Task
    folders: tuple[Path, ...]
    stored: tuple[Stored, ...]
    set_aside: tuple[SetAside, ...]
    is_verified: bool
    next_step: int | None
    is_chosen: bool

    def of_step(self, step: int) -> Stored | None:
        """Return the newest checkpoint of a step, a sound one if there is any."""
        there = [one for one in self.stored if one.step == step]
        return next((one for one in there if one.is_sound), there[0] if there else None)


def resolve_task(reader: Reader, text: str) -> TaskId:
    """Return the task that an id, the beginning of one or PIPELINE/NAME means.

    Raises UsageError if it means nothing, several things or a pipeline.
    """
    found = reader.resolve(text)
    if found.startswith("p"):
        raise UsageError(f"`{text}` is a pipeline", "checkpoints belong to tasks", f"see `elisa status {found}`")
    return task_of(AttemptId(found))


def read_shelf(ws: Workspace, reader: Reader, task: Task, *, thoroughly: bool = False) -> Shelf:
    """Look at every checkpoint of a task; `thoroughly` compares every byte with what was written."""
    folders = folders_of(ws, reader, task)
    stored = [one for folder in folders for one in _stored(folder, thoroughly=thoroughly)]
    stored += _simulated(ws, reader, task)
    following = newest_checkpoint(task, reader.attempts_of(task.id))
    is_chosen = following is not None and following.chosen_for > 0
    newest_first = tuple(sorted(stored, key=lambda one: (one.generation, one.step), reverse=True))
    sound = [one.step for one in newest_first if one.is_sound]
    return Shelf(
        task=task,
        folders=folders,
        stored=newest_first,
        set_aside=tuple(one for folder in folders for one in _set_aside(folder)),
        is_verified=thoroughly,
        next_step=following.step if following is not None and is_chosen else (sound[0] if sound else None),
        is_chosen=is_chosen,
    )


def folders_of(ws: Workspace, reader: Reader, task: Task) -> tuple[Path, ...]:
    """Return the folders in which checkpoints of a task lie: its own, and any other that its program chose."""
    own = layout.checkpoint_dir(ws.home, task.pipeline, task.spec.name)
    others = {Path(checkpoint.path).parent for checkpoint in reader.checkpoints_of(task.id)} - {own}
    return (own, *sorted(folder for folder in others if folder.is_dir()))


def _stored(folder: Path, *, thoroughly: bool) -> Iterator[Stored]:
    for generation in Generations(str(folder)).newest_first():
        yield _looked_at(generation, thoroughly=thoroughly)


def _looked_at(generation: Generation, *, thoroughly: bool) -> Stored:
    try:
        manifest = verify(generation.path, read_all=thoroughly)
    except DamagedError as err:
        return _faulty(generation, str(err))
    except OSError as err:
        return _faulty(generation, f"it cannot be read: {err.strerror}")
    if (manifest.generation, manifest.step) != (generation.number, generation.step):
        return _faulty(generation, f"it holds step {manifest.step}: it was put here by hand")
    return _sound(generation, manifest)


def _faulty(generation: Generation, fault: str) -> Stored:
    return Stored(step=generation.step, path=generation.path, generation=generation.number, fault=fault)


def _sound(generation: Generation, manifest: Manifest) -> Stored:
    return Stored(
        step=manifest.step,
        path=generation.path,
        generation=manifest.generation,
        size_bytes=manifest.size_bytes,
        seconds=manifest.seconds,
        saved_at=datetime.fromtimestamp(manifest.saved_at, UTC) if manifest.saved_at else None,
        attempt=manifest.attempt,
    )


def _simulated(ws: Workspace, reader: Reader, task: Task) -> Sequence[Stored]:
    """Return what simulated attempts announced: nothing of it lies on a disk."""
    kinds = {name: config.kind for name, config in ws.site.backends.items()}
    attempts = reader.attempts_of(task.id)
    if not attempts or kinds.get(attempts[-1].backend) != _SIMULATED:
        return ()
    return [
        Stored(step=one.step, path=one.path, size_bytes=one.size_bytes, seconds=one.seconds, saved_at=one.saved_at)
        for one in reader.checkpoints_of(task.id)
        if not Path(one.path).exists()
    ]


def _set_aside(folder: Path) -> Iterator[SetAside]:
    quarantine = folder / "quarantine"
    for name in sorted(os.listdir(quarantine)) if quarantine.is_dir() else ():
        if not name.endswith(".why"):
            yield SetAside(path=str(quarantine / name), why=_why(quarantine / f"{name}.why"))


def _why(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[:_LONGEST_WHY]
    return ""
