"""The checkpoints of a task as they lie on the disk: which there are, and whether they are sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.errors import UsageError
from elisa.model.ids import AttemptId, TaskId, task_of
from elisa.model.task import CheckpointRef, Task
from elisa.policies.resuming import newest_checkpoint
from elisa.runtime.checkpoint.catalogue import Described, SetAside, describe, set_aside
from elisa.store.reader import Reader

__all__ = ["Shelf", "Stored", "folders_of", "read_shelf", "resolve_task"]

_SIMULATED = "simulated"


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
    stored = [_stored(one) for folder in folders for one in describe(str(folder), read_all=thoroughly)]
    stored += _simulated(ws, reader, task)
    following = newest_checkpoint(task, reader.attempts_of(task.id))
    is_chosen = following is not None and following.chosen_for > 0
    newest_first = tuple(sorted(stored, key=lambda one: (one.generation, one.step), reverse=True))
    sound = [one.step for one in newest_first if one.is_sound]
    return Shelf(
        task=task,
        folders=folders,
        stored=newest_first,
        set_aside=tuple(one for folder in folders for one in set_aside(str(folder))),
        is_verified=thoroughly,
        next_step=following.step if following is not None and is_chosen else (sound[0] if sound else None),
        is_chosen=is_chosen,
    )


def folders_of(ws: Workspace, reader: Reader, task: Task) -> tuple[Path, ...]:
    """Return the folders in which checkpoints of a task lie: its own, and any other that its program chose."""
    own = layout.checkpoint_dir(ws.home, task.pipeline, task.spec.name)
    others = {Path(checkpoint.path).parent for checkpoint in reader.checkpoints_of(task.id)} - {own}
    return (own, *sorted(folder for folder in others if folder.is_dir()))


def _stored(found: Described) -> Stored:
    return Stored(
        step=found.step,
        path=found.path,
        generation=found.number,
        size_bytes=found.size_bytes,
        seconds=found.seconds,
        saved_at=datetime.fromtimestamp(found.saved_at, UTC) if found.saved_at else None,
        attempt=found.attempt,
        fault=found.problem,
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
