"""Tasks held while their jobs wait in native queues: the job is held there, and let go when the task is released.

A job that is held keeps its number, and its place as far as its manager counts so. What cannot be held where it waits, or was
so for long, is taken back. Each call is written down before and after, so that a job is only released that elisa itself held:
a hold of the user's own, or of an operator, is nobody's business but theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from elisa.engine.managers import Managers
from elisa.engine.stop import Stop
from elisa.engine.workspace import Workspace
from elisa.model.changes import Change, HoldRequested, Noted
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import Answered, NativeState, Poll, Seen
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState
from elisa.model.task import Attempt, in_front
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["Kept", "holding_stops", "keep_holds"]

# As long it may fill a place of the window and keep what it reserved.
_KEPT_FOR = timedelta(minutes=15)
_WAITING = frozenset({AttemptState.SUBMITTED, AttemptState.QUEUED})
_NOTED = "noted."


class _Step(StrEnum):
    """What was last written down about a hold of elisa's own; the value is the note's name."""

    HOLDING = "native_holding"  # right before the call
    HELD = "native_held"
    NOT_HELD = "native_not_held"  # the manager would not
    RELEASING = "native_releasing"  # right before the call
    RELEASED = "native_released"


_STEPS = {_NOTED + step.value: step for step in _Step}
_OURS = frozenset({_Step.HOLDING, _Step.HELD, _Step.RELEASING})


class _Last(NamedTuple):
    step: _Step
    at: datetime


class Kept(NamedTuple):
    """The attempts whose native jobs are held, and let go, by a manager that this tick asked to."""

    held: tuple[AttemptId, ...]
    released: tuple[AttemptId, ...]


def holding_stops(
    ws: Workspace,
    reader: Reader,
    live: Mapping[AttemptId, Attempt],
    now: datetime,
    but_not: Collection[AttemptId] = (),
) -> Iterator[Stop]:
    """Yield the native jobs to take back because their tasks are to be held; those that leave anyway are left out."""
    wanted = [one for one in _wanted(reader, live) if one.id not in but_not and not one.cancel_sent]
    known = _known(reader) if wanted else {}
    for attempt in wanted:
        if attempt.native_id is not None and _has_to_leave(ws, attempt, known.get(attempt.id), now):
            yield Stop(attempt=attempt, native_id=attempt.native_id, reason=because(ReasonCode.HELD))


def _has_to_leave(ws: Workspace, attempt: Attempt, last: _Last | None, now: datetime) -> bool:
    if not _can_be_held(ws, attempt):
        return True
    return last is not None and (last.step is _Step.NOT_HELD or (last.step in _OURS and now - last.at >= _KEPT_FOR))


def keep_holds(
    ws: Workspace,
    writer: Writer,
    managers: Managers,
    live: Mapping[AttemptId, Attempt],
    polls: Mapping[BackendName, Poll],
) -> Kept:
    """Hold the jobs that wait of tasks that somebody wants held, and release those that are wanted no more.

    Return those of which the managers did so. `live` are the attempts that are not being stopped. What somebody released by
    other means is wanted held no more.
    """
    wanted = {attempt.id for attempt in _wanted(writer, live)}
    known = {name: last for name, last in _known(writer).items() if name in live}
    states = {name: _state_in(polls, live[name]) for name in wanted | known.keys()}
    queued = {name for name, state in states.items() if state is NativeState.QUEUED and not live[name].cancel_sent}
    ours = {name for name, last in known.items() if last.step in _OURS}
    let_go = {name for name in wanted & queued if name in known and known[name].step is _Step.HELD}
    writer.apply([_note(live[name], _Step.RELEASED) for name in sorted((ours & queued - wanted) | let_go)])
    writer.apply([_unwanted(live[name]) for name in sorted(let_go)])
    holding = _Call(before=_Step.HOLDING, done=_Step.HELD, refused=_Step.NOT_HELD, ask=managers.hold)
    now_held = _carry_out(ws, writer, holding, [live[name] for name in sorted(wanted & queued - let_go)], known)
    releasing = _Call(before=_Step.RELEASING, done=_Step.RELEASED, refused=_Step.RELEASING, ask=managers.release)
    held = {name for name in ours - wanted if states[name] is NativeState.HELD}
    return Kept(now_held, _carry_out(ws, writer, releasing, [live[name] for name in sorted(held)], known))


def _wanted(reader: Reader, live: Mapping[AttemptId, Attempt]) -> Sequence[Attempt]:
    """Return what waits of tasks that somebody wants held; what waits behind other jobs is taken back elsewhere."""
    tasks = set(reader.hold_wanted())
    return [one for one in live.values() if one.task in tasks and one.state in _WAITING and not in_front(one)]


def _known(reader: Reader) -> Mapping[AttemptId, _Last]:
    """Return what was last done about the holds that elisa ever set on jobs that wait."""
    return {name: _last(reader, name) for name in reader.waiting_noted(_Step.HOLDING.value)}


def _last(reader: Reader, attempt: AttemptId) -> _Last:
    rows = [row for row in reader.audit(subject=attempt) if row.kind in _STEPS]
    return _Last(_STEPS[rows[-1].kind], rows[-1].at)


def _can_be_held(ws: Workspace, attempt: Attempt) -> bool:
    backend = ws.backends.get(attempt.backend)
    return backend is not None and backend.capabilities.hold and attempt.leader is None


def _state_in(polls: Mapping[BackendName, Poll], attempt: Attempt) -> NativeState | None:
    poll = polls.get(attempt.backend)
    if not isinstance(poll, Answered) or attempt.native_id is None:
        return None
    seen = poll.observations.get(attempt.native_id)
    return seen.state if isinstance(seen, Seen) else None


def _unwanted(attempt: Attempt) -> Change:
    return HoldRequested(task=attempt.task, by=attempt.backend, wanted=False)


class _Call(NamedTuple):
    """A call to a manager, and the steps of those about to be named to it, of whom it did it, and of the others."""

    before: _Step
    done: _Step
    refused: _Step
    ask: Callable[[BackendName, Collection[NativeId]], frozenset[NativeId] | None]


def _carry_out(
    ws: Workspace, writer: Writer, call: _Call, attempts: Iterable[Attempt], known: Mapping[AttemptId, _Last]
) -> tuple[AttemptId, ...]:
    """Ask each manager once; return those of which it did what it was asked."""
    did: list[AttemptId] = []
    groups: dict[BackendName, dict[NativeId, Attempt]] = defaultdict(dict)
    for attempt in attempts:
        if attempt.native_id is not None:
            groups[attempt.backend][attempt.native_id] = attempt
    for name, group in sorted(groups.items()):
        steps = {one.id: known[one.id].step for one in group.values() if one.id in known}
        writer.apply([_note(one, call.before) for one in group.values() if steps.get(one.id) is not call.before])
        ws.crash("hold.sent")
        done = call.ask(name, list(group))
        ws.crash("hold.asked")
        if done is not None:
            answers = {one: call.done if native_id in done else call.refused for native_id, one in group.items()}
            writer.apply([_note(one, step) for one, step in answers.items() if step is not call.before])
            did += [one.id for one, step in answers.items() if step is call.done]
        ws.crash("hold.noted")
    return tuple(did)


def _note(attempt: Attempt, step: _Step) -> Noted:
    return Noted(subject=attempt.id, what=step.value, facts={"native_id": str(attempt.native_id)})
