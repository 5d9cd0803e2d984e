"""What the pages say of the code is so: what is not wired yet, and the names of keys, factors and terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from elisa.engine.config import Site
from elisa.engine.site_jobs import RecoveryConfig
from elisa.model.columns import ReadyColumns
from elisa.model.site import PlacementWeights, SitePolicy
from elisa.policies.factors import weights_of
from elisa.policies.lifecycle import LifecycleRules
from elisa.policies.registry import ORDER

GIVEN_BY_ENGINE = {"ready", "usage", "clusters", "live", "site", "now"}


@pytest.fixture(scope="module")
def page(project_root: Path) -> str:
    return (project_root / "docs" / "how-it-decides.md").read_text()


def section(page: str, title: str) -> str:
    _, _, rest = page.partition(f"\n## {title}\n")
    assert rest
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def called(path: Path, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


def keywords(path: Path, name: str) -> set[str]:
    return {word.arg or "" for call in called(path, name) for word in call.keywords}


def imported(path: Path) -> set[str]:
    """Return the modules of policies/ that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [node.module or "" for node in nodes]
    return {name.removeprefix("elisa.policies.") for name in names if name.startswith("elisa.policies.")}


def reached(root: Path) -> set[str]:
    """Return the modules of policies/ that a tick or a command comes to."""
    waiting = [
        name
        for room in ("engine", "cli", "report", "store")
        for path in (root / room).rglob("*.py")
        for name in imported(path)
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(imported(root / "policies" / f"{name}.py"))
    return found


def unwired(root: Path) -> Iterator[str]:
    modules = {path.stem for path in (root / "policies").glob("*.py")} - {"__init__"}
    yield from (f"policies.{name}" for name in modules - reached(root))
    (build,) = [
        node
        for node in ast.walk(ast.parse((root / "policies" / "snapshot.py").read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "build"
    ]
    optional = {one.arg for one in build.args.kwonlyargs}
    yield from (f"Snapshot.{name}" for name in optional - keywords(root / "engine" / "decide.py", "PlanInputs"))
    given = keywords(root / "engine" / "config.py", "SitePolicy") | keywords(root / "engine" / "rules.py", "replace")
    yield from (f"SitePolicy.{field.name}" for field in fields(SitePolicy) if field.name not in given)
    filled = keywords(root / "store" / "read_tick.py", "ReadyColumns")
    for path in (root / "engine").glob("facts_*.py"):
        filled |= keywords(path, "ready._replace")
    yield from (f"ReadyColumns.{name}" for name in ReadyColumns._fields if name not in filled)
    rules = keywords(root / "engine" / "site_jobs.py", "LifecycleRules")
    yield from (f"LifecycleRules.{field.name}" for field in fields(LifecycleRules) if field.name not in rules)


def test_page_names_all_that_is_not_wired_into_the_tick_and_nothing_else(project_root: Path, page: str) -> None:
    text = section(page, "Not wired into the tick yet")
    named = re.findall(r"`((?:policies|Snapshot|SitePolicy|ReadyColumns|LifecycleRules)\.\w+)`", text)

    assert sorted(named) == sorted(set(unwired(project_root)))


def test_page_names_every_order_key(page: str) -> None:
    assert first_cells(section(page, "Order").partition("\n### Multifactor\n")[0]) == set(ORDER)


def test_page_names_every_factor_that_a_site_can_weigh(page: str) -> None:
    factors = first_cells(section(page, "Order").partition("\n### Multifactor\n")[2])

    assert factors == set(weights_of(Site().factors.policy()))


def test_page_tells_the_weight_of_every_term_of_the_placement_score(page: str) -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", section(page, "Placement"), re.MULTILINE))

    built_in = {name: weight for name, weight in asdict(PlacementWeights()).items() if name != "others"}
    assert {name: float(weight) for name, weight in told.items()} == built_in


def test_page_tells_the_default_order_and_the_rules_of_silence(page: str) -> None:
    order = re.search(r"the default is `([^`]+)`", page)

    assert order is not None
    assert tuple(order[1].replace("\n", " ").split(", ")) == Site().order
    assert RecoveryConfig().rules() == LifecycleRules()


def test_every_figure_of_the_benchmarks_stands_among_the_measurements(project_root: Path) -> None:
    page = (project_root / "docs" / "measurements.md").read_text()
    figures = [
        name
        for path in (project_root / "benchmarks").glob("bench_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIGURES"
        for name in ast.literal_eval(node.value)
    ]

    assert [name for name in figures if f"| `{name}` |" not in page] == []
