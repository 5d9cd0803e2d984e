"""What is drained or avoided follows from the audit's rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from elisa.model.changes import Noted
from elisa.model.exclusions import SUBJECT, Exclusion, avoided, drained, exclusions_in, lifted
from elisa.model.rows import AuditRow
from tests.builders import NOW

LATER = NOW + timedelta(hours=5)


def rows(*notes: Noted, at: datetime = NOW) -> list[AuditRow]:
    return [AuditRow(n, at, "ada", f"noted.{one.what}", one.subject, one.facts, "", "") for n, one in enumerate(notes)]


def a_drain(backend: str, node: str = "", *, is_forced: bool = False) -> Noted:
    return drained(backend, node, by="ada", why="new fans", is_forced=is_forced)


def test_a_drain_holds_until_it_is_lifted() -> None:
    notes = [a_drain("slurm", "n1"), a_drain("pbs")]

    assert exclusions_in(rows(*notes), NOW + timedelta(days=999)) == (
        Exclusion(backend="pbs", node="", is_drained=True, since=NOW, by="ada", why="new fans"),
        Exclusion(backend="slurm", node="n1", is_drained=True, since=NOW, by="ada", why="new fans"),
    )
    assert [one.place for one in exclusions_in(rows(*notes), NOW)] == ["pbs", "node n1 of slurm"]
    assert exclusions_in(rows(*notes, lifted("pbs", "", by="ada")), NOW)[0].backend == "slurm"


def test_a_node_is_avoided_for_a_while() -> None:
    told = rows(avoided("slurm", "n1", until=LATER, why="2 failures"))

    (one,) = exclusions_in(told, NOW)
    assert (one.is_drained, one.until, one.why) == (False, LATER, "2 failures")
    assert exclusions_in(told, LATER) == ()


def test_a_node_can_be_drained_and_avoided_and_one_word_lifts_both() -> None:
    both = [avoided("slurm", "n1", until=LATER, why="x"), a_drain("slurm", "n1", is_forced=True)]

    assert [(one.is_drained, one.is_forced) for one in exclusions_in(rows(*both), NOW)] == [
        (True, True),
        (False, False),
    ]
    assert exclusions_in(rows(*both, lifted("slurm", "n1", by="ada")), NOW) == ()


def test_what_is_lifted_can_be_drained_again() -> None:
    assert len(exclusions_in(rows(a_drain("a"), lifted("a", "", by="x"), a_drain("a")), NOW)) == 1


def test_rows_about_other_things_say_nothing() -> None:
    assert exclusions_in(rows(Noted(subject=SUBJECT, what="weather", facts={"backend": "a"})), NOW) == ()
