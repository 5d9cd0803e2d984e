"""`elisa project ...` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

SITE = """\
backends: {local: {kind: local, options: {cpus: 4, memory: 4GiB}}}
projects:
  vision: {shares: 2, budget: {gpu_hours: 30}, may_lend: true}
  nlp: {budget: {gpu_hours: 10}, soft_budget: {cpu_hours: 5}}
"""


@pytest.fixture
def home(home: Path) -> Path:
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    return home


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_projects_are_listed_with_their_limits(elisa: Elisa, home: Path) -> None:
    listed = elisa("project", "list")

    assert listed.code == 0
    assert ["vision", "2", "high", "burstable", "30", "gpu-h", "-"] in rows(listed.out)
    assert "5 core-h (soft)" in listed.out
    data = elisa("project", "list", "--json").data
    assert (data["schema"], [one["project"] for one in data["projects"]]) == ("elisa.project-list/1", ["nlp", "vision"])


def test_a_rule_is_set_shown_and_taken_back(elisa: Elisa, home: Path) -> None:
    assert elisa("project", "set", "vision", "budget.gpu_hours=50", "at_once.gpus=6").code == 0

    shown = elisa("project", "show", "vision").out
    assert ["budget", "50", "gpu-h"] in rows(shown)
    assert ["at", "once", "6", "gpus"] in rows(shown)
    assert elisa("project", "reset", "vision", "--json").data["schema"] == "elisa.project-reset/1"
    assert ["budget", "30", "gpu-h"] in rows(elisa("project", "show", "vision").out)


def test_a_loan_goes_there_and_back(elisa: Elisa, home: Path) -> None:
    lent = elisa("project", "lend", "vision", "nlp", "gpu_hours=20", "--until", "30d", "--json").data
    loan = lent["rules"][0]["id"]

    assert loan in elisa("project", "show", "nlp").out
    back = elisa("project", "return", loan)
    assert back.out == f"{loan}: 20 gpu-h of vision are no longer with nlp, but for what it used\n"
    again = elisa("project", "reclaim", loan)
    assert (again.code, again.err.splitlines()[0]) == (2, f"error: loan {loan} is over")


def test_more_than_there_is_to_lend_is_refused_in_three_lines_with_status_5(elisa: Elisa, home: Path) -> None:
    refused = elisa("project", "lend", "vision", "nlp", "gpu_hours=200", "--until", "30d")

    assert (refused.code, refused.out) == (5, "")
    assert refused.err.startswith("error: vision has 30 gpu-h left to lend, not 200 gpu-h\n")


def test_a_grant_is_made_for_a_period(elisa: Elisa, home: Path) -> None:
    words = ("project", "grant", "climate", "gpu_hours=5", "--from", "2026-01-01", "--until", "2026-04-01")

    assert elisa(*words, "--carry-over", "0.5").code == 0
    shown = elisa("project", "show", "climate").out
    assert "5 gpu-h from 202" in shown
    assert " gpu_hours=5" in shown.partition("set by command")[2]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("show", "nobody"), "there is no project nobody"),
        (("set", "vision", "shares"), "`shares` sets nothing"),
        (("set", "a/b", "shares=1"), "`a/b` is no name of a project"),
        (("reclaim", "r1"), "there is no loan r1"),
        (("grant", "vision", "gpu_hours=1", "--until", "soon"), "`--until soon` is no moment"),
        (("reset", "vision", "shares"), "shares was not set by command for project vision"),
    ],
)
def test_what_cannot_be_is_told_in_three_lines(elisa: Elisa, home: Path, words: tuple[str, ...], what: str) -> None:
    answer = elisa("project", *words)

    assert (answer.code, answer.err.splitlines()[0]) == (2, f"error: {what}")
    assert len(answer.err.splitlines()) == 3


def test_room_is_reserved_shown_and_given_back(elisa: Elisa, home: Path) -> None:
    words = ("project", "reserve", "vision", "local", "cpus=3", "--until", "2d", "--lend", "--reason", "a deadline")
    made = elisa(*words, "--json").data
    (one,) = made["reservations"]

    assert (made["schema"], one["amount"], one["resource"], made["notes"]) == ("elisa.project-reserve/1", 3, "cpus", [])
    assert "local holds 3 cpus for vision until " in elisa("project", "show", "vision").out
    assert one["lent"]
    assert f": a deadline ({one['by']}) [{one['id']}]" in " ".join(elisa("status").out.split())
    assert elisa("status", "--json").data["reservations"] == [one]
    back = elisa("project", "release", one["id"])
    assert back.out.startswith("no longer: local holds 3 cpus for vision until ")
    assert elisa("status", "--json").data["reservations"] == []
    again = elisa(*words, "--user", "0", "--from", "1d")
    assert "local holds 3 cpus for vision (users 0) from " in again.out
    assert elisa("project", "release", again.out.split("[")[1].split("]")[0], "--json").code == 0


def test_what_cannot_be_reserved_is_told_with_status_2(elisa: Elisa, home: Path) -> None:
    refused = elisa("project", "reserve", "vision", "local", "cpus=300", "--until", "2d")

    assert (refused.code, refused.err.splitlines()[0]) == (2, "error: local cannot hold 300 cpus")


def test_an_amount_for_every_week_is_set_shown_and_counted(elisa: Elisa, home: Path) -> None:
    assert elisa("project", "set", "vision", "budget.every=week", "per_user.budget.cpu_hours=3").code == 0
    assert elisa("project", "set", "vision", "per_user.budget.every=30d", "budget.carry_over=0.5").code == 0

    shown = elisa("project", "show", "vision").out
    assert "30 gpu-h every week, 0.5 of the rest carried over" in shown
    assert "3 core-h every 30d" in shown
    assert "30 gpu-h every week" in elisa("project", "list").out
    assert "gpu-h every week" in elisa("budget", "vision").out
    (limit,) = elisa("budget", "vision", "--json").data["limits"]
    assert (limit["every"], limit["limit"], limit["used"]) == ("week", 45 * 3600, 0)
