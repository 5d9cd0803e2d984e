from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from elisa.model.errors import SpecError
from elisa.pipelines.load import load
from elisa.pipelines.problems import render

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FOLDER = Path(__file__).parent / "bad"
BAD = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("py_*.py")])


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_pipeline_tells_all_that_is_wrong_with_it(
    path: Path, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)

    with pytest.raises(SpecError) as caught:
        load(Path(path.name), now=NOW)

    golden(path.with_suffix(".expected"), render(caught.value.problems))


def test_at_least_sixty_bad_pipelines_are_recorded() -> None:
    assert len(BAD) >= 60


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_problems_of_a_file_come_in_file_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)

    with pytest.raises(SpecError) as caught:
        load(Path(path.name), now=NOW)

    places = [(problem.file != path.name, problem.file, problem.line) for problem in caught.value.problems]
    assert places == sorted(places)


def test_every_golden_file_belongs_to_a_bad_pipeline() -> None:
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in BAD}
