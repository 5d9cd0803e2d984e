"""Rules of projects changed by command: who may, what the next plan makes of it, and what is written down."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine import projects
from elisa.engine.commands import cancel
from elisa.engine.config import Site
from elisa.engine.roles import read_roles
from elisa.engine.submit import submit
from elisa.engine.whatif import Supposition, suppose
from elisa.engine.workspace import Workspace
from elisa.model.errors import ElisaError, PolicyError, SpecError, UsageError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import Pipeline, PriorityClass
from elisa.model.reasons import Reason, ReasonCode
from elisa.model.site import Cap, Metered
from elisa.model.states import TaskState
from elisa.report.words import in_words
from elisa.store.reader import Reader
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600
BOSS, MANAGER, MEMBER = os.geteuid(), 4001, 4002
ROLES = f"managers: {{vision: [{MANAGER}]}}\nclasses: {{high: [{MANAGER}]}}\n"
RULES = {
    "projects": {
        "vision": {"budget": {"cpu_hours": 100}, "may_lend": True},
        "nlp": {"budget": {"cpu_hours": 1}},
    }
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    base = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}}
    made = World.make(tmp_path / "home", site=Site.model_validate({**base, **RULES}))
    (made.home / "roles.yaml").write_text(ROLES)
    return made


def seen_by(world: World, uid: int) -> Workspace:
    return replace(world.workspace(), uid=uid)


def policy_of(world: World, name: str) -> projects.Known:
    return next(one for one in projects.known_projects(world.workspace()) if one.name == name)


def why_it_waits(world: World, name: str) -> str:
    with Reader.open(world.home) as reader:
        verdict = reader.verdict(world.tasks()[name].id)
    assert verdict is not None
    return in_words(Reason(code=ReasonCode(verdict.code), facts=verdict.facts))


def test_a_setting_is_laid_over_the_file_and_taken_back_again(world: World) -> None:
    boss = seen_by(world, BOSS)
    settings = {"budget.cpu_hours": "7", "at_once.memory": "2GiB", "per_user.at_once.jobs": "3", "highest": "critical"}

    projects.change(boss, "vision", settings)

    changed = policy_of(world, "vision")
    assert changed.policy.caps == (
        Cap(resource=Metered.CPU_S, limit=7 * HOUR),
        Cap(resource=Metered.MEMORY_MIB, limit=2048),
    )
    assert changed.policy.user_caps == (Cap(resource=Metered.JOBS, limit=3),)
    assert (changed.policy.highest, changed.policy.may_lend, len(changed.rules)) == (PriorityClass.CRITICAL, True, 4)
    projects.change(boss, "vision", {"budget.cpu_hours": "none"})
    assert [cap.resource for cap in policy_of(world, "vision").policy.caps] == [Metered.MEMORY_MIB]
    projects.reset(boss, "vision", ["budget.cpu_hours"])
    assert policy_of(world, "vision").policy.caps[0].limit == 100 * HOUR
    projects.reset(boss, "vision", [])
    assert policy_of(world, "vision").policy == world.site.policy().project(ProjectName("vision"))
    assert_sound(world)


def test_a_project_that_the_file_does_not_name_begins_with_the_rules_for_unlisted_ones(world: World) -> None:
    projects.change(seen_by(world, BOSS), "climate", {"shares": "4"})

    known = policy_of(world, "climate")
    assert (known.is_listed, known.policy.shares, known.policy.highest) == (True, 4.0, PriorityClass.HIGH)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget.cpu_hour": "5"}, "no setting budget.cpu_hour"),
        ({"shares": "-1"}, "shares cannot be -1"),
        ({"budget": "5"}, "budget cannot be 5"),
        ({"highest": "top"}, "highest cannot be top"),
    ],
)
def test_what_is_no_setting_is_refused_and_nothing_is_written(
    world: World, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        projects.change(seen_by(world, BOSS), "vision", {"shares": "2", **settings})

    assert policy_of(world, "vision").rules == ()


def test_the_next_plan_follows_a_raised_and_a_cut_budget(world: World) -> None:
    world.submit(job("big", cpus=4, walltime_s=2 * HOUR, lasts_s=HOUR))
    world.tick()
    assert why_it_waits(world, "big") == "project nlp has 1 core-h left of 1, this asks for 8"

    projects.change(seen_by(world, BOSS), "nlp", {"budget.cpu_hours": "8"})
    world.tick()

    assert world.states() == {"big": TaskState.ACTIVE}
    assert_sound(world)
    projects.change(seen_by(world, BOSS), "nlp", {"budget.cpu_hours": "2"})
    world.submit(job("small", walltime_s=60))
    world.tick()
    assert world.states()["small"] is TaskState.READY


def test_a_grant_holds_within_its_period(world: World) -> None:
    now = world.clock.now()
    world.submit(job("work", cpus=4, walltime_s=HOUR), project="climate")
    period = (now + timedelta(days=1), now + timedelta(days=2))

    projects.grant(seen_by(world, BOSS), "climate", {"cpu_hours": "5"}, *period)
    world.tick()
    before = world.states()["work"]
    world.pass_time(86400)
    world.tick()

    assert (before, world.states()["work"]) == (TaskState.READY, TaskState.ACTIVE)
    with pytest.raises(UsageError, match="over before it begins"):
        projects.grant(seen_by(world, BOSS), "climate", {"cpu_hours": "5"}, period[1], period[0])
    assert_sound(world)


def lend(world: World, uid: int = MANAGER, hours: int = 20, **rest: bool) -> str:
    now = world.clock.now()
    terms = projects.Terms(amount={"cpu_hours": str(hours)}, begin=now, end=now + timedelta(days=30), **rest)
    return projects.lend(seen_by(world, uid), "vision", "nlp", terms).id


def test_what_is_lent_may_be_used_and_what_is_left_of_it_goes_back(world: World) -> None:
    world.submit(job("big", cpus=4, walltime_s=2 * HOUR, lasts_s=HOUR))
    loan = lend(world)
    world.run()

    (ended,) = projects.reclaim(seen_by(world, MANAGER), loan)
    world.submit(job("more", cpus=4, walltime_s=2 * HOUR))
    world.tick()

    assert ended.due_at == world.clock.now()
    assert world.states()["big"] is TaskState.SUCCEEDED
    assert why_it_waits(world, "more").startswith("project nlp has 0 core-h left of 4")
    with pytest.raises(UsageError, match="is over"):
        projects.reclaim(seen_by(world, MANAGER), loan)
    assert_sound(world)


def test_a_lender_in_need_gets_its_budget_back_and_the_borrowers_work_gives_way(world: World) -> None:
    loan = lend(world, hours=99)
    world.submit(job("borrowed", cpus=4, walltime_s=20 * HOUR, lasts_s=19 * HOUR, saves_every_s=HOUR))
    world.tick()
    world.pass_time(HOUR)
    world.submit(job("own", cpus=4, walltime_s=5 * HOUR, lasts_s=4 * HOUR), project="vision")

    world.tick()
    refused = world.states()["own"]
    for _ in range(4):
        world.pass_time(60)
        world.tick()

    assert refused is TaskState.READY
    assert world.states() == {"borrowed": TaskState.READY, "own": TaskState.ACTIVE}
    with Reader.open(world.home) as reader:
        [recall] = reader.audit(subject=f"{loan}/recall")
        told = reader.usage(world.clock.now()).rows
    assert recall.facts["set_by"] == "elisa"
    assert sum(row.spent.cpu_s + row.reserved.cpu_s for row in told) <= 101 * HOUR
    assert_sound(world)


def test_a_loan_that_is_kept_by_hand_stays_although_its_lender_needs_it(world: World) -> None:
    lend(world, hours=99, on_need=False)
    world.submit(job("own", cpus=4, walltime_s=5 * HOUR), project="vision")

    world.tick()
    world.tick()

    assert why_it_waits(world, "own") == "project vision has 1 core-h left of 1, this asks for 20"


def test_a_borrower_may_give_back_what_the_lender_may_not_call_back(world: World) -> None:
    (world.home / "roles.yaml").write_text(f"managers: {{vision: [{MANAGER}], nlp: [{MEMBER}]}}\n")
    loan = lend(world, recallable=False)

    with pytest.raises(PolicyError, match="cannot call its loan to nlp back"):
        projects.reclaim(seen_by(world, MANAGER), loan)
    with pytest.raises(PolicyError, match=f"user {MANAGER} may not give back a loan of project nlp"):
        projects.give_back(seen_by(world, MANAGER), loan)
    (ended,) = projects.give_back(seen_by(world, MEMBER), loan)

    assert ended.due_at == world.clock.now()


def test_more_than_there_is_cannot_be_lent_twice(world: World) -> None:
    lend(world, hours=60)

    with pytest.raises(PolicyError, match="vision has 40 core-h left to lend, not 60 core-h"):
        lend(world, hours=60)


@pytest.mark.parametrize("uid", [MANAGER, MEMBER])
def test_only_an_administrator_changes_what_a_project_has(world: World, uid: int) -> None:
    now = world.clock.now()
    theirs = seen_by(world, uid)

    for refused in (
        lambda: projects.change(theirs, "vision", {"budget.cpu_hours": "999"}),
        lambda: projects.grant(theirs, "vision", {"cpu_hours": "9"}, now, now + timedelta(days=1)),
    ):
        with pytest.raises(PolicyError, match=f"user {uid} may not change the rules of project vision"):
            refused()
    assert policy_of(world, "vision").rules == ()


def test_a_manager_divides_the_budget_between_members_and_a_member_does_not(world: World) -> None:
    projects.change(seen_by(world, MANAGER), "vision", {"per_user.budget.cpu_hours": "5"})

    with pytest.raises(PolicyError, match="may not divide the budget of project vision"):
        projects.change(seen_by(world, MEMBER), "vision", {"per_user.budget.cpu_hours": "50"})
    with pytest.raises(PolicyError, match="may not lend for project vision"):
        lend(world, uid=MEMBER)
    with pytest.raises(PolicyError, match="may not divide"):
        projects.reset(seen_by(world, MEMBER), "vision", [])
    assert policy_of(world, "vision").policy.user_caps == (Cap(resource=Metered.CPU_S, limit=5 * HOUR),)


def test_a_class_kept_for_others_is_refused_at_submission_and_clipped_if_it_came_in_before(world: World) -> None:
    urgent = Pipeline(name="study", project=ProjectName("vision"), tasks=(job("now"),), priority=PriorityClass.HIGH)
    with pytest.raises(PolicyError, match=f"user {MEMBER} may not use class high"):
        submit(seen_by(world, MEMBER), urgent)

    submit(seen_by(world, MANAGER), urgent)
    with Reader.open(world.home) as reader:
        assert list(reader.ready_columns().priority) == [1]


def test_others_work_is_cancelled_by_managers_only(world: World) -> None:
    pipeline = world.submit(job("work"), project="vision")

    with pytest.raises(PolicyError, match="may not control what others do in project vision"):
        cancel(seen_by(world, MEMBER), [pipeline])
    assert len(cancel(seen_by(world, MANAGER), [pipeline]).changed) == 1


def test_work_of_a_project_with_members_is_submitted_by_them_alone(world: World) -> None:
    (world.home / "roles.yaml").write_text(f"members: {{vision: [{MANAGER}]}}\n")
    work = Pipeline(name="work", project=ProjectName("vision"), tasks=(job("work"),))

    with pytest.raises(PolicyError, match=f"user {MEMBER} may not submit work of project vision"):
        submit(seen_by(world, MEMBER), work)
    submit(seen_by(world, MEMBER), replace(work, project=ProjectName("nlp")))
    submit(seen_by(world, MANAGER), work)


def test_a_file_of_roles_that_others_could_have_written_counts_for_nothing_and_starts_nothing(world: World) -> None:
    world.submit(job("work"))
    file = world.home / "roles.yaml"

    for mode in (0o664, 0o646):
        file.chmod(mode)
        with pytest.raises(PolicyError, match="cannot be trusted"):
            world.tick()
    file.unlink()
    file.symlink_to("/etc/hostname")
    with pytest.raises(PolicyError, match="no ordinary file"):
        world.tick()

    assert world.states() == {"work": TaskState.READY}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("admins: [nobody-of-that-name]\n", PolicyError),
        ("managers: {vision: 5}\n", SpecError),
        ("kings: [1]\n", SpecError),
        ("classes: {urgent: [1]}\n", SpecError),
    ],
)
def test_a_file_of_roles_that_cannot_be_read_is_refused(world: World, text: str, error: type[ElisaError]) -> None:
    (world.home / "roles.yaml").write_text(text)

    with pytest.raises(error):
        read_roles(world.workspace().files, world.home)


def test_the_file_is_read_again_whenever_it_matters(world: World) -> None:
    with pytest.raises(PolicyError):
        projects.change(seen_by(world, MEMBER), "vision", {"shares": "3"})

    (world.home / "roles.yaml").write_text(f"admins: [{MEMBER}]\n")

    assert projects.change(seen_by(world, MEMBER), "vision", {"shares": "3"})


def test_energy_is_reserved_by_the_estimate_and_what_was_not_used_goes_back(tmp_path: Path) -> None:
    rules = {
        "backends": {"sim": {"kind": "simulated"}},
        "power": {"node": 100, "cpu": 25},
        "projects": {"nlp": {"budget": {"energy_kwh": 0.5}, "per_user": {"budget": {"energy_kwh": 0.4}}}},
    }
    world = World.make(tmp_path / "home", site=Site.model_validate(rules))
    world.submit(*(job(f"w{number}", cpus=4, walltime_s=HOUR, lasts_s=HOUR // 2) for number in range(3)))

    world.tick()
    first = sorted(world.states().values())
    words = why_it_waits(world, next(name for name, one in world.states().items() if one is TaskState.READY))
    for _ in range(8):
        world.pass_time(600)
        world.tick()

    assert first == [TaskState.ACTIVE, TaskState.ACTIVE, TaskState.READY]
    assert words == "project nlp has 0.1 kWh left of 0.5, this asks for 0.2"
    with Reader.open(world.home) as reader:
        [row] = reader.usage(world.clock.now()).rows
    assert 0.3 * 3_600_000 <= row.spent.watt_s + row.reserved.watt_s <= 0.4 * 3_600_000
    assert_sound(world)


def test_what_may_be_held_at_once_is_lent_and_goes_back_when_the_lender_needs_it(tmp_path: Path) -> None:
    rules = {"vision": {"at_once": {"cpus": 4}, "may_lend": True}, "nlp": {"at_once": {"cpus": 2}}}
    site = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, "fusion": {"enabled": False}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=16),), heartbeat_s=30)
    lending = World.make(tmp_path / "lending", spec=spec, site=Site.model_validate({**site, "projects": rules}))
    boss = seen_by(lending, BOSS)
    now = boss.clock.now()
    terms = projects.Terms(amount={"at_once.cpus": "2"}, begin=now, end=now + timedelta(days=1))
    lending.submit(*(job(f"n{n}", cpus=2, lasts_s=5 * HOUR, walltime_s=6 * HOUR, saves_every_s=600) for n in range(2)))
    lending.tick()
    assert sorted(lending.states().values()) == [TaskState.ACTIVE, TaskState.READY]
    refused = next(name for name, state in lending.states().items() if state is TaskState.READY)
    assert why_it_waits(lending, refused) == "project nlp uses 2 cpus of the 2 it may use at once, this asks for 2"

    projects.lend(boss, "vision", "nlp", terms)

    lending.tick()
    assert set(lending.states().values()) == {TaskState.ACTIVE}
    with pytest.raises(PolicyError, match="vision has 2 cpus left to lend, not 3 cpus"):
        projects.lend(boss, "vision", "nlp", replace(terms, amount={"at_once.cpus": "3"}))
    with pytest.raises(UsageError, match="loan says too little"):
        projects.lend(boss, "vision", "nlp", replace(terms, amount={}))
    lending.pass_time(HOUR)
    lending.submit(*(job(f"v{n}", cpus=2, lasts_s=60, walltime_s=600) for n in range(2)), project="vision")
    for _ in range(4):
        lending.tick()
        lending.pass_time(60)

    states = lending.states()
    assert (states["v0"], states["v1"]) == (TaskState.SUCCEEDED, TaskState.SUCCEEDED)
    assert sorted(states[f"n{n}"] for n in range(2)) == [TaskState.ACTIVE, TaskState.READY]
    lending.run(step_s=600)
    assert all(lending.tasks()[f"n{n}"].failures == 0 for n in range(2))
    assert_sound(lending)


def test_what_is_drawn_at_once_is_bounded_lent_and_supposed(tmp_path: Path) -> None:
    rules = {
        "backends": {"sim": {"kind": "simulated"}},
        "power": {"node": 100, "cpu": 25},
        "at_once": {"watts": 800},
        "projects": {
            "nlp": {"at_once": {"watts": 400}},
            "vision": {"at_once": {"watts": 600}, "soft_at_once": {"watts": 200}, "may_lend": True},
        },
        "jobs": {"self_fence": "60s"},
        "fusion": {"enabled": False},
    }
    spec = ClusterSpec(nodes=(NodeType(name="node", count=8, cpus=4),), heartbeat_s=30)
    world = World.make(tmp_path / "home", spec=spec, site=Site.model_validate(rules))
    boss = seen_by(world, BOSS)
    now = boss.clock.now()
    world.submit(*(job(f"n{number}", cpus=4, walltime_s=HOUR, lasts_s=HOUR // 2) for number in range(3)))

    world.tick()
    waits = next(name for name, one in world.states().items() if one is TaskState.READY)
    supposed = suppose(boss, Supposition(project=ProjectName("nlp"), settings={"at_once.watts": "600"}))

    assert why_it_waits(world, waits) == "project nlp uses 400 W of the 400 it may use at once, this asks for 200"
    assert supposed.difference.starts == (world.tasks()[waits].id,)

    terms = projects.Terms(amount={"at_once.watts": "200"}, begin=now, end=now + timedelta(days=1))
    projects.lend(boss, "vision", "nlp", terms)
    world.tick()
    world.submit(job("v0", cpus=4, walltime_s=HOUR, lasts_s=60), job("v1", cpus=4, walltime_s=HOUR), project="vision")
    world.tick()

    assert [world.states()[f"n{number}"] for number in range(3)] == [TaskState.ACTIVE] * 3
    waits = next(name for name in ("v0", "v1") if world.states()[name] is TaskState.READY)
    assert why_it_waits(world, waits) == "the site uses 800 W of the 800 it may use at once, this asks for 200"
    with Reader.open(world.home) as reader:
        assert sum(row.watts for row in reader.usage(now).rows) == 800
    world.run(step_s=600)
    assert_sound(world)
    assert set(world.states().values()) == {TaskState.SUCCEEDED}
    with Reader.open(world.home) as reader:
        assert sum(row.watts for row in reader.usage(now).rows) == 0


def test_where_all_may_draw_less_at_once_work_saves_and_parks(tmp_path: Path) -> None:
    rules = {"backends": {"sim": {"kind": "simulated"}}, "power": {"cpu": 25}, "at_once": {"watts": 200}}
    world = World.make(tmp_path / "home", site=Site.model_validate(rules))
    world.submit(job("a", cpus=4, lasts_s=HOUR, saves_every_s=60), job("b", cpus=4, lasts_s=HOUR, saves_every_s=60))
    world.tick()
    world.pass_time(120)
    world.tick()

    world.site = Site.model_validate({**rules, "at_once": {"watts": 150}})
    world.cut_at = world.clock.now()
    for _ in range(4):
        world.tick()
        world.pass_time(60)

    assert sorted(world.states().values()) == [TaskState.ACTIVE, TaskState.READY]
    parked = next(name for name, one in world.states().items() if one is TaskState.READY)
    assert why_it_waits(world, parked) == "the site uses 100 W of the 150 it may use at once, this asks for 100"
    assert world.tasks()[parked].failures == 0
    assert_sound(world)
