"""Attempts that were queued ahead of the end of the one before: let go on, or shut out, once that end is known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from elisa.engine.fence import claimed, has_let_go, raise_fence
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import AttemptContinued, TaskMoved
from elisa.model.ids import AttemptId
from elisa.model.task import Attempt
from elisa.policies.segments import continued, left_off_at

__all__ = ["Ahead"]


class Ahead:
    """The attempts queued ahead, as one tick finds them.

    Fences are raised before anything is committed: who is not to go on cannot begin any more.
    """

    def __init__(self, ws: Workspace, live: Iterable[Attempt], ended: Iterable[Attempt]) -> None:
        self._ws = ws
        known = {attempt.id: attempt for attempt in (*live, *ended)}
        self._behind = {one.continues: one for one in known.values() if one.continues is not None}
        self._own: dict[AttemptId, Attempt] = {}

    def own(self, ended: Attempt) -> Attempt | None:
        """Return an ended attempt as its task's own; None if it was queued ahead and never became that."""
        return ended if ended.continues is None else self._own.get(ended.id)

    def is_own(self, attempt: Attempt) -> bool:
        """Tell whether an attempt, ended or not, is or was its task's own."""
        return attempt.continues is None or attempt.id in self._own

    def follow(self, ended: Attempt, moved: TaskMoved) -> TaskMoved | AttemptContinued:
        """Return what follows an end: what `moved` says, or that the attempt queued behind it goes on."""
        ahead = self._behind.get(ended.id)
        if ahead is None:
            return moved
        files, home = self._ws.files, self._ws.home
        has_word = files.exists(layout.goes_on(home, ended.id)) or self._is_given_word(ended, ahead, moved)
        change = continued(moved, ended, ahead, has_word=has_word, has_begun=claimed(files, home, ahead.id))
        if change is None:
            # Who claims before this is in, and seen to be; who does so after it is out.
            raise_fence(files, home, ended.task, self._last_behind(ahead).number + 1)
            self._ws.crash("segments.shut")
            change = continued(moved, ended, ahead, has_word=False, has_begun=claimed(files, home, ahead.id))
        else:
            raise_fence(files, home, ended.task, ahead.number)
            self._ws.crash("segments.open")
        if change is None:
            return moved
        self._own[ahead.id] = replace(ahead, continues=None, resume_from=change.resume_from)
        return change

    def _is_given_word(self, ended: Attempt, ahead: Attempt, moved: TaskMoved) -> bool:
        """Leave the word that an attempt could not which its manager has preempted, if nothing of it runs any more."""
        files, home = self._ws.files, self._ws.home
        saved = left_off_at(moved, ended, ahead)
        is_over = has_let_go(files, home, ended.id) and not files.exists(layout.recalled(home, ahead.id))
        if saved is None or not is_over:
            return False
        word = {"attempt": ended.id, "path": saved.path, "step": saved.step}
        files.write(layout.goes_on(home, ended.id), json.dumps(word).encode())
        self._ws.crash("segments.word")
        return True

    def _last_behind(self, ahead: Attempt) -> Attempt:
        while ahead.id in self._behind:
            ahead = self._behind[ahead.id]
        return ahead
