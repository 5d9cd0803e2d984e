"""`elisa explain` of a task that waits to start: its place, its factors, and what would change the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

SITE = """\
backends:
  dream: {kind: simulated, options: {nodes: {gpu: {count: 1, cpus: 16, memory: 128GiB, gpus: {a100: 4}}}}}
projects:
  vision: {budget: {gpu_hours: 10}}
  nlp: {budget: {gpu_hours: 50}, may_lend: true}
"""
TASKS = """\
  train:
    command: [run]
    matrix: {hours: [4, 5, 6]}
    resources: {gpus: 1, cpus: 2, memory: 8GiB, walltime: "${hours}h"}
    metadata: {sim_duration: 3h}
"""


@pytest.fixture
def home(home: Path, elisa: Elisa, write: Callable[[str], str]) -> Path:
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    assert elisa("submit", write(TASKS)).code == 0
    assert elisa("tick").code == 0
    return home


def test_who_waits_for_a_budget_is_told_what_it_needs_what_is_left_and_who_could_lend(elisa: Elisa, home: Path) -> None:
    lines = elisa("explain", "study/train-hours=6").out.splitlines()

    assert lines[0].endswith("is ready: project vision has 1 gpu-h left of 10, this asks for 6")
    assert lines[1] == "it needs 1 gpu, 2 cores, 8GiB for 6h00m"
    assert lines[2].startswith("rank 3 of 3 ready tasks in tick 1 (fair_share 1.00 x 2000")
    assert lines[3] == "it would pass if nlp lends 5 gpu-h, or with a walltime of 1h00m"
    assert lines[4] == "it would start now with no budget or limit, or with nothing in front of it"


def test_the_json_form_has_every_factor_and_the_relief(elisa: Elisa, home: Path) -> None:
    told = elisa("explain", "study/train-hours=6", "--json").data["plan"]

    assert (told["tick"], told["rank"], told["ready"], told["helps"]) == (1, 3, 3, ["budgets", "tasks in front"])
    assert {"age", "fair_share", "deadline"} <= {line["name"] for line in told["factors"]}
    assert (told["relief"]["short"], told["relief"]["lenders"]) == (18000, ["nlp"])


def test_any_task_is_explained_as_it_stood_in_a_tick(elisa: Elisa, home: Path) -> None:
    lines = elisa("explain", "study/train-hours=4", "--tick", "1").out.splitlines()

    assert lines[1].startswith("in tick 1: it was chosen, as number 1 of this tick")
    assert elisa("explain", "study/train-hours=4", "--json").data["plan"] is None
    missing = elisa("explain", "study/train-hours=4", "--tick", "7")
    assert (missing.code, len(missing.err.splitlines())) == (2, 3)


def test_a_task_is_explained_without_its_place_where_an_older_elisa_kept_the_plan(elisa: Elisa, home: Path) -> None:
    [kept] = (home / "plans").iterdir()
    kept.write_bytes(b"of another form")

    told = elisa("explain", "study/train-hours=6")

    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[0].endswith("is ready: project vision has 1 gpu-h left of 10, this asks for 6")
    assert elisa("explain", "study/train-hours=6", "--tick", "1").code == 2
