"""`elisa replay TICK` as it is typed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model import layout
from tests.cli.conftest import Elisa


@pytest.fixture
def ticked(elisa: Elisa, home: Path, write: Callable[[str], str]) -> Path:
    (home / "site.yaml").write_text("backends:\n  dream: {kind: simulated}\n", encoding="utf-8")
    elisa("submit", write("  only: {command: [run]}\n"))
    assert elisa("tick", "--json").data["tick"] == 1
    return home


@pytest.mark.parametrize("words", [("1",), ("--tick", "1"), ("last",)])
def test_a_decision_is_made_again_and_is_the_same(elisa: Elisa, ticked: Path, words: tuple[str, ...]) -> None:
    answer = elisa("replay", *words)

    assert answer.code == 0
    assert answer.out.endswith(": the same\ndecisions: 1, passed over: 0\n")
    data = elisa("replay", *words, "--json").data
    assert (data["schema"], data["same"], data["sealed"]) == ("elisa.replay-tick/1", True, True)


def test_one_that_is_not_the_same_ends_with_status_1(elisa: Elisa, ticked: Path) -> None:
    path = layout.plan_file(ticked, 1)
    document = json.loads(zlib.decompress(path.read_bytes()))
    document["inputs"]["ready"][0][0] = "t000000000"
    path.write_bytes(zlib.compress(json.dumps(document).encode()))

    answer = elisa("replay", "1")

    assert answer.code == 1
    assert ": NOT the same\n" in answer.out
    assert "decision 1 was submit" in answer.out


def test_kept_ticks_are_listed(elisa: Elisa, ticked: Path) -> None:
    assert elisa("replay", "--list").out.splitlines()[1].split()[0] == "1"
    assert elisa("replay", "--list", "--json").data["ticks"][0]["ready"] == 1


@pytest.mark.parametrize("words", [(), ("study",), ("99",), ("--from", "5")])
def test_what_cannot_be_replayed_is_told_in_three_lines(elisa: Elisa, ticked: Path, words: tuple[str, ...]) -> None:
    answer = elisa("replay", *words)

    assert (answer.code, len(answer.err.splitlines())) == (2, 3)
