"""Affinity from the words of a pipeline to the nodes of the simulated cluster, over real ticks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.plan import preview
from elisa.model.affinity import Affinity, Over
from elisa.model.pipeline import SitePlacement, TaskSpec
from elisa.model.states import TaskState
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.reliability.specs import after, job
from tests.reliability.world import World

FOUR = ClusterSpec(nodes=(NodeType(name="n", count=4, cpus=4),))
ALONE = replace(FOUR, queue=False)


def tied(spec: TaskSpec, *wishes: Affinity) -> TaskSpec:
    return replace(spec, placement=SitePlacement(affinity=wishes))


def a_world(tmp_path: Path, spec: ClusterSpec = FOUR) -> World:
    return World.make(tmp_path / "home", spec=spec)


def nodes(world: World, *names: str) -> list[str]:
    return [one.nodes for name in names for one in world.attempts(name)]


@pytest.mark.parametrize("spec", [FOUR, ALONE])
def test_replicas_run_on_nodes_of_their_own_and_a_client_beside_one(tmp_path: Path, spec: ClusterSpec) -> None:
    world = a_world(tmp_path, spec)
    apart = Affinity(labels=(("role", "db"),), apart=True)
    replicas = [tied(job(f"db{n}", labels=(("role", "db"),)), apart) for n in range(3)]
    world.submit(tied(job("client"), Affinity(tasks=("db1",))), *replicas)

    world.tick()
    world.pass_time(60)
    world.tick()

    where = nodes(world, "db0", "db1", "db2")
    assert len(set(where)) == 3
    assert nodes(world, "client") == [where[1]]
    with Reader.open(world.home) as reader:
        first = next(iter(reader.audit(subject=world.attempts("client")[0].id)))
    assert first.facts["because"]["on"] == where[1]  # type: ignore[index]


@pytest.mark.slow
def test_a_successor_runs_where_its_predecessor_left_its_data(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    use = tied(job("use", after("prep")), Affinity(tasks=("prep",)))
    world.submit(job("fill", cpus=3, importance=9.0), job("prep", cpus=3), use)

    world.run()

    assert world.states()["use"] is TaskState.SUCCEEDED
    assert nodes(world, "use") == nodes(world, "prep") == ["n0002"]


@pytest.mark.slow
def test_who_never_said_so_is_kept_away_from_one_that_wants_to_be_apart(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(FOUR, nodes=(NodeType(name="n", count=1, cpus=4),)))
    world.submit(tied(job("timing", lasts_s=180), Affinity(labels=(("io", "heavy"),), apart=True)))
    world.tick()
    world.pass_time(60)
    world.submit(job("copy", labels=(("io", "heavy"),)), job("light"))

    seen = preview(world.workspace())
    world.tick()

    waits = {seen.names[task]: in_words(reason) for reason, tasks in seen.plan.passed_over_groups() for task in tasks}
    assert waits == {"copy": "on n0001 runs what must be apart from io: heavy, and there is no room elsewhere"}
    world.pass_time(60)
    world.tick()
    assert world.states() == {"copy": TaskState.READY, "light": TaskState.ACTIVE, "timing": TaskState.ACTIVE}
    world.run()
    assert world.states()["copy"] is TaskState.SUCCEEDED


def test_labels_mean_tasks_of_other_pipelines_of_the_project_and_no_others(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(FOUR, nodes=(NodeType(name="n", count=1, cpus=4),)))
    world.submit(job("a", lasts_s=600, labels=(("role", "db"),)))
    world.tick()
    world.pass_time(60)
    world.tick()
    apart = Affinity(labels=(("role", "db"),), apart=True)
    world.submit(tied(job("mine"), apart))
    world.submit(tied(job("theirs"), apart), project="vision")

    world.tick()

    assert (world.states()["mine"], world.states()["theirs"]) == (TaskState.READY, TaskState.ACTIVE)


@pytest.mark.slow
def test_tasks_with_ties_are_neither_chained_nor_share_a_job(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(FOUR, arrays=100))
    apart: dict[str, Any] = {"lasts_s": 10, "walltime_s": 60}
    server = tied(job("server", lasts_s=60), Affinity(tasks=("next", "short"), apart=True))
    world.submit(
        server,
        job("first", **apart),
        job("next", after("first"), **apart),
        job("short", after("first"), **apart),
        tied(job("last", after("first"), **apart), Affinity(tasks=("first",))),
    )

    world.tick()

    assert {name for name, state in world.states().items() if state is TaskState.ACTIVE} == {"server", "first"}
    world.run(step_s=5)
    (home,) = nodes(world, "server")
    assert home not in nodes(world, "next", "short")
    assert nodes(world, "last") == nodes(world, "first")


def test_what_may_share_jobs_and_what_may_not(tmp_path: Path) -> None:
    assert tied(job("a", walltime_s=30), Affinity(tasks=("b",))).brief_s == 0
    assert job("a", walltime_s=30).brief_s == 30


LEAVES = ClusterSpec(nodes=(NodeType(name="n", count=6, cpus=4, per_switch=3),))


@pytest.mark.slow
@pytest.mark.parametrize("spec", [LEAVES, replace(LEAVES, queue=False)])
def test_work_that_must_be_on_one_switch_waits_for_it(tmp_path: Path, spec: ClusterSpec) -> None:
    world = a_world(tmp_path, spec)
    world.submit(*[job(f"fill{n}", cpus=4, lasts_s=600) for n in range(4)])
    world.tick()
    world.pass_time(60)
    wide = job("wide", cpus=4)
    world.submit(replace(wide, resources=replace(wide.resources, nodes=2, switches=1)))

    world.run()

    (ran,) = nodes(world, "wide")
    assert {(int(name[1:]) - 1) // 3 for name in ran.split(",")} in ({0}, {1})


def test_without_a_queue_work_on_several_nodes_prefers_one_switch(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(LEAVES, queue=False))
    wide = job("wide", cpus=4, lasts_s=600)
    world.submit(
        job("fill", cpus=4, lasts_s=600, importance=9.0), replace(wide, resources=replace(wide.resources, nodes=3))
    )

    world.tick()
    world.pass_time(60)
    world.tick()

    assert nodes(world, "fill", "wide") == ["n0001", "n0004,n0005,n0006"]


@pytest.mark.slow
def test_a_job_that_waits_for_a_node_which_fails_is_taken_back_and_runs_elsewhere(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(job("server", cpus=4, lasts_s=300), tied(job("client"), Affinity(tasks=("server",))))
    for _ in range(3):
        world.tick()
        world.pass_time(60)
    (first,) = nodes(world, "server")
    assert world.attempts("client")[0].request.nodelist == (first,)

    world.cluster.fail_nodes(first, for_s=86_400)
    world.run()

    taken_back, *_ = world.attempts("client")
    with Reader.open(world.home) as reader:
        told = [row.facts for row in reader.audit(subject=taken_back.id) if row.kind == "cancel.sent"]
    assert [(facts["reason"], facts["because"]) for facts in told] == [
        ("nodes_lost", {"backend": "sim", "nodes": first})
    ]
    assert nodes(world, "client")[-1] not in {first, ""}
    assert world.tasks()["client"].failures == 0


def switch_of(node: str) -> int:
    return (int(node[1:]) - 1) // LEAVES.nodes[0].per_switch


@pytest.mark.slow
@pytest.mark.parametrize("spec", [LEAVES, replace(LEAVES, queue=False)])
def test_over_switches_replicas_run_apart_and_a_client_on_the_switch_of_one(tmp_path: Path, spec: ClusterSpec) -> None:
    world = a_world(tmp_path, spec)
    apart = Affinity(labels=(("role", "db"),), apart=True, over=Over.SWITCH)
    replicas = [tied(job(f"db{n}", cpus=4, lasts_s=900, labels=(("role", "db"),)), apart) for n in range(3)]
    client = tied(job("client", cpus=4, lasts_s=60), Affinity(tasks=("db1",), over=Over.SWITCH))
    world.submit(client, *replicas)

    for _ in range(3):
        world.tick()
        world.pass_time(60)
    seen = preview(world.workspace())

    first, second = nodes(world, "db0", "db1")
    assert switch_of(first) != switch_of(second)
    (near,) = nodes(world, "client")
    assert (near != second, switch_of(near)) == (True, switch_of(second))
    waits = {seen.names[task]: in_words(reason) for reason, tasks in seen.plan.passed_over_groups() for task in tasks}
    assert waits["db2"].startswith(
        "it must run on another switch than role: db, not on that of n0001,n0002,n0003,n0004,n0005,n0006,"
        " and there is no room elsewhere"
    )
    world.run()
    assert set(world.states().values()) == {TaskState.SUCCEEDED}


def test_where_no_switch_is_known_a_tie_over_switches_can_never_hold(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(job("server"), tied(job("client"), Affinity(tasks=("server",), over=Over.SWITCH)))

    seen = preview(world.workspace())

    waits = {seen.names[task]: in_words(reason) for reason, tasks in seen.plan.passed_over_groups() for task in tasks}
    assert waits["client"] == "it can never start: it asks for a node on a known switch, and there is none"
