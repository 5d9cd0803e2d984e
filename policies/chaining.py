"""Who may be queued behind jobs that have not ended: tasks that are certain to be wanted once those have succeeded.

A native job queued with a dependency starts seconds after its predecessors, without a tick between. It is wanted for
certain if their success alone is what its task still lacks: whatever could decide otherwise meanwhile, it waits for a tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from elisa.model.conditions import evaluate
from elisa.model.ids import AttemptId, BackendName, TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.pipeline import NeedKind, RestartWhen
from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.model.states import FINAL_ATTEMPT_STATES, AttemptState, EndReason, TaskState
from elisa.model.task import Attempt, CheckpointRef, Task, in_front
from elisa.policies.budgets import charge_of
from elisa.policies.readiness import condition_of, is_met, lookup_of

__all__ = [
    "NEVER_STARTS",
    "Link",
    "Tip",
    "has_failed",
    "is_chained",
    "kept_back",
    "link_of",
    "stranded",
    "tips_of",
    "with_heirs",
]

_QUEUED = frozenset({AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.QUEUED})

NEVER_STARTS = "DependencyNeverSatisfied"
"""What resource managers say of a job that waits for what can't come any more (Slurm's word, kept by all)."""

# What Slurm and the simulated cluster say of one that waits for other jobs, and how PBS's words about it begin here.
_WAITS_FOR_OTHERS = ("Dependency", "waits for ")


class Tip(NamedTuple):
    """A live attempt that others may be queued behind. `depth` counts the jobs in a row, up to it, that wait for another."""

    attempt: AttemptId
    backend: BackendName
    owner_uid: int
    depth: int = 0


# Who was queued behind the same jobs and taken back so often waits for them outside of the queue.
_OFTEN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A task to be queued on `backend` behind live attempts, as number `depth` of the jobs that wait for one another.

    `words` names those attempts for a person. `is_next`: the attempt behind which it is queued is at this very task, and
    the next one is to go on where that ends, at the present from `resume_from`. `inherits` is the one of these whose place
    under what may be used at once it takes over.
    """

    task: TaskId
    behind: tuple[AttemptId, ...]
    backend: BackendName
    depth: int
    words: str = ""
    is_next: bool = False
    resume_from: CheckpointRef | None = None
    inherits: AttemptId | None = None

    def reason_for(self, chosen: Reason) -> Reason:
        """Return why a plan that chose the place submits the task before its needs are met."""
        facts = {name: fact for name, fact in chosen.facts.items() if name != "rank"}
        code = ReasonCode.QUEUED_AHEAD if self.is_next else ReasonCode.CHAINED
        return because(code, behind=self.words, **facts)


def is_chained(attempt: Attempt, live: Mapping[AttemptId, Attempt]) -> bool:
    """Tell whether a native job still waits for another's end."""
    return attempt.state in _QUEUED and any(other in live for other in in_front(attempt))


def tips_of(live: Mapping[AttemptId, Attempt], tasks: Mapping[TaskId, Task]) -> Mapping[TaskId, Tip]:
    """Return the live attempts that others may be queued behind, by their tasks, as far as `tasks` holds these.

    Left out are those whose native job is not known, that leave or have said how they ended, services that begin again, and
    work that will need another attempt.
    """
    in_parts = {attempt.task for attempt in live.values() if attempt.continues is not None}
    return {
        attempt.task: Tip(attempt.id, attempt.backend, tasks[attempt.task].owner_uid, _depth(attempt, live))
        for attempt in live.values()
        if attempt.task in tasks and attempt.task not in in_parts and _will_finish(attempt, tasks[attempt.task])
    }


def _will_finish(attempt: Attempt, task: Task) -> bool:
    if attempt.native_id is None or attempt.cancel_sent or attempt.end is not None:
        return False
    return not (task.cancel_requested or task.hold_requested or task.spec.retry.restart is RestartWhen.ALWAYS)


def _depth(attempt: Attempt, live: Mapping[AttemptId, Attempt]) -> int:
    if attempt.state not in _QUEUED:
        return 0
    return max((1 + _depth(live[other], live) for other in attempt.behind if other in live), default=0)


def link_of(
    task: Task, needs: Sequence[ResolvedNeed], tips: Mapping[TaskId, Tip], earlier: Iterable[Attempt] = ()
) -> Link | None:
    """Return what a waiting task is to be queued behind; None if it is not certain to be wanted, or cannot be.

    `earlier` are its former attempts: what a resource manager did not want behind these very jobs is not offered again.
    """
    if task.state is not TaskState.WAITING or not _may_chain(task):
        return None
    wanted = _all_wanted(needs)
    found = [tips.get(target.id) for target in wanted or ()]
    known = [tip for tip in found if tip is not None and tip.owner_uid == task.owner_uid]
    if (
        not known
        or len(known) < len(found)
        or len({tip.backend for tip in known}) > 1
        or not _condition_holds(task, needs)
    ):
        return None
    behind = tuple(sorted(tip.attempt for tip in known))
    earlier = tuple(earlier)
    if any(_was_refused(attempt, behind) for attempt in earlier):
        return None
    if sum(_was_taken_back(attempt, behind) for attempt in earlier) >= _OFTEN:
        return None
    return Link(task=task.id, behind=behind, backend=known[0].backend, depth=1 + max(tip.depth for tip in known))


def _may_chain(task: Task) -> bool:
    spec = task.spec
    is_plain = spec.chain and spec.expansion is None and spec.gang is None and not spec.placement.affinity
    return is_plain and task.not_before is None and not task.cancel_requested


def _all_wanted(needs: Sequence[ResolvedNeed]) -> tuple[Target, ...] | None:
    """Return the tasks whose success, and nothing else, is still lacking; None if something else could decide."""
    wanted: dict[TaskId, Target] = {}
    for resolved in needs:
        lacking = _wanted(resolved)
        if lacking is None:
            return None
        wanted |= {target.id: target for target in lacking}
    return tuple(wanted.values())


def _wanted(resolved: ResolvedNeed) -> tuple[Target, ...] | None:
    need, targets = resolved.need, resolved.targets
    open_ = tuple(target for target in targets if not is_met(target, need))
    missing = (len(targets) if need.at_least is None else need.at_least) - (len(targets) - len(open_))
    if missing <= 0:
        return ()
    is_certain = need.kind is NeedKind.SUCCESS and need.timeout_s is None and missing == len(open_)
    return open_ if is_certain else None


def _condition_holds(task: Task, needs: Sequence[ResolvedNeed]) -> bool:
    """Tell whether a condition is true already, and speaks only of tasks from which nothing new can come."""
    if not task.spec.when:
        return True
    condition, lookup = condition_of(task.spec.when), lookup_of(needs)
    spoken_of = [target for name in condition.names for target in lookup(name)]
    return all(one.state is TaskState.SUCCEEDED for one in spoken_of) and evaluate(condition, lookup) is True


def with_heirs(
    links: Sequence[Link], tasks: Mapping[TaskId, Task], live: Mapping[AttemptId, Attempt]
) -> Sequence[Link]:
    """Return the links with those that take over what an attempt in front of them holds, one of each attempt at most.

    A job that begins only after another one has ended never uses anything beside that one: if it needs no more, it counts
    for nothing under what may be used at once until then.
    """
    taken = {attempt.inherits for attempt in live.values()}
    found = []
    for link in links:
        request = tasks[link.task].request
        place = next((one for one in link.behind if one not in taken and _has_room(live[one].request, request)), None)
        taken.add(place)
        found.append(replace(link, inherits=place))
    return found


def _has_room(held: Resources, wanted: Resources) -> bool:
    """Tell whether what one request takes at a time is enough for another, whatever is chosen for that."""
    is_fixed = wanted.elastic is None and len(wanted.gpus.types) <= 1
    has_enough = all(
        getattr(wanted, name) <= getattr(held, name)
        for name in ("node_count", "cpus", "memory_mib", "gpu_count", "draw_w")
    )
    return is_fixed and has_enough and charge_of(wanted, 0).gpu_type == charge_of(held, 0).gpu_type


def _was_refused(attempt: Attempt, behind: tuple[AttemptId, ...]) -> bool:
    """Tell whether an attempt behind the same jobs was ended by others before it began."""
    if attempt.behind != behind or attempt.end is None or attempt.claimed or attempt.cancel_sent:
        return False
    return attempt.native_id is not None or attempt.end.reason is EndReason.REJECTED


def _was_taken_back(attempt: Attempt, behind: tuple[AttemptId, ...]) -> bool:
    """Tell whether an attempt behind the same jobs was withdrawn for others before it began."""
    return attempt.behind == behind and attempt.cancel_sent and not attempt.claimed


def stranded(live: Mapping[AttemptId, Attempt], before: Mapping[AttemptId, Attempt]) -> tuple[Attempt, ...]:
    """Return the jobs that wait behind others and will not begin any more, those in front first.

    `before` holds every attempt that a live one was queued behind. Who waits behind one of these is among them, too.
    """
    lost: dict[AttemptId, Attempt] = {}
    for attempt in sorted(live.values(), key=lambda one: (_depth(one, live), one.id)):
        # The agent of a shared job says by itself who cannot begin in it any more.
        is_apart = attempt.leader is None
        if is_apart and attempt.state in _QUEUED and attempt.behind and _is_stranded(attempt, live, before, lost):
            lost[attempt.id] = attempt
    return tuple(lost.values())


def _is_stranded(
    attempt: Attempt,
    live: Mapping[AttemptId, Attempt],
    before: Mapping[AttemptId, Attempt],
    lost: Mapping[AttemptId, Attempt],
) -> bool:
    others = [live.get(other) or before.get(other) for other in attempt.behind]
    if any(other in lost for other in attempt.behind) or any(map(_will_not_finish, others)):
        return True
    return NEVER_STARTS in attempt.native_detail and not any(other in live for other in attempt.behind)


def kept_back(
    live: Mapping[AttemptId, Attempt], before: Mapping[AttemptId, Attempt], now: datetime, bound_s: float
) -> tuple[Attempt, ...]:
    """Return the jobs that a manager has wait for others which all succeeded more than `bound_s` ago (0: none).

    It may never learn that those are over, as the job itself has told us. `before` is as for `stranded`.
    """
    return tuple(one for one in live.values() if bound_s and _is_kept_back(one, live, before, now, bound_s))


def _is_kept_back(
    attempt: Attempt,
    live: Mapping[AttemptId, Attempt],
    before: Mapping[AttemptId, Attempt],
    now: datetime,
    bound_s: float,
) -> bool:
    is_waiting = attempt.state in _QUEUED and attempt.native_detail.startswith(_WAITS_FOR_OTHERS)
    if not (is_waiting and attempt.behind) or any(other in live for other in attempt.behind):
        return False
    ends = [before[other].ended_at for other in attempt.behind if not has_failed(before.get(other))]
    known = [at for at in ends if at is not None]
    return len(known) == len(attempt.behind) and (now - max(known)).total_seconds() > bound_s


def has_failed(attempt: Attempt | None) -> bool:
    """Tell whether an attempt is over, or was never there, without success."""
    if attempt is None:
        return True
    is_over = attempt.state in FINAL_ATTEMPT_STATES
    return is_over and (attempt.end is None or attempt.end.reason is not EndReason.COMPLETED)


def _will_not_finish(attempt: Attempt | None) -> bool:
    if attempt is None or attempt.state in FINAL_ATTEMPT_STATES:
        return has_failed(attempt)
    # What runs when it is asked to leave may still finish; what waits does not begin.
    return attempt.cancel_sent and attempt.state in _QUEUED
