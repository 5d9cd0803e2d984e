"""The store brought up to date with what jobs said and managers answered; and with what follows for the tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from elisa.engine.cutoff import fence_s, longest_silence_s
from elisa.engine.leftovers import notes_of_left
from elisa.engine.seals import read_secret
from elisa.engine.segments import Ahead
from elisa.engine.settle import call_off, confirm_losses, finished_by
from elisa.engine.spool import Reading, SpoolNews, read_new
from elisa.engine.unchaining import attempts_before
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, TaskMoved
from elisa.model.events import EventKind
from elisa.model.ids import AttemptId, BackendName
from elisa.model.native import Poll
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import TaskState
from elisa.model.task import Attempt
from elisa.policies.chaining import has_failed
from elisa.policies.evidence import listen, news_of
from elisa.policies.lifecycle import LifecycleRules, Observed, Sightings, observe
from elisa.policies.recovery import RecoveryRules, after_end
from elisa.policies.segments import hold_back
from elisa.policies.unheard import UnheardRules
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["Evidence", "advance", "weigh", "with_progress"]

# A backend without a queue of its own starts a job at once or never: nothing can come late.
_AT_ONCE = LifecycleRules(grace_s=0.0, absences=1, unheard=UnheardRules(bound_s=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known in this tick about the live attempts. `found` holds what was searched for by tag."""

    now: datetime
    live: tuple[Attempt, ...]
    news: SpoolNews
    polls: Mapping[BackendName, Poll]
    found: Mapping[AttemptId, Sightings]


def with_progress(reader: Reader, evidence: Evidence) -> Evidence:
    """Return the evidence with the progress that earlier ticks read, of attempts that say now that they ended.

    At which step an attempt failed must not depend on where a tick cut its words in two.
    """
    events = evidence.news.events
    ended = {event.attempt: event for event in events if event.kind is EventKind.EXITED}
    told = {event.attempt for event in events if event.kind is EventKind.PROGRESS}
    known = reader.progress_of(sorted(ended.keys() - told)) if ended else {}
    earlier = (
        replace(ended[attempt], seq=-1, kind=EventKind.PROGRESS, data={"step": step})
        for attempt, step in sorted(known.items())
    )
    return replace(evidence, news=replace(evidence.news, events=(*earlier, *events))) if known else evidence


def weigh(ws: Workspace, evidence: Evidence) -> Observed:
    """Return what follows from the evidence, each backend judged by how late its answers may come."""
    said = defaultdict(list)
    for event in evidence.news.events:
        said[event.attempt].append(event)
    return _joined(
        observe(
            group,
            [event for attempt in group for event in said.get(attempt.id, ())],
            evidence.polls,
            evidence.found,
            evidence.now,
            rules=_rules(ws, name),
        )
        for name, group in _by_backend(evidence.live).items()
    )


def _by_backend(live: Iterable[Attempt]) -> Mapping[BackendName, Sequence[Attempt]]:
    groups: dict[BackendName, list[Attempt]] = defaultdict(list)
    for attempt in live:
        groups[attempt.backend].append(attempt)
    return groups


def _rules(ws: Workspace, name: BackendName) -> LifecycleRules:
    backend = ws.backends.get(name)
    if backend is None or backend.capabilities.queues:
        rules = ws.site.recovery.rules()
        return replace(rules, unheard=replace(rules.unheard, older_s=longest_silence_s(ws)))
    return replace(_AT_ONCE, linger_ticks=ws.site.recovery.linger_ticks)


def _joined(parts: Iterable[Observed]) -> Observed:
    whole = tuple(parts)
    return Observed(
        changes=tuple(change for part in whole for change in part.changes),
        ended=tuple(attempt for part in whole for attempt in part.ended),
        cancel=tuple(one for part in whole for one in part.cancel),
        unsettled=tuple(attempt for part in whole for attempt in part.unsettled),
    )


def advance(ws: Workspace, writer: Writer, evidence: Evidence) -> Observed:
    """Commit, in one transaction, what was read, what became of the attempts, and what that means for their tasks."""
    observed = confirm_losses(ws.files, ws.home, weigh(ws, with_progress(writer, evidence)))
    observed = hold_back(observed, evidence.live)
    consequences = _consequences(ws, writer, evidence.live, observed.ended, evidence.now)
    left = notes_of_left(observed.ended)
    changes = (*evidence.news.cursors, *evidence.news.bad, *observed.changes, *left, *consequences)
    if changes:
        ws.crash("advance.begin")
        writer.apply(changes)
        ws.crash("advance.done")
    call_off(ws.files, ws.home, observed.ended)
    return observed


def _consequences(
    ws: Workspace, writer: Writer, live: Sequence[Attempt], ended: Sequence[Attempt], now: datetime
) -> Iterator[Change]:
    tasks = writer.tasks([attempt.task for attempt in ended])
    just_ended = {attempt.id: attempt for attempt in ended}
    before = {**attempts_before(writer, just_ended), **just_ended}
    ahead = Ahead(ws, live, ended)
    # Whether one that was queued ahead is its task's own, only the end before it tells.
    for one in sorted(ended, key=lambda one: 0 if one.continues is None else one.number):
        attempt = ahead.own(one)
        if attempt is None:
            continue
        finisher = finished_by(ws.files, ws.home, attempt)
        if finisher is not None:
            yield from _finished_elsewhere(ws, writer, attempt, finisher)
            continue
        siblings = writer.attempts_of(attempt.task) if attempt.number > 1 else ()
        moved = after_end(
            tasks[attempt.task],
            attempt,
            [just_ended.get(other.id, other) for other in siblings if ahead.is_own(other)],
            now,
            ws.random.uniform(),
            _recovery_rules(ws, attempt),
            is_chain_broken=any(has_failed(before.get(other)) for other in attempt.behind),
        )
        yield ahead.follow(attempt, moved)


def _finished_elsewhere(ws: Workspace, writer: Writer, refused: Attempt, finisher: AttemptId) -> Iterator[Change]:
    """Believe an attempt that was given up for lost, and finished the task all the same; hear what else it said."""
    reading = Reading(files=ws.files, home=ws.home, secret=read_secret(ws.files, ws.home), uid=ws.uid)
    news = read_new(reading, [finisher], writer.events_cursor())
    yield from news.cursors
    yield from news.bad
    for attempt in writer.attempts([finisher]).values():
        yield from news_of(attempt, listen(news.events))
    yield TaskMoved(
        task=refused.task,
        before=TaskState.ACTIVE,
        after=TaskState.SUCCEEDED,
        reason=because(ReasonCode.RAN_ELSEWHERE, attempt=finisher),
    )


def _recovery_rules(ws: Workspace, attempt: Attempt) -> RecoveryRules:
    """Return rules by which a successor waits until a job cut off from us has certainly stopped itself."""
    backend = ws.backends.get(attempt.backend)
    is_remote = backend is None or backend.capabilities.queues
    return RecoveryRules(fence_s=fence_s(ws, attempt.id) if is_remote and attempt.claimed else 0.0)
