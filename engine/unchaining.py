"""Jobs that wait behind others taken back: when these fail, when their task is to be held, when others need what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from elisa.engine.places import ranks_of
from elisa.engine.stop import Stop
from elisa.model.ids import AttemptId, TaskId
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.states import AttemptState
from elisa.model.task import Attempt, in_front
from elisa.policies.budgets import Owner
from elisa.policies.budgets_caps import cap_rows
from elisa.policies.chaining import is_chained, kept_back, stranded
from elisa.policies.chainroom import Holder, Refused, beyond_caps, give_way, standing
from elisa.policies.plan import Plan
from elisa.policies.segments import not_wanted
from elisa.store.reader import Reader

__all__ = ["attempts_before", "unchaining_stops"]

_LACKING = {
    ReasonCode.WINDOW_FULL: "a place in the queue",
    ReasonCode.BUDGET_EXHAUSTED: "budget",
    ReasonCode.CONCURRENCY_CAP: "what its project may use at once",
}
# So many ready tasks are helped in a tick: the next one comes soon.
_BENEFICIARIES = 32


def unchaining_stops(
    reader: Reader, live: Mapping[AttemptId, Attempt], plan: Plan, now: datetime, unheard_s: float
) -> list[Stop]:
    """Return the native jobs to withdraw; those that leave already are left out.

    `unheard_s` is how long a manager may call jobs alive that have finished (0: for ever).
    """
    if not any(in_front(attempt) for attempt in live.values()):
        return []
    reasons: dict[AttemptId, Reason] = {
        one.id: because(ReasonCode.NOT_WANTED, behind=str(one.continues)) for one in not_wanted(live)
    }
    before = attempts_before(reader, live)
    for attempt in (*kept_back(live, before, now, unheard_s), *stranded(live, before)):
        reasons[attempt.id] = because(ReasonCode.UNCHAINED, behind=", ".join(attempt.behind))
    held = set(reader.hold_wanted())
    for attempt in live.values():
        if attempt.task in held and attempt.state is not AttemptState.RUNNING:
            reasons.setdefault(attempt.id, because(ReasonCode.HELD))
    # Those that share a native job hold nothing that could be given without the others.
    waiting = [one for one in live.values() if is_chained(one, live) and not one.cancel_sent and one.leader is None]
    for name, reason in _in_the_way(reader, [one for one in waiting if one.id not in reasons], plan, now):
        reasons.setdefault(name, reason)
    return [
        Stop(attempt=live[name], native_id=native_id, reason=reason)
        for name, reason in reasons.items()
        if (native_id := live[name].native_id) is not None and not live[name].cancel_sent
    ]


def attempts_before(reader: Reader, attempts: Mapping[AttemptId, Attempt]) -> Mapping[AttemptId, Attempt]:
    """Return every attempt that one of these was queued behind and that is not among them."""
    others = {other for attempt in attempts.values() for other in attempt.behind} - attempts.keys()
    return reader.attempts(sorted(others)) if others else {}


def _in_the_way(
    reader: Reader, waiting: Sequence[Attempt], plan: Plan, now: datetime
) -> Iterator[tuple[AttemptId, Reason]]:
    if not waiting:
        return
    refused = _refused(plan)
    tasks = reader.tasks([attempt.task for attempt in waiting])
    rank = ranks_of(reader, sorted({*tasks, *refused}), plan.snapshot, now)
    by_id = {one.id: one for one in waiting}
    holders = [
        Holder(one, Owner(tasks[one.task].project, tasks[one.task].owner_uid), *standing(one, by_id, rank))
        for one in waiting
    ]
    owners = sorted({holder.owner for holder in holders})
    caps = cap_rows(plan.snapshot.site, owners, reader.usage(now).rows)
    for name, row in beyond_caps(caps, holders):
        yield name, because(ReasonCode.CAP_CUT, project=row.owner.project)
    wants = [Refused(task, rank[task], reason) for task, reason in refused.items()]
    for name, want in give_way(wants, holders):
        yield name, because(ReasonCode.GAVE_PLACE, task=want.task, why=_LACKING[want.reason.code])


def _refused(plan: Plan) -> Mapping[TaskId, Reason]:
    found: dict[TaskId, Reason] = {}
    for reason, tasks in plan.passed_over_groups():
        if reason.code in _LACKING:
            found |= dict.fromkeys(tasks[:_BENEFICIARIES], reason)
    return dict(sorted(found.items(), key=lambda item: plan.rank(item[0]))[:_BENEFICIARIES])
