"""What follows the end of an attempt: success, another try from the newest checkpoint, or giving up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from elisa.model.changes import TaskMoved
from elisa.model.pipeline import Backoff, RestartWhen
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import FINAL_TASK_STATES, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, End, Task, had_its_turn
from elisa.policies.chaining import NEVER_STARTS
from elisa.policies.fault import barren_ends, broke_down, made_room, times_alike, was_given_back
from elisa.policies.livelock import SpinRules, got_further, rounds_of
from elisa.policies.resuming import newest_checkpoint, resume_point, steps_back
from elisa.policies.retrying import backoff_s, grown
from elisa.policies.unexplained import held_unexplained, is_forgotten, is_unexplained, is_unheard

__all__ = ["RecoveryRules", "after_end"]

_NEVER_AGAIN = frozenset({EndReason.CANCELLED, EndReason.REJECTED, EndReason.INVALID_DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryRules:
    """How far recovery goes where the task itself is not to blame.

    `fence_s` is how long a successor waits after a claimed job was lost with its node: longer than the agent takes to
    stop itself when it cannot write. `barren` infrastructure ends in a row, without a new checkpoint, are the most.
    `alike` own failures in a row at the same step are proof that trying again is no use. After a livelock as `spins` tells it
    the next run waits.
    """

    fence_s: float = 120.0
    barren: int = 10
    alike: int = 2
    spins: SpinRules = field(default_factory=SpinRules)


def after_end(  # noqa: PLR0913, PLR0917 - the order in which a reader asks: whose, what, before, when, chance
    task: Task,
    attempt: Attempt,
    siblings: Sequence[Attempt],
    now: datetime,
    random_fraction: float,
    rules: RecoveryRules = RecoveryRules(),
    *,
    is_chain_broken: bool = False,
) -> TaskMoved:
    """Return what becomes of `task`, whose `attempt` has just ended (`attempt.end` is set).

    `siblings` are the task's other attempts. `random_fraction`, in [0, 1), spreads retries so that many tasks that fail
    together do not come back together. `is_chain_broken`: one of those that it was queued behind did not succeed. Raises
    ValueError for an attempt without an end.
    """
    if attempt.end is None:
        raise ValueError(f"{attempt.id} has not ended")
    case = _Case(
        task=task,
        attempt=attempt,
        end=attempt.end,
        before=tuple(sorted((s for s in siblings if s.number < attempt.number), key=lambda s: s.number)),
        now=now,
        fraction=random_fraction,
        rules=rules,
        is_chain_broken=is_chain_broken,
    )
    return next(verdict for rule in _RULES if (verdict := rule(case)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    task: Task
    attempt: Attempt
    end: End
    before: tuple[Attempt, ...]
    now: datetime
    fraction: float
    rules: RecoveryRules
    is_chain_broken: bool = False

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, this one the last."""
        return (*self.before, self.attempt)

    @property
    def failures(self) -> int:
        """Own failures, this one included."""
        return self.task.failures + 1


def _finished(case: _Case) -> TaskMoved | None:
    retry = case.task.spec.retry
    if case.end.reason is not EndReason.COMPLETED:
        return None
    if retry.restart is not RestartWhen.ALWAYS or case.task.cancel_requested or case.attempt.number > retry.limit:
        return _move(case, TaskState.SUCCEEDED, because(ReasonCode.SUCCEEDED))
    return _again(
        case, because(ReasonCode.RETRY, end=case.end.reason.value), backoff_s(retry.backoff, 1, case.fraction)
    )


def _cancelled_by_owner(case: _Case) -> TaskMoved | None:
    if not case.task.cancel_requested:
        return None
    return _move(case, TaskState.CANCELLED, because(ReasonCode.CANCELLED_BY_USER))


def _cancelled_unexplained(case: _Case) -> TaskMoved | None:
    """Try once more, at no cost, what was cancelled before it began, by nobody knows whom; the second time let a person say."""
    if not is_unexplained(case.attempt):
        return None
    reason = held_unexplained(case.attempts)
    if reason is not None:
        return replace(_move(case, TaskState.HELD, reason), resume_from=_resume(case))
    return _again(case, because(ReasonCode.CANCELLED_UNEXPLAINED, native_id=str(case.attempt.native_id or "")), 0.0)


def _forgotten_again(case: _Case) -> TaskMoved | None:
    """Let a person say after the second job in a row of which its manager has no record: somebody may not want it to run."""
    reason = held_unexplained(case.attempts) if is_forgotten(case.attempt) else None
    if reason is None or _hopeless(case) is not None:
        return None
    return replace(_move(case, TaskState.HELD, reason), resume_from=_resume(case))


def _cancelled_outside(case: _Case) -> TaskMoved | None:
    if case.end.reason is not EndReason.CANCELLED or case.attempt.cancel_sent:
        return None
    native_id = str(case.attempt.native_id or "")
    reason = because(ReasonCode.CANCELLED_OUTSIDE, native_id=native_id, words=case.end.detail)
    return _move(case, TaskState.CANCELLED, reason)


def _held(case: _Case) -> TaskMoved | None:
    """Hold what somebody wanted held while its job waited behind others; if it ran all the same, from what it saved."""
    if not case.task.hold_requested:
        return None
    return replace(_move(case, TaskState.HELD, because(ReasonCode.HELD)), resume_from=_resume(case))


def _never_began(case: _Case) -> TaskMoved | None:
    """Give a task back to waiting, at no cost, whose job waited behind others until these, or its manager, let it down."""
    attempt = case.attempt
    if not attempt.behind or attempt.claimed:
        return None
    is_withdrawn = attempt.cancel_sent and attempt.started_at is None
    is_refused = case.end.reason is EndReason.REJECTED or NEVER_STARTS in case.end.detail
    if not (case.is_chain_broken or is_withdrawn or is_refused):
        return None
    moved = _move(case, TaskState.WAITING, because(ReasonCode.CHAIN_BROKEN, behind=", ".join(attempt.behind)))
    return replace(moved, resume_from=case.task.resume_from)


def _not_begun(case: _Case) -> TaskMoved | None:
    """Give a task back at no cost whose turn in a shared native job did not come."""
    if had_its_turn(case.attempt):
        return None
    spun = _after_livelock(case)
    if spun is not None:
        return replace(spun, resume_from=case.task.resume_from)
    after = TaskState.WAITING if case.attempt.behind else TaskState.READY
    moved = _move(case, after, because(ReasonCode.NOT_BEGUN, why=case.end.detail))
    return replace(moved, resume_from=case.task.resume_from)


def _given_back(case: _Case) -> TaskMoved | None:
    """Try again at once, without using up a retry, what was given a GPU that is not to be used: no program ran."""
    if not was_given_back(case.attempt):
        return None
    spun = _after_livelock(case)
    if spun is not None:
        return spun
    facts: dict[str, Fact] = {"detail": case.end.detail}
    resume = _resume(case)
    if resume is not None:
        facts["resume_step"] = resume.step
    return _again(case, because(ReasonCode.GIVEN_BACK, **facts), 0.0)


def _hopeless(case: _Case) -> TaskMoved | None:
    retry = case.task.spec.retry
    reason = case.end.reason
    is_unbegun = case.attempt.started_at is None or is_unheard(case.attempt)
    never_ran = reason is EndReason.LOST and is_unbegun and not case.attempt.claimed
    is_wanted = reason in retry.on if retry.on and not _is_infrastructure(case) else True
    is_barred = reason in _NEVER_AGAIN and reason not in retry.on and not case.attempt.cancel_sent
    if is_wanted and not is_barred and (retry.restart is not RestartWhen.NEVER or never_ran):
        return None
    return _move(case, TaskState.FAILED, because(ReasonCode.NOT_RETRYABLE, end=reason.value, detail=case.end.detail))


def _blameless(case: _Case) -> TaskMoved | None:
    """Try again without using up a retry: the allocation was taken away, or the time ran out over real progress."""
    if not _is_infrastructure(case) and not _ran_out_of_time_with_progress(case):
        return None
    if made_room(case.attempt) and (spun := _after_livelock(case)) is not None:
        return spun
    barren = barren_ends(case.attempts)
    if barren >= case.rules.barren:
        facts: dict[str, Fact] = {"end": case.end.reason.value, "failures": barren, "limit": case.rules.barren}
        return _move(case, TaskState.FAILED, because(ReasonCode.RETRIES_USED_UP, **facts))
    pause_s = 0.0 if barren == 0 else backoff_s(case.task.spec.retry.backoff, barren, case.fraction)
    if case.end.reason in {EndReason.LOST, EndReason.NODE_FAILURE} and case.attempt.claimed:
        pause_s = max(pause_s, case.rules.fence_s)
    return _again(case, _resume_reason(case), pause_s)


def _after_livelock(case: _Case) -> TaskMoved | None:
    """Let a task wait that came back too often without getting any further, the longer the more often; None for any other."""
    spun = rounds_of(case.attempts, case.now, case.rules.spins)
    if spun is None:
        return None
    # Not as its author says: he knows how his program fails, not what goes on around it.
    pause_s = backoff_s(Backoff(), spun.times - case.rules.spins.rounds + 1, case.fraction)
    later = case.now + timedelta(seconds=pause_s)
    facts = {**spun.facts(case.now), "not_before": later.isoformat(timespec="seconds")}
    resume = _resume(case)
    if resume is not None:
        facts["resume_step"] = resume.step
    return _again(case, because(ReasonCode.SPINS, **facts), pause_s)


def _is_infrastructure(case: _Case) -> bool:
    return broke_down(case.attempt) or made_room(case.attempt)


def _ran_out_of_time_with_progress(case: _Case) -> bool:
    """Tell whether the time ran out over real progress, or was less than the task asks for: its place was to close."""
    was_shortened = case.attempt.request.walltime_s < case.task.request.walltime_s
    return case.end.reason is EndReason.TIMEOUT and (got_further(case.attempt) or was_shortened)


def _failed_alike(case: _Case) -> TaskMoved | None:
    times = times_alike(case.attempts)
    if times < case.rules.alike or case.end.step is None or steps_back(case.task, case.attempts):
        return None
    facts: dict[str, Fact] = {"end": case.end.reason.value, "step": case.end.step, "times": times}
    if case.end.signal:
        facts["signal"] = case.end.signal
    elif case.end.exit_code:
        facts["exit_code"] = case.end.exit_code
    return _move(case, TaskState.FAILED, because(ReasonCode.SAME_FAILURE, **facts), counts=True)


def _used_up(case: _Case) -> TaskMoved | None:
    limit = case.task.spec.retry.limit
    if case.failures <= limit:
        return None
    facts: dict[str, Fact] = {"end": case.end.reason.value, "failures": case.failures, "limit": limit}
    return _move(case, TaskState.FAILED, because(ReasonCode.RETRIES_USED_UP, **facts), counts=True)


def _retried(case: _Case) -> TaskMoved:
    retry = case.task.spec.retry
    facts: dict[str, Fact] = {"end": case.end.reason.value, "failures": case.failures, "limit": retry.limit}
    resume, newest = _resume(case), newest_checkpoint(case.task, case.attempts)
    if newest is not None and resume != newest:
        # Which of those before it are still there and sound, the job finds out.
        facts["before_step"] = newest.step
    elif resume is not None:
        facts["resume_step"] = resume.step
    pause_s = backoff_s(retry.backoff, case.failures, case.fraction)
    request = grown(case.task.request, case.end.reason, retry.grow)
    moved = _again(case, because(ReasonCode.RETRY, **facts, **_changed(case.task.request, request)), pause_s)
    return replace(moved, counts_as_failure=True, request=request)


def _changed(was: Resources, now: Resources) -> Mapping[str, Fact]:
    """Return what the next attempt asks for that this one did not."""
    facts: dict[str, Fact] = {}
    if now.memory_mib_per_node != was.memory_mib_per_node:
        facts |= {"was_mib": was.memory_mib_per_node, "grown_mib": now.memory_mib_per_node}
    if now.walltime_s != was.walltime_s:
        facts |= {"was_s": was.walltime_s, "grown_s": now.walltime_s}
    return facts


_RULES: Sequence[Callable[[_Case], TaskMoved | None]] = (
    _finished,
    _cancelled_by_owner,
    _held,
    _never_began,
    _cancelled_unexplained,
    _cancelled_outside,
    _forgotten_again,
    _not_begun,
    _given_back,
    _hopeless,
    _blameless,
    _failed_alike,
    _used_up,
    _retried,
)


def _resume(case: _Case) -> CheckpointRef | None:
    return resume_point(case.task, case.attempts)


def _resume_reason(case: _Case) -> Reason:
    resume = _resume(case)
    facts: dict[str, Fact] = {"end": case.end.reason.value}
    if resume is not None:
        facts["resume_step"] = resume.step
    return because(ReasonCode.RESUME, **facts)


def _again(case: _Case, reason: Reason, pause_s: float) -> TaskMoved:
    later = case.now + timedelta(seconds=pause_s) if pause_s > 0 else None
    # What was queued behind others began before its needs were looked at: they are now.
    has_to_wait = later is not None or bool(case.attempt.behind)
    moved = _move(case, TaskState.WAITING if has_to_wait else TaskState.READY, reason)
    return replace(moved, request=case.task.request, not_before=later, resume_from=_resume(case))


def _move(case: _Case, after: TaskState, reason: Reason, *, counts: bool = False) -> TaskMoved:
    return TaskMoved(
        task=case.task.id,
        before=TaskState.ACTIVE,
        after=after,
        reason=reason,
        counts_as_failure=counts,
        keeps_age=case.attempt.started_at is None and after not in FINAL_TASK_STATES,
    )
