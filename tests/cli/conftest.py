"""A state folder with this machine as its only backend, and a way to type commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from elisa.cli.main import run

SITE = "backends:\n  local: {kind: local, options: {cpus: 4, memory: 4GiB, gpus: []}}\n"


class Answer(NamedTuple):
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON document it printed."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


Elisa = Callable[..., Answer]


@pytest.fixture
def elisa(capsys: pytest.CaptureFixture[str]) -> Elisa:
    """Type a command."""

    def type_command(*words: str) -> Answer:
        capsys.readouterr()
        code = run(words)
        return Answer(code, *capsys.readouterr())

    return type_command


@pytest.fixture
def home(tmp_path: Path, elisa: Elisa) -> Path:
    """Create the state folder that every command of the test uses."""
    assert elisa("init").code == 0
    folder = tmp_path / "elisa-home"
    (folder / "site.yaml").write_text(SITE, encoding="utf-8")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a pipeline file; its tasks are given as they stand under `tasks:`."""

    def write_pipeline(tasks: str) -> str:
        path = tmp_path / "pipeline.yaml"
        path.write_text(f"name: study\nproject: vision\ntasks:\n{tasks}", encoding="utf-8")
        return str(path)

    return write_pipeline
