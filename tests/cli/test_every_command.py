"""Rules that hold for every command: help that says something, and a JSON form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer

from elisa.cli.app import app
from tests.cli.conftest import Elisa


def commands(group: typer.Typer, *before: str) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield (*before, command.name or command.callback.__name__)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, *before, str(inner.name))


EVERY = sorted(commands(app))


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_every_command_has_help_and_a_json_form(elisa: Elisa, command: tuple[str, ...]) -> None:
    answer = elisa(*command, "--help")
    options = [line.strip() for line in answer.out.splitlines() if line.strip().startswith("-")]

    assert answer.code == 0
    assert any(line.startswith("--json") for line in options)


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_an_unknown_option_of_any_command_is_told_in_three_lines(elisa: Elisa, command: tuple[str, ...]) -> None:
    answer = elisa(*command, "--no-such-option")

    assert (answer.code, answer.out) == (2, "")
    assert [line.partition(":")[0].strip() for line in answer.err.splitlines()] == ["error", "why", "hint"]
