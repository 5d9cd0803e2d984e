"""What the commands say of deadlines, run times and places, over a simulated site."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

pytestmark = pytest.mark.slow

SITE = """\
backends:
  sim:
    kind: simulated
    options:
      nodes: {n: {count: 1, cpus: 4}}
      partitions: {batch: {default: true}, other: {}}
"""
CHAIN = """\
name: study
project: nlp
DEADLINEtasks:
  first: {command: [work], resources: {walltime: 6h}, metadata: {sim_duration: 1h}}
  second: {command: [work], needs: [first], resources: {walltime: 6h}, metadata: {sim_duration: 30m}}
"""


@pytest.fixture
def site(home: Path) -> Path:
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    return home


def chain(folder: Path, deadline: str = "") -> str:
    file = folder / "chain.yaml"
    file.write_text(CHAIN.replace("DEADLINE", f"deadline: {deadline}\n" if deadline else ""), encoding="utf-8")
    return str(file)


def at(hour: int, day: int = 1) -> str:
    """Return a moment of the simulated year as this machine's people read it."""
    return f"{datetime(2001, 1, day, hour, tzinfo=UTC).astimezone():%m-%d %H:%M}"


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_deadline_that_is_lost_is_told_by_plan_status_and_explain(elisa: Elisa, site: Path, tmp_path: Path) -> None:
    elisa("submit", chain(tmp_path, "+8h"))

    late = "cannot be met any more"
    assert f"study: deadline {at(8)} {late}: at best it ends at {at(12)}, 4h00m late" in words(elisa("plan").out)
    [due] = elisa("plan", "--json").data["due"].values()
    assert (due["is_reachable"], due["late_s"], due["critical"]) == (False, 4 * 3600, ["first", "second"])
    for command in (("status",), ("explain", "study/second")):
        assert f"{late}: at best it ends at {at(12)}, 4h00m late" in words(elisa(*command).out)

    elisa("tick")

    takes = "it would take 4h00m less work on its longest path, first > second, or a deadline 4h00m later"
    shown = words(elisa("status").out)
    assert f"{late} (since {at(0)})" in shown
    assert takes in shown
    assert takes in words(elisa("explain", "study/second").out)
    [pipeline] = elisa("status", "--json").data["pipelines"]
    assert pipeline["due"]["lost_at"] == "2001-01-01T00:00:00+00:00"


def test_a_deadline_that_can_be_met_tells_what_is_to_spare(elisa: Elisa, site: Path, tmp_path: Path) -> None:
    elisa("submit", chain(tmp_path, "+1d"))

    [due] = elisa("plan", "--json").data["due"].values()

    assert due["words"] == f"deadline {at(0, day=2)} leaves 12h00m to spare on its longest path, first > second"
    assert "any more" not in elisa("plan").out


def test_after_three_runs_explain_tells_how_long_the_next_will_take(elisa: Elisa, site: Path, tmp_path: Path) -> None:
    for _ in range(3):
        elisa("submit", chain(tmp_path))
    assert elisa("tick", "--until-idle").code == 0
    submitted = elisa("submit", chain(tmp_path, "+8h"), "--json").data["pipeline"]
    task = next(one["id"] for one in elisa("status", submitted, "--json").data["tasks"] if one["name"] == "first")

    told = elisa("explain", task)

    expected = "it has 1h00m left: nine in ten of the last 3 runs of this name took at most 1h00m, half of them 1h00m"
    assert expected in words(told.out)
    left = elisa("explain", task, "--json").data["left"]
    assert (left["left_s"], left["runs"], left["whose"]) == (3600, 3, "task")
    assert elisa("plan", "--json").data["due"][submitted]["slack_s"] == 8 * 3600 - 5400


def test_the_plan_shows_each_place_that_was_weighed_with_its_terms(elisa: Elisa, site: Path, tmp_path: Path) -> None:
    elisa("submit", chain(tmp_path))

    [start] = elisa("plan", "--json").data["decisions"]

    terms = {"affinity", "cost", "default", "energy", "finish", "fit", "load", "near", "switches", "wish"}
    assert set(start["places"][0]["terms"]) == terms
    assert start["urged_by"] is None
