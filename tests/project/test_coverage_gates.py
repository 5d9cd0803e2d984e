from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.coverage_gates import Gate, Shortfall, main, shortfalls


def a_document(**files: tuple[int, int, int, int]) -> dict[str, Any]:
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    named = {name.replace("__", "/") + ".py": counts for name, counts in files.items()}
    return {"files": {name: {"summary": dict(zip(keys, counts, strict=True))} for name, counts in named.items()}}


LINES = Gate(what="all", unit="lines", percent=90, patterns=("*",))
BRANCHES = Gate(what="policies", unit="branches", percent=95, patterns=("policies/*",))


def test_gate_counts_the_matching_files_together() -> None:
    document = a_document(policies__order=(10, 10, 19, 20), engine__tick=(8, 10, 0, 20))

    assert list(shortfalls(document, (LINES, BRANCHES))) == []


def test_missed_gate_names_the_files_that_miss_most() -> None:
    document = a_document(policies__a=(9, 10, 19, 20), policies__b=(2, 10, 10, 20), policies__c=(10, 10, 2, 2))

    assert list(shortfalls(document, (LINES, BRANCHES))) == [
        Shortfall(gate=LINES, percent=70.0, worst=[("policies/b.py", 8), ("policies/a.py", 1)]),
        Shortfall(gate=BRANCHES, percent=100 * 31 / 42, worst=[("policies/b.py", 10), ("policies/a.py", 1)]),
    ]


def test_gate_without_files_is_passed() -> None:
    assert list(shortfalls(a_document(engine__tick=(10, 10, 2, 2)), (BRANCHES,))) == []


def test_program_exits_with_one_if_a_gate_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps(a_document(runtime__checkpoint__save=(99, 100, 1, 1))))

    assert main(str(file)) == 1
    assert capsys.readouterr().out == (
        "error: checkpoint and resume: 99.00 % of lines covered; 100 % agreed\n"
        "  runtime/checkpoint/save.py: 1 lines missed\n"
    )


def test_adapters_are_held_to_their_gate_only_where_every_framework_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps(a_document(runtime__checkpoint__adapters__torch=(95, 100, 1, 1))))

    monkeypatch.delenv("ELISA_REQUIRE_REAL", raising=False)
    without = main(str(file))
    monkeypatch.setenv("ELISA_REQUIRE_REAL", "1")

    assert (without, main(str(file))) == (0, 1)


def test_program_says_the_share_of_lines_if_every_gate_is_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps(a_document(engine__tick=(95, 100, 1, 2))))

    assert main(str(file)) == 0
    assert capsys.readouterr().out == "coverage: 95.00 % of lines; every gate passed\n"
