"""Where the next attempt begins: at the newest checkpoint, unless loading it is what kills the program."""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.states import EndReason
from elisa.model.task import Attempt, CheckpointRef, Task

__all__ = ["newest_checkpoint", "resume_point", "steps_back"]


def newest_checkpoint(task: Task, attempts: Sequence[Attempt]) -> CheckpointRef | None:
    """Return the checkpoint with the most work in it among those any attempt announced.

    From the attempt for which a person chose a checkpoint, only that one counts, and what was saved after it.
    """
    given = [c for c in (task.resume_from, *(a.resume_from for a in attempts)) if c is not None]
    choice = max((c.chosen_for for c in given), default=0)
    known = [a.last_checkpoint for a in attempts if a.last_checkpoint is not None and a.number >= choice]
    known += [c for c in given if c.chosen_for == choice]
    return max(known, key=lambda c: (c.step, c.path), default=None)


def resume_point(task: Task, attempts: Sequence[Attempt]) -> CheckpointRef | None:
    """Return where the attempt after these begins; one generation back if the last two died on loading the newest."""
    newest = newest_checkpoint(task, attempts)
    if newest is None or not _is_poison(newest, attempts):
        return newest
    older = [c for a in attempts for c in (a.last_checkpoint, a.resume_from) if c is not None and c.step < newest.step]
    return max(older, key=lambda c: (c.step, c.path), default=None)


def steps_back(task: Task, attempts: Sequence[Attempt]) -> bool:
    """Tell whether the last two attempts died on loading the newest checkpoint."""
    newest = newest_checkpoint(task, attempts)
    return newest is not None and _is_poison(newest, attempts)


def _is_poison(checkpoint: CheckpointRef, attempts: Sequence[Attempt]) -> bool:
    last_two = attempts[-2:]
    return len(last_two) == 2 and all(_died_on(attempt, checkpoint) for attempt in last_two)


def _died_on(attempt: Attempt, checkpoint: CheckpointRef) -> bool:
    if attempt.end is None or attempt.resume_from is None or attempt.end.reason is not EndReason.FAILED:
        return False
    # The library counts the steps that are done: after the one numbered 6 those are 7.
    came_no_further = attempt.end.step is None or attempt.end.step <= checkpoint.step + 1
    return attempt.resume_from.path == checkpoint.path and came_no_further
