"""Tasks that wait for one another in a circle: one of them gives way, and everybody is told why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elisa.model.changes import TaskMoved
from elisa.model.ids import PipelineId, TaskId
from elisa.model.needs import ResolvedNeed
from elisa.model.pipeline import OnUnmet
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import TaskState
from elisa.policies.deadlock import Idle, deadlocks, losses, waits_for
from elisa.policies.readiness import is_met
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["undo_circles"]

_IDLE = frozenset({TaskState.WAITING, TaskState.READY})


def undo_circles(writer: Writer) -> int:
    """Let one task of every circle of waiting fail, so that the others go on; return how many did.

    Needs alone never run in a circle: submission refuses that. A gang can close one, whose members wait for each other.
    """
    moves = [move for pipeline in writer.gangs_in_parts() for move in _moves(writer, pipeline)]
    if moves:
        writer.apply(moves)
    return len(moves)


def _moves(reader: Reader, pipeline: PipelineId) -> Iterator[TaskMoved]:
    tasks = {task.id: task for task in reader.tasks_of(pipeline) if task.state in _IDLE}
    needs = reader.upstream(tasks)
    idle = [
        Idle(
            task=id_,
            is_ready=task.state is TaskState.READY,
            needs=tuple(_hard(needs.get(id_, ()))) if task.state is TaskState.WAITING else (),
            gang=task.spec.gang.name if task.spec.gang else "",
            minimum=task.spec.gang.minimum if task.spec.gang else 0,
        )
        for id_, task in sorted(tasks.items())
    ]
    for found in deadlocks(waits_for(idle), losses(idle)):
        names = [tasks[one].spec.name for one in (*found.members, found.members[0])]
        yield TaskMoved(
            task=found.victim,
            before=tasks[found.victim].state,
            after=TaskState.FAILED,
            reason=because(ReasonCode.IN_CIRCLE, circle=" waits for ".join(names)),
        )


def _hard(needs: Sequence[ResolvedNeed]) -> Iterator[TaskId]:
    """Yield the tasks that have not begun and without which a task never goes on; a need that may time out ends by itself."""
    for resolved in needs:
        need, targets = resolved.need, resolved.targets
        is_all = need.at_least is None or need.at_least >= len(targets)
        if is_all and need.timeout_s is None and need.on_unmet is not OnUnmet.RUN:
            yield from (one.id for one in targets if one.state in _IDLE and not is_met(one, need))
