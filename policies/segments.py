"""Long work in several attempts: the next one queued ahead behind the present one, and what becomes of it when that ends.

An attempt that was queued ahead (`Attempt.continues`) is not its task's own until the end of the one before it is known.
Then it either becomes that, because the time ran out over progress, or it is shut out and taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from math import ceil

from elisa.model.changes import AttemptContinued, AttemptMoved, AttemptNoted, TaskMoved
from elisa.model.ids import AttemptId, TaskId
from elisa.model.pipeline import RestartWhen, TaskSpec
from elisa.model.reasons import Fact, ReasonCode, because
from elisa.model.states import FINAL_ATTEMPT_STATES, AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, Task
from elisa.model.text import job_words
from elisa.policies.chaining import Link
from elisa.policies.lifecycle import Observed

__all__ = ["chains_of", "continued", "hold_back", "left_off_at", "more_attempts", "next_link", "not_wanted"]


# So long a time without a tick is bridged, and by one attempt in any case: more would hold budget for nothing.
_AHEAD_S = 3600.0


def more_attempts(own: Attempt, left_s: float, now: datetime) -> int:
    """Return how many attempts to queue ahead for `left_s` of work, once the time of the present one is over."""
    walltime_s = own.request.walltime_s
    if not walltime_s:
        return 0
    rest_s = max(0.0, walltime_s - (now - (own.started_at or now)).total_seconds())
    return max(0, min(ceil((left_s - rest_s) / walltime_s), ceil(_AHEAD_S / walltime_s)))


def next_link(
    task: Task, chain: tuple[Attempt, ...], left_s: float, now: datetime, earlier: Iterable[Attempt] = ()
) -> Link | None:
    """Return what the next attempt at a running task is to be queued behind; None if it is not likely to be wanted.

    `chain` is the task's own attempt and those that are queued ahead behind it, in order; `left_s` of work are left.
    `earlier` are its other attempts: what did not come to anything behind this very job is not tried again.
    """
    own, tip, depth = chain[0], chain[-1], len(chain)
    if not (_may_go_on(task, own) and _may_be_followed(tip)) or depth > more_attempts(own, left_s, now):
        return None
    if any(_was_in_vain(attempt, tip.id) for attempt in earlier):
        return None
    saved = own.last_checkpoint or own.resume_from
    return Link(
        task=task.id,
        behind=(tip.id,),
        backend=tip.backend,
        depth=depth,
        words=job_words(task.spec.name, tip.native_id),
        is_next=True,
        # Where a person had it begin says nothing of where the next one does.
        resume_from=None if saved is None else replace(saved, chosen_for=0),
    )


def _may_go_on(task: Task, own: Attempt) -> bool:
    is_wanted = not (task.cancel_requested or task.hold_requested)
    is_whole = own.request.walltime_s == task.request.walltime_s and own.leader is None
    return _is_plain(task.spec) and is_wanted and is_whole and own.state is AttemptState.RUNNING


def _is_plain(spec: TaskSpec) -> bool:
    """Tell whether nothing but the time that is left decides about the next attempt, and where it is to run."""
    saves = spec.checkpoint is not None and spec.retry.restart is RestartWhen.ON_FAILURE
    is_bound = spec.gang is not None or spec.placement.affinity or spec.resources.elastic is not None
    return spec.chain and saves and not is_bound


def _may_be_followed(tip: Attempt) -> bool:
    return tip.native_id is not None and not tip.cancel_sent and tip.end is None


def _was_in_vain(attempt: Attempt, before: AttemptId) -> bool:
    if attempt.continues != before or attempt.end is None or attempt.cancel_sent:
        return False
    return attempt.native_id is not None or attempt.end.reason is EndReason.REJECTED


def continued(
    moved: TaskMoved, ended: Attempt, ahead: Attempt, *, has_word: bool, has_begun: bool
) -> AttemptContinued | None:
    """Return how `ahead` becomes the own attempt of a task, in place of what is to follow `ended` otherwise; None if not.

    What has begun is that already: it looked by itself whether it may. Else it does where `ended` has left word to go on,
    and the same would be tried again at once. What was asked to leave, or never came to begin, does not.
    """
    if (
        ended.end is None
        or ended.end.reason is EndReason.COMPLETED
        or not (has_begun or _may_begin(moved, ahead, has_word))
    ):
        return None
    saved = ended.last_checkpoint or ended.resume_from
    facts: dict[str, Fact] = {"end": ended.end.reason.value, "attempt": f"attempt {ahead.number}"}
    if saved is not None:
        facts["resume_step"] = saved.step
        saved = replace(saved, chosen_for=0)
    return AttemptContinued(
        attempt=ahead.id, after=ended.id, reason=because(ReasonCode.CONTINUED, **facts), resume_from=saved
    )


def left_off_at(moved: TaskMoved, ended: Attempt, ahead: Attempt) -> CheckpointRef | None:
    """Return from where `ahead` may go on after a preemption, which is word enough though `ended` could not leave any.

    To a job a preemption and somebody's cancel look alike: only its manager tells them apart. None for any other end, and
    where nothing was saved.
    """
    is_preempted = ended.end is not None and ended.end.reason is EndReason.PREEMPTED and not ended.cancel_sent
    saved = ended.last_checkpoint or ended.resume_from
    return saved if is_preempted and _may_begin(moved, ahead, has_word=True) else None


def _may_begin(moved: TaskMoved, ahead: Attempt, has_word: bool) -> bool:  # noqa: FBT001 - one of three facts
    same_again = moved.after is TaskState.READY and not moved.counts_as_failure
    is_live = ahead.native_id is not None and ahead.state not in FINAL_ATTEMPT_STATES
    return has_word and same_again and is_live and not ahead.cancel_sent


def hold_back(observed: Observed, live: Iterable[Attempt]) -> Observed:
    """Return `observed` without the ends of attempts that went on from one whose own end is not known yet.

    What such an end means for the task, only the end before it tells. What it said is kept for then.
    """
    ended = {attempt.id: attempt for attempt in observed.ended}
    open_ = {attempt.id for attempt in live} - ended.keys()
    held: dict[AttemptId, Attempt] = {}
    for attempt in sorted(ended.values(), key=lambda one: one.number):
        if attempt.claimed and attempt.continues is not None and attempt.continues in open_ | held.keys():
            held[attempt.id] = attempt
    if not held:
        return observed
    kept = (one for one in observed.changes if not (isinstance(one, AttemptMoved) and one.attempt in held))
    notes = (AttemptNoted(attempt=attempt.id, end=attempt.end) for attempt in held.values())
    return replace(
        observed,
        changes=(*kept, *notes),
        ended=tuple(attempt for attempt in observed.ended if attempt.id not in held),
    )


def not_wanted(live: Mapping[AttemptId, Attempt]) -> Iterator[Attempt]:
    """Yield the attempts that were queued ahead in vain: the one before is over, or was asked to leave."""
    for attempt in live.values():
        if attempt.continues is not None:
            before = live.get(attempt.continues)
            if before is None or before.cancel_sent:
                yield attempt


def chains_of(live: Iterable[Attempt]) -> Mapping[TaskId, tuple[Attempt, ...]]:
    """Return each running task's own attempt with those that are queued ahead behind it, in order."""
    found: dict[TaskId, tuple[Attempt, ...]] = {}
    for attempt in sorted(live, key=lambda one: one.number):
        chain = found.get(attempt.task, ())
        if attempt.continues is None or (chain and chain[-1].id == attempt.continues):
            found[attempt.task] = (attempt,) if attempt.continues is None else (*chain, attempt)
    return found
