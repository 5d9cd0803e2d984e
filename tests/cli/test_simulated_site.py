"""A site of simulated clusters alone: a month passes in a moment, and the same seed gives the same course to the letter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model.rows import AuditRow
from elisa.store.reader import Reader
from tests.cli.conftest import Answer, Elisa

SITE = """\
backends:
  dream:
    kind: simulated
    options:
      seed: {seed}
      nodes: {{thin: {{count: 2, cpus: 4}}}}
      duration: {{lognormal: [6h, 1.0]}}
      faults: {{node_down_every: 12h, preempt_every: 6h, answers: {{accept_lost: 0.1}}}}
"""
TASKS = """\
  part:
    command: [sh, part.sh]
    matrix: {number: [1, 2, 3, 4, 5, 6, 7, 8]}
    resources: {cpus: 4, walltime: 4d}
    retry: 20
  whole: {command: [sh, whole.sh], needs: {task: part, kind: completion}}
"""
Course = list[tuple[object, ...]]


def course_of(home: Path) -> Course:
    """Return all that happened but the making of the store itself, which is real."""
    with Reader.open(home) as reader:
        return [told(row) for row in reader.audit() if row.kind != "store.created"]


def told(row: AuditRow) -> tuple[object, ...]:
    return (row.at, row.actor, row.kind, row.subject, dict(row.facts))


@pytest.fixture
def play(elisa: Elisa, tmp_path: Path, write: Callable[[str], str]) -> Callable[[int], Course]:
    """Run the whole course in a fresh state folder, always the same one, and return it."""
    home = tmp_path / "elisa-home"
    file = write(TASKS)

    def play_through(seed: int) -> Course:
        shutil.rmtree(home, ignore_errors=True)
        assert elisa("init").code == 0
        (home / "site.yaml").write_text(SITE.format(seed=seed), encoding="utf-8")
        assert elisa("submit", file).code == 0
        assert elisa("tick", "--until-idle").code in {0, 3}
        return course_of(home)

    return play_through


def test_the_same_seed_gives_the_same_course(play: Callable[[int], Course]) -> None:
    assert play(5) == play(5)


def test_another_seed_gives_another_course(play: Callable[[int], Course]) -> None:
    assert play(5) != play(6)


def test_two_submissions_get_ids_of_their_own(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    (home / "site.yaml").write_text(SITE.format(seed=1), encoding="utf-8")
    file = write(TASKS)

    ids = [elisa("submit", file, "--json").data["pipeline"] for _ in range(2)]

    assert len(set(ids)) == 2


def test_one_tick_after_another_comes_to_the_end_too(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    (home / "site.yaml").write_text("backends:\n  dream: {kind: simulated}\n", encoding="utf-8")
    elisa("submit", write("  only: {command: [run]}\n"))

    for _ in range(60):
        elisa("tick")

    assert [task["state"] for task in elisa("status", "--all", "--json").data["tasks"]] == ["succeeded"]


def test_status_and_doctor_count_in_simulated_time(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    (home / "site.yaml").write_text("backends:\n  dream: {kind: simulated}\n", encoding="utf-8")
    elisa("submit", write("  only: {command: [run]}\n"))
    elisa("tick")

    status: Answer = elisa("status")

    assert status.err == ""
    assert "ticks: the last one was 0 s ago" in elisa("doctor").out
