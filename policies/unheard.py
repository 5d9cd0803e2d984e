"""Jobs that their manager calls running, for long, and whose agent never gave a sign: nothing of them ever began.

A manager can believe for ever that a node runs what never reached it. Only the fence makes it safe to go on without such a
job: whatever comes of it later then finds itself shut out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elisa.model.events import EventKind, RuntimeEvent
from elisa.model.ids import AttemptId
from elisa.model.native import Observation, Seen
from elisa.model.states import AttemptState
from elisa.model.task import Attempt

__all__ = ["UnheardRules", "given_for_s", "is_overdue", "unheard_bundles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnheardRules:
    """How long an agent may take until it gives its first sign.

    `bound_s` is longer than any prolog and launch takes; 0: nothing is ever concluded from silence. `older_s` is how long the
    agent of a further attempt may wait, without a word, for one of an older attempt to show that it is alive.
    """

    bound_s: float = 900.0
    older_s: float = 0.0

    def of(self, attempt: Attempt) -> float:
        """Return the bound for one attempt, in seconds."""
        return self.bound_s + (self.older_s if attempt.number > 1 else 0.0)


def is_overdue(attempt: Attempt, seen: Observation | None, now: datetime, rules: UnheardRules) -> bool:
    """Tell whether a job has had its nodes for longer than its agent needs to give the sign that it never gave.

    One that was put back into the queue counts as never heard until it has begun again, whatever was heard before.
    """
    for_s = given_for_s(seen, now)
    is_silent = not attempt.claimed or (attempt.incarnation > 0 and attempt.state is AttemptState.QUEUED)
    return is_silent and rules.bound_s > 0 and for_s is not None and for_s > rules.of(attempt)


def given_for_s(seen: Observation | None, now: datetime) -> float | None:
    """Return for how long its manager says that a job has had all that it needs to run; None if it does not say so."""
    if not isinstance(seen, Seen) or seen.given_at is None:
        return None
    return (now - seen.given_at).total_seconds()


def unheard_bundles(live: Iterable[Attempt], said: Mapping[AttemptId, Sequence[RuntimeEvent]]) -> frozenset[AttemptId]:
    """Return the shared native jobs, by their leaders, in which nobody gave a sign: the leader is who would have been first."""
    silent: dict[AttemptId, bool] = {}
    leaders: set[AttemptId] = set()
    for attempt in live:
        if attempt.leader is None:
            continue
        leaders |= {attempt.id} & {attempt.leader}
        has_spoken = attempt.claimed or any(one.kind is not EventKind.REFUSED for one in said.get(attempt.id, ()))
        silent[attempt.leader] = silent.get(attempt.leader, True) and not has_spoken
    return frozenset(leader for leader in leaders if silent[leader])
