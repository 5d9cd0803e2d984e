"""The ledger added up: it balances to the second, whatever happened, and any second that is not there is found."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.engine import projects
from elisa.engine.config import Site
from elisa.engine.rules import policy_of
from elisa.model.ids import ProjectName
from elisa.model.site import Metered
from elisa.report.budget import PERIODS, booked, limits, unbalanced
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import START, World

HOUR = 3600
VISION, NLP = ProjectName("vision"), ProjectName("nlp")
RULES = {
    "backends": {"sim": {"kind": "simulated"}},
    "projects": {
        "vision": {"budget": {"cpu_hours": 100}, "may_lend": True, "per_user": {"at_once": {"jobs": 3}}},
        "nlp": {"budget": {"cpu_hours": 10}},
    },
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two hours in which a job ended early, one ran into its limit, and one is still running."""
    made = World.make(tmp_path / "home", site=Site.model_validate(RULES))
    made.submit(job("early", cpus=2, lasts_s=600, walltime_s=HOUR), project="vision")
    made.submit(job("late", cpus=1, lasts_s=4 * HOUR, walltime_s=HOUR), project="vision")
    made.submit(job("running", cpus=1, lasts_s=9 * HOUR, walltime_s=9 * HOUR), project="nlp")
    for _ in range(12):
        made.tick()
        made.pass_time(600)
    return made


def test_reserved_is_spent_refunded_and_held_to_the_second_and_agrees_with_the_accounts(world: World) -> None:
    with Reader.open(world.home) as reader:
        ledger, usage = reader.ledger(), reader.usage(world.clock.now())
    sums = {(one.project, one.resource): one for one in booked(ledger, lambda _: "")}

    vision, nlp = sums[VISION, Metered.CPU_S], sums[NLP, Metered.CPU_S]
    assert vision.reserved == vision.spent + vision.refunded + vision.held
    assert vision.refunded >= 2 * (HOUR - 600) - 60
    assert (nlp.held, nlp.spent, nlp.used) == (9 * HOUR, 0, 9 * HOUR)
    assert unbalanced(ledger, usage) == ()


def test_a_second_that_went_missing_is_found(world: World) -> None:
    with Reader.open(world.home) as reader:
        ledger, usage = reader.ledger(), reader.usage(world.clock.now())
    first = next(place for place, row in enumerate(ledger) if row.kind == "spend")
    row = ledger[first]
    wrong = replace(row.charge, cpu_s=row.charge.cpu_s - 1)

    [told] = unbalanced([*ledger[:first], row._replace(charge=wrong), *ledger[first + 1 :]], usage)

    assert told.startswith("vision: the ledger has ")
    assert " cpu_s held and " in told


def test_the_parts_add_up_to_the_whole(world: World) -> None:
    with Reader.open(world.home) as reader:
        ledger = reader.ledger()
    whole = booked(ledger, lambda _: "")

    for part in (*PERIODS.values(), lambda row: str(row.owner_uid)):
        pieces = booked(ledger, part)
        for one in whole:
            same = [piece for piece in pieces if (piece.project, piece.resource) == (one.project, one.resource)]
            assert sum(piece.reserved for piece in same) == one.reserved
            assert sum(piece.used for piece in same) == one.used
    assert {one.part for one in booked(ledger, PERIODS["month"])} == {f"{START:%Y-%m}"}


def test_limits_count_loans_in_and_say_who_lent_what(world: World) -> None:
    now = world.clock.now()
    terms = projects.Terms(amount={"cpu_hours": "20"}, begin=now, end=now + timedelta(days=1))
    projects.lend(world.workspace(), "vision", "nlp", terms)

    with Reader.open(world.home) as reader:
        found = limits(policy_of(world.workspace(), reader, now), reader.usage(now), now, [NLP, VISION])

    by_owner = {(one.project, one.uid, one.resource): one for one in found if one.is_hard}
    lender, borrower = by_owner[VISION, None, Metered.CPU_S], by_owner[NLP, None, Metered.CPU_S]
    assert (lender.limit, lender.lent, lender.borrowed) == (80 * HOUR, 20 * HOUR, 0)
    assert (borrower.limit, borrower.lent, borrower.borrowed, borrower.left) == (30 * HOUR, 0, 20 * HOUR, 21 * HOUR)
    assert by_owner[VISION, os.geteuid(), Metered.JOBS].limit == 3
    assert (VISION, None, Metered.JOBS) not in by_owner
