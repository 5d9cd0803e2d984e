"""Budgets that begin anew each day, through ticks of several days: never exceeded at any of them, in exact integers."""

from __future__ import annotations

from pathlib import Path

import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine import projects
from elisa.engine.config import Site
from elisa.model.changes import AttemptIntended
from elisa.model.charge import Charge
from elisa.model.errors import PolicyError, UsageError
from elisa.model.ids import ProjectName
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState
from elisa.policies.allowances import effective
from elisa.report.budget import Limit, limits
from elisa.store.reader import Reader
from tests.policies.build import an_attempt
from tests.reliability.invariants import assert_sound
from tests.reliability.specs import job
from tests.reliability.world import World

HOUR = 3600
DAY = 24 * HOUR


def a_world(home: Path, **project: object) -> World:
    site = {"backends": {"sim": {"kind": "simulated"}}, "jobs": {"self_fence": "60s"}, "projects": {"nlp": project}}
    spec = ClusterSpec(nodes=(NodeType(name="node", count=1, cpus=16),), heartbeat_s=600)
    return World.make(home, spec=spec, site=Site.model_validate({**site, "fusion": {"enabled": False}}))


def limits_of(world: World) -> tuple[Limit, ...]:
    ws = world.workspace()
    with Reader.open(world.home) as reader:
        now = ws.clock.now()
        return limits(world.site.policy(), reader.usage(now), now, [ProjectName("nlp")])


def test_a_days_amount_is_never_exceeded_and_the_next_day_has_it_again(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", budget={"cpu_hours": 6, "every": "day"})
    world.submit(*(job(f"t{number}", cpus=2, lasts_s=HOUR, walltime_s=HOUR) for number in range(7)))

    seen: list[tuple[int, int]] = []
    for _ in range(40):
        world.tick()
        (one,) = limits_of(world)
        assert (one.limit, one.every) == (6 * HOUR, "day")
        assert 0 <= one.used <= one.limit
        seen.append(((world.clock.now().date()).day, one.used))
        if world.is_over():
            break
        world.pass_time(2 * HOUR)

    assert world.is_over()
    most = {day: max(used for when, used in seen if when == day) for day, _ in seen}
    assert list(most.values()) == [6 * HOUR, 6 * HOUR, 2 * HOUR]
    assert_sound(world)


def test_each_member_has_an_amount_of_his_own_at_every_commit(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", per_user={"budget": {"cpu_hours": 2, "every": "week"}})
    world.submit(*(job(f"t{number}", cpus=1, lasts_s=HOUR, walltime_s=HOUR) for number in range(3)))
    world.tick()
    world.pass_time(2 * HOUR)
    world.tick()

    assert sorted(state.value for state in world.states().values()) == ["ready", "succeeded", "succeeded"]
    (one,) = limits_of(world)
    assert (one.uid, one.limit, one.left) == (world.workspace().uid, 2 * HOUR, 0)
    with world.workspace().writer() as writer:
        now = world.clock.now()
        caps = effective(world.site.policy(), writer.usage(now), now).project(ProjectName("nlp")).member_caps
    assert [(uid, [cap.limit for cap in own]) for uid, own in caps] == [(one.uid, [2 * HOUR])]
    world.pass_time(7 * DAY)
    world.run(step_s=HOUR)
    assert_sound(world)


def test_it_is_set_and_taken_away_by_command(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", budget={"cpu_hours": 6})
    ws = world.workspace()

    projects.change(ws, "nlp", {"budget.every": "month", "budget.carry_over": "0.5"})

    (known,) = projects.known_projects(ws)
    assert [(one.every, one.amount, one.carry_over) for one in known.policy.allowances] == [("month", 6 * HOUR, 0.5)]
    assert known.policy.caps == ()
    projects.change(ws, "nlp", {"budget.every": "none"})
    (known,) = projects.known_projects(ws)
    assert [cap.limit for cap in known.policy.caps] == [6 * HOUR]
    for wrong in ("fortnight", "0d", "1.5d"):
        with pytest.raises(UsageError, match=r"budget\.every cannot be"):
            projects.change(ws, "nlp", {"budget.every": wrong})
    with pytest.raises(ValueError, match="carry_over needs day, week or month"):
        Site.model_validate({"unlisted": {"budget": {"cpu_hours": 1, "every": "7d", "carry_over": 1}}})


def test_a_member_who_comes_new_in_a_period_is_held_to_the_amount_of_everybody(tmp_path: Path) -> None:
    world = a_world(tmp_path / "home", per_user={"budget": {"cpu_hours": 1, "every": "day"}})
    world.submit(job("long", cpus=2, lasts_s=HOUR, walltime_s=HOUR))
    world.tick()
    attempt = an_attempt(f"{world.tasks()['long'].id}.1", AttemptState.INTENDED)
    intended = AttemptIntended(attempt=attempt, reserve=Charge(cpu_s=2 * HOUR), reason=because(ReasonCode.CHOSEN))

    with (
        world.workspace().writer() as writer,
        pytest.raises(PolicyError, match="a member of project `nlp` would exceed"),
    ):
        writer.apply((intended,))
