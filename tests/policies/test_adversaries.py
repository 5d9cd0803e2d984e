"""Tenants that try to get more than they are due, hour after hour, on a small machine where elisa decides alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from elisa.engine.config import Site
from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, RunningRow, UsageRow
from elisa.model.decisions import Preempt
from elisa.model.ids import ProjectName
from elisa.model.resources import Resources
from elisa.model.site import CLASS_RANK, Cap, Metered, PreemptionRules, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState
from elisa.policies.budgets import charge_of
from elisa.policies.plan import plan
from elisa.policies.snapshot import Snapshot
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_request, after, an_attempt

HOUR_S = 3600
GPUS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task as its tenant means it: `hours` is what it takes, `asked_h` what it asks for."""

    id: str
    project: str
    gpus: int = 1
    hours: int = 1
    asked_h: int = 0
    priority: int = 2
    importance: float = 0.0
    deadline_s: float = 0.0
    came: int = 0

    @property
    def request(self) -> Resources:
        return replace(a_request(self.gpus, ("a100",)), walltime_s=HOUR_S * (self.asked_h or self.hours))


class Machine:
    """One node of eight GPUs, looked after once an hour; what ends early gives back what it did not use."""

    def __init__(self, site: SitePolicy | None = None) -> None:
        self.site = site or SitePolicy()
        self.hour = 0
        self.waiting: dict[str, Work] = {}
        self.live: dict[str, tuple[Work, int]] = {}
        self.served: Counter[str] = Counter()  # GPU hours by project
        self.began: dict[str, int] = {}
        self.preempted: list[str] = []

    def submit(self, *work: Work) -> None:
        self.waiting.update({one.id: replace(one, came=self.hour) for one in work})

    def pass_hours(self, count: int) -> None:
        for _ in range(count):
            self._hour()

    def _hour(self) -> None:
        made = plan(self._snapshot())
        for decision in made.decisions:
            if isinstance(decision, Preempt):
                id_ = decision.attempt.split(".")[0]
                self.preempted.append(id_)
                self.submit(self.live.pop(id_)[0])
            else:
                work = self.waiting.pop(decision.task)
                self.live[work.id] = (work, self.hour)
                self.began.setdefault(work.id, self.hour)
        assert sum(work.gpus for work, _ in self.live.values()) <= GPUS
        self.hour += 1
        for work, since in list(self.live.values()):
            self.served[work.project] += work.gpus
            if self.hour - since >= work.hours:
                del self.live[work.id]

    def _snapshot(self) -> Snapshot:
        ready = Ready()
        for work in self.waiting.values():
            age_s = 60.0 + HOUR_S * (self.hour - work.came)
            ready.add(
                work.id,
                work.request,
                project=work.project,
                priority=work.priority,
                importance=work.importance,
                deadline_s=work.deadline_s,
                age_s=age_s,
            )
        free = GPUS - sum(work.gpus for work, _ in self.live.values())
        node = replace(a_node("n1", gpus={"a100": GPUS}, cpus=64), free_gpus=(("a100", free),))
        live = [
            an_attempt(f"{id_}.1", AttemptState.RUNNING, nodes="n1", request=work.request, started_at=self._ago(since))
            for id_, (work, since) in self.live.items()
        ]
        return Snapshot.build(
            ready.columns(), self._usage(), (a_cluster(node),), live, self.site, NOW, running=self._running()
        )

    def _ago(self, since: int) -> Any:
        return after(-HOUR_S * (self.hour - since) - 1)

    def _usage(self) -> ProjectUsage:
        held: Counter[str] = Counter()
        reserved: dict[str, Charge] = {}
        for work, _ in self.live.values():
            held[work.project] += work.gpus
            charge = charge_of(work.request, work.request.walltime_s)
            before = reserved.get(work.project, Charge(gpu_type="a100"))
            reserved[work.project] = replace(before, gpu_s=before.gpu_s + charge.gpu_s)
        names = {*self.served, *held}
        return ProjectUsage(
            rows=[
                UsageRow(
                    name,
                    1000,
                    "a100",
                    reserved.get(name, Charge(gpu_type="a100")),
                    Charge(gpu_s=HOUR_S * self.served[name], gpu_type="a100"),
                    gpus=held[name],
                )
                for name in sorted(names)
            ]
        )

    def _running(self) -> list[RunningRow]:
        return [
            RunningRow(
                attempt=f"{id_}.1",
                task=id_,
                project=work.project,
                owner_uid=1000,
                backend=HERE,
                nodes=("n1",),
                request=work.request,
                priority=work.priority,
                started_us=int(self._ago(since).timestamp() * 1e6),
                times_preempted=self.preempted.count(id_),
            )
            for id_, (work, since) in self.live.items()
        ]


def many(project: str, count: int, **fields: Any) -> list[Work]:
    return [Work(id=f"{project}-{number:04}", project=project, **fields) for number in range(count)]


@pytest.mark.slow
def test_who_asks_for_more_time_than_it_needs_is_served_no_more() -> None:
    machine = Machine()
    machine.submit(*many("honest", 200, hours=2), *many("inflated", 200, hours=2, asked_h=12))

    machine.pass_hours(24)

    assert machine.served["inflated"] <= machine.served["honest"]
    assert machine.served.total() >= 0.9 * 24 * GPUS


@pytest.mark.slow
def test_who_splits_its_jobs_is_served_no_more() -> None:
    machine = Machine()
    machine.submit(*many("whole", 40, gpus=4, hours=2), *many("split", 320, gpus=1, hours=1))

    machine.pass_hours(24)

    assert machine.served["whole"] >= 0.9 * machine.served["split"]


@pytest.mark.slow
def test_who_floods_the_queue_takes_no_more_than_its_share_from_a_project_with_little_work() -> None:
    machine = Machine()
    machine.submit(*many("storm", 2000))
    machine.pass_hours(6)

    machine.submit(*many("modest", 8))
    machine.pass_hours(2)

    assert max(machine.began[one.id] for one in many("modest", 8)) <= 7


@pytest.mark.slow
def test_who_calls_its_own_work_important_is_served_no_more_under_the_rules_of_a_new_site() -> None:
    machine = Machine(Site().policy())
    machine.submit(*many("modest", 100), *many("vain", 100, importance=1e9))

    machine.pass_hours(6)

    assert machine.served["vain"] <= machine.served["modest"]


@pytest.mark.slow
def test_who_writes_a_deadline_that_has_passed_into_its_pipeline_is_served_no_more() -> None:
    machine = Machine(Site().policy())
    machine.submit(*many("modest", 100), *many("vain", 100, deadline_s=-1e6))

    machine.pass_hours(6)

    assert machine.served["vain"] <= machine.served["modest"]


@pytest.mark.parametrize("raised", [{"priority": CLASS_RANK["critical"]}, {"importance": 1e9}])
def test_who_raises_his_own_work_is_served_no_more(raised: dict[str, Any]) -> None:
    projects = tuple(ProjectPolicy(name=ProjectName(name), importance_limit=1) for name in ("modest", "vain"))
    machine = Machine(SitePolicy(projects=projects))
    fair = {"priority": 1, "importance": 1.0}
    machine.submit(*many("modest", 100, **fair), *many("vain", 100, **{**fair, **raised}))

    machine.pass_hours(6)

    assert machine.served["vain"] <= machine.served["modest"]


@pytest.mark.slow
def test_a_large_job_is_not_starved_by_a_stream_of_small_ones_of_a_better_class() -> None:
    machine = Machine(SitePolicy(aged_s=2 * HOUR_S))
    machine.submit(Work(id="large", project="patient", gpus=GPUS, priority=3))

    for hour in range(24):
        machine.submit(*(Work(id=f"small-{hour}-{n}", project="stream", hours=2, priority=1) for n in range(GPUS)))
        machine.pass_hours(1)

    # Three classes stand before it, so it comes of age after eight hours; then those that run are let finish.
    assert machine.began["large"] <= 8 + 2


_SIX = (Cap(resource=Metered.GPUS, limit=6),)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "project"),
    [
        pytest.param(SitePolicy(caps=_SIX), "patient", id="all together"),
        pytest.param(
            SitePolicy(projects=(ProjectPolicy(name=ProjectName("stream"), caps=_SIX),)), "stream", id="one project"
        ),
        pytest.param(
            SitePolicy(projects=(ProjectPolicy(name=ProjectName("stream"), user_caps=_SIX),)), "stream", id="one user"
        ),
    ],
)
def test_a_large_job_is_not_starved_of_what_may_be_used_at_once(site: SitePolicy, project: str) -> None:
    machine = Machine(replace(site, aged_s=2 * HOUR_S))
    machine.submit(Work(id="large", project=project, gpus=6, priority=3))

    for hour in range(20):
        lasts = [(f"small-{hour}-{n}", 1 + (n + hour) % 3) for n in range(GPUS)]
        machine.submit(*(Work(id=name, project="stream", hours=hours, priority=1) for name, hours in lasts))
        machine.pass_hours(1)

    # It comes of age after eight hours; then come those that did before it, as many as came in the first four hours and
    # were not served, and what runs, for three hours at most, is let finish.
    assert machine.began["large"] <= 8 + 4 + 3


@pytest.mark.slow
def test_flipping_a_class_to_and_fro_preempts_no_more_often_than_each_victim_bears() -> None:
    rules = PreemptionRules(enabled=True, minimum_run_s=1, times=2)
    high = [ProjectPolicy(name=ProjectName(name)) for name in ("one", "other")]
    machine = Machine(SitePolicy(preemption=rules, projects=tuple(high)))
    machine.submit(
        Work(id="a", project="one", gpus=GPUS, hours=100), Work(id="b", project="other", gpus=GPUS, hours=100)
    )

    for hour in range(40):
        ranks = {"a": 1 + 2 * (hour % 2), "b": 3 - 2 * (hour % 2)}
        machine.waiting = {id_: replace(work, priority=ranks[id_]) for id_, work in machine.waiting.items()}
        machine.live = {id_: (replace(w, priority=ranks[id_]), since) for id_, (w, since) in machine.live.items()}
        machine.pass_hours(1)

    assert machine.preempted
    assert max(Counter(machine.preempted).values()) <= rules.times
