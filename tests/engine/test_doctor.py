from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from elisa.backends.runner import Completed
from elisa.engine.doctor import Level, examine
from elisa.engine.tick import tick
from elisa.engine.workspace import init_workspace, open_workspace
from elisa.model import layout
from elisa.model.errors import StoreError
from elisa.store.reader import Reader


class Starts:
    """A runner under which the agent starts, or does not."""

    def __init__(self, exit_code: int = 0) -> None:
        self.exit_code = exit_code

    def run(self, _argv: Sequence[str], **_told: object) -> Completed:
        return Completed(exit_code=self.exit_code, stderr="Traceback\nModuleNotFoundError: elisa")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    init_workspace(tmp_path / "home")
    with open_workspace(tmp_path / "home") as workspace:
        tick(workspace)
    return tmp_path / "home"


def levels(home: Path) -> dict[str, Level]:
    return {finding.name: finding.level for finding in examine(home, Starts())}


def test_a_healthy_state_folder_has_nothing_to_mend(home: Path) -> None:
    found = examine(home, Starts())

    assert {finding.level for finding in found} == {"ok"}
    assert {"filesystem", "locks", "clock", "database", "spool", "backend local", "agent"} <= {
        one.name for one in found
    }


def test_without_a_folder_the_first_step_is_told(tmp_path: Path) -> None:
    [finding] = examine(tmp_path / "none", Starts())

    assert (finding.level, finding.hint) == ("bad", "run `elisa init`")


def _remove(path: Callable[[Path], Path]) -> Callable[[Path], None]:
    return lambda home: path(home).unlink()


def _write(path: Callable[[Path], Path], text: str) -> Callable[[Path], None]:
    return lambda home: (path(home).write_text(text), None)[1]


@pytest.mark.parametrize(
    ("harm", "name", "level"),
    [
        (lambda home: home.chmod(0o755), "state folder", "warn"),
        (_remove(layout.spool_sentinel), "spool", "bad"),
        (_remove(layout.event_secret), "secret", "bad"),
        (lambda home: layout.event_secret(home).chmod(0o644), "events key", "bad"),
        (_write(layout.site_file, "bakends: {}\n"), "configuration", "bad"),
        (_write(layout.database, "rubbish" * 1000), "database", "bad"),
    ],
)
def test_each_harm_is_found(home: Path, harm: Callable[[Path], None], name: str, level: Level) -> None:
    harm(home)

    assert levels(home)[name] == level


def test_a_state_that_never_ticked_is_warned_of(tmp_path: Path) -> None:
    init_workspace(tmp_path)

    assert levels(tmp_path)["ticks"] == "warn"


def test_an_agent_that_does_not_start_is_told_with_its_words(home: Path) -> None:
    [finding] = [one for one in examine(home, Starts(1)) if one.name == "agent"]

    assert finding.level == "bad"
    assert finding.what.endswith("ModuleNotFoundError: elisa")


def test_a_backend_that_fails_is_told_with_its_history(home: Path) -> None:
    layout.backend_health(home).write_text(
        '{"local": {"failures": 4, "since": "2026-03-02T09:00:00+00:00",'
        ' "retry_at": "2026-03-02T09:00:00+00:00", "what": "no answer"}}'
    )

    told = [one.what for one in examine(home, Starts()) if one.level == "warn"]

    assert told == ["failed 4 times since 2026-03-02 09:00: no answer"]


def test_a_file_in_the_place_of_the_folder_is_called_a_file(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no folder", encoding="utf-8")

    [finding] = examine(file)

    assert (finding.level, finding.what) == ("bad", f"{file} is a file, not a folder")


@pytest.mark.parametrize(
    ("free_mib", "level"),
    [
        pytest.param(0, "bad", id="a full disk stops the work"),
        pytest.param(499, "warn", id="a nearly full one may"),
        pytest.param(500, "ok", id="enough"),
    ],
)
def test_how_bad_little_space_is(home: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, level: str) -> None:
    status = SimpleNamespace(f_bavail=free_mib, f_frsize=2**20)
    monkeypatch.setattr("elisa.engine.doctor.os.statvfs", lambda _: status)

    assert levels(home)["space"] == level


@pytest.mark.parametrize("within", [layout.spool, layout.claims, layout.runs])
def test_a_folder_within_that_is_full_or_cannot_be_written_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, within: Callable[[Path], Path]
) -> None:
    """Each of them may be mounted by itself."""
    folder = within(home)
    monkeypatch.setattr(
        "elisa.engine.doctor.os.statvfs", lambda of: SimpleNamespace(f_bavail=int(of != folder) << 20, f_frsize=2**20)
    )
    (folder / ".write-test").mkdir()  # in the way

    told = {one.name: one.what for one in examine(home, Starts()) if one.level == "bad"}

    assert told == {
        "space": f"nothing is free in {folder}",
        "writing": f"nothing can be written to {folder}: Is a directory",
    }


def test_a_folder_that_cannot_be_written_is_told_once() -> None:
    """Nobody may make a file in /proc, not even root."""
    found = examine(Path("/proc"), Starts())

    assert [one.level for one in found if one.name == "writing"] == ["bad"]
    assert not {"locks", "clock"} & {one.name for one in found}


def _without_a_table(home: Path) -> None:
    with closing(sqlite3.connect(layout.database(home))) as database:
        database.execute("DROP TABLE meta")


def _with_a_slurm_that_fails(home: Path) -> None:
    for name in ("squeue", "scontrol", "sinfo", "sacct"):
        program = home / name
        program.write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
        program.chmod(0o700)
    layout.site_file(home).write_text(f"backends: {{slurm: {{kind: slurm, options: {{path: '{home}'}}}}}}\n")


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (_without_a_table, "database", "no such table: meta"),
        (_with_a_slurm_that_fails, "backend slurm", "Unable to contact slurm controller"),
    ],
)
def test_errors_that_send_their_reader_to_the_doctor_do_not_do_so_here(
    home: Path, harm: Callable[[Path], None], name: str, words: str
) -> None:
    harm(home)

    found = examine(home, Starts())

    assert [words in one.what for one in found if one.name == name] == [True]
    assert [one.hint for one in found if "elisa doctor" in one.hint] == []


def test_advice_that_is_worth_something_here_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Reader:
        raise StoreError("it is held", "by another", "run `elisa doctor`; wait a moment; then ask again")

    monkeypatch.setattr("elisa.engine.doctor.Reader.open", refuse)

    assert {one.hint for one in examine(home, Starts()) if one.name == "database"} == {"wait a moment; then ask again"}


def test_folder_that_cannot_be_looked_at_is_a_finding(tmp_path: Path) -> None:
    [finding] = examine(tmp_path / ("x" * 300), Starts())

    assert (finding.name, finding.level) == ("state folder", "bad")
    assert finding.what.endswith("File name too long")
