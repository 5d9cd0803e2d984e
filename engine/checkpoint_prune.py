"""Checkpoints cleared away by a person; the newest one that is proved sound always stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elisa.engine.checkpoints import Shelf, Stored, read_shelf, resolve_task
from elisa.engine.workspace import Workspace
from elisa.model.changes import Noted
from elisa.model.errors import UsageError
from elisa.model.ids import TaskId
from elisa.model.task import Task
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import DamagedError, verify
from elisa.store.reader import Reader

__all__ = ["Pruned", "prune", "superfluous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed (or would be), and what stays, the newest first."""

    task: TaskId
    removed: tuple[Stored, ...]
    kept: tuple[Stored, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(one.size_bytes for one in self.removed)


def prune(ws: Workspace, name: str, keep: int, *, is_trial: bool = False) -> Pruned:
    """Remove all but the newest `keep` (at least 1) checkpoints of a task; `is_trial` removes nothing.

    Raises UsageError if none of them is sound: then there is nothing that the others could be given up for.
    """
    with Reader.open(ws.home) as reader:
        task = reader.task(resolve_task(reader, name))
        shelf = read_shelf(ws, reader, task)
    on_disk = [one for one in shelf.stored if one.generation]
    proved = next((one for one in on_disk if one.is_sound and _is_proved(one)), None)
    if on_disk and proved is None:
        raise UsageError(
            f"nothing was removed of the checkpoints of {task.spec.name}",
            "not one of them is sound",
            f"see `elisa checkpoints verify {task.id}`",
        )
    going = superfluous(shelf, on_disk, proved, keep) if proved is not None else ()
    if not is_trial:
        _sweep(ws, shelf)
        if going:  # told first: whatever happens meanwhile, the log says who had it removed
            _note(ws, task, going)
            _remove(shelf, going)
    return Pruned(task=task.id, removed=going, kept=tuple(one for one in shelf.stored if one not in going))


def _sweep(ws: Workspace, shelf: Shelf) -> None:
    """Clear away what processes left behind that were killed while they saved or removed something."""
    for folder in shelf.folders:
        Generations(str(folder)).sweep(ws.clock.now().timestamp())


def _note(ws: Workspace, task: Task, gone: Sequence[Stored]) -> None:
    steps = ",".join(str(one.step) for one in gone)
    with ws.writer() as writer:
        writer.apply([Noted(subject=task.id, what="checkpoints_pruned", facts={"by": ws.actor, "steps": steps})])


def superfluous(shelf: Shelf, stored: Sequence[Stored], proved: Stored, keep: int) -> tuple[Stored, ...]:
    """Return which of `stored` (the newest first) may go: older than the proved one, not wanted, and not chosen.

    What is newer than the proved one is damaged: the next attempt sets it aside, with the reason beside it.
    """
    wanted = {one.path for one in [one for one in stored if one.is_sound][: max(1, keep)]}
    if shelf.is_chosen:
        wanted |= {one.path for one in stored if one.step == shelf.next_step}
    return tuple(one for one in stored if one.generation < proved.generation and one.path not in wanted)


def _is_proved(stored: Stored) -> bool:
    try:
        verify(stored.path)
    except (DamagedError, OSError):
        return False
    return True


def _remove(shelf: Shelf, going: Sequence[Stored]) -> None:
    """Remove the oldest first, so that an interruption leaves the newer ones."""
    of_folder = {str(folder): Generations(str(folder)) for folder in shelf.folders}
    for one in reversed(going):
        folder = of_folder[one.path.rpartition("/")[0]]
        folder.remove(Generation(one.generation, one.step, one.path))
