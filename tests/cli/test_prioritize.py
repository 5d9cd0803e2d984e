"""`elisa prioritize` as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.store.reader import Reader
from tests.cli.conftest import Elisa

TASKS = "  one: {command: [run]}\n  two: {command: [run]}\n"


@pytest.fixture
def pipeline(elisa: Elisa, home: Path, write: Callable[[str], str]) -> str:
    return str(elisa("submit", write(TASKS), "--json").data["pipeline"])


def test_a_pipeline_is_ranked_anew_with_all_its_tasks(elisa: Elisa, home: Path, pipeline: str) -> None:
    words = ("prioritize", pipeline, "--class", "high", "--importance", "7", "--deadline", "2d")
    told = elisa(*words, "--json").data

    assert (told["schema"], len(told["changed"]), list(told["deadlines"])) == ("elisa.prioritize/1", 2, [pipeline])
    with Reader.open(home) as reader:
        ready, summary = reader.ready_columns(), reader.pipelines()[0]
    assert (list(ready.priority), list(ready.importance)) == ([1, 1], [7.0, 7.0])
    assert summary.deadline is not None
    undone = elisa("prioritize", pipeline, "--deadline", "none")
    assert undone.out == f"{pipeline}: has no deadline\n"


def test_one_task_is_ranked_by_itself(elisa: Elisa, home: Path, pipeline: str) -> None:
    told = elisa("prioritize", "study/two", "-c", "low")

    assert told.out.endswith(": ranked anew; the next plan follows it\n")
    assert len(told.out.splitlines()) == 1
    assert "ranked it anew: class low" in elisa("explain", "study/two").out


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("--class", "urgent"), 2, "there is no class urgent"),
        ((), 2, "nothing is to change"),
        (("--class", "critical"), 5, "project vision may not submit work of class critical"),
        (("--deadline", "soon"), 2, "`--deadline soon` is no moment"),
    ],
)
def test_what_cannot_be_is_told_in_three_lines(
    elisa: Elisa, pipeline: str, words: tuple[str, ...], code: int, what: str
) -> None:
    answer = elisa("prioritize", pipeline, *words)

    assert (answer.code, answer.err.splitlines()[0]) == (code, f"error: {what}")
    assert len(answer.err.splitlines()) == 3
