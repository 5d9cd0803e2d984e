"""Who may still start: the fence that keeps late native jobs out, and the claims that show who is already in.

An agent claims first and then reads the fence; the engine raises the fence first and then looks for claims. Whichever
comes second sees what the other wrote, so an attempt that was given up can never run beside its successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from elisa.engine.files import Files
from elisa.model import layout
from elisa.model.ids import AttemptId, TaskId, attempt_number, task_of

__all__ = [
    "claimed",
    "fences_to_raise",
    "has_let_go",
    "newest_claim",
    "raise_fence",
    "read_fence",
    "recall",
    "shut_out",
]


def read_fence(files: Files, home: Path, task: TaskId) -> int:
    """Return the number of the oldest attempt that may start, 0 where nothing ever kept the first one out."""
    text = (files.read(layout.fence(home, task)) or b"0").strip()
    # A fence that cannot be read keeps everybody out: it says less than any number that may have stood there.
    return int(text) if text.isdigit() else 0


def raise_fence(files: Files, home: Path, task: TaskId, number: int) -> None:
    """Let only attempts from `number` on start; never lowers a fence that stands higher."""
    files.write_all(fences_to_raise(files, home, {task: number}))


def fences_to_raise(files: Files, home: Path, numbers: Mapping[TaskId, int]) -> Mapping[Path, bytes]:
    """Return what to write so that of each task only attempts from its number on start; their folders are made.

    The first attempt needs no fence: there is none before it.
    """
    higher = {
        task: number
        for task, number in numbers.items()
        # in a folder that was not there until now stands no fence
        if number > 1 and (files.make_folder(layout.task_claims(home, task)) or read_fence(files, home, task) < number)
    }
    return {layout.fence(home, task): b"%d\n" % number for task, number in higher.items()}


def claimed(files: Files, home: Path, attempt: AttemptId) -> bool:
    """Tell whether a native job has claimed this attempt, be it alive or not."""
    return files.exists(layout.claim(home, attempt))


def has_let_go(files: Files, home: Path, attempt: AttemptId) -> bool:
    """Tell whether the last native job that claimed an attempt has said that nothing of it runs any more."""
    newest = newest_claim(files, home, attempt)
    return newest >= 0 and files.exists(layout.released(home, attempt, newest))


def newest_claim(files: Files, home: Path, attempt: AttemptId) -> int:
    """Return the incarnation that claimed an attempt last, -1 if none has."""
    return next(n for n in count() if not files.exists(layout.incarnation_claim(home, attempt, n))) - 1


def recall(files: Files, home: Path, attempt: AttemptId) -> bool:
    """Make sure that an attempt which was queued ahead cannot start; False if it has already been claimed.

    The fence cannot do it while the one before it runs: it would shut out that one, too.
    """
    files.make_folder(layout.task_claims(home, task_of(attempt)))
    files.write(layout.recalled(home, attempt), b"")
    return not claimed(files, home, attempt)


def shut_out(files: Files, home: Path, attempt: AttemptId) -> bool:
    """Make sure that `attempt` cannot start from now on; False if it has already been claimed."""
    raise_fence(files, home, task_of(attempt), attempt_number(attempt) + 1)
    return not claimed(files, home, attempt)
