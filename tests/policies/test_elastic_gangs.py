"""Gangs beside elastic work: room is made for all of one or for nobody, and nothing grows into what half of one waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from elisa.model.columns import GangRow, ProjectUsage, RunningRow
from elisa.model.decisions import Preempt, Resize, Submit
from elisa.model.ids import TaskId
from elisa.model.native import ClusterView
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, SitePolicy
from elisa.model.states import AttemptState
from elisa.policies.gangs import Assembling, Assembly, assemble
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import Snapshot
from tests.policies.build import HERE, NOW, Ready, an_attempt, started
from tests.policies.test_elastic import BEST, NORMAL, WORST, elastic, project_with, whole
from tests.policies.test_resizing import HOUR, machine, micros, planned, resizes, running


def gang_of(*asked: Resources, minimum: int = 0, live: int = 0, priority: int = NORMAL) -> Ready:
    """Return ready members of one gang, called m0 and so on."""
    ready = Ready()
    for number, request in enumerate(asked):
        ready.add(f"m{number}", request, gang=0, priority=priority)
    ready.gangs = [GangRow(len(asked), minimum, live)]
    return ready


class TestBlocked:
    WIDE = running("e1", elastic(2, 8), 8)

    def test_elastic_work_gives_a_gang_what_all_of_it_lacks(self) -> None:
        made = planned(8, self.WIDE, ready=gang_of(whole(3), whole(3)))

        assert (resizes(made), [one.beneficiary for one in made.decisions if isinstance(one, Resize)]) == (
            {"e1.1": 2},
            ["m0"],
        )

    def test_nobody_shrinks_for_a_part_of_a_gang(self) -> None:
        assert resizes(planned(8, self.WIDE, ready=gang_of(whole(3), whole(4)))) == {}

    @pytest.mark.parametrize(("minimum", "live", "shrinks"), [(2, 0, True), (3, 0, False), (3, 1, True), (1, 1, True)])
    def test_as_many_as_must_start_together_are_enough(self, minimum: int, live: int, *, shrinks: bool) -> None:
        ready = gang_of(whole(3), whole(3), whole(3), minimum=minimum, live=live)

        assert bool(resizes(planned(8, self.WIDE, ready=ready))) is shrinks

    def test_several_shrink_if_it_takes_them_all_and_not_one_more(self) -> None:
        rows = [running(f"e{number}", elastic(1, 3), 3, first=3 * number) for number in range(3)]

        assert resizes(planned(9, *rows, ready=gang_of(whole(2), whole(2)))) == {"e0.1": 1, "e1.1": 1}
        assert len(resizes(planned(9, *rows, ready=gang_of(whole(2), whole(2), whole(2))))) == 3
        assert resizes(planned(9, *rows, ready=gang_of(whole(2), whole(2), whole(3)))) == {}

    def test_a_gang_that_was_given_way_to_is_not_again(self) -> None:
        assert resizes(planned(8, self.WIDE._replace(gave_way_to=("m0",)), ready=gang_of(whole(3), whole(3)))) == {}

    def test_a_gang_of_a_worse_class_has_no_claim(self) -> None:
        assert resizes(planned(8, self.WIDE, ready=gang_of(whole(3), whole(3), priority=WORST))) == {}

    def test_what_is_not_served_leaves_room_and_budget_to_the_next(self) -> None:
        ready = gang_of(whole(3), whole(4)).add("t1", whole(6))
        site = project_with(Cap(resource=Metered.NODES, limit=7))

        assert resizes(planned(8, self.WIDE, ready=ready, site=site)) == {"e1.1": 2}

    def test_a_gang_that_its_budget_would_allow_only_in_part_shrinks_nobody(self) -> None:
        site = project_with(Cap(resource=Metered.NODES, limit=5))

        assert resizes(planned(8, self.WIDE, ready=gang_of(whole(3), whole(3)), site=site)) == {}

    def test_a_gang_in_a_native_queue_is_helped_as_a_whole_or_not_at_all(self) -> None:
        def waiting(*sizes: int) -> dict[str, int]:
            rows = [
                running(f"q{number}", whole(size), 0, is_queued=True, started_us=0, gang="p/g")
                for number, size in enumerate(sizes)
            ]
            return resizes(planned(8, self.WIDE, *rows, queueing=[HERE]))

        assert waiting(3, 3) == {"e1.1": 2}
        assert waiting(3, 4) == {}

    def test_a_gang_that_finds_no_place_in_a_native_queue_shrinks_nobody(self) -> None:
        made = planned(
            8, self.WIDE, ready=gang_of(whole(3), whole(3)), queueing=[HERE], site=SitePolicy(default_window=1)
        )

        assert (started(made), resizes(made)) == ([], {})

    def test_a_gang_that_this_plan_sends_to_wait_is_helped_as_a_whole_or_not_at_all(self) -> None:
        assert resizes(planned(8, self.WIDE, ready=gang_of(whole(3), whole(3)), queueing=[HERE])) == {"e1.1": 2}
        assert resizes(planned(8, self.WIDE, ready=gang_of(whole(3), whole(4)), queueing=[HERE])) == {}


class TestHalfAssembled:
    """One member holds nodes, another waits in the native queue: what would let it begin is nobody's to grow into."""

    SMALL = running("e1", elastic(2, 8, walltime_s=9 * HOUR), 2, roomy_us=micros(HOUR), priority=BEST)
    HOLDS = running("m0", whole(2), 2, first=2, gang="p/g", priority=WORST)
    WAITS = running("m1", whole(5), 0, is_queued=True, started_us=0, gang="p/g", priority=WORST)
    JOB = an_attempt("m1.1", AttemptState.QUEUED, request=whole(5))

    def test_even_work_of_a_better_class_does_not_grow(self) -> None:
        def room(*rows: RunningRow) -> dict[str, int]:
            return dict(planned(8, self.SMALL, *rows, live=[self.JOB], queueing=[HERE]).room)

        assert room(self.HOLDS, self.WAITS) == {}
        assert room(self.HOLDS._replace(gang=""), self.WAITS._replace(gang="")) == {"e1.1": 6}

    def test_what_starts_gets_no_more_than_its_least(self) -> None:
        ready = Ready().add("t1", elastic(1, 6), priority=BEST)

        made = planned(8, self.HOLDS, self.WAITS, ready=ready, live=[self.JOB], queueing=[HERE])

        assert (started(made), len(made.nodes(TaskId("t1")))) == (["t1"], 1)


class TestMembers:
    def test_a_gang_starts_with_the_least_of_each_member_and_they_share_what_is_left(self) -> None:
        made = planned(8, ready=gang_of(elastic(2, 3), whole(1), elastic(1, 8)))

        assert [len(made.nodes(TaskId(f"m{number}"))) for number in range(3)] == [3, 1, 4]

    def test_without_room_for_the_least_of_all_none_starts(self) -> None:
        assert started(planned(4, ready=gang_of(elastic(2, 3), whole(1), elastic(2, 8)))) == []

    def test_a_member_shrinks_for_others_and_for_its_own_gang(self) -> None:
        wide = running("m0", elastic(2, 8), 8, gang="p/g")

        assert resizes(planned(8, wide, ready=Ready().add("t1", whole(6)))) == {"m0.1": 2}
        assert resizes(planned(8, wide, ready=gang_of(whole(6), live=1))) == {"m0.1": 2}

    def test_a_member_that_starts_again_is_let_in_by_itself(self) -> None:
        made = planned(8, running("m0", whole(3), 3, gang="p/g"), ready=gang_of(elastic(2, 4), live=1))

        assert made.nodes(TaskId("m0")) == ("n03", "n04", "n05", "n06")

    def test_nothing_gets_more_while_a_member_lacks_nodes_whatever_its_class(self) -> None:
        small = running("e1", elastic(2, 8, walltime_s=9 * HOUR), 2, roomy_us=micros(HOUR), priority=BEST)
        holds = running("m1", whole(2), 2, first=2, gang="p/g", priority=WORST)

        def planned_with(live: int) -> Plan:
            ready = gang_of(whole(5), live=live, priority=WORST).add("t1", elastic(1, 2), priority=BEST)
            return planned(8, small, holds, ready=ready)

        assert (dict(planned_with(1).room), len(planned_with(1).nodes(TaskId("t1")))) == ({}, 1)
        assert len(planned_with(0).nodes(TaskId("t1"))) == 2


@dataclass
class _Job:
    request: Resources
    rank: int
    work: int
    gang: str = ""
    nodes: tuple[str, ...] = ()
    is_queued: bool = False
    is_leaving: bool = False
    began: int = 0
    roomy_us: int = 0
    gave_way_to: tuple[str, ...] = ()


RULES = SitePolicy(preemption=PreemptionRules(minimum_run_s=120))
# The longest that anything here works, and longer than any circle of waiting would take to show.
LONGEST, PATIENCE = 12, 2
KINDS = [
    (whole(1), whole(3)),
    (whole(3), whole(2)),
    (whole(2), whole(2), whole(1)),
    (elastic(1, 3), whole(3)),
    (elastic(2, 4), elastic(1, 6)),
]


class NativeQueue(RuleBasedStateMachine):
    """Plans of elisa in front of a queue that starts what it likes, when it likes: members of gangs one by one."""

    nodes = 6

    def __init__(self) -> None:
        super().__init__()
        self.minute, self.count = 0, 0
        self.jobs: dict[str, _Job] = {}
        self.waits_since: dict[str, int] = {}
        self.keeps_queue = True
        self.rules = RULES

    @initialize(most=st.integers(3, 6), keeps_queue=st.booleans(), preempts=st.booleans())
    def one_elastic_job_runs(self, most: int, *, keeps_queue: bool, preempts: bool) -> None:
        self.keeps_queue = keeps_queue
        self.rules = replace(RULES, preemption=replace(RULES.preemption, enabled=preempts))
        self.jobs["e0"] = _Job(elastic(1, most, walltime_s=90 * HOUR), NORMAL, 40)

    @precondition(lambda self: len(self.jobs) < 8)
    @rule(kind=st.sampled_from(KINDS), rank=st.sampled_from([BEST, NORMAL, WORST]))
    def a_gang_comes(self, kind: tuple[Resources, ...], rank: int) -> None:
        self.count += 1
        for number, request in enumerate(kind):
            asked = replace(request, walltime_s=90 * HOUR)
            self.jobs[f"g{self.count}-{number}"] = _Job(asked, rank, LONGEST, gang=f"p/g{self.count}")

    @precondition(lambda self: len(self.jobs) < 8)
    @rule(rank=st.sampled_from([BEST, NORMAL, WORST]), most=st.integers(2, 6))
    def elastic_work_comes(self, rank: int, most: int) -> None:
        self.count += 1
        self.jobs[f"e{self.count}"] = _Job(elastic(1, most, walltime_s=90 * HOUR), rank, LONGEST)

    @rule(chance=st.randoms(use_true_random=False))
    def a_minute_passes(self, chance: Any) -> None:
        self.pass_minute(chance)

    def pass_minute(self, chance: Any) -> None:
        self._native(chance)
        self._assemble()
        self._plan()
        self._work()
        self.minute += 1

    def _free(self) -> list[str]:
        taken = {node for job in self.jobs.values() for node in job.nodes}
        return [name for name in (f"n{number:02}" for number in range(self.nodes)) if name not in taken]

    def _native(self, chance: Any) -> None:
        """Those asked to leave do; then jobs that wait and fit begin in whatever order, one or two at a time."""
        for job in self.jobs.values():
            if job.is_leaving:
                job.nodes, job.is_queued, job.is_leaving, job.roomy_us = (), False, False, 0
        waiting = [job for job in self.jobs.values() if job.is_queued]
        chance.shuffle(waiting)
        for job in waiting[:2]:
            self._begin(job, self._free()[: job.request.nodes])

    def _begin(self, job: _Job, nodes: list[str]) -> None:
        if len(nodes) >= job.request.nodes:
            job.nodes, job.is_queued, job.began, job.roomy_us = tuple(nodes), False, self.minute, 0

    def _assemble(self) -> None:
        """As `gang_stops` does: of gangs that hold nodes and wait too long for the rest only the first keeps them."""
        gangs: dict[str, list[_Job]] = {}
        for job in self.jobs.values():
            if job.gang:
                gangs.setdefault(job.gang, []).append(job)
        halves = {
            name: own
            for name, own in gangs.items()
            if 0 < sum(bool(one.nodes) for one in own) < len(own) and not any(one.is_leaving for one in own)
        }
        self.waits_since = {name: self.waits_since.get(name, self.minute) for name in halves}
        patient = [
            Assembling(
                name=name,
                rank=own[0].rank,
                size=len(own),
                running=sum(bool(one.nodes) for one in own),
                waited_s=60.0 * (self.minute - self.waits_since[name]),
                timeout_s=600.0,
            )
            for name, own in halves.items()
            if self.minute - self.waits_since[name] >= PATIENCE
        ]
        for name, outcome in assemble(patient).items():
            for job in halves[name] if outcome is Assembly.GIVE_BACK else ():
                job.is_leaving = bool(job.nodes) or job.is_queued

    def _rows(self) -> list[RunningRow]:
        return [
            running(
                name,
                job.request,
                len(job.nodes),
                gang=job.gang,
                priority=job.rank,
                is_queued=job.is_queued,
                started_us=0 if job.is_queued else micros(-60 * job.began),
                is_leaving=job.is_leaving,
                gave_way_to=job.gave_way_to,
                roomy_us=job.roomy_us,
            )._replace(nodes=job.nodes)
            for name, job in self.jobs.items()
            if job.nodes or job.is_queued
        ]

    def _ready(self) -> Ready:
        ready, gangs = Ready(), dict[str, list[str]]()
        for name, job in self.jobs.items():
            if not (job.nodes or job.is_queued):
                gangs.setdefault(job.gang, []).append(name)
        for gang, names in gangs.items():
            number = len(ready.gangs) if gang else -1
            for name in names:
                ready.add(name, self.jobs[name].request, priority=self.jobs[name].rank, gang=number)
            if gang:
                live = sum(one.gang == gang and bool(one.nodes or one.is_queued) for one in self.jobs.values())
                ready.gangs.append(GangRow(len(names), 0, live, gang))
        return ready

    def _view(self, rows: list[RunningRow]) -> ClusterView:
        return machine(self.nodes, *rows)

    def _plan(self) -> None:
        rows, now = self._rows(), NOW + timedelta(minutes=self.minute)
        live = [an_attempt(row.attempt, AttemptState.QUEUED, request=row.request) for row in rows if row.is_queued]
        made = plan(
            Snapshot.build(
                self._ready().columns(),
                ProjectUsage(),
                (self._view(rows),),
                live,
                self.rules,
                now,
                running=rows,
                queueing=[HERE] if self.keeps_queue else [],
            )
        )
        self._carry_out(made, rows, round(now.timestamp() * 1e6))

    def _carry_out(self, made: Plan, rows: list[RunningRow], now_us: int) -> None:
        begun = {row.gang for row in rows if row.gang and row.nodes}
        starts = {one.task for one in made.decisions if isinstance(one, Submit) and made.nodes(one.task)}
        awaited = [
            name
            for name, job in self.jobs.items()
            if job.gang in begun and not job.nodes and name not in starts and not job.is_leaving
        ]
        for row in rows:
            job = self.jobs[row.task]
            job.roomy_us = (job.roomy_us or now_us) if row.attempt in made.room else 0
        assert not (awaited and made.room), "elastic work may grow while half of a gang waits"
        for one in made.decisions:
            if isinstance(one, Submit):
                job = self.jobs[one.task]
                job.is_queued = not made.nodes(one.task)
                if not job.is_queued:
                    asked, size = job.request, made.request(one.task).nodes
                    assert not awaited or size == asked.bounds.least or not asked.elastic
                    job.nodes, job.began, job.roomy_us = made.nodes(one.task), self.minute, 0
            elif isinstance(one, (Preempt, Resize)):
                job = self.jobs[one.attempt.partition(".")[0]]
                job.is_leaving = True
                if isinstance(one, Resize) and one.beneficiary is not None:
                    assert one.beneficiary not in job.gave_way_to
                    job.gave_way_to += (one.beneficiary,)

    def _work(self) -> None:
        """What runs gets on, a gang only as a whole."""
        halves = {job.gang for job in self.jobs.values() if job.gang and not job.nodes}
        for job in self.jobs.values():
            job.work -= bool(job.nodes) and not job.is_leaving and job.gang not in halves
        self.jobs = {name: job for name, job in self.jobs.items() if job.work > 0}

    @invariant()
    def no_node_is_given_out_twice(self) -> None:
        held = [node for job in self.jobs.values() for node in job.nodes]
        assert len(held) == len(set(held))

    def teardown(self) -> None:
        """Once nobody comes any more, everybody finishes: nothing waits for ever."""
        chance = Random(1)
        for _ in range(40 + 60 * len(self.jobs)):
            self.pass_minute(chance)
        assert self.jobs == {}


def look_for_a_lock_up(cases: int = 15, **more: Any) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call] - hypothesis has no types for it
        NativeQueue, settings=settings(max_examples=cases, stateful_step_count=25, deadline=None, **more)
    )


@pytest.mark.slow
def test_half_started_gangs_beside_elastic_work_never_lock_up() -> None:
    look_for_a_lock_up()
