"""When a waiting task may start: its needs, its condition and its retry's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from elisa.model.changes import PassedOver, TaskMoved
from elisa.model.conditions import Condition, Undecidable, evaluate, parse
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import Need, NeedKind, OnUnmet
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.states import FINAL_TASK_STATES, TaskState
from elisa.model.task import Task

__all__ = ["condition_of", "is_met", "lookup_of", "settle"]

# A message that names every one of a thousand instances helps nobody.
_NAMED = 5


def settle(
    task: Task, needs: Sequence[ResolvedNeed], pipeline_submitted_at: datetime, now: datetime
) -> TaskMoved | PassedOver | None:
    """Return what becomes of a waiting task: ready, skipped, failed, cancelled, or why it waits on; None if it does not wait.

    A template never becomes ready itself: once its needs are met it waits for its source's list.
    """
    if task.state is not TaskState.WAITING:
        return None
    if task.cancel_requested:
        return _moved(task, TaskState.CANCELLED, because(ReasonCode.CANCELLED_BY_USER))
    if task.not_before is not None and task.not_before > now:
        facts: dict[str, Fact] = {"not_before": task.not_before.isoformat(), "failures": task.failures}
        return PassedOver(task=task.id, reason=because(ReasonCode.BACKING_OFF, **facts))
    waited_s = (now - pipeline_submitted_at).total_seconds()
    verdicts = [_weigh(resolved, waited_s) for resolved in needs]
    return _unmet(task, verdicts) or _pending(task, verdicts) or _go(task, needs)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How one need stands. `culprit` is why it can never be met; `waiting_for` names what is still missing."""

    waiting_for: tuple[str, ...] = ()
    missing: int = 0
    culprit: Reason | None = None
    on_unmet: OnUnmet = OnUnmet.SKIP


def _weigh(resolved: ResolvedNeed, waited_s: float) -> _Verdict:
    need, targets = resolved.need, resolved.targets
    wanted = len(targets) if need.at_least is None else need.at_least
    unmet = [target for target in targets if not is_met(target, need)]
    missing = wanted - (len(targets) - len(unmet))
    if missing <= 0:
        return _Verdict()
    pending = [target for target in unmet if target.state not in FINAL_TASK_STATES]
    culprit = _culprit(need, unmet, waited_s, is_lost=len(pending) < missing)
    if culprit is not None and need.on_unmet is OnUnmet.RUN:
        return _Verdict()
    names = tuple(target.name for target in pending)
    return _Verdict(waiting_for=names, missing=missing, culprit=culprit, on_unmet=need.on_unmet)


def _culprit(need: Need, unmet: Sequence[Target], waited_s: float, *, is_lost: bool) -> Reason | None:
    """Return why a need can never be met, as long as nobody retries what it needs."""
    if is_lost:
        final = next((target for target in unmet if target.state in FINAL_TASK_STATES), None)
        if final is not None:
            return because(ReasonCode.NEED_FAILED, task=final.name, state=final.state.value)
        return because(ReasonCode.NEED_FAILED, task=_listed(need.tasks), state="too few")
    if need.timeout_s is not None and waited_s >= need.timeout_s:
        return because(ReasonCode.NEED_TIMED_OUT, waited_s=need.timeout_s)
    return None


def _succeeded(target: Target, need: Need) -> bool:  # noqa: ARG001 - one signature for all kinds
    return target.state is TaskState.SUCCEEDED


def _ended(target: Target, need: Need) -> bool:  # noqa: ARG001 - one signature for all kinds
    return target.state in FINAL_TASK_STATES


def _has_checkpoint(target: Target, need: Need) -> bool:
    return target.checkpoint_step is not None and target.checkpoint_step >= need.step


def _has_data(target: Target, need: Need) -> bool:
    return target.outputs.get(need.output) is True


_MET: Mapping[NeedKind, Callable[[Target, Need], bool]] = {
    NeedKind.SUCCESS: _succeeded,
    NeedKind.COMPLETION: _ended,
    NeedKind.CHECKPOINT: _has_checkpoint,
    NeedKind.DATA: _has_data,
}


def is_met(target: Target, need: Need) -> bool:
    """Tell whether one task behind a need has come as far as the need asks."""
    return _MET[need.kind](target, need)


_UNMET_MOVES: Mapping[OnUnmet, TaskState] = {OnUnmet.SKIP: TaskState.SKIPPED, OnUnmet.FAIL: TaskState.FAILED}


def _unmet(task: Task, verdicts: Sequence[_Verdict]) -> TaskMoved | None:
    for verdict in verdicts:
        if verdict.culprit is not None and verdict.on_unmet in _UNMET_MOVES:
            return _moved(task, _UNMET_MOVES[verdict.on_unmet], verdict.culprit)
    return None


def _pending(task: Task, verdicts: Sequence[_Verdict]) -> PassedOver | None:
    open_needs = [verdict for verdict in verdicts if verdict.missing > 0]
    if not open_needs:
        return None
    names = [name for verdict in open_needs for name in verdict.waiting_for]
    missing = sum(verdict.missing for verdict in open_needs)
    reason = because(ReasonCode.NEEDS_UNMET, waiting_for=_listed(names), missing=missing)
    return PassedOver(task=task.id, reason=reason)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _go(task: Task, needs: Sequence[ResolvedNeed]) -> TaskMoved | PassedOver:
    if task.spec.when:
        refusal = _refused_by_condition(task, needs)
        if refusal is not None:
            return refusal
    if task.spec.expansion is not None:
        return PassedOver(task=task.id, reason=because(ReasonCode.EXPANSION_PENDING, source=task.spec.expansion.source))
    return _moved(task, TaskState.READY, because(ReasonCode.NEEDS_MET))


def _refused_by_condition(task: Task, needs: Sequence[ResolvedNeed]) -> TaskMoved | None:
    """Skip the task if its condition is false; fail it, so that somebody looks, if the condition cannot be told."""
    outcome = evaluate(condition_of(task.spec.when), lookup_of(needs))
    if isinstance(outcome, Undecidable):
        facts: dict[str, Fact] = {"when": task.spec.when, "missing": _listed(outcome.missing)}
        return _moved(task, TaskState.FAILED, because(ReasonCode.CONDITION_UNDECIDABLE, **facts))
    if not outcome:
        return _moved(task, TaskState.SKIPPED, because(ReasonCode.CONDITION_FALSE, when=task.spec.when))
    return None


def lookup_of(needs: Sequence[ResolvedNeed]) -> Callable[[str], Sequence[Target]]:
    """Return what finds, among the tasks behind these needs, those that a condition names."""
    targets = {target.id: target for resolved in needs for target in resolved.targets}

    def find(name: str) -> Sequence[Target]:
        return [target for target in targets.values() if name in {target.name, target.group}]

    return find


@lru_cache(maxsize=1024)
def condition_of(text: str) -> Condition:
    """Return the condition that a `when` states."""
    return parse(text)


def _moved(task: Task, after: TaskState, reason: Reason) -> TaskMoved:
    return TaskMoved(task=task.id, before=TaskState.WAITING, after=after, reason=reason)
