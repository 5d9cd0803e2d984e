"""Room kept for tasks that are tied to others, and room made for them: only where their ties can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.affinity import Bond, Circle, Company, Neighbour, Over, Tie
from elisa.model.columns import GangRow, Outlook, ProjectUsage, RunningRow
from elisa.model.ids import BackendName, TaskId
from elisa.model.pipeline import SitePlacement
from elisa.model.resources import Elastic, Resources
from elisa.model.site import SitePolicy
from elisa.model.task import Attempt
from elisa.policies.plan import Plan, plan
from elisa.policies.snapshot import KeptRoom, Snapshot
from elisa.report.words import in_words
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_plan, after, an_attempt, started
from tests.policies.test_preemption import a_job, a_site, asked

APART, BESIDE, PEER, SERVER = (
    Bond((Tie(0, apart=True),)),
    Bond((Tie(0),)),
    Bond((Tie(0, apart=True),), (0,)),
    Bond((), (0,)),
)
CIRCLES = (Circle("vision", "p1", ("server",)), Circle("vision", "p1", ("server",), over=Over.SWITCH))
SMALL, HALF, WHOLE = (Resources(cpus_per_task=cpus) for cpus in (1, 4, 8))
TWO = a_cluster(a_node("n1"), a_node("n2"))


def company(*neighbours: Neighbour) -> Outlook:
    return Outlook(company=Company(CIRCLES, neighbours, (0, 1)))


def at(task: str, *nodes: str, **more: Any) -> Neighbour:
    return Neighbour(HERE, nodes, **{"circles": (0,), "task": task, **more})


def running(task: str, nodes: str, ends_in_s: int, cpus: int = 1) -> Attempt:
    return an_attempt(
        f"{task}.1", nodes=nodes, started_at=NOW, request=Resources(cpus_per_task=cpus, walltime_s=ends_in_s)
    )


def kept(made: Plan, task: str) -> tuple[object, ...] | None:
    facts = made.reason(TaskId(task)).facts
    return (str(facts["starts_at"])[11:16], facts["nodes"]) if "starts_at" in facts else None


class TestKept:
    def test_who_must_be_apart_gets_the_node_whose_tasks_leave_first(self) -> None:
        live = [running("t8", "n1", 1200), running("t9", "n2", 600)]

        made = a_plan(Ready().add("t1", bond=APART), TWO, live=live, outlook=company(at("t8", "n1"), at("t9", "n2")))

        assert kept(made, "t1") == ("12:10", "n2")
        assert in_words(made.reason(TaskId("t1"))).startswith(
            "it must run apart from server, which runs on n1,n2, and there is no room elsewhere; room is kept for it from"
        )

    def test_who_must_be_beside_gets_room_on_the_others_node_even_if_others_leave_sooner(self) -> None:
        nodes = a_cluster(a_node("n1", free_cpus=0), a_node("n2", free_cpus=0))
        live = [running("t7", "n1", 600, 8), running("t8", "n2", 1200, 7), running("t9", "n2", 3000)]

        made = a_plan(Ready().add("t1", bond=BESIDE), nodes, live=live, outlook=company(at("t9", "n2")))

        assert kept(made, "t1") == ("12:20", "n2")

    def test_after_the_others_end_it_is_kept_where_they_were(self) -> None:
        nodes = a_cluster(a_node("n1", free_cpus=0), a_node("n2", free_cpus=0))
        live = [running("t8", "n1", 300, 8), running("t9", "n2", 600, 8)]

        made = a_plan(Ready().add("t1", bond=BESIDE), nodes, live=live, outlook=company(at("t9", "n2")))

        assert kept(made, "t1") == ("12:10", "n2")

    def test_nothing_is_kept_while_nobody_knows_where_the_others_will_be(self) -> None:
        waiting = Neighbour(HERE, (), (0,), task="t9")

        made = a_plan(Ready().add("t1", bond=APART), TWO, outlook=company(waiting))

        assert kept(made, "t1") is None

    @pytest.mark.parametrize(("walltime_s", "starts"), [(600, True), (601, False)])
    def test_whom_it_shuns_does_not_start_there_unless_over_by_then(self, walltime_s: int, *, starts: bool) -> None:
        live = [running("t9", "n1", 600)]
        ready = Ready().add("t1", bond=APART, importance=9)
        ready.add("t2", Resources(walltime_s=walltime_s), bond=SERVER)

        made = a_plan(ready, a_cluster(a_node("n1")), live=live, outlook=company(at("t9", "n1")))

        assert (started(made) == ["t2"]) is starts
        if not starts:
            assert made.reason(TaskId("t2")).facts["task"] == "t1"

    def test_room_that_was_promised_is_promised_again_and_used(self) -> None:
        ready = Ready().add("t1", bond=APART, importance=9).add("t2", Resources(walltime_s=900), bond=SERVER)
        promised = {TaskId("t1"): KeptRoom(after(900).timestamp(), ("n1",))}
        live = [running("t9", "n1", 900), running("t8", "n2", 300)]

        made = a_plan(ready, TWO, live=live, outlook=company(at("t9", "n1"), at("t8", "n2")), promised=promised)

        assert kept(made, "t1") == ("12:05", "n2")
        assert made.nodes(TaskId("t2")) == ("n1",)

    def test_a_gang_whose_members_must_be_apart_is_kept_a_node_for_each(self) -> None:
        ready = Ready().add("t1", WHOLE, bond=PEER, gang=0).add("t2", WHOLE, bond=PEER, gang=0)
        ready.gangs.append(GangRow(size=2))

        made = a_plan(
            ready,
            a_cluster(a_node("n1"), a_node("n2", free_cpus=0)),
            live=[running("t9", "n2", 600, 8)],
            outlook=company(),
        )

        assert kept(made, "t1") == kept(made, "t2") == ("12:10", "n1,n2")

    def test_for_a_gang_with_members_that_must_be_beside_others_nothing_is_kept(self) -> None:
        ready = Ready().add("t1", HALF, bond=BESIDE, gang=0).add("t2", HALF, bond=SERVER, gang=0)
        ready.gangs.append(GangRow(size=2))

        made = a_plan(
            ready, a_cluster(a_node("n1", free_cpus=0)), live=[running("t9", "n1", 600, 8)], outlook=company()
        )

        assert kept(made, "t1") is None

    def test_two_that_must_be_apart_are_kept_room_on_two_nodes(self) -> None:
        live = [running("t8", "n1", 600, 8), running("t9", "n2", 1200, 8)]
        nodes = a_cluster(a_node("n1", free_cpus=0), a_node("n2", free_cpus=0))
        ready = Ready().add("t1", bond=PEER).add("t2", bond=PEER)

        made = a_plan(ready, nodes, live=live, outlook=company(), site=SitePolicy(backfill_depth=5))

        assert [kept(made, "t1"), kept(made, "t2")] == [("12:10", "n1"), ("12:20", "n2")]

    def test_who_leans_on_one_that_is_over_keeps_the_circle_where_it_was(self) -> None:
        nodes = a_cluster(a_node("n1", free_cpus=0), a_node("n2"))
        over = Neighbour(HERE, ("n1",), (0,), is_over=True, task="t9")
        ready = Ready().add("t1", bond=BESIDE, importance=9)
        ready.add("t2", Resources(walltime_s=601), bond=SERVER).add("t3", Resources(walltime_s=600), bond=SERVER)

        made = a_plan(ready, nodes, live=[running("t8", "n1", 600, 8)], outlook=company(over))

        assert kept(made, "t1") == ("12:10", "n1")
        assert started(made) == ["t3"]

    def test_room_on_one_cluster_closes_nothing_on_another(self) -> None:
        other = a_cluster(a_node("x1"), backend="other")
        pinned = SitePlacement(backend=BackendName(HERE))
        ready = Ready().add("t1", bond=APART, importance=9, placement=pinned).add("t2", bond=SERVER)

        made = a_plan(
            ready, a_cluster(a_node("n1")), other, live=[running("t9", "n1", 600)], outlook=company(at("t9", "n1"))
        )

        assert kept(made, "t1") == ("12:10", "n1")
        assert made.nodes(TaskId("t2")) == ("x1",)


class Job(NamedTuple):
    cpus: int
    minutes: int
    at: int
    bond: Bond


JOBS = st.lists(
    st.builds(
        Job,
        st.integers(1, 4),
        st.integers(1, 6),
        st.integers(0, 8),
        st.sampled_from([Bond(), APART, PEER, SERVER, BESIDE, Bond((Tie(0),), (0,))]),
    ),
    min_size=1,
    max_size=12,
)


THREE = {"n1": "", "n2": "", "n3": ""}


class World:
    """Nodes of four cores, with the switch of each; jobs run as long as they said, and nobody is where a tie forbids it."""

    def __init__(self, queue: Mapping[str, Job], depth: int, switches: Mapping[str, str] = THREE) -> None:
        self.queue = queue
        self.switches = switches
        self.site = SitePolicy(order=("fifo",), backfill_depth=depth)
        self.live: list[Attempt] = []
        self.over: dict[str, tuple[str, ...]] = {}
        self.started: dict[str, datetime] = {}
        self.promised: dict[str, datetime] = {}
        self.kept: dict[TaskId, KeptRoom] = {}

    def run(self, minutes: int) -> None:
        for minute in range(minutes):
            self.step(after(60 * minute))
            if len(self.started) == len(self.queue):
                return

    def step(self, now: datetime) -> None:
        for one in [one for one in self.live if one.started_at + timedelta(seconds=one.request.walltime_s) <= now]:  # type: ignore[operator]
            self.live.remove(one)
            self.over[one.task] = tuple(one.nodes.split(","))
        ready = Ready()
        for id_, job in self.queue.items():
            if id_ not in self.started and after(60 * job.at) <= now:
                ready.add(
                    id_,
                    Resources(cpus_per_task=job.cpus, walltime_s=60 * job.minutes),
                    age_s=-60.0 * job.at,
                    bond=job.bond,
                )
        snapshot = Snapshot.build(
            ready.columns(), ProjectUsage(), [a_cluster(*self.nodes())], self.live, self.site, now,
            promised=self.kept, outlook=company(*self.neighbours()),
        )  # fmt: skip
        self.note(plan(snapshot), now)

    def nodes(self) -> list[Any]:
        held = {
            name: sum(one.request.cpus_per_node for one in self.live if one.nodes == name) for name in self.switches
        }
        return [a_node(name, cpus=4, free_cpus=4 - cpus, switch=self.switches[name]) for name, cpus in held.items()]

    def neighbours(self) -> list[Neighbour]:
        shuns = {id_: tuple(tie.whom for tie in job.bond.ties if tie.apart) for id_, job in self.queue.items()}
        live = [
            Neighbour(HERE, (one.nodes,), self.queue[one.task].bond.circles, shuns[one.task], task=one.task)
            for one in self.live
        ]
        over = [Neighbour(HERE, nodes, self.queue[id_].bond.circles, is_over=True) for id_, nodes in self.over.items()]
        return [one for one in (*live, *over) if one.circles or one.shuns]

    def note(self, made: Plan, now: datetime) -> None:
        self.kept = {}
        for one in made.passed_over():
            if "starts_at" in one.reason.facts and one.reason.facts.get("nodes"):
                starts_at = datetime.fromisoformat(str(one.reason.facts["starts_at"]))
                self.promised.setdefault(one.task, starts_at)
                self.kept[one.task] = KeptRoom(starts_at.timestamp(), tuple(str(one.reason.facts["nodes"]).split(",")))
        for id_ in started(made):
            (node,) = made.nodes(TaskId(id_))
            self.started[id_] = now
            request = Resources(cpus_per_task=self.queue[id_].cpus, walltime_s=60 * self.queue[id_].minutes)
            self.live.append(an_attempt(f"{id_}.1", nodes=node, started_at=now, request=request))
        for one in self.live:
            for other in self.live:
                for tie in self.queue[one.task].bond.ties:
                    if tie.apart and tie.whom in self.queue[other.task].bond.circles:
                        assert one is other or self.spot(one, tie.whom) != self.spot(other, tie.whom)

    def spot(self, one: Attempt, circle: int) -> str:
        """Return what a task has alone that is apart from such a circle: its node, or its switch if that is known."""
        return one.nodes if CIRCLES[circle].over is Over.NODE else self.switches[one.nodes] or one.nodes


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 100])
@given(jobs=JOBS)
def test_no_promise_to_a_tied_task_is_broken_and_none_breaks_a_promise(depth: int, jobs: Sequence[Job]) -> None:
    queue = {f"t{number:02}": job for number, job in enumerate(sorted(jobs, key=lambda job: job.at))}
    world = World(queue, depth)

    world.run(200)

    assert set(world.started) == set(queue)
    assert {id_: at for id_, at in world.promised.items() if world.started[id_] > at} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("bond", "stream"), [(APART, SERVER), (BESIDE, Bond())])
def test_a_tied_task_does_not_starve_behind_a_stream_of_small_ones(bond: Bond, stream: Bond) -> None:
    queue = {f"s{minute:03}{part}": Job(1, 6, minute, stream) for minute in range(60) for part in range(2)}
    queue |= {"server": Job(1, 50, 0, SERVER), "tied": Job(3, 1, 3, bond)}

    def begun(depth: int) -> datetime | None:
        world = World(queue, depth)
        world.run(40)
        return world.started.get("tied")

    assert begun(0) is None
    assert begun(1) is not None
    assert begun(1) <= after(60 * 12)  # type: ignore[operator]


class TestMadeRoom:
    def victims(
        self, bond: Bond, *jobs: RunningRow, nodes: Any = None, near: Sequence[Neighbour] = (), **extra: Any
    ) -> list[str]:
        full = a_cluster(*(nodes or [a_node("n1", free_cpus=0), a_node("n2", free_cpus=0)]))
        ready = Ready()
        for number in range(extra.pop("count", 1)):
            ready.add(f"t{number + 1}", extra.get("request", SMALL), priority=1, bond=bond)
        extra.pop("request", None)
        return asked(a_plan(ready, full, running=jobs, outlook=company(*near), **{"site": a_site(), **extra}))

    def test_who_is_shunned_must_leave_even_where_there_is_room(self) -> None:
        cheap = a_job("t8.1", "n1", request=SMALL, ran_s=200)
        shunned = a_job("t9.1", "n1", request=SMALL)
        other = a_job("t7.1", "n2", request=SMALL, is_preemptible=False)
        near = [at("t9", "n1"), at("t7", "n2")]

        nodes = [a_node("n1", free_cpus=6), a_node("n2", free_cpus=7)]

        assert self.victims(APART, cheap, shunned, other, nodes=nodes, near=near) == ["t9.1"]

    def test_nobody_leaves_for_a_node_where_one_that_it_shuns_would_stay(self) -> None:
        job = a_job("t8.1", "n1", request=SMALL)
        shunned = a_job("t9.1", "n1", request=Resources(cpus_per_task=7), is_preemptible=False)

        assert self.victims(APART, job, shunned, nodes=[a_node("n1", free_cpus=0)], near=[at("t9", "n1")]) == []

    def test_room_is_made_on_the_node_of_the_others_and_not_by_their_leaving(self) -> None:
        cheap = a_job("t7.1", "n1", ran_s=200)
        server = a_job("t9.1", "n2", request=Resources(cpus_per_task=4), ran_s=200)
        dear = a_job("t8.1", "n2", request=Resources(cpus_per_task=4))

        assert self.victims(BESIDE, cheap, server, dear, near=[at("t9", "n2")]) == ["t8.1"]
        assert self.victims(BESIDE, cheap, server, near=[at("t9", "n2")]) == []

    def test_room_is_made_where_it_is_kept_for_the_same_task_too(self) -> None:
        live = [running("t9", "n1", 600)]

        assert self.victims(PEER, a_job("t9.1", "n1"), nodes=[a_node("n1", free_cpus=0)], live=live) == ["t9.1"]

    def test_two_that_must_be_apart_get_a_node_each(self) -> None:
        jobs = [a_job("t8.1", "n1"), a_job("t9.1", "n2", ran_s=7200)]

        assert self.victims(PEER, *jobs, count=2) == ["t8.1", "t9.1"]
        assert self.victims(PEER, *jobs, count=3) == ["t8.1", "t9.1"]

    def test_what_gets_fewer_nodes_does_not_leave_who_must_be_apart_from_it(self) -> None:
        request = Resources(nodes=2, cpus_per_task=8, elastic=Elastic(least=1, most=2))
        wide = a_job("t9.1", "n1,n2", request=request, may_resize=True)

        assert self.victims(APART, wide, near=[at("t9", "n1", "n2")]) == ["t9.1"]

    def test_a_set_of_switches_is_cleared_as_cheaply_as_can_be(self) -> None:
        nodes = [a_node(f"{letter}{n}", switch=letter, free_cpus=0) for letter in "ab" for n in (1, 2)]
        nodes.append(a_node("u1", free_cpus=0))
        ran_s = {"a1": 200, "a2": 9000, "b1": 3000, "b2": 3000, "u1": 200}
        jobs = [a_job(f"t{name}.1", name, ran_s=seconds) for name, seconds in ran_s.items()]

        def cleared(switches: int) -> list[str]:
            request = Resources(nodes=2, cpus_per_task=8, switches=switches)
            return sorted(self.victims(Bond(), *jobs, nodes=nodes, request=request))

        assert cleared(0) == cleared(2) == ["ta1.1", "tu1.1"]
        assert cleared(1) == ["tb1.1", "tb2.1"]

    def test_where_one_switch_cannot_be_cleared_nobody_leaves(self) -> None:
        nodes = [a_node(f"{letter}{n}", switch=letter, free_cpus=0) for letter in "ab" for n in (1, 2)]
        jobs = [a_job(f"t{one.name}.1", one.name, is_preemptible=one.name.endswith("1")) for one in nodes]

        assert self.victims(Bond(), *jobs, nodes=nodes, request=Resources(nodes=2, cpus_per_task=8, switches=1)) == []

    def test_in_a_native_queue_room_is_made_on_nodes_that_it_may_have_now(self) -> None:
        jobs = [a_job("t8.1", "n1", ran_s=9000), a_job("t9.1", "n2", ran_s=200)]

        assert self.victims(APART, *jobs, near=[at("t9", "n2")], queueing=[HERE]) == ["t8.1"]
        assert self.victims(PEER, *jobs, near=[at("t9", "n2")], queueing=[HERE]) == ["t8.1"]

    def test_in_a_native_queue_it_is_made_on_the_node_that_it_waits_for(self) -> None:
        jobs = [a_job("t7.1", "n1", ran_s=200), a_job("t9.1", "n2", request=SMALL), a_job("t8.1", "n2", request=SMALL)]

        assert self.victims(BESIDE, *jobs, near=[at("t9", "n2")], queueing=[HERE]) == ["t8.1"]

    @pytest.mark.parametrize(("nodelist", "leaves"), [((), []), (("n1",), ["t8.1"])])
    def test_for_a_job_that_waits_there_and_is_tied_only_on_nodes_that_it_names(
        self, nodelist: Any, leaves: list[str]
    ) -> None:
        job = a_job("t8.1", "n1")
        waits = a_job("t5.1", "", request=Resources(nodelist=nodelist), priority=0, is_queued=True, partition="")
        near = Neighbour(HERE, nodelist, (), (0,), task="t5")

        made = a_plan(
            Ready(),
            a_cluster(a_node("n1", free_cpus=0)),
            running=[job, waits._replace(nodes=())],
            outlook=company(near),
            queueing=[HERE],
            site=a_site(),
        )

        assert asked(made) == leaves


@given(
    ends=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    size=st.integers(2, 4),
)
def test_what_a_gang_whose_members_must_be_apart_is_promised_comes_true_and_no_sooner(
    ends: Sequence[int], size: int
) -> None:
    """Half of each node is held until some minute, 0: it is free. Nobody else comes."""
    ready = Ready()
    for number in range(size):
        ready.add(f"m{number}", HALF, bond=PEER, gang=0)
    ready.gangs.append(GangRow(size=size))
    jobs = [running(f"x{at}", f"n{at // 2}", 60 * minute, 4) for at, minute in enumerate(ends) if minute]

    def planned_at(minute: int) -> Plan:
        live = [one for one in jobs if one.request.walltime_s > 60 * minute]
        names = dict.fromkeys(f"n{at // 2}" for at in range(len(ends)))
        nodes = [a_node(name, free_cpus=8 - 4 * sum(one.nodes == name for one in live)) for name in names]
        snapshot = Snapshot.build(
            ready.columns(), ProjectUsage(), [a_cluster(*nodes)], live, SitePolicy(), after(60 * minute),
            outlook=company(),
        )  # fmt: skip
        return plan(snapshot)

    promised = kept(planned_at(0), "m0")
    begins = [minute for minute in range(6) if started(planned_at(minute))]
    if promised is not None:
        assert begins[0] == int(str(promised[0])[3:]) > 0
    else:
        assert begins[:1] in ([], [0])
