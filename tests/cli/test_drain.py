"""`elisa drain` and `elisa undrain` as they are typed, on a site of two simulated clusters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

SITE = """\
backends:
  dream: {kind: simulated, options: {nodes: {n: {count: 2, cpus: 4}}}}
  far: {kind: simulated, options: {nodes: {m: {count: 1, cpus: 4}}}}
"""
# The short one is there for time to stop while the long one runs: a simulated site goes from event to event.
TASKS = """\
  long:
    command: [run]
    resources: {cpus: 4, walltime: 10h}
    checkpoint: {}
    metadata: {sim_duration: 8h}
  short:
    command: [run]
    resources: {cpus: 1, walltime: 2h}
    placement: {backend: far}
    metadata: {sim_duration: 1h}
"""


@pytest.fixture
def running(elisa: Elisa, home: Path, write: Callable[[str], str]) -> Path:
    """Run a long task on one cluster while the other is idle."""
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    assert elisa("submit", write(TASKS)).code == 0
    elisa("tick")
    elisa("tick")
    return home


def where(elisa: Elisa) -> list[tuple[str, str]]:
    tasks = elisa("status", "--all", "--json").data["tasks"]
    return [(one["name"], one["backend"]) for one in tasks if one["name"] == "long"]


def test_a_drained_cluster_is_told_by_status_and_doctor_and_its_work_goes_on_elsewhere(
    elisa: Elisa, running: Path
) -> None:
    drained = elisa("drain", "dream", "--reason", "new roof")
    status, doctor = elisa("status"), elisa("doctor")
    would, words = elisa("plan", "--json").data["decisions"], elisa("plan").out
    ticks = elisa("tick", "--until-idle")

    assert drained.code == 0
    assert drained.out.splitlines()[0].startswith("dream is closed until `elisa undrain`: new roof (")
    assert drained.out.splitlines()[1].endswith(" long saves, leaves and continues on far")
    assert "dream is closed until `elisa undrain`: new roof" in status.out
    assert "closed: dream gets no work: new roof" in doctor.out
    assert [(one["would"], one["name"]) for one in would] == [("stop", "long")]
    assert "it has to leave: dream is closed until `elisa undrain`" in " ".join(words.split())
    assert ticks.code == 0
    assert where(elisa) == [("long", "far")]
    assert "it has to leave: dream is closed" in elisa("explain", "study/long").out


def test_a_closed_place_is_obstacle_enough(elisa: Elisa, running: Path, write: Callable[[str], str]) -> None:
    elisa("drain", "dream")
    elisa("submit", write("  bound: {command: [run], placement: {backend: dream}}\n"))
    elisa("tick")

    words = " ".join(elisa("explain", "study/bound").out.split())

    assert "is ready: dream is closed until `elisa undrain`" in words
    assert "it takes more than one" not in words


def test_the_json_form_says_what_is_closed_and_whom_it_concerns(elisa: Elisa, running: Path) -> None:
    drained = elisa("drain", "dream", "--nodes", "n0001", "--until", "2h", "--force", "--json").data
    closures = elisa("status", "--json").data["closures"]
    undrained = elisa("undrain", "dream", "--json").data

    assert drained["schema"] == "elisa.drain/1"
    assert closures == undrained["lifted"] == [drained["closure"]]
    assert (drained["closure"]["nodes"], drained["closure"]["forced"]) == (["n0001"], True)
    assert [(one["name"], one["saves"], one["moves"]) for one in drained["affected"]] == [
        ("long", True, "on other nodes of dream or far")
    ]
    assert (undrained["schema"], undrained["left"]) == ("elisa.undrain/1", [])


def test_a_closed_time_ahead_moves_nobody_yet(elisa: Elisa, running: Path) -> None:
    drained = elisa("drain", "far", "--from", "4h", "--until", "6h")
    partly = elisa("drain", "dream", "--nodes", "n[0001-0002]")
    opened = elisa("undrain", "dream", "--nodes", "n0002")

    assert "far closes at " in drained.out
    assert "no work is known to run there" in drained.out
    assert partly.code == 0
    assert opened.out.splitlines()[0] == "lifted: n0001,n0002 of dream"
    assert opened.out.splitlines()[1].startswith("still: n0001 of dream is closed until `elisa undrain`")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("drain", "dreem"), "there is no backend dreem"),
        (("drain", "dream", "--nodes", "n9"), "there is no node n9"),
        (("drain", "dream", "--from", "soon"), "`--from soon` is no moment"),
        (("drain", "dream", "--until", "2001-01-01T00:00Z"), "a closure cannot end before it begins"),
        (("undrain", "far"), "far is not closed"),
    ],
)
def test_what_cannot_be_drained_is_told_in_three_lines(
    elisa: Elisa, running: Path, words: tuple[str, ...], what: str
) -> None:
    answer = elisa(*words)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[0] == f"error: {what}"


def test_a_cluster_that_does_not_answer_is_drained_with_a_word_of_warning(elisa: Elisa, home: Path) -> None:
    (home / "site.yaml").write_text("backends:\n  away: {kind: slurm, options: {path: /nowhere}}\n", encoding="utf-8")

    answer = elisa("drain", "away", "--nodes", "n1")

    assert answer.code == 0
    assert "n1 of away is closed" in answer.out
    assert answer.err.startswith("warning: away does not answer")
