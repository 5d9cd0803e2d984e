"""Single attempts taken out of a native job that others share: one that has not begun is kept out, one that runs is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from elisa.engine.fence import shut_out
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import AttemptMoved, Change, Charge
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt, End
from elisa.policies.budgets import charge_of
from elisa.policies.recovery import after_end
from elisa.store.writer import Writer

__all__ = ["leave_jobs"]

_WORDS = "taken out of the job that it shared, before its turn"


def leave_jobs(ws: Workspace, writer: Writer, attempts: Sequence[Attempt]) -> None:
    """Have attempts leave whose native job goes on. Those that can begin no more are over at once."""
    if not attempts:
        return
    kept_out = [one for one in attempts if not one.claimed and shut_out(ws.files, ws.home, one.id)]
    ws.crash("leave.kept_out")
    writer.apply([change for attempt in kept_out for change in _ended(ws, writer, attempt)])
    ws.crash("leave.ended")
    out = {attempt.id for attempt in kept_out}
    ws.files.write_all({layout.leave_file(ws.home, one.id): b"" for one in attempts if one.id not in out})
    ws.crash("leave.told")


def _ended(ws: Workspace, writer: Writer, attempt: Attempt) -> Sequence[Change]:
    now = ws.clock.now()
    end = End(reason=EndReason.CANCELLED, detail=_WORDS)
    moved = AttemptMoved(
        attempt=attempt.id,
        before=attempt.state,
        after=AttemptState.ENDED,
        reason=because(ReasonCode.NOT_BEGUN, why=_WORDS),
        end=end,
        spend=Charge(gpu_type=charge_of(attempt.request, 0).gpu_type),
        ended_at=now,
    )
    ended = replace(attempt, state=AttemptState.ENDED, end=end, cancel_sent=True)
    task = writer.tasks([attempt.task])[attempt.task]
    return moved, after_end(task, ended, writer.attempts_of(attempt.task), now, ws.random.uniform())
