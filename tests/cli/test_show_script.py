"""`elisa show-script`: what a task's resource manager gets, before it gets it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from elisa.engine.release import AGENT_PATH
from tests.cli.conftest import Elisa

AGENT = f"{AGENT_PATH}/elisa/runtime/__main__.py"
PAIR = """\
  first: {command: [echo, "hello there"]}
  second: {command: [echo, done], needs: [first]}
"""


def test_a_ready_task_is_shown_as_the_next_tick_hands_it_over_and_nothing_is_written(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write(PAIR))
    before = sorted(home.rglob("*"))

    shown = elisa("show-script", "study/first", "--json").data

    job_file = home / "spool" / shown["attempt"] / "job.json"
    assert shown["argv"] == [sys.executable, "-S", AGENT, "run", "--job", str(job_file)]
    assert (shown["backend"], shown["stdin"], shown["is_next"], shown["native_id"]) == ("local", "", True, None)
    assert sorted(home.rglob("*")) == before


def test_a_task_that_waits_is_shown_and_said_to_wait(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))

    answer = elisa("show-script", "study/second")

    assert answer.code == 0
    assert f"-S {AGENT} run --job" in answer.out
    assert "It is not: the task is waiting" in answer.err


def test_a_task_that_finds_no_room_is_shown_with_the_reason(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write("  huge: {command: [echo], resources: {cpus: 64}}\n"))

    shown = elisa("show-script", "study/huge", "--json").data

    assert (shown["is_next"], shown["state"]) == (False, "ready")
    assert shown["because"] == "it can never start: it asks for 64 cpus a node, the most there is on a node is 4"


def test_a_task_that_was_handed_over_is_shown_with_its_native_id(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write(PAIR), "--wait")

    shown = elisa("show-script", "study/first", "--json").data

    assert shown["native_id"].endswith(shown["attempt"])
    assert f"handed to local/local as {shown['native_id']}" in elisa("show-script", "study/first").err


def test_a_backend_that_site_yaml_does_not_have_is_told(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa(
        "submit",
        write("  far: {command: [echo], placement: {backend: moon}, needs: [near]}\n  near: {command: [echo]}\n"),
    )

    answer = elisa("show-script", "study/far")

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: no backend is called `moon`")
