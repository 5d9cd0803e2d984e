"""Work played through: plan after plan, on a clock that jumps from one end to the next, under suppositions that are told.

The plans are the site's own: order, budgets, room, ties, gangs, reservations and closed times decide as they would.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from elisa.model.columns import RunningRow
from elisa.model.decisions import Preempt, Submit
from elisa.model.ids import AttemptId, TaskId
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import SitePolicy
from elisa.policies.board import Board, Held, held_by
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan
from elisa.policies.playing_ready import Waiting
from elisa.policies.snapshot import KeptRoom

__all__ = ["SUPPOSED", "Course", "Needs", "Played", "play"]

SUPPOSED = (
    "each task runs as long as is expected of it, by past runs or its author, else for all of its walltime",
    "all of them succeed, each condition is true, and a template makes one task",
    "nobody submits anything else, and what others hold on nodes now they hold for a day",
    "nobody is asked to leave but who uses lent room, and goes on later from where it saved",
    "what waits in a native queue begins when there is room for it in elisa's order; no tasks share a job",
)

_PLANS = 2000
# Tasks that all plans together may look at: some seconds of work.
_LOOKS = 2_000_000
# With nothing that runs only the calendar brings news: a grant, the end of a loan, a place that opens. So far it is read.
_IDLE_DAYS = 60
_OTHERS = timedelta(days=1)
# What a tick reads of the promises of the one before it: nothing for ties and closed times.
_FOR_WANT_OF_ROOM = frozenset({ReasonCode.NO_ROOM, ReasonCode.RESERVED_FOR_HIGHER, ReasonCode.HELD_FOR})

_NO_GANGS: Mapping[TaskId, int] = MappingProxyType({})

Needs = Callable[[Collection[TaskId]], bool]
"""Tells whether a task may begin, given the tasks that are done."""


class Course(NamedTuple):
    """When a task begins and ends, and on how many nodes; one that made room meanwhile began more than once."""

    begins_at: datetime
    ends_at: datetime
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of the work: when its tasks ran, and why those in `never` did not; None: what they need did not come.

    `until` is when the last of them ended, or if none ran how far was looked. `is_cut`: there was too much more to come.
    """

    courses: Mapping[TaskId, Course]
    never: Mapping[TaskId, Reason | None]
    until: datetime
    is_cut: bool = False


def play(
    inputs: PlanInputs,
    needs: Mapping[TaskId, Needs],
    lasts_s: Mapping[TaskId, float],
    plan_of: Callable[[PlanInputs], Plan],
    gang_of: Mapping[TaskId, int] = _NO_GANGS,
) -> Played:
    """Play the tasks of `needs` through, with all that is ready or runs beside them.

    `inputs` has a row for each of them among the ready ones, for each job that waits in a native queue, and for what runs
    in lent room and may be asked to leave it. `lasts_s` is how long a task runs on its fewest nodes, where that is not its
    walltime. `gang_of` tells the gang, by its number, of members that run already.
    """
    game = _Game(inputs, needs, dict(lasts_s), gang_of)
    while game.is_open and not game.is_cut:
        if not game.begin(plan_of(game.inputs())) and not game.go_on():
            break
    return game.outcome()


@dataclass(slots=True)
class _Game:
    """What runs, what waits and what is done while work is played through."""

    base: PlanInputs
    needs: Mapping[TaskId, Needs]
    lasts_s: dict[TaskId, float]
    gang_of: Mapping[TaskId, int]
    now: datetime = field(init=False)
    board: Board = field(init=False)
    others_leave_at: datetime = field(init=False)
    waiting: Waiting = field(init=False)
    turns: list[datetime] = field(init=False)
    runs: list[tuple[datetime, TaskId, float, Held]] = field(default_factory=list)
    done: set[TaskId] = field(default_factory=set)
    courses: dict[TaskId, Course] = field(default_factory=dict)
    reasons: dict[TaskId, Reason] = field(default_factory=dict)
    idle_days: int = 0
    plans: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self.now, self.board = self.base.now, Board(self.base)
        self.others_leave_at = self.now + _OTHERS
        self.turns = sorted(_turns(self.base.site))
        begun = {TaskId(row.task) for row in self.base.running if not row.is_queued}
        self.waiting = Waiting(self.base.ready, begun, self.gang_of)
        for row in self.base.running:
            self._take_over(row)

    def _take_over(self, row: RunningRow) -> None:
        """Let what runs go on to its end; what waits in a native queue begins anew, and pays then."""
        held, now_s = held_by(row), self.now.timestamp()
        if row.is_queued:
            self.board.give_back(held)
            return
        held = held._replace(may_leave=held.may_leave and self.waiting.knows(held.task))
        self.board.take_over(held)
        began_s = row.started_us / 1e6
        limit_s = max(now_s + 1, began_s + row.request.walltime_s)
        end_s = max(now_s + 1, self.base.ends.get(AttemptId(row.attempt), limit_s))
        self.lasts_s[held.task] = (end_s - began_s) * row.request.speed
        heapq.heappush(self.runs, (datetime.fromtimestamp(end_s, UTC), held.task, end_s - began_s, held))

    @property
    def is_open(self) -> bool:
        """Whether a task that is played through has not begun, or may have to leave and begin again."""
        may_leave = (task in self.needs for _, task, _, held in self.runs if held.may_leave)
        return any(task in self.waiting for task in self.needs) or any(may_leave)

    @property
    def is_cut(self) -> bool:
        """Whether so much was looked at that it must be enough."""
        return self.plans >= _PLANS or self.looks >= _LOOKS

    def inputs(self) -> PlanInputs:
        """Return what the plan of this moment is made of."""
        ready = self.waiting.columns(lambda task: task not in self.needs or self.needs[task](self.done))
        self.plans += 1
        self.looks += len(ready.task) + len(self.waiting) // 10
        runs: defaultdict[datetime, list[Held]] = defaultdict(list)
        for at, _, _, held in self.runs:
            runs[at].append(held)
        return self.board.inputs(ready, runs, self.now, dict(self._promised()))

    def _promised(self) -> Iterator[tuple[TaskId, KeptRoom]]:
        """Yield the room that the plan before kept for single tasks."""
        for task, reason in self.reasons.items():
            starts_at, nodes = reason.facts.get("starts_at"), reason.facts.get("nodes")
            may_be_kept = reason.code in _FOR_WANT_OF_ROOM and self.waiting.is_single(task) and task in self.waiting
            if may_be_kept and starts_at and nodes:
                yield task, KeptRoom(datetime.fromisoformat(str(starts_at)).timestamp(), tuple(str(nodes).split(",")))

    def begin(self, made: Plan) -> bool:
        """Begin what a plan starts now, and have leave who makes room for it; tell whether there was anything."""
        self.reasons = {one.task: one.reason for one in made.passed_over()}
        for one in made.decisions:
            if isinstance(one, Submit):
                self._begin(one, made)
        leaving = {one.attempt for one in made.decisions if isinstance(one, Preempt)}
        if leaving:
            self._leave(leaving)
        return bool(leaving) or any(isinstance(one, Submit) for one in made.decisions)

    def _begin(self, decision: Submit, made: Plan) -> None:
        task, request = decision.task, made.request(decision.task)
        (project, uid), shape = self.waiting.owner(task), self.waiting.shape(task)
        held = Held(
            task,
            project,
            uid,
            request,
            made.charge(task).gpu_type,
            decision.backend,
            made.nodes(task),
            self.now,
            shape.bond,
            shape.may_leave,
        )
        self.waiting.begin(task)
        runs_s = min(float(request.walltime_s), self.lasts_s.get(task, float(request.walltime_s)) / request.speed)
        self.board.take(held)
        ends_at = self.now + timedelta(seconds=max(1.0, runs_s))
        first = self.courses.get(task)
        self.courses[task] = Course(self.now if first is None else first.begins_at, ends_at, request.node_count)
        heapq.heappush(self.runs, (ends_at, task, runs_s, held))
        self.idle_days = 0

    def _leave(self, leaving: Collection[AttemptId]) -> None:
        """Have guests leave what was lent to them: they wait once more, with the rest of their work."""
        for at, task, _, held in [one for one in self.runs if one[-1].attempt in leaving]:
            ran_s = (self.now - held.began_at).total_seconds()
            self.lasts_s[task] = (at - self.now).total_seconds() * held.request.speed
            self.board.end(held, ran_s, self.now, is_over=False)
            self.waiting.come_back(task)
        self.runs = [one for one in self.runs if one[-1].attempt not in leaving]
        heapq.heapify(self.runs)

    def go_on(self) -> bool:
        """Go on to the next moment that may bring anything; tell whether there is any."""
        coming = [self.runs[0][0]] if self.runs else []
        last = self.now + timedelta(days=_IDLE_DAYS)
        coming += [moment for moment in self.turns if self.now < moment <= last][:1]
        if self.others_leave_at > self.now:
            coming.append(self.others_leave_at)
        elif not self.runs and _has_calendar(self.base.site) and self.idle_days < _IDLE_DAYS:
            self.idle_days += 1
            coming.append((self.now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0))
        if not coming:
            return False
        before, self.now = self.now, min(coming)
        while self.runs and self.runs[0][0] <= self.now:
            at, task, ran_s, held = heapq.heappop(self.runs)
            self.board.end(held, ran_s, at)
            self.waiting.end(task)
            self.done.add(task)
        if before < self.others_leave_at <= self.now:
            self.board.empty_of_others(held for *_, held in self.runs)
        return True

    def outcome(self) -> Played:
        """Return what came of the tasks that were to be played through."""
        left = [task for task in self.needs if task not in self.courses]
        ends = [self.courses[task].ends_at for task in self.needs if task in self.courses]
        return Played(
            courses={task: self.courses[task] for task in self.needs if task in self.courses},
            never={task: self.reasons.get(task) for task in left},
            until=max(ends, default=self.now),
            is_cut=self.is_open and self.is_cut,
        )


def _has_calendar(site: SitePolicy) -> bool:
    """Tell whether anything in the rules of a site changes by itself as time goes on."""
    projects = (*site.projects, site.unlisted)
    is_timed = any(one.grants or one.allowances or one.user_allowances for one in projects)
    return is_timed or bool(site.loans or site.closures or site.reservations)


def _turns(site: SitePolicy) -> set[datetime]:
    """Return the moments at which places open or close, and at which room is reserved or free again."""
    closed = {moment for one in site.closures for moment in (one.starts_at, one.ends_at)}
    return closed | {moment for one in site.reservations for moment in (one.starts_at, one.ends_at)}
