"""Work played through: plan after plan, on a clock that jumps from one end to the next, under suppositions that are told.

The plans are the site's own: order, budgets, room, ties, gangs, reservations and closed times decide as they would.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import NamedTuple

from elisa.model.columns import RunningRow
from elisa.model.decisions import Park, Preempt, Submit
from elisa.model.ids import AttemptId, TaskId
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import Closure, SitePolicy
from elisa.policies.board import Board, Held, held_by
from elisa.policies.hibernation import coming
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan
from elisa.policies.played import Course, Played, Short, Work
from elisa.policies.playing_ready import Waiting
from elisa.policies.snapshot import KeptRoom

__all__ = ["play"]

_PLANS = 2000
# Tasks that all plans together may look at: some seconds of work.
_LOOKS = 2_000_000
# With nothing that runs only the calendar brings news: a grant, the end of a loan, a place that opens. So far it is read.
_IDLE_DAYS = 60
_OTHERS = timedelta(days=1)
# Who has to leave by a moment is looked at just after it: seconds since the epoch are no exact numbers.
_TICK = timedelta(milliseconds=1)
# What a tick reads of the promises of the one before it: nothing for ties and closed times.
_FOR_WANT_OF_ROOM = frozenset({ReasonCode.NO_ROOM, ReasonCode.RESERVED_FOR_HIGHER, ReasonCode.HELD_FOR})


def play(inputs: PlanInputs, work: Work, plan_of: Callable[[PlanInputs], Plan]) -> Played:
    """Play work through, with all that is ready or runs beside it.

    `inputs` has a row for each of its tasks that waits among the ready ones, for each job that waits in a native queue, and
    for what runs and may have to leave.
    """
    game = _Game(inputs, work)
    while game.is_open and not game.is_cut:
        if not game.begin(plan_of(game.inputs())) and not game.go_on():
            break
    return game.outcome()


class _Run(NamedTuple):
    """A task that runs: when it is over or has to stop, how long it will have run then, and how much is left of it."""

    ends_at: datetime
    task: TaskId
    runs_s: float
    held: Held
    rest_s: float = 0.0


@dataclass(slots=True)
class _Game:
    """What runs, what waits and what is done while work is played through."""

    base: PlanInputs
    work: Work
    lasts_s: dict[TaskId, float] = field(init=False)
    now: datetime = field(init=False)
    board: Board = field(init=False)
    others_leave_at: datetime = field(init=False)
    waiting: Waiting = field(init=False)
    turns: list[datetime] = field(init=False)
    runs: list[_Run] = field(default_factory=list)
    done: set[TaskId] = field(default_factory=set)
    courses: dict[TaskId, Course] = field(default_factory=dict)
    reasons: dict[TaskId, Reason] = field(default_factory=dict)
    short: dict[tuple[object, ...], Short] = field(default_factory=dict)
    next_parting: datetime | None = None
    idle_days: int = 0
    plans: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self.now, self.board = self.base.now, Board(self.base)
        self.others_leave_at = self.now + _OTHERS
        self.lasts_s = dict(self.work.lasts_s)
        self.turns = sorted(_turns(self.base.site) | set(self.work.not_before.values()))
        begun = {TaskId(row.task) for row in self.base.running if not row.is_queued}
        self.waiting = Waiting(self.base.ready, begun, self.work.gang_of)
        for row in self.base.running:
            if not row.is_queued:
                self._take_over(row)
            elif row.task in begun:
                self.board.count_out(held_by(row))
            else:
                # What waits in a native queue begins anew, and pays then.
                self.board.give_back(held_by(row))

    def _take_over(self, row: RunningRow) -> None:
        """Let what runs go on to its end."""
        held, now_s = held_by(row), self.now.timestamp()
        is_foreseen = AttemptId(row.attempt) in self.base.ends
        may_leave = held.may_leave and self.waiting.knows(held.task)
        held = held._replace(may_leave=may_leave, is_foreseen=is_foreseen)
        self.board.take_over(held)
        began_s, speed = row.started_us / 1e6, row.request.speed
        limit_s = max(now_s + 1, began_s + row.request.walltime_s)
        said_s = self.lasts_s.get(held.task)
        wish_s = self.base.ends.get(AttemptId(row.attempt), limit_s) if said_s is None else now_s + said_s / speed
        end_s = max(now_s + 1, min(limit_s, wish_s))
        run = _Run(
            datetime.fromtimestamp(end_s, UTC), held.task, end_s - began_s, held, self._rest(held.task, wish_s - end_s)
        )
        if held.task in self.work.needs:
            self.courses[held.task] = Course(held.began_at, run.ends_at, row.request.node_count)
        heapq.heappush(self.runs, run._replace(rest_s=run.rest_s * speed))

    def _rest(self, task: TaskId, seconds: float) -> float:
        """Return how much is left of a task at the end of a run, of so much that it would have to go on."""
        goes_on = seconds >= 1 and task in self.work.saves and self.waiting.knows(task)
        return seconds if goes_on else 0.0

    @property
    def is_open(self) -> bool:
        """Whether a task that is played through has not begun, or may have to begin again."""
        may_return = (run.task in self.work.needs for run in self.runs if run.held.may_leave or run.rest_s)
        return any(task in self.waiting for task in self.work.needs) or any(may_return)

    @property
    def is_cut(self) -> bool:
        """Whether so much was looked at that it must be enough."""
        return self.plans >= _PLANS or self.looks >= _LOOKS

    def inputs(self) -> PlanInputs:
        """Return what the plan of this moment is made of."""
        ready = self.waiting.columns(self._is_ready)
        self.plans += 1
        self.looks += len(ready.task) + len(self.waiting) // 10
        runs: defaultdict[datetime, list[Held]] = defaultdict(list)
        for run in self.runs:
            runs[run.ends_at].append(run.held)
        return self.board.inputs(ready, runs, self.now, dict(self._promised()))

    def _is_ready(self, task: TaskId) -> bool:
        needs, not_before = self.work.needs.get(task), self.work.not_before.get(task)
        return (needs is None or needs(self.done)) and (not_before is None or not_before <= self.now)

    def _promised(self) -> Iterator[tuple[TaskId, KeptRoom]]:
        """Yield the room that the plan before kept for single tasks."""
        for task, reason in self.reasons.items():
            starts_at, nodes = reason.facts.get("starts_at"), reason.facts.get("nodes")
            may_be_kept = reason.code in _FOR_WANT_OF_ROOM and self.waiting.is_single(task) and task in self.waiting
            if may_be_kept and starts_at and nodes:
                yield task, KeptRoom(datetime.fromisoformat(str(starts_at)).timestamp(), tuple(str(nodes).split(",")))

    def begin(self, made: Plan) -> bool:
        """Begin what a plan starts now, and have leave who makes room for it; tell whether there was anything."""
        self._note_refusals(made)
        for one in made.decisions:
            if isinstance(one, Submit):
                self._begin(one, made)
        leaving = {one.attempt for one in made.decisions if isinstance(one, Preempt | Park)}
        if leaving:
            self._leave(leaving)
        return bool(leaving) or any(isinstance(one, Submit) for one in made.decisions)

    def _note_refusals(self, made: Plan) -> None:
        """Note why tasks wait, which budgets are short, and when the next has to leave for that."""
        self.reasons = {}
        for reason, tasks in made.passed_over_groups():
            self.reasons |= dict.fromkeys(tasks, reason)
            if reason.code is ReasonCode.BUDGET_EXHAUSTED:
                which = tuple(reason.facts.get(name) for name in ("project", "user", "resource", "every"))
                self.short.setdefault(which, Short(self.now, reason))
        seen = made.snapshot
        moments = (one.at_s for one in coming(seen.site, seen.usage.rows, seen.running, seen.now_s))
        first_s = min((at_s for at_s in moments if seen.now_s < at_s < inf), default=None)
        self.next_parting = None if first_s is None else datetime.fromtimestamp(first_s, UTC) + _TICK

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
            shape.may_leave or task in self.work.may_leave,
            is_foreseen=shape.expected_s > 0,
            priority=self.waiting.priority(task),
            ready_us=self.waiting.ready_us(task),
        )
        self.waiting.begin(task)
        wish_s = self.lasts_s.get(task, float(request.walltime_s)) / request.speed
        runs_s = min(float(request.walltime_s), wish_s)
        self.board.take(held)
        ends_at = self.now + timedelta(seconds=max(1.0, runs_s))
        first = self.courses.get(task)
        self.courses[task] = Course(self.now if first is None else first.begins_at, ends_at, request.node_count)
        rest_s = self._rest(task, wish_s - runs_s) * request.speed
        heapq.heappush(self.runs, _Run(ends_at, task, runs_s, held, rest_s))
        self.idle_days = 0

    def _leave(self, leaving: Collection[AttemptId]) -> None:
        """Have some leave what was lent to them, closes, or is beyond a limit: they wait again, with the rest of their work."""
        for run in [one for one in self.runs if one.held.attempt in leaving]:
            ran_s = (self.now - run.held.began_at).total_seconds()
            left_s = (run.ends_at - self.now).total_seconds() * run.held.request.speed
            self._come_back(run._replace(runs_s=ran_s, rest_s=left_s + run.rest_s), self.now)
        self.runs = [one for one in self.runs if one.held.attempt not in leaving]
        heapq.heapify(self.runs)

    def _come_back(self, run: _Run, at: datetime) -> None:
        self.lasts_s[run.task] = run.rest_s
        self.board.end(run.held, run.runs_s, at, is_over=False)
        self.waiting.come_back(run.task, at)

    def go_on(self) -> bool:
        """Go on to the next moment that may bring anything; tell whether there is any."""
        moments = [self.runs[0].ends_at] if self.runs else []
        last = self.now + timedelta(days=_IDLE_DAYS)
        moments += [moment for moment in self.turns if self.now < moment <= last][:1]
        moments += [] if self.next_parting is None else [self.next_parting]
        if self.others_leave_at > self.now:
            moments.append(self.others_leave_at)
        elif not self.runs and _has_calendar(self.base.site) and self.idle_days < _IDLE_DAYS:
            self.idle_days += 1
            moments.append((self.now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0))
        if not moments:
            return False
        before, self.now = self.now, min(moments)
        while self.runs and self.runs[0].ends_at <= self.now:
            self._end(heapq.heappop(self.runs))
        if before < self.others_leave_at <= self.now:
            self.board.empty_of_others(run.held for run in self.runs)
        self._clear()
        return True

    def _clear(self) -> None:
        """Have who saves leave the places that are closed."""
        closed = [one for one in self.base.site.closures if one.starts_at <= self.now < one.ends_at]
        may_leave = [run.held for run in self.runs if run.held.may_leave] if closed else []
        leaving = {held.attempt for held in may_leave if any(_is_at(held, one) for one in closed)}
        if leaving:
            self._leave(leaving)

    def _end(self, run: _Run) -> None:
        """Let a run be over: its task is done, or goes on in another as soon as there is room."""
        if run.rest_s:
            self._come_back(run, run.ends_at)
            return
        self.board.end(run.held, run.runs_s, run.ends_at)
        self.waiting.end(run.task)
        self.done.add(run.task)

    def outcome(self) -> Played:
        """Return what came of the tasks that were to be played through."""
        left = [task for task in self.work.needs if task in self.waiting]
        courses = {task: self.courses[task] for task in self.work.needs if task not in self.waiting}
        return Played(
            courses=courses,
            never={task: self.reasons.get(task) for task in left},
            until=max((course.ends_at for course in courses.values()), default=self.now),
            is_cut=self.is_open and self.is_cut,
            short=tuple(self.short.values()),
        )


def _is_at(held: Held, closure: Closure) -> bool:
    """Tell whether something runs at a place that closes."""
    is_there = not closure.nodes or any(map(closure.covers, held.nodes))
    return held.backend == closure.backend and is_there


def _has_calendar(site: SitePolicy) -> bool:
    """Tell whether anything in the rules of a site changes by itself as time goes on."""
    projects = (*site.projects, site.unlisted)
    is_timed = any(one.grants or one.allowances or one.user_allowances for one in projects)
    return is_timed or bool(site.loans or site.closures or site.reservations)


def _turns(site: SitePolicy) -> set[datetime]:
    """Return the moments at which places open or close, and at which room is reserved or free again."""
    closed = {moment for one in site.closures for moment in (one.starts_at, one.ends_at)}
    return closed | {moment for one in site.reservations for moment in (one.starts_at, one.ends_at)}
