"""Nothing starves under the configuration that a site begins with, and what has grown old does not take everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elisa.engine.config import Site
from elisa.model.charge import Charge
from elisa.model.columns import GangRow, ProjectUsage, RunningRow, UsageRow
from elisa.model.decisions import Preempt
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import NodeView
from elisa.model.resources import Resources
from elisa.model.site import Cap, Metered, PreemptionRules, ProjectPolicy, ServiceClass, SitePolicy
from elisa.model.states import AttemptState
from elisa.policies.ageing import Ageing, bound_s
from elisa.report.words import in_words
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, a_request, an_attempt, started
from tests.policies.busy import Busy, Work
from tests.policies.test_resizing import micros
from tests.reliability.tier import SOAK

DAY_S = 86_400
STEP_S = DAY_S // 2
DEFAULT = Site().policy()
AGED = int(DEFAULT.aged_s / STEP_S)
LONGEST = 2  # steps
A100, H100 = ("a100",), ("h100",)


def gpus(number: int, types: tuple[str, ...] = (), *, steps: int = LONGEST, nodes: int = 1) -> Resources:
    return replace(a_request(number, types), nodes=nodes, cpus_per_task=1, walltime_s=STEP_S * steps)


def four_nodes() -> tuple[NodeView, ...]:
    kinds = ("a100", "a100", "a100", "h100")
    return tuple(a_node(f"n{place}", cpus=64, gpus={kind: 4}) for place, kind in enumerate(kinds))


def busy(site: SitePolicy = DEFAULT, *, queues: bool = False) -> Busy:
    return Busy(replace(site, default_window=4), four_nodes(), STEP_S, queues)


def policy(name: str, **rules: Any) -> ProjectPolicy:
    return ProjectPolicy(name=ProjectName(name), **rules)


class Stream(NamedTuple):
    """Work that comes for ever: `each` tasks a step; with `strange`, of a project that nobody has seen before."""

    each: int
    gpus: int
    types: tuple[str, ...]
    steps: int
    priority: int
    strange: bool
    importance: float = 0.0

    def at(self, step: int, name: str) -> list[Work]:
        project = f"stranger-{step}" if self.strange else "stream"
        request = gpus(self.gpus, self.types, steps=self.steps)
        return [
            Work(
                id=f"{name}-{step:03}-{number}",
                project=project,
                request=request,
                steps=self.steps,
                priority=self.priority,
                importance=self.importance,
            )
            for number in range(self.each)
        ]


VICTIMS = {
    "one small task": [gpus(1)],
    "a whole node of one type": [gpus(4, H100)],
    "all nodes of a type": [gpus(4, A100, nodes=3)],
    "a gang of three nodes": [gpus(4, A100)] * 3,
    "two nodes of either type": [gpus(4, A100 + H100, nodes=2)],
}
SIX = (Cap(resource=Metered.GPUS, limit=6),)
NONE_SOFT = (Cap(resource=Metered.GPUS, limit=2, is_hard=False),)
# Under whose caps the victim comes: those of its project, which is the stream's too, of its user, or of everybody.
SITES = {
    "no caps": DEFAULT,
    "a cap of the project": replace(DEFAULT, projects=(policy("stream", caps=SIX),)),
    "a cap of the user": replace(DEFAULT, projects=(policy("stream", user_caps=SIX),)),
    "a cap of all": replace(DEFAULT, caps=(Cap(resource=Metered.GPUS, limit=12),)),
    "others beyond a soft cap": replace(DEFAULT, projects=(policy("stream", caps=NONE_SOFT),)),
    "others are guaranteed": replace(DEFAULT, projects=(policy("stream", service=ServiceClass.GUARANTEED, shares=9),)),
}
STREAMS = st.builds(
    Stream,
    each=st.integers(3, 8),
    gpus=st.integers(1, 4),
    types=st.sampled_from([(), A100, H100, A100 + H100]),
    steps=st.integers(1, LONGEST),
    priority=st.integers(0, 2),
    strange=st.booleans(),
    importance=st.sampled_from([0.0, 100.0]),
)


def a_victim(kind: str, project: str, rank: int) -> list[Work]:
    asked = VICTIMS[kind]
    return [
        Work(id=f"victim-{n}", project=project, request=r, steps=1, priority=rank, gang="g" if len(asked) > 1 else "")
        for n, r in enumerate(asked)
    ]


def waits(
    site: SitePolicy, victim: list[Work], streams: list[Stream], *, queues: bool = False, patience: int = 300
) -> tuple[int, int]:
    """Return how many steps a victim waits among streams, and how many tasks came of age before it and still waited then."""
    load = busy(site, queues=queues)
    rank = victim[0].priority
    for step in count():
        for number, stream in enumerate(streams):
            load.submit(*stream.at(step, f"s{number}"))
        if step == LONGEST:
            load.submit(*victim)
        of_age = LONGEST + AGED * (rank + 1)
        if step == of_age:
            everyone = [*load.waiting.values(), *(job.work for job in load.live.values() if not job.nodes)]
            before = sum(1 for one in everyone if one.came + AGED * (one.priority + 1) <= of_age) - len(victim)
        load.step()
        if victim[-1].id in load.began:
            waited = load.began[victim[-1].id] - LONGEST
            return waited, before if step >= of_age else 0
        assert step < patience, "it starves"
    raise AssertionError


# What runs ends within LONGEST; then what may be used at once is there; then, once more, nodes are.
SERVICE_S = 3 * LONGEST * STEP_S

LARGE = ("all nodes of a type", "a gang of three nodes", "two nodes of either type")


@pytest.mark.slow
@settings(max_examples=400 if SOAK else 6)
@given(
    kind=st.sampled_from(sorted(VICTIMS)),
    place=st.sampled_from(sorted(SITES)),
    rank=st.sampled_from([2, 3]),
    streams=st.lists(STREAMS, min_size=1, max_size=2),
    queues=st.booleans(),
)
def test_whatever_comes_for_ever_nothing_waits_longer_than_the_proved_bound(
    kind: str, place: str, rank: int, streams: list[Stream], *, queues: bool
) -> None:
    is_bound = place in {"a cap of the project", "a cap of the user"}
    assume(not (is_bound and kind in LARGE))  # more than the cap would ever allow
    victim = a_victim(kind, "stream" if place.startswith("a cap") else "patient", rank)

    waited, before = waits(SITES[place], victim, streams, queues=queues)

    assert waited * STEP_S <= bound_s(rank, DEFAULT.aged_s, before, SERVICE_S)


SMALL = [Stream(8, 1, (), 2, 1, strange=False), Stream(3, 2, (), 2, 1, strange=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "place", "queues"),
    [
        pytest.param("all nodes of a type", "no caps", False, id="several nodes behind small tasks"),
        pytest.param("a whole node of one type", "a cap of the project", False, id="under the cap of its project"),
        pytest.param("a whole node of one type", "a cap of the user", False, id="under the cap of its user"),
        pytest.param("two nodes of either type", "a cap of all", False, id="under the cap of everybody"),
        pytest.param("a gang of three nodes", "no caps", False, id="a gang"),
        pytest.param("a gang of three nodes", "others are guaranteed", False, id="behind a guaranteed project"),
        pytest.param("all nodes of a type", "no caps", True, id="several nodes in a native queue"),
        pytest.param("a gang of three nodes", "others beyond a soft cap", True, id="a gang in a native queue"),
    ],
)
def test_a_large_task_of_a_worse_class_has_its_turn(kind: str, place: str, *, queues: bool) -> None:
    victim = a_victim(kind, "stream" if "of the" in place else "patient", 3)

    # It comes of age after twelve days; what runs is let finish, and what came of age before it served.
    waited, _ = waits(SITES[place], victim, SMALL, queues=queues, patience=4 * AGED + 40)

    assert waited >= 4 * AGED


@pytest.mark.slow
def test_without_ageing_a_stream_starves_the_lowest() -> None:
    with pytest.raises(AssertionError, match="it starves"):
        waits(replace(DEFAULT, aged_s=0.0), a_victim("one small task", "patient", 3), SMALL, patience=4 * AGED + 40)


@pytest.mark.slow
def test_a_flood_that_has_grown_old_gets_one_place_and_not_the_machine() -> None:
    load = busy()
    flood = [Work(id=f"flood-{n:03}", project="flood", request=gpus(1), steps=2) for n in range(600)]
    load.submit(*flood)
    for _ in range(3 * AGED + 2):
        load.step()
    before, of_flood = load.served["urgent"], load.served["flood"]

    for step in range(20):
        load.submit(
            *(Work(id=f"urgent-{step:02}-{n:02}", project="urgent", request=gpus(1), priority=1) for n in range(16))
        )
        load.step()

    # Of sixteen GPUs over twenty steps it has one, and what it had begun before the others came.
    assert load.served["urgent"] - before >= 20 * 15 - 16
    assert 20 <= load.served["flood"] - of_flood <= 20 + 16


class TestWhoGoesAhead:
    """Which of those that came of age go first; a normal task comes of age after nine days."""

    OLD = 10.0 * DAY_S

    def test_of_an_owners_tasks_that_ask_for_the_same_the_first(self) -> None:
        ready = Ready().add("t1", priority=1).add("t2", age_s=self.OLD).add("t3", age_s=self.OLD + 1)

        made = a_plan(ready, site=DEFAULT)

        assert started(made) == ["t3", "t1", "t2"]
        assert [made.ageing(TaskId(task)) for task in ready_ids(ready)] == [
            Ageing(NOW + timedelta(days=6, seconds=-60), goes_ahead=False),
            Ageing(NOW - timedelta(days=1), goes_ahead=False),
            Ageing(NOW - timedelta(days=1, seconds=1), goes_ahead=True),
        ]

    def test_who_asks_for_something_else_is_not_held_up_by_what_cannot_start(self) -> None:
        ready = Ready().add("t1", a_request(cpus_per_task=99), age_s=self.OLD + 1).add("t2", age_s=self.OLD)

        assert started(a_plan(ready.add("t3", priority=0), site=DEFAULT)) == ["t2", "t3"]

    @pytest.mark.parametrize(
        ("fields", "goes_first"),
        [
            pytest.param({}, False, id="one that came of age before it and began after that lives"),
            pytest.param({"started_us": 0, "is_queued": True}, False, id="one waits in a native queue"),
            pytest.param({"owner_uid": 1001}, True, id="of another member"),
            pytest.param({"project": "nlp"}, True, id="of another project"),
            pytest.param({"started_us": micros(5 * DAY_S)}, True, id="it began before it was of age"),
            pytest.param({"ready_us": micros(9.5 * DAY_S)}, True, id="it came of age later"),
            pytest.param({"ready_us": micros(OLD)}, False, id="at the same time, and comes before it by name"),
            pytest.param({"ready_us": micros(OLD), "task": "t9"}, True, id="at the same time, and comes after it"),
            pytest.param({"ready_us": 0}, True, id="nobody knows when it became ready"),
        ],
    )
    def test_no_second_one_of_its_owner_while_an_older_one_lives(
        self, fields: dict[str, Any], *, goes_first: bool
    ) -> None:
        row = RunningRow(
            **{
                "attempt": "r1.1", "task": "r1", "project": "vision", "owner_uid": 1000, "backend": HERE,
                "nodes": ("n1",), "request": Resources(), "priority": 2, "started_us": micros(DAY_S),
                "ready_us": micros(11 * DAY_S),
            } | fields
        )  # fmt: skip
        ready = Ready().add("t1", priority=1).add("t2", age_s=self.OLD)

        assert started(a_plan(ready, site=DEFAULT, running=[row]))[0] == ("t2" if goes_first else "t1")

    def test_the_rest_of_a_gang_is_not_held_up_by_what_lives_of_it(self) -> None:
        ready = Ready().add("t1", priority=1).add("t2", gang=0, age_s=self.OLD)
        ready.gangs = [GangRow(1, 0, 1)]

        assert started(a_plan(ready, site=DEFAULT, running=[an_old_one()]))[0] == "t2"

    def test_for_a_gang_of_which_one_fits_nowhere_nothing_is_saved(self) -> None:
        capped = policy("vision", caps=(Cap(resource=Metered.CPUS, limit=3),))
        usage = ProjectUsage(rows=[UsageRow("vision", 1000, "", Charge(), Charge(), jobs=1, cpus=2)])

        def begin(other: Resources) -> list[str]:
            ready = Ready().add("t1", a_request(cpus_per_task=2), gang=0, age_s=self.OLD)
            ready.add("t2", other, gang=0, age_s=self.OLD).add("t9")
            ready.gangs = [GangRow(2)]
            return started(a_plan(ready, site=replace(DEFAULT, projects=(capped,)), usage=usage))

        assert (begin(a_request()), begin(a_request(features=("ib",)))) == ([], ["t9"])

    def test_best_effort_work_stays_behind_all_others_however_old(self) -> None:
        site = replace(DEFAULT, projects=(policy("vision", service=ServiceClass.BEST_EFFORT),))
        ready = Ready().add("t1", age_s=self.OLD).add("t2", project="nlp", priority=4)

        assert started(a_plan(ready, site=site)) == ["t2", "t1"]

    def test_the_decision_says_that_it_goes_ahead_and_since_when(self) -> None:
        made = a_plan(Ready().add("t1", age_s=self.OLD), site=DEFAULT)

        assert made.reason(TaskId("t1")).facts["of_age_at"] == (NOW - timedelta(days=1)).isoformat()
        assert ", ahead of all others, for it came of age on " in in_words(made.reason(TaskId("t1")))

    def test_where_there_is_no_ageing_nobody_is_told_when(self) -> None:
        assert a_plan(Ready().add("t1")).ageing(TaskId("t1")) is None


class TestWhoWentAhead:
    """Nobody takes the place of who went ahead, or it would have to grow old once more."""

    RULES = replace(DEFAULT, preemption=PreemptionRules(enabled=True))

    def preempted(self, row: RunningRow, site: SitePolicy = RULES) -> list[str]:
        node = a_node("n1", cpus=1, free_cpus=0)
        live = [an_attempt("r1.1", nodes="n1")]
        made = a_plan(Ready().add("t1", priority=0), a_cluster(node), site=site, running=[row], live=live)
        return [one.attempt for one in made.decisions if isinstance(one, Preempt)]

    def test_it_is_not_preempted(self) -> None:
        assert self.preempted(an_old_one()) == []
        assert self.preempted(an_old_one(ready_us=micros(2 * DAY_S))) == ["r1.1"]

    def test_unless_it_is_beyond_what_its_project_may_count_on(self) -> None:
        site = replace(self.RULES, projects=(policy("vision", service=ServiceClass.BEST_EFFORT),))

        assert self.preempted(an_old_one(), site) == ["r1.1"]

    @pytest.mark.parametrize(("ready_days", "stays"), [(20, True), (2, False)])
    def test_it_keeps_its_place_in_a_native_queue(self, ready_days: int, *, stays: bool) -> None:
        row = an_old_one(started_us=0, nodes=(), is_queued=True, priority=4, ready_us=micros(ready_days * DAY_S))
        live = [an_attempt("r1.1", AttemptState.QUEUED, partition="")]
        site = replace(DEFAULT, default_window=1)
        busy_node = a_cluster(a_node("n1", cpus=1, free_cpus=0))

        made = a_plan(Ready().add("t1", priority=0), busy_node, site=site, running=[row], live=live, queueing=(HERE,))

        assert [one.attempt for one in made.decisions] == ([] if stays else ["r1.1"])


def an_old_one(**fields: Any) -> RunningRow:
    known: dict[str, Any] = {
        "attempt": "r1.1", "task": "r1", "project": "vision", "owner_uid": 1000, "backend": HERE, "nodes": ("n1",),
        "request": Resources(), "priority": 2, "started_us": micros(DAY_S), "ready_us": micros(20 * DAY_S),
        "saves_on_request": True,
    }  # fmt: skip
    return RunningRow(**{**known, **fields})


def ready_ids(ready: Ready) -> list[str]:
    return [row["task"] for row in ready.rows]
