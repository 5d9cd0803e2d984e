"""The crontab line is put in once, shown, and taken out, and everything else in the crontab stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

FAKE = """#!/bin/sh
table="$(dirname "$0")/table"
case "$1" in
  -l) [ -e "$table" ] && cat "$table" || { echo "no crontab for you" >&2; exit 1; } ;;
  *) cat "$1" >"$table" ;;
esac
"""


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a crontab (and scrontab) of the test's own on the path; return its table."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("crontab", "scrontab"):
        program = folder / name
        program.write_text(FAKE, encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "table"


def test_installing_twice_leaves_one_line_and_all_others(elisa: Elisa, home: Path, crontab: Path) -> None:
    crontab.write_text("0 3 * * * backup\n", encoding="utf-8")

    first, second = elisa("cron", "install", "--every", "2"), elisa("cron", "install", "--every", "2", "--json")

    lines = crontab.read_text(encoding="utf-8").splitlines()
    assert first.out.endswith("installed\n")
    assert second.data["changed"] is False
    assert lines[0] == "0 3 * * * backup"
    [tick] = [line for line in lines if line.endswith("2>&1")]
    assert tick.startswith("*/2 * * * * /usr/bin/env ")
    assert f"ELISA_HOME={home}" in tick


def test_show_tells_whether_it_is_there(elisa: Elisa, home: Path, crontab: Path) -> None:
    before = elisa("cron", "show", "--json").data["installed"]
    elisa("cron", "install")

    assert (before, elisa("cron", "show", "--json").data["installed"]) == (False, True)


def test_shown_are_the_lines_and_nothing_else_so_that_they_can_be_put_into_a_table_by_hand(
    elisa: Elisa, home: Path, crontab: Path
) -> None:
    shown = elisa("cron", "show")
    elisa("cron", "install")

    assert shown.out == crontab.read_text(encoding="utf-8")
    assert shown.err.startswith("it is not installed: ")


def test_remove_takes_out_only_ours(elisa: Elisa, home: Path, crontab: Path) -> None:
    crontab.write_text("0 3 * * * backup\n", encoding="utf-8")
    elisa("cron", "install")

    removed, again = elisa("cron", "remove"), elisa("cron", "remove", "--json")

    assert removed.out == "removed\n"
    assert again.data["changed"] is False
    assert crontab.read_text(encoding="utf-8") == "0 3 * * * backup\n"


def test_scrontab_gets_its_own_directives(elisa: Elisa, home: Path, crontab: Path) -> None:
    lines = elisa("cron", "show", "--scrontab", "--json").data["lines"]

    assert any(line.startswith("#SCRON --time=") for line in lines)


def test_a_machine_without_cron_says_what_to_do_instead(
    elisa: Elisa, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    answer = elisa("cron", "install")

    assert answer.code == 1
    assert "elisa tick --loop 60" in answer.err
