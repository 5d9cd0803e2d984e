"""Room reserved for a project: who may, what ticks make of it, and what its holder's jobs ask a manager for."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.simulated.spec import AnswerFaults, ClusterSpec, FaultSpec, NodeType
from elisa.engine.config import Site
from elisa.engine.loop import until_idle
from elisa.engine.projects import known_projects
from elisa.engine.reserving import Bound, Reserved, people_s, release_reserved, reserve
from elisa.engine.workspace import Workspace
from elisa.model.errors import PolicyError, SpecError, Unavailable, UsageError
from elisa.model.ids import NativeId
from elisa.model.native import JobRequest
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.states import TaskState
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

BOSS, RESERVER, MANAGER, MEMBER = os.geteuid(), 4003, 4001, 4002
HOUR = timedelta(hours=1)
READY, ACTIVE, SUCCEEDED = TaskState.READY, TaskState.ACTIVE, TaskState.SUCCEEDED


def a_world(tmp_path: Path, *, queue: bool = False, **site: Any) -> World:
    spec = ClusterSpec(nodes=(NodeType(name="node", count=2, cpus=8),), heartbeat_s=30, queue=queue)
    config = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, "fusion": {"enabled": False}}
    made = World.make(tmp_path / "home", spec=spec, site=Site.model_validate({**config, **site}))
    (made.home / "roles.yaml").write_text(f"managers: {{vision: [{MANAGER}]}}\nreservers: [{RESERVER}]\n")
    return made


def seen_by(world: World, uid: int) -> Workspace:
    return replace(world.workspace(), uid=uid)


def keep(world: World, uid: int = BOSS, **fields: Any) -> Reserved:
    ws = seen_by(world, uid)
    now = ws.clock.now()
    given: dict[str, Any] = {"amount": {"cpus": "12"}, "begin": now, "end": now + HOUR, **fields}
    return reserve(ws, "vision", given.pop("backend", "sim"), given.pop("amount"), **given)


def why(world: World, name: str) -> str:
    with Reader.open(world.home) as reader:
        verdict = reader.verdict(world.tasks()[name].id)
    assert verdict is not None
    return in_words(Reason(code=ReasonCode(verdict.code), facts=verdict.facts))


def test_reserving_is_for_administrators_and_reservers_and_giving_back_for_managers_too(tmp_path: Path) -> None:
    world = a_world(tmp_path)

    for uid in (MEMBER, MANAGER):
        with pytest.raises(PolicyError, match=f"user {uid} may not reserve room for project vision"):
            keep(world, uid)
    made = keep(world, RESERVER).reservations
    with pytest.raises(PolicyError, match="may not give back room reserved for"):
        release_reserved(seen_by(world, MEMBER), made[0].id)

    assert [one.what for one in made] == ["12 cpus"]
    assert release_reserved(seen_by(world, MANAGER), made[0].id) == made
    with pytest.raises(UsageError, match="there is no reservation"):
        release_reserved(seen_by(world, MANAGER), made[0].id)
    assert_sound(world)


def test_room_of_a_backend_that_does_not_answer_is_reserved_unchecked(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.cluster.spec = replace(world.cluster.spec, faults=FaultSpec(answers=AnswerFaults(unreachable=1.0)))

    made = keep(world, amount={"cpus": "99"})

    assert [one.what for one in made.reservations] == ["99 cpus"]
    assert made.notes == (
        "sim does not answer, so what it has was not checked: sim does not answer: Unable to contact the controller",
    )


@pytest.mark.parametrize("queue", [False, True], ids=["elisa places", "a queue"])
def test_others_wait_while_it_lasts_and_the_holder_does_not(tmp_path: Path, *, queue: bool) -> None:
    world = a_world(tmp_path, queue=queue)
    keep(world)
    world.submit(*(job(f"o{number}", cpus=4, walltime_s=600) for number in range(2)))
    world.submit(*(job(f"v{number}", cpus=4, walltime_s=600) for number in range(3)), project="vision")

    world.tick()

    states = world.states()
    waiting = [name for name in ("o0", "o1") if states[name] is READY]
    assert (len(waiting), {states[f"v{number}"] for number in range(3)}) == (1, {ACTIVE})
    assert why(world, waiting[0]).startswith("sim holds 12 cpus for vision until 03-02 ")
    world.pass_time(3600)
    world.run()
    assert set(world.states().values()) == {SUCCEEDED}
    assert_sound(world)


def test_a_job_of_others_that_waits_in_a_queue_is_taken_back_before_it_can_run_into_it(tmp_path: Path) -> None:
    world = a_world(tmp_path, queue=True)
    world.submit(
        job("long", cpus=8, lasts_s=3000, walltime_s=3000), job("longer", cpus=8, lasts_s=3000, walltime_s=3000)
    )
    world.tick()
    world.submit(job("next", cpus=8, lasts_s=600, walltime_s=1200))
    world.tick()
    assert world.states()["next"] is ACTIVE

    now = world.workspace().clock.now()
    made = keep(world, amount={"nodes": "2"}, begin=now + HOUR, end=now + 2 * HOUR)
    world.tick()
    assert (made.notes, world.states()["next"]) == ((), ACTIVE)
    world.pass_time(2450)
    for _ in range(3):
        world.tick()
        world.pass_time(60)

    assert world.states()["next"] is READY
    assert why(world, "next").startswith("sim holds 2 nodes for vision from 03-02 ")
    world.run(step_s=900)
    assert world.attempts("next")[-1].started_at is not None
    assert world.attempts("next")[-1].started_at >= now + 2 * HOUR  # type: ignore[operator]  # it was asserted to be there
    assert world.tasks()["next"].failures == 0
    assert_sound(world)


def test_who_runs_and_will_still_have_it_is_told_when_it_is_made(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.submit(job("long", cpus=8, lasts_s=6000, walltime_s=7200))
    world.tick()
    world.pass_time(60)
    world.tick()

    assert (
        keep(world, amount={"nodes": "1"})
        .notes[0]
        .startswith("others' jobs have 1 nodes of sim and may keep them until")
    )
    later = world.workspace().clock.now() + 3 * HOUR
    assert keep(world, amount={"nodes": "1"}, begin=later, end=later + HOUR).notes == ()


def test_ticks_until_idle_wait_for_its_end_and_what_is_over_is_forgotten(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    keep(world, amount={"nodes": "2"})
    world.submit(job("o", cpus=4, walltime_s=600))

    until_idle(world.workspace())

    assert world.states() == {"o": SUCCEEDED}
    keep(world, end=world.workspace().clock.now() + HOUR)
    with Reader.open(world.home) as reader:
        assert [one.what for one in people_s(reader, world.workspace().clock.now())] == ["12 cpus"]
        assert len(reader.rules()) == 1
    assert_sound(world)


def test_site_yaml_reserves_too_and_a_project_knows_what_it_has(tmp_path: Path) -> None:
    one = {"project": "vision", "backend": "sim", "from": "2026-03-02T08:00Z", "until": "2026-03-02T20:00Z"}
    world = a_world(tmp_path, reservations=[{**one, "amount": {"nodes": 1, "gpus": {"a100": 2}}, "users": [7, "root"]}])
    keep(world)

    (known,) = known_projects(world.workspace())

    assert [(found.what, found.users, found.id[:6]) for found in known.reservations] == [
        ("1 node", (7, 0), "vision"),
        ("2 a100", (7, 0), "vision"),
        ("12 cpus", (), known.reservations[2].id[:6]),
    ]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"amount": {"nodes": "3"}}, "sim cannot hold 3 nodes"),
        ({"amount": {}}, "amount says too little"),
        ({"amount": {"nodes": "0"}}, "amount.nodes cannot be 0"),
        ({"backend": "slim"}, "there is no backend slim"),
        ({"native": "maint"}, "sim has no reservations of its own"),
        ({"users": ["nobody at all"]}, "--user names nobody at all"),
    ],
)
def test_what_cannot_be_reserved_is_said(tmp_path: Path, fields: dict[str, Any], what: str) -> None:
    world = a_world(tmp_path)

    with pytest.raises((UsageError, PolicyError), match=what):
        keep(world, **fields)
    now = world.workspace().clock.now()
    with pytest.raises(UsageError, match="over before it begins"):
        keep(world, begin=now - 2 * HOUR, end=now - HOUR)
    with pytest.raises((SpecError, ValueError), match="name nodes, cpus or gpus"):
        Site.model_validate({"reservations": [{"project": "p", "backend": "b", "amount": {}}]})


def test_room_where_a_manager_places_jobs_is_not_lent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="room of sim cannot be lent"):
        keep(a_world(tmp_path, queue=True), lend=True)


def test_lent_room_is_used_by_work_that_saves_until_the_holder_comes(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    keep(world, amount={"nodes": "2"}, lend=True)
    world.submit(job("stays", cpus=8, lasts_s=600, walltime_s=1200))
    world.submit(job("guest", cpus=8, lasts_s=1200, walltime_s=2400, saves_every_s=60))
    world.tick()
    assert (world.states()["guest"], world.states()["stays"]) == (ACTIVE, READY)
    world.pass_time(300)
    world.tick()

    world.submit(*(job(name, cpus=8, lasts_s=600, walltime_s=900) for name in ("first", "second")), project="vision")
    world.tick()
    assert sorted(world.states()[name] for name in ("first", "second")) == [ACTIVE, READY]
    world.pass_time(60)
    world.tick()

    assert [world.states()[name] for name in ("first", "second", "guest")] == [ACTIVE, ACTIVE, READY]
    with Reader.open(world.home) as reader:
        (facts,) = (row.facts["because"] for row in reader.audit() if row.facts.get("reason") == "lent_back")
    assert isinstance(facts, dict)
    told = in_words(Reason(code=ReasonCode.LENT_BACK, facts=facts))
    assert told.startswith("it saves and leaves sim: 2 nodes are reserved there for project vision, whose t")
    world.run(step_s=900)
    assert (world.states()["guest"], world.tasks()["guest"].failures) == (SUCCEEDED, 0)
    assert world.attempts("guest")[-1].resume_from is not None
    assert_sound(world)


def test_jobs_of_the_holder_ask_for_the_managers_own_reservation_as_long_as_it_has_room(tmp_path: Path) -> None:
    world = a_world(tmp_path, queue=True)
    keep(world, amount={"cpus": "8"}, native="maint")
    world.submit(*(job(f"v{number}", cpus=4, walltime_s=600) for number in range(3)), project="vision")
    world.submit(job("o", cpus=4, walltime_s=600))
    world.submit(job("overlong", cpus=4, walltime_s=7200), project="vision")
    asked: dict[str, str] = {}
    hand_over = world.cluster.submit

    def looked_at(request: JobRequest) -> NativeId:
        name = next(name for name, task in world.tasks().items() if request.attempt.startswith(task.id))
        asked[name] = request.reservation
        return hand_over(request)

    world.cluster.submit = looked_at  # type: ignore[method-assign]  # it looks, and passes on

    world.tick()

    assert sorted(asked[f"v{number}"] for number in range(3)) == ["", "maint", "maint"]
    assert (asked["o"], asked["overlong"]) == ("", "")
    with Reader.open(world.home) as reader:
        full = Bound(world.workspace(), reader)
        task = world.tasks()["v0"]
        assert full.take(task, world.attempts("v0")[0]) == ""


def test_nobody_asks_for_a_managers_reservation_that_is_gone_and_none_is_named_that_was_never_there(
    tmp_path: Path,
) -> None:
    world = a_world(tmp_path, queue=True)
    open_ones: dict[str, bool] | None = {"maint": True, "later": False}

    def reservations() -> dict[str, bool]:
        if open_ones is None:
            raise Unavailable("no answer")
        return open_ones

    world.cluster.reservations = reservations  # type: ignore[attr-defined]  # a manager that tells
    keep(world, amount={"cpus": "8"}, native="maint")
    world.submit(job("v", cpus=4, walltime_s=600), project="vision")
    world.tick()
    task, (attempt,) = world.tasks()["v"], world.attempts("v")

    def taken() -> str:
        with Reader.open(world.home) as reader:
            return Bound(world.workspace(), reader).take(task, attempt)

    with pytest.raises(UsageError) as unknown:
        keep(world, amount={"cpus": "1"}, native="typo")
    assert (unknown.value.what, unknown.value.why) == ("sim has no reservation typo", "it has later, maint")
    assert taken() == "maint"
    open_ones = {"maint": False}
    assert taken() == ""
    open_ones = {}
    assert taken() == ""
    with pytest.raises(UsageError, match="sim has no reservation maint"):
        keep(world, amount={"cpus": "1"}, native="maint")
    # Who does not answer is believed: Slurm has the last word.
    open_ones = None
    assert taken() == "maint"
