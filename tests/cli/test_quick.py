"""The quick way reads a command line just as typer does, or leaves it to typer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from elisa.cli import quick, quick_table
from elisa.cli.faces import cron, looking, site, steering, work
from elisa.cli.quick_generate import table_text
from elisa.cli.typer_way import run_typer

READ_ALIKE = [
    ["version"],
    ["version", "--json"],
    ["status"],
    ["status", "p1", "t2", "--project", "vision", "--all"],
    ["status", "-p", "nlp", "--json", "--home", "/somewhere"],
    ["explain", "t7k2", "--json"],
    ["cancel", "t1", "t2"],
    ["submit", "pipeline.yaml", "--set", "a=1", "-s", "b=2", "--wait"],
    ["cron", "remove", "--scrontab"],
    ["plan", "--json"],
    ["tick", "--until-idle"],
]


def test_the_table_is_in_step_with_typers_description() -> None:
    written = Path(quick_table.__file__).read_text(encoding="utf-8")

    assert written == table_text()


@pytest.mark.parametrize("words", READ_ALIKE, ids=" ".join)
def test_both_ways_read_a_command_line_alike(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELISA_HOME", raising=False)
    seen: list[tuple[str, dict[str, object]]] = []
    for face in (work, looking, steering, site, cron):
        monkeypatch.setattr(face, "invoke", lambda name, values: seen.append((name, values)) or 0)

    call = quick.match(words)
    run_typer(words)

    assert isinstance(call, partial)
    name, values = call.args
    [(typed_name, typed)] = seen
    assert (
        name,
        {key: str(value) if key in {"home", "file"} and value else value for key, value in values.items()},
    ) == (
        typed_name,
        {key: str(value) if key in {"home", "file"} and value else value for key, value in typed.items()},
    )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["status", "--help"],
        ["status", "--bogus"],
        ["status", "--project"],
        ["status", "--project", "--json"],
        ["status", "--project=vision"],
        ["explain"],
        ["explain", "one", "two"],
        ["logs", "t1", "--lines", "5"],
        ["cancel"],
        ["nonsense"],
        ["--debug", "status"],
    ],
    ids=" ".join,
)
def test_what_the_table_does_not_cover_goes_to_typer(words: list[str]) -> None:
    assert quick.match(words) is None


def test_completion_always_goes_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ELISA_COMPLETE", "complete_bash")

    assert quick.match(["status"]) is None
