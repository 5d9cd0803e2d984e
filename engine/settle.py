"""Attempts that were given up: none comes to life after its successor was released, and what one finished stays finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from elisa.engine.fence import claimed, raise_fence, recall, shut_out
from elisa.engine.files import Files
from elisa.model import layout
from elisa.model.changes import AttemptMoved, AttemptNoted
from elisa.model.ids import AttemptId, TaskId, is_attempt_id, task_of
from elisa.model.pipeline import RestartWhen
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt, Task
from elisa.policies.lifecycle import Observed

__all__ = ["call_off", "confirm_losses", "finished_by", "forget_finish"]


def confirm_losses(files: Files, home: Path, observed: Observed) -> Observed:
    """Return `observed` without the losses that turn out to be none.

    Every attempt in it that was never claimed is shut out for good. Where a claim is found all the same, the job came to
    life while we were looking: the attempt stays live, now known to be claimed.
    """
    lost = [attempt for attempt in observed.ended if attempt.state is AttemptState.LOST]
    alive = {attempt.id for attempt in lost if not _is_dead(files, home, attempt)}
    return _without(observed, alive) if alive else observed


def call_off(files: Files, home: Path, ended: Sequence[Attempt]) -> None:
    """Have what may still run of attempts on failed nodes stop itself: an agent in reach looks at the fence often.

    Its successor need not wait for the worst case then: see `proofs_of_end`.
    """
    for attempt in ended:
        if attempt.claimed and attempt.end is not None and attempt.end.reason is EndReason.NODE_FAILURE:
            raise_fence(files, home, attempt.task, attempt.number + 1)


def _is_dead(files: Files, home: Path, attempt: Attempt) -> bool:
    if attempt.claimed:
        raise_fence(files, home, task_of(attempt.id), attempt.number + 1)
        return True
    if claimed(files, home, attempt.id):
        # Without the fence, which would have a program stop itself that does well.
        return False
    if attempt.continues is not None:
        return recall(files, home, attempt.id)
    return shut_out(files, home, attempt.id)


def finished_by(files: Files, home: Path, ended: Attempt) -> AttemptId | None:
    """Return the earlier attempt that finished the task of one that was turned away; None if none did."""
    if ended.state is not AttemptState.LOST or ended.number == 1:
        return None
    finisher = _marked_by(files, home, ended.task)
    return finisher if finisher != ended.id else None


def forget_finish(files: Files, home: Path, task: Task, earlier: Sequence[Attempt]) -> None:
    """Let a task run again that an earlier attempt finished: its mark would turn the next one away.

    One that its manager called dead, and that lived long enough to finish all the same, has done the work: its mark stays,
    and the next one finds the task done.
    """
    if not any(attempt.state is AttemptState.ENDED for attempt in earlier):
        return
    ends = {attempt.id: attempt.end.reason for attempt in earlier if attempt.end is not None}
    finisher = _marked_by(files, home, task.id)
    was_heard = finisher is None or ends.get(finisher) is EndReason.COMPLETED
    if was_heard or task.spec.retry.restart is RestartWhen.ALWAYS:
        files.remove(layout.done_mark(home, task.id))


def _marked_by(files: Files, home: Path, task: TaskId) -> AttemptId | None:
    """Return the attempt that says it finished the task; None if none does in words that can be read."""
    try:
        mark = json.loads(files.read(layout.done_mark(home, task)) or b"{}")
        finisher, exit_code = mark.get("attempt"), (mark.get("exited") or {}).get("exit_code")
    except (ValueError, AttributeError, RecursionError):
        return None
    is_named = isinstance(finisher, str) and is_attempt_id(finisher) and exit_code == 0
    return AttemptId(finisher) if is_named and task_of(AttemptId(finisher)) == task else None


def _without(observed: Observed, alive: set[AttemptId]) -> Observed:
    kept = (change for change in observed.changes if not (isinstance(change, AttemptMoved) and change.attempt in alive))
    noted = (AttemptNoted(attempt=attempt, claimed=True) for attempt in sorted(alive))
    return replace(
        observed,
        changes=(*kept, *noted),
        ended=tuple(attempt for attempt in observed.ended if attempt.id not in alive),
        unsettled=(*observed.unsettled, *sorted(alive)),
    )
