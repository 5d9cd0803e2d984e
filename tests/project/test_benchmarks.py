from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from benchmarks import __main__ as program
from benchmarks.figure import Figure, Goal, median_of


def a_benchmark(name: str, *figures: Figure, broken: bool = False) -> ModuleType:
    def measure() -> Iterator[Figure]:
        yield from figures
        if broken:
            raise RuntimeError("the disk is gone")

    module = ModuleType(f"benchmarks.bench_{name}")
    vars(module).update(FIGURES=tuple(figure.figure for figure in figures), measure=measure)
    return module


PLAN = Figure(figure="plan_ms", value=81.23456, unit="ms", goal="<=100", runs=5)
FILL = Figure(figure="fill", value=0.5, unit="share", goal=">=0.9", runs=3)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = (a_benchmark("planning", PLAN, FILL, broken=True), a_benchmark("reading", FILL))
    monkeypatch.setattr(program, "_benchmarks", lambda: iter(known))


def test_figure_is_one_json_line_with_four_digits() -> None:
    assert json.loads(PLAN.line()) == {"figure": "plan_ms", "value": 81.23, "unit": "ms", "goal": "<=100", "runs": 5}


def test_verdict_compares_the_value_with_the_goal() -> None:
    assert [PLAN.verdict(), FILL.verdict(), Figure(figure="f", value=1, unit="s").verdict()] == [
        "met",
        "missed",
        "no goal",
    ]


def test_goal_without_a_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="<= or >="):
        Goal.parse("100")


def test_median_leaves_out_the_warm_up() -> None:
    measured = iter([900.0, 3.0, 1.0, 2.0])

    assert median_of(lambda: next(measured), runs=3) == 2.0


@pytest.mark.usefixtures("benchmarks")
def test_broken_benchmark_fails_the_run_but_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    status = program.main([])

    out, err = capsys.readouterr()
    assert (status, [json.loads(line)["figure"] for line in out.splitlines()]) == (1, ["plan_ms", "fill", "fill"])
    assert "the disk is gone" in err


@pytest.mark.usefixtures("benchmarks")
def test_only_takes_the_name_of_a_benchmark_or_of_a_figure(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("reading", "plan_ms"):
        program.main(["--only", name])

    assert [json.loads(line)["figure"] for line in capsys.readouterr().out.splitlines()] == ["fill", "plan_ms"]


@pytest.mark.usefixtures("benchmarks")
def test_unknown_benchmark_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--only", "nothing"]) == 2
    assert "no benchmark or figure is called nothing" in capsys.readouterr().err


@pytest.mark.usefixtures("benchmarks")
def test_list_shows_benchmarks_with_their_figures(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--list"])

    assert capsys.readouterr().out == "planning: plan_ms, fill\nreading: fill\n"
