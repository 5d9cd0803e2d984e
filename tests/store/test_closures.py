"""Closures: written down, lifted, listed while they matter, and what the audit adds up to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from elisa.model.changes import ClosureAdded, ClosureLifted
from elisa.model.errors import StaleChange
from elisa.model.ids import BackendName, ClosureId, new_closure_id
from elisa.model.site import UNTIL_LIFTED, Closure
from elisa.store.writer import Writer
from tests.builders import NOW, SeededRandom

HOUR = timedelta(hours=1)
DRAIN = Closure(
    id=ClosureId("c000000001"),
    backend=BackendName("slurm"),
    nodes=("n1", "n3"),
    starts_at=NOW,
    ends_at=UNTIL_LIFTED,
    why="new memory",
    by="ada",
    is_forced=True,
)
LATER = Closure(id=ClosureId("c000000002"), backend=BackendName("pbs"), starts_at=NOW + HOUR, ends_at=NOW + 2 * HOUR)


def test_what_holds_or_will_hold_is_listed_as_it_was_written_down(writer: Writer) -> None:
    writer.apply((ClosureAdded(closure=LATER), ClosureAdded(closure=DRAIN)))

    assert writer.closures(NOW) == (DRAIN, LATER)
    assert writer.closures(NOW + 2 * HOUR) == (DRAIN,)


def test_a_lifted_closure_holds_no_longer(writer: Writer) -> None:
    writer.apply((ClosureAdded(closure=DRAIN), ClosureAdded(closure=LATER)))

    writer.apply((ClosureLifted(closure=DRAIN.id, by="ada"),))

    assert writer.closures(NOW) == (LATER,)


def test_one_that_does_not_hold_cannot_be_lifted_and_nothing_of_the_batch_is_done(writer: Writer) -> None:
    writer.apply((ClosureAdded(closure=DRAIN),))
    lift = ClosureLifted(closure=DRAIN.id, by="ada")
    writer.apply((lift,))

    with pytest.raises(StaleChange, match="lifted"):
        writer.apply((ClosureAdded(closure=LATER), lift))
    with pytest.raises(StaleChange):
        writer.apply((ClosureLifted(closure=ClosureId("c999999999"), by="ada"),))

    assert writer.closures(NOW) == ()


def test_one_without_an_id_or_without_length_is_refused(writer: Writer) -> None:
    for closure in (replace(DRAIN, id=ClosureId("")), replace(DRAIN, ends_at=NOW)):
        with pytest.raises(ValueError, match="cannot be stored"):
            writer.apply((ClosureAdded(closure=closure),))


def test_the_audit_tells_all_of_it_and_adds_up_to_what_is_stored(writer: Writer) -> None:
    writer.apply((ClosureAdded(closure=DRAIN), ClosureAdded(closure=LATER)))
    writer.apply((ClosureLifted(closure=DRAIN.id, by="eve"),))

    told = [(row.kind, row.facts["after"]) for row in writer.audit(subject=DRAIN.id)]

    assert told == [("closure.added", "open"), ("closure.lifted", "lifted")]
    assert writer.verify_audit().problems == ()


def test_a_closure_changed_behind_the_audits_back_is_found(writer: Writer) -> None:
    writer.apply((ClosureAdded(closure=DRAIN),))

    writer._db.run("UPDATE closure SET nodes = 'n7'")

    (problem,) = writer.verify_audit().problems
    assert problem.startswith(f"closure {DRAIN.id} is (slurm, n7, ")


def test_ids_of_closures_look_like_the_others() -> None:
    one, other = (new_closure_id(SeededRandom(seed)) for seed in (1, 2))

    assert one != other
    assert (one[0], len(one)) == ("c", 10)


def test_a_closure_covers_its_nodes_and_overlaps_what_is_not_over_before_it() -> None:
    assert [DRAIN.covers(node) for node in ("n1", "n2")] == [True, False]
    assert LATER.covers("anything")
    assert [DRAIN.is_open_ended, LATER.is_open_ended] == [True, False]
    assert [DRAIN.place, LATER.place] == ["n1,n3 of slurm", "pbs"]
    spans = ((0, 1), (0, 2), (1, 2), (2, 3))
    assert [LATER.overlaps(NOW + a * HOUR, NOW + b * HOUR) for a, b in spans] == [False, True, True, False]
