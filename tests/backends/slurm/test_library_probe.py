"""Whether pyslurm can be used: found out in a process of its own, once, and remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.backends.slurm.library_probe import Probe, how_to_get_it, probe
from tests.backends.slurm.jobs import ScriptedRunner

WORKS = "__version__ = '22.5.3'\nJobs = JobSubmitDescription = None\n"


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "slurm.conf"
    file.write_text("")
    return {"SLURM_CONF": str(file)}


def install(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "pyslurm.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))


def test_without_pyslurm_nobody_is_asked(conf: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.backends.slurm.library_probe.find_spec", lambda _name: None)

    assert probe(ScriptedRunner({}), conf, None) == Probe(problem="it is not installed")


def test_without_a_slurm_conf_it_is_not_even_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "lib", WORKS, monkeypatch)

    found = probe(ScriptedRunner({}), {"SLURM_CONF": str(tmp_path / "none")}, None)

    assert found == Probe(problem=f"{tmp_path}/none can't be read")


@pytest.mark.slow
def test_what_was_found_is_remembered_until_pyslurm_changes(
    tmp_path: Path, conf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "lib", WORKS, monkeypatch)
    memory = tmp_path / "memory.json"

    first = probe(SubprocessRunner(), conf, memory)
    again = probe(ScriptedRunner({}), conf, memory)
    (tmp_path / "lib" / "pyslurm.py").write_text("raise SystemExit('Slurm version mismatch')\n")
    after = probe(SubprocessRunner(), conf, memory)

    assert (first.version, again) == ("22.5.3", first)
    assert (after.is_usable, after.problem) == (False, "Slurm version mismatch")
    assert json.loads(memory.read_text())["problem"] == "Slurm version mismatch"


@pytest.mark.slow
def test_an_import_that_ends_its_process_ends_only_the_probe(
    tmp_path: Path, conf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "lib", "import os\nos._exit(1)\n", monkeypatch)

    found = probe(SubprocessRunner(), conf, tmp_path / "no" / "folder" / "memory.json")

    assert found.problem == "the process ended with status 1"


@pytest.mark.parametrize(
    ("slurm", "words"),
    [
        ("25.11.2", "pip install 'pyslurm==25.11.*'"),
        ("22.05.8", "its tag v22.5.*"),
        ("24.11.5-1", "its tag v24.11.*"),
        ("", "the major and minor number of your Slurm"),
    ],
)
def test_the_matching_release_is_named(slurm: str, words: str) -> None:
    assert words in how_to_get_it(slurm)


def test_a_backend_says_which_way_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.backends.slurm.library_here.load_library", lambda _environment: object())
    switched_off, here = PyslurmHere(unwanted="site.yaml says `pyslurm: no`"), PyslurmHere()
    here.found = Probe(version="22.5.3")

    assert switched_off.advice("22.05.8").what == (
        "the programs of Slurm are used, not pyslurm: site.yaml says `pyslurm: no`"
    )
    assert here.advice("22.05.8").what == "libslurm is used through pyslurm 22.5.3"
