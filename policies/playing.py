"""Work played through: plan after plan, on a clock that jumps from one end to the next, under suppositions that are told.

The plans are the site's own: order, budgets, room and closed times decide as they would.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from elisa.model.columns import ReadyColumns, RunningRow
from elisa.model.decisions import Submit
from elisa.model.ids import AttemptId, ProjectName, TaskId
from elisa.model.reasons import Reason
from elisa.model.site import SitePolicy
from elisa.policies.board import Board, Held, held_by
from elisa.policies.inputs import PlanInputs
from elisa.policies.plan import Plan

__all__ = ["SUPPOSED", "Course", "Needs", "Played", "play"]

SUPPOSED = (
    "each task runs as long as is expected of it, by past runs or its author, else for all of its walltime",
    "all of them succeed, each condition is true, and a template makes one task",
    "nobody submits anything else, nobody is asked to leave, and what others hold on nodes now they hold for a day",
    "what waits in a native queue begins when there is room for it in elisa's order; no tasks share a job",
)

_PLANS = 2000
# Tasks that all plans together may look at: some seconds of work.
_LOOKS = 2_000_000
# With nothing that runs only the calendar brings news: a grant, the end of a loan, a place that opens.
_IDLE_DAYS = 60
_OTHERS = timedelta(days=1)

Needs = Callable[[Collection[TaskId]], bool]
"""Tells whether a task may begin, given the tasks that are done."""


class Course(NamedTuple):
    """When a task begins and ends, and on how many nodes."""

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
) -> Played:
    """Play the tasks of `needs` through, with all that is ready or runs beside them.

    `inputs` has a row for each of them among the ready ones, and for each job that waits in a native queue. `lasts_s` is how
    long a task runs on its fewest nodes, where that is not its walltime.
    """
    game = _Game(inputs, needs, lasts_s)
    while game.is_open and not game.is_cut:
        if not game.begin(plan_of(game.inputs())) and not game.go_on():
            break
    return game.outcome()


@dataclass(slots=True)
class _Game:
    """What runs, what waits and what is done while work is played through."""

    base: PlanInputs
    needs: Mapping[TaskId, Needs]
    lasts_s: Mapping[TaskId, float]
    now: datetime = field(init=False)
    board: Board = field(init=False)
    others_leave_at: datetime = field(init=False)
    waiting: dict[TaskId, int] = field(init=False)
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
        self.waiting = {TaskId(task): row for row, task in enumerate(self.base.ready.task)}
        for row in self.base.running:
            self._take_over(row)

    def _take_over(self, row: RunningRow) -> None:
        """Let what runs go on to its end; what waits in a native queue begins anew, and pays then."""
        held, now_s = held_by(row), self.now.timestamp()
        if row.is_queued:
            self.board.take(held, -1)
            return
        began_s = row.started_us / 1e6
        limit_s = max(now_s + 1, began_s + row.request.walltime_s)
        end_s = max(now_s + 1, self.base.ends.get(AttemptId(row.attempt), limit_s))
        heapq.heappush(self.runs, (datetime.fromtimestamp(end_s, UTC), held.task, end_s - began_s, held))

    @property
    def is_open(self) -> bool:
        """Whether a task that is played through has not begun."""
        return any(task in self.waiting for task in self.needs)

    @property
    def is_cut(self) -> bool:
        """Whether so much was looked at that it must be enough."""
        return self.plans >= _PLANS or self.looks >= _LOOKS

    def inputs(self) -> PlanInputs:
        """Return what the plan of this moment is made of."""
        ready = [row for task, row in self.waiting.items() if task not in self.needs or self.needs[task](self.done)]
        self.plans += 1
        self.looks += len(ready) + len(self.base.ready.task) // 10
        runs: defaultdict[datetime, list[Held]] = defaultdict(list)
        for at, _, _, held in self.runs:
            runs[at].append(held)
        return self.board.inputs(_only(self.base.ready, ready), runs, self.now)

    def begin(self, made: Plan) -> bool:
        """Begin what a plan starts now; tell whether there was anything."""
        self.reasons = {one.task: one.reason for one in made.passed_over()}
        begun = [self._begin(one, made) for one in made.decisions if isinstance(one, Submit)]
        return any(begun)

    def _begin(self, decision: Submit, made: Plan) -> bool:
        task, request = decision.task, made.request(decision.task)
        row = self.waiting.pop(task)
        project, uid = self.base.ready.owners[self.base.ready.owner[row]]
        held = Held(
            task, ProjectName(project), uid, request, made.charge(task).gpu_type, decision.backend, made.nodes(task)
        )
        runs_s = min(float(request.walltime_s), self.lasts_s.get(task, float(request.walltime_s)) / request.speed)
        self.board.take(held)
        ends_at = self.now + timedelta(seconds=max(1.0, runs_s))
        self.courses[task] = Course(self.now, ends_at, request.node_count)
        heapq.heappush(self.runs, (ends_at, task, runs_s, held))
        self.idle_days = 0
        return True

    def go_on(self) -> bool:
        """Go on to the next moment that may bring anything; tell whether there is any."""
        coming = [self.runs[0][0]] if self.runs else []
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


def _only(ready: ReadyColumns, rows: Sequence[int]) -> ReadyColumns:
    """Return some of the rows of all columns."""
    columns: dict[str, Any] = {
        name: [column[row] for row in rows]
        for name, column in ready._asdict().items()
        if name not in _NO_ROWS and len(column)
    }
    return ready._replace(**columns)


_NO_ROWS = frozenset({"owners", "shapes", "gangs", "ranked_by"})
