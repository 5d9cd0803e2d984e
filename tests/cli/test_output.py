"""Errors are three lines on stderr, or one JSON document; nothing from outside reaches the terminal raw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elisa.cli.main import run
from elisa.cli.output import print_error, print_plain
from elisa.model.errors import PolicyError, Problem, SpecError, UsageError

ERROR = UsageError("there is no task `x`", "nothing begins so", "see `elisa status`")


def test_an_error_is_what_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ERROR, wants_json=False)

    assert capsys.readouterr() == (
        "",
        "error: there is no task `x`\n  why: nothing begins so\nhint: see `elisa status`\n",
    )


def test_an_error_as_json_is_one_document_and_the_lines_stay_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(PolicyError("no"), wants_json=True)

    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "schema": "elisa.error/1",
        "error": {"kind": "PolicyError", "what": "no", "why": "", "hint": "", "exit_code": 5},
    }
    assert err == "error: no\n"


def test_every_problem_of_a_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    problems = (
        Problem(file="a.yaml", line=3, what="unknown key", text="comand: x", hint="did you mean `command`?"),
        Problem(file="a.yaml", line=9, what="a cycle"),
    )

    print_error(SpecError(problems), wants_json=False)

    assert capsys.readouterr().err == (
        "error: unknown key\n  why: a.yaml:3: comand: x\nhint: did you mean `command`?\n"
        "error: a cycle\n  why: a.yaml:9\n"
        "2 problems; nothing was changed\n"
    )


@pytest.mark.parametrize("raw", ["\x1b[31mred", "a\rb", "\u202eevil", "\x9b1m", "bell\x07"])
def test_control_characters_are_shown_not_sent(raw: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_plain(raw)

    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable()


def test_an_unknown_option_exits_2_with_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--bogus"]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "error: No such option: --bogus",
        "  why: in `elisa status`",
        "hint: see `elisa status --help`",
    ]


def test_an_unknown_command_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense"]) == 2

    assert capsys.readouterr().err.startswith("error: No such command 'nonsense'")


def test_version_is_printed_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith("elisa ")
    assert run(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "elisa.version/1"


def test_a_missing_state_folder_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--home", str(tmp_path / "none")]) == 2

    assert "run `elisa init`" in capsys.readouterr().err
