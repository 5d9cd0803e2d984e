from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# Folders with an __init__.py at the top level that are no rooms of elisa.
NO_ROOMS = {"benchmarks", "docs", "examples", "scripts", "src", "tests"}


@pytest.fixture(scope="module")
def hatch(project_root: Path) -> Mapping[str, Any]:
    document = tomllib.loads((project_root / "pyproject.toml").read_text())
    build: Mapping[str, Any] = document["tool"]["hatch"]["build"]
    return build


@pytest.fixture(scope="module")
def rooms(project_root: Path) -> set[str]:
    return {path.parent.name for path in project_root.glob("*/__init__.py")} - NO_ROOMS


def test_every_room_is_linked_into_the_namespace_and_nothing_else_is(project_root: Path, rooms: set[str]) -> None:
    links = {path.name: path.readlink() for path in (project_root / "src/elisa").iterdir() if path.is_symlink()}

    assert links == {room: Path("../..") / room for room in rooms}


def test_every_room_is_packed_into_the_wheel_under_its_name(hatch: Mapping[str, Any], rooms: set[str]) -> None:
    wheel = hatch["targets"]["wheel"]

    assert wheel["sources"] == {"src/elisa": "elisa"} | {room: f"elisa/{room}" for room in rooms}
    assert {name for name in wheel["only-include"] if "/" not in name} == rooms


def test_every_file_of_the_namespace_itself_is_packed(project_root: Path, hatch: Mapping[str, Any]) -> None:
    own = {f"src/elisa/{path.name}" for path in (project_root / "src/elisa").iterdir() if path.is_file()}

    assert {name for name in hatch["targets"]["wheel"]["only-include"] if "/" in name} == own


def test_source_distribution_holds_each_room_once(hatch: Mapping[str, Any], rooms: set[str]) -> None:
    left_out = {Path(name).name for name in hatch["targets"]["sdist"]["exclude"] if name.startswith("/src/elisa/")}

    assert left_out == rooms


def test_coverage_counts_every_room(project_root: Path, rooms: set[str]) -> None:
    document = tomllib.loads((project_root / "pyproject.toml").read_text())

    assert set(document["tool"]["coverage"]["run"]["source"]) == rooms
