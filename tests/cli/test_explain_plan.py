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


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def home(home: Path, elisa: Elisa, write: Callable[[str], str]) -> Path:
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    assert elisa("submit", write(TASKS)).code == 0
    assert elisa("tick").code == 0
    return home


def test_who_waits_for_a_budget_is_told_what_it_needs_what_is_left_and_who_could_lend(elisa: Elisa, home: Path) -> None:
    told = words(elisa("explain", "study/train-hours=6").out)

    assert (
        "is ready: project vision has 1 gpu-h left of 10, this asks for 6 it needs 1 gpu, 2 cores, 8GiB for 6h00m"
        in told
    )
    ranked = "class normal, no deadline to meet, fair share tag 360, importance 0, ready since "
    assert f"rank 3 of 3 ready tasks in tick 1: {ranked}" in told
    assert (
        ", size 120 billing hours it would pass if nlp lends 5 gpu-h, or with a walltime of 1h00m it would start"
        in told
    )
    assert "it would start now with no budget or limit, or with nothing in front of it" in told


def test_the_json_form_has_every_factor_and_the_relief(elisa: Elisa, home: Path) -> None:
    told = elisa("explain", "study/train-hours=6", "--json").data["plan"]

    assert (told["tick"], told["rank"], told["ready"], told["helps"]) == (1, 3, 3, ["budgets", "tasks in front"])
    assert {"age", "fair_share", "deadline"} <= {line["name"] for line in told["factors"]}
    keys = [(line["name"], line["value"]) for line in told["keys"] if line["name"] != "age"]
    assert keys == [
        ("class", 2.0),
        ("deadline", None),
        ("fair_share", 360.0),
        ("importance", 0.0),
        ("size", 120.0),
    ]
    assert [place["terms"] for place in told["places"]] == [{}]
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


def test_a_score_is_told_with_its_factors_where_the_site_orders_by_it(elisa: Elisa, home: Path) -> None:
    rules = "order: [class, multifactor, fifo]\nfactors: {size: 100}\n"
    (home / "site.yaml").write_text(rules + SITE, encoding="utf-8")
    assert elisa("tick").code == 0

    told = words(elisa("explain", "study/train-hours=6").out)

    assert (
        "tick 2: class normal, score 2019 (fair_share 1.00 x 2000, age 0.02 x 1000, size 0.01 x 100), submitted "
        in told
    )


def test_several_places_are_told_with_each_term_and_its_weight(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    nodes = "{gpu: {count: 1, cpus: 16, gpus: {a100: 4}}, old: {count: 1, cpus: 16, gpus: {v100: 4}}}"
    site = f"gpu_speeds: {{a100: 2, v100: 1}}\nbackends: {{dream: {{kind: simulated, options: {{nodes: {nodes}}}}}}}\n"
    (home / "site.yaml").write_text(site, encoding="utf-8")
    both = "  both: {command: [run], resources: {gpus: {count: 1, types: [v100, a100]}, walltime: 1h}}\n"
    assert elisa("submit", write(both), "--json").code == 0
    [plan] = [one for one in elisa("plan", "--json").data["decisions"] if one["name"] == "both"]
    assert elisa("tick").code == 0

    told = elisa("explain", plan["task"], "--tick", "2")

    terms = "(wish 1.00 x 10, default 1.00 x 3, finish 0.50 x 5, cost 0.50 x 2, load 1.00 x 1, switches 1.00 x 1, fit"
    assert f"place dream/batch on v100: 18.62 {terms}" in words(told.out)
    assert "place dream/batch on a100: " in words(told.out)
    assert [(place["gpu_type"], place["terms"]["finish"], place["weights"]["finish"]) for place in plan["places"]] == [
        ("v100", 0.5, 5.0),
        ("a100", 1.0, 5.0),
    ]


def test_what_can_never_start_is_told_what_alone_would_change_that(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    site = "backends:\n  dream: {kind: simulated, taints: {new: n0001}, options: {nodes: {n: {count: 2, cpus: 4}}}}\n"
    (home / "site.yaml").write_text(site, encoding="utf-8")
    tasks = """\
  huge: {command: [run], resources: {cpus: 64}}
  wide: {command: [run], resources: {nodes: 2}}
  lost: {command: [run], placement: {backend: mars}}
"""
    elisa("submit", write(tasks))
    assert elisa("tick").code == 0

    def told(task: str) -> str:
        return words(elisa("explain", f"study/{task}").out)

    assert "only a smaller request or a larger cluster would change that" in told("huge")
    assert "it asks for 2 nodes without the taint new, and there are 1" in told("wide")
    assert "only a toleration of that taint, or fewer nodes, would change that" in told("wide")
    assert "only another placement, or a place of that name, would change that" in told("lost")


OLD_SITE = """\
aged: 1h
backends:
  dream: {kind: simulated, options: {queue: false, nodes: {cpu: {count: 1, cpus: 4, memory: 8GiB}}}}
"""
OLD_TASKS = """\
  first: {command: [run], resources: {cpus: 4, walltime: 2h}, metadata: {sim_duration: 2h}}
  low: {command: [run], priority: low, resources: {cpus: 4, walltime: 1h}, metadata: {sim_duration: 1h}}
  high:
    command: [run]
    priority: high
    matrix: {n: [1, 2]}
    resources: {cpus: 4, walltime: 90m}
    metadata: {sim_duration: 90m}
"""


def test_who_waited_long_enough_is_told_that_it_goes_ahead(
    elisa: Elisa, tmp_path: Path, write: Callable[[str], str]
) -> None:
    assert elisa("init").code == 0
    (tmp_path / "elisa-home" / "site.yaml").write_text(OLD_SITE, encoding="utf-8")
    elisa("submit", write(OLD_TASKS), "--json")
    for _ in range(3):
        elisa("tick")
    young = elisa("explain", "study/low")
    elisa("submit", write("  late: {command: [run], priority: high, resources: {cpus: 4, walltime: 1h}}\n"))
    elisa("tick")
    [kept] = [one for one in elisa("plan", "--json").data["passed_over"] if one["name"] == "late"]

    assert "it comes of age on Mon 2001-01-01 04:00" in young.out
    assert "as number 1 of this tick" in " ".join(elisa("explain", "study/low").out.split())
    assert "ahead of all others, for it came of age on 01-01 04:00:00" in " ".join(
        elisa("explain", "study/low").out.split()
    )
    assert kept["ageing"] == {"at": "2001-01-01T05:00:00+00:00", "goes_ahead": False}
