"""What became of live attempts: the job's own events, the manager's answers and searches by tag, made into changes.

Evidence counts in this order: the agent's exit event, its claim and heartbeats, the manager's answer. Where none speaks,
nothing changes: gone is not finished, silence is neither success nor failure, and no clock alone ever ends an attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from elisa.model.changes import AttemptMoved, AttemptNoted, AttemptSubmitted, Change
from elisa.model.events import RuntimeEvent
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import Answered, Gone, NativeState, Observation, Poll, Seen
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.states import AttemptState, EndReason
from elisa.model.task import Attempt, End
from elisa.policies.conclude import STOPPED, conclude, is_firm, own_word, ran_s, said_node, started_at
from elisa.policies.evidence import Heard, Sightings, by_attempt, listen, news_of
from elisa.policies.inbundle import agreed_ids, own_part
from elisa.policies.power import spent_by
from elisa.policies.refunds import RefundRules, refunded_s
from elisa.policies.unexplained import FORGOTTEN, UNHEARD, VANISHED
from elisa.policies.unheard import UnheardRules, given_for_s, is_overdue, unheard_bundles

__all__ = ["LifecycleRules", "Observed", "Sightings", "observe"]

_MOVES_TO: Mapping[NativeState, AttemptState] = {
    NativeState.QUEUED: AttemptState.QUEUED,
    NativeState.HELD: AttemptState.QUEUED,
    NativeState.RUNNING: AttemptState.RUNNING,
}
_RANK: Mapping[AttemptState, int] = {state: rank for rank, state in enumerate(AttemptState)}
_SILENT = Heard()
# A clock that was set back to before the submission says nothing about grace: ask for so many times the listings instead.
_CLOCK_SET_BACK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleRules:
    """How much silence is proof. All conditions must hold together; a clock that jumps fulfils only one of them.

    A job that cannot be found is given up after `grace_s` (for answers that come late), after `absences` complete
    listings without it, and after as many ticks in which it said nothing. `linger_ticks` is how long an exit that may have
    been forced waits for the manager's reason, and an unexplained ending for the job's own word.
    `refunds` says what lost work is not booked; None books all. `unheard` is how long a job may be called running before its
    agent gives a sign; that takes `absences` such answers in a row, too.
    """

    grace_s: float = 120.0
    absences: int = 3
    linger_ticks: int = 2
    refunds: RefundRules | None = None
    unheard: UnheardRules = field(default_factory=UnheardRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What to write down, which attempts are over, which duplicates to cancel, and which submissions stay uncertain."""

    changes: tuple[Change, ...]
    ended: tuple[Attempt, ...]
    cancel: tuple[tuple[AttemptId, NativeId, Reason], ...]
    unsettled: tuple[AttemptId, ...]


def observe(
    live: Sequence[Attempt],
    events: Sequence[RuntimeEvent],
    polls: Mapping[BackendName, Poll],
    found: Mapping[AttemptId, Sightings],
    now: datetime,
    *,
    rules: LifecycleRules = LifecycleRules(),
) -> Observed:
    """Return the changes that bring the store up to date with what was heard and seen.

    `found` holds what was searched for: the attempts whose submission was never answered. The same evidence given twice
    changes nothing the second time.
    """
    said = by_attempt(events)
    draft = _Draft(now=now, rules=rules, agreed=agreed_ids(live, said, found))
    unheard = unheard_bundles(live, said)
    for attempt in live:
        answer = _answer(attempt, polls.get(attempt.backend))
        seen = own_part(attempt, answer, said.get(attempt.id, ()), unheard)
        is_news = _is_news(attempt, seen) or is_overdue(attempt, seen, now, rules.unheard)
        if attempt.id in said or attempt.id in found or is_news:
            heard = listen(said[attempt.id]) if attempt.id in said else _SILENT
            _follow(draft, attempt, heard, seen, found.get(attempt.id))
        elif attempt.native_id is None:
            draft.unsettled.append(attempt.id)
    return Observed(
        changes=tuple(draft.changes),
        ended=tuple(draft.ended),
        cancel=tuple(draft.cancel),
        unsettled=tuple(draft.unsettled),
    )


@dataclass(slots=True, kw_only=True)
class _Draft:
    now: datetime
    rules: LifecycleRules
    agreed: Mapping[AttemptId, NativeId]
    changes: list[Change] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)
    cancel: list[tuple[AttemptId, NativeId, Reason]] = field(default_factory=list)
    unsettled: list[AttemptId] = field(default_factory=list)


def _answer(attempt: Attempt, poll: Poll | None) -> Observation | None:
    if attempt.native_id is None or not isinstance(poll, Answered):
        return None
    return poll.observations.get(attempt.native_id)


def _is_news(attempt: Attempt, seen: Observation | None) -> bool:
    if seen is None:
        return False
    if isinstance(seen, Gone) or attempt.absences or attempt.quiet_ticks or attempt.end is not None:
        return True
    if seen.restarts > attempt.incarnation or seen.state is NativeState.ENDED:
        return True
    target = _MOVES_TO.get(seen.state, attempt.state)
    return _RANK[target] > _RANK[attempt.state] or _words(seen) != attempt.native_detail


def _words(seen: Seen) -> str:
    return seen.detail or (seen.raw if seen.state is NativeState.UNKNOWN else "")


def _follow(
    draft: _Draft, attempt: Attempt, heard: Heard, seen: Observation | None, sightings: Sightings | None
) -> None:
    draft.changes.extend(news_of(attempt, heard))
    attempt = replace(
        attempt,
        last_checkpoint=heard.checkpoint or attempt.last_checkpoint,
        usage=heard.usage or attempt.usage,
    )
    if heard.is_alive and not attempt.claimed:
        draft.changes.append(AttemptNoted(attempt=attempt.id, claimed=True))
        attempt = replace(attempt, claimed=True)
    attempt = _adopt(draft, attempt, heard, sightings)
    if attempt.native_id is None:
        _wait_for_sighting(draft, attempt, heard, sightings)
    else:
        _advance(draft, attempt, heard, seen)


def _adopt(draft: _Draft, attempt: Attempt, heard: Heard, sightings: Sightings | None) -> Attempt:
    """Give the attempt its native id, if one was found or claims to be it; other jobs with its tag are to be cancelled."""
    # A second job of a bundle is left alone: others of its tasks may run in it, and it ends when it finds nothing to do.
    seen_ids = sightings.ids if sightings is not None and attempt.leader is None else ()
    native_id = attempt.native_id or draft.agreed.get(attempt.leader or attempt.id) or heard.native_id
    native_id = native_id or min(seen_ids, default=None)
    draft.cancel.extend(
        (attempt.id, other, because(ReasonCode.DUPLICATE_CANCELLED, native_id=other))
        for other in seen_ids
        if other != native_id
    )
    if native_id is None or attempt.native_id is not None:
        return attempt
    reason = because(ReasonCode.ADOPTED, native_id=native_id)
    draft.changes.append(AttemptSubmitted(attempt=attempt.id, native_id=native_id, reason=reason))
    return replace(attempt, native_id=native_id, state=AttemptState.SUBMITTED)


def _wait_for_sighting(draft: _Draft, attempt: Attempt, heard: Heard, sightings: Sightings | None) -> None:
    own = own_word(attempt, heard)
    if own is not None:
        _end(draft, attempt, heard, own, _said(own))
    elif sightings is not None and sightings.complete:
        _count_absence(draft, attempt, heard, since=attempt.intended_at)
    else:
        draft.unsettled.append(attempt.id)


def _advance(draft: _Draft, attempt: Attempt, heard: Heard, seen: Observation | None) -> None:
    attempt = _requeue(draft, attempt, heard, seen)
    own = own_word(attempt, heard)
    if own is not None and is_firm(own, heard):
        _end(draft, attempt, heard, own, _said(own), _told(seen))
    elif isinstance(seen, Seen) and seen.state is NativeState.ENDED:
        _end_seen(draft, attempt, heard, seen)
    elif own is not None:
        _linger(draft, attempt, heard, seen, own)
    elif isinstance(seen, Gone):
        _count_absence(draft, attempt, heard, since=attempt.submitted_at or attempt.intended_at)
    else:
        _move_on(draft, attempt, heard, seen)


def _told(seen: Observation | None) -> Seen | None:
    return seen if isinstance(seen, Seen) and seen.state is NativeState.ENDED else None


def _requeue(draft: _Draft, attempt: Attempt, heard: Heard, seen: Observation | None) -> Attempt:
    """Begin the next incarnation: what an earlier one said of its end no longer counts."""
    restarts = seen.restarts if isinstance(seen, Seen) else 0
    incarnation = max(restarts, heard.incarnation)
    if incarnation <= attempt.incarnation:
        return attempt
    if attempt.state is AttemptState.RUNNING:
        draft.changes.append(
            AttemptMoved(
                attempt=attempt.id,
                before=AttemptState.RUNNING,
                after=AttemptState.QUEUED,
                reason=because(ReasonCode.SEEN, state="requeued", detail=f"restart {incarnation}"),
                incarnation=incarnation,
            )
        )
        attempt = replace(attempt, state=AttemptState.QUEUED, started_at=None)
    return replace(attempt, incarnation=incarnation, end=None, absences=0, quiet_ticks=0)


def _move_on(draft: _Draft, attempt: Attempt, heard: Heard, seen: Seen | None) -> None:
    """Move forward to the state that the job or the manager shows, never back."""
    is_unheard = not heard.is_alive and is_overdue(attempt, seen, draft.now, draft.rules.unheard)
    quiet_ticks = attempt.quiet_ticks + 1 if is_unheard else 0
    if is_unheard and quiet_ticks >= draft.rules.absences:
        _give_up_unheard(draft, attempt, heard, seen)
        return
    if seen is not None and (attempt.absences or attempt.quiet_ticks != quiet_ticks):
        draft.changes.append(AttemptNoted(attempt=attempt.id, absences=0, quiet_ticks=quiet_ticks))
    shown = _MOVES_TO.get(seen.state, attempt.state) if seen is not None else attempt.state
    target = AttemptState.RUNNING if heard.started is not None else shown
    if _RANK[target] > _RANK[attempt.state]:
        draft.changes.append(_moved(attempt, target, heard, seen))
    words = _words(seen) if seen is not None else attempt.native_detail
    if words != attempt.native_detail:
        draft.changes.append(AttemptNoted(attempt=attempt.id, native_detail=words))


def _give_up_unheard(draft: _Draft, attempt: Attempt, heard: Heard, seen: Seen | None) -> None:
    given_s = int(given_for_s(seen, draft.now) or 0)
    end = End(reason=EndReason.LOST, detail=UNHEARD, step=_last_step(attempt))
    reason = because(ReasonCode.NEVER_BEGAN, native_id=str(attempt.native_id or ""), given_s=given_s)
    _end(draft, attempt, heard, end, reason, seen)


def _moved(attempt: Attempt, target: AttemptState, heard: Heard, seen: Seen | None) -> AttemptMoved:
    is_running = target is AttemptState.RUNNING
    said_at = heard.started.at if heard.started is not None else None
    return AttemptMoved(
        attempt=attempt.id,
        before=attempt.state,
        after=target,
        reason=because(ReasonCode.SEEN, state=target.value, detail=seen.detail if seen is not None else ""),
        incarnation=attempt.incarnation or None,
        nodes=(seen.nodes or None) if seen is not None else None,
        started_at=((seen.started_at if seen is not None else None) or said_at) if is_running else None,
    )


def _end_seen(draft: _Draft, attempt: Attempt, heard: Heard, seen: Seen) -> None:
    """Believe the manager that it is over; wait a little for the job's word where only that tells success from failure."""
    end = conclude(attempt, heard, seen)
    is_vague = end.reason in {EndReason.COMPLETED, EndReason.FAILED, EndReason.LOST}
    # after `qsig` OpenPBS calls a job finished with status 0 whose program runs on: what still speaks has not succeeded yet
    speaks_on = end.reason is EndReason.COMPLETED and heard.is_alive
    quiet_ticks = 0 if speaks_on else attempt.quiet_ticks + 1
    if is_vague and own_word(attempt, heard) is None and quiet_ticks <= draft.rules.linger_ticks:
        draft.changes.append(AttemptNoted(attempt=attempt.id, quiet_ticks=quiet_ticks))
        return
    reason = because(ReasonCode.SEEN, state=end.reason.value, detail=end.detail)
    _end(draft, attempt, heard, end, reason, seen)


def _linger(draft: _Draft, attempt: Attempt, heard: Heard, seen: Observation | None, own: End) -> None:
    """Keep the job's word until the manager has said why, or has answered often enough without saying it."""
    if own != attempt.end:
        draft.changes.append(AttemptNoted(attempt=attempt.id, end=own))
    if seen is None:
        return
    if attempt.quiet_ticks < draft.rules.linger_ticks:
        draft.changes.append(AttemptNoted(attempt=attempt.id, quiet_ticks=attempt.quiet_ticks + 1))
        return
    if _was_stopped(attempt, own):
        own = replace(own, reason=EndReason.CANCELLED)
    elif isinstance(seen, Gone) and own.reason is EndReason.FAILED and own.detail == STOPPED:
        # Somebody's wish, or a node that was shut down, or another job that needed the place: not the program's fault.
        lost = replace(own, reason=EndReason.LOST, detail=FORGOTTEN)
        reason = because(ReasonCode.GONE_AFTER_GRACE, absences=attempt.quiet_ticks, grace_s=draft.rules.grace_s)
        _end(draft, attempt, heard, lost, reason)
        return
    _end(draft, attempt, heard, own, _said(own))


def _was_stopped(attempt: Attempt, own: End) -> bool:
    return attempt.cancel_sent and own.reason is not EndReason.COMPLETED


def _count_absence(draft: _Draft, attempt: Attempt, heard: Heard, *, since: datetime) -> None:
    """Count a complete answer without the job; give it up once all proofs are together."""
    absences = attempt.absences + 1
    quiet_ticks = 0 if heard.is_alive else attempt.quiet_ticks + 1
    if not _is_proved(min(absences, quiet_ticks), (draft.now - since).total_seconds(), draft.rules):
        if min(absences, quiet_ticks) <= _CLOCK_SET_BACK * draft.rules.absences:
            draft.changes.append(AttemptNoted(attempt=attempt.id, absences=absences, quiet_ticks=quiet_ticks))
        if attempt.native_id is None:
            draft.unsettled.append(attempt.id)
        return
    never = attempt.native_id is None and not attempt.claimed
    code = ReasonCode.NEVER_SUBMITTED if never else ReasonCode.GONE_AFTER_GRACE
    words = f"not found in {absences} complete listings{f': {VANISHED}' if _was_waiting(attempt) else ''}"
    end = End(reason=EndReason.LOST, detail=words, step=_last_step(attempt))
    _end(draft, attempt, heard, end, because(code, absences=absences, grace_s=draft.rules.grace_s))


def _was_waiting(attempt: Attempt) -> bool:
    return attempt.state is AttemptState.QUEUED and not attempt.claimed


def _is_proved(silent_listings: int, waited_s: float, rules: LifecycleRules) -> bool:
    if waited_s < 0:
        return silent_listings >= _CLOCK_SET_BACK * rules.absences
    return silent_listings >= rules.absences and waited_s >= rules.grace_s


def _last_step(attempt: Attempt) -> int | None:
    return attempt.last_checkpoint.step if attempt.last_checkpoint is not None else None


def _said(end: End) -> Reason:
    if end.reason is EndReason.LOST:
        return because(ReasonCode.RAN_ELSEWHERE, why=end.detail)
    facts: dict[str, Fact] = {
        key: value for key, value in (("exit_code", end.exit_code), ("signal", end.signal)) if value is not None
    }
    return because(ReasonCode.SAID_BY_JOB, **facts)


def _end(  # noqa: PLR0917 - the two words, what they come to, and why
    draft: _Draft, attempt: Attempt, heard: Heard, end: End, reason: Reason, seen: Seen | None = None
) -> None:
    state = AttemptState.LOST if end.reason is EndReason.LOST else AttemptState.ENDED
    seen_end = seen.ended_at if seen is not None else None
    ended_at = seen_end or (heard.exited.at if heard.exited is not None else draft.now)
    whole_s = ran_s(attempt, heard, seen, draft.now)
    seconds = whole_s - refunded_s(attempt, end, ended_at, whole_s, draft.rules.refunds)
    moved = AttemptMoved(
        attempt=attempt.id,
        before=attempt.state,
        after=state,
        reason=reason,
        end=end,
        spend=spent_by(attempt, seconds, whole_s),
        incarnation=attempt.incarnation or None,
        nodes=(seen.nodes if seen is not None else "") or said_node(attempt, heard) or None,
        started_at=started_at(attempt, heard, seen),
        ended_at=ended_at,
    )
    draft.changes.append(moved)
    draft.ended.append(replace(attempt, state=state, end=end, started_at=moved.started_at, ended_at=ended_at))
