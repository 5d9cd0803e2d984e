from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packed(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    folder = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=project_root, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        yield {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_wheel_holds_every_tracked_file_of_every_room_and_nothing_else(project_root: Path, packed: set[str]) -> None:
    rooms = [path.name for path in (project_root / "src/elisa").iterdir() if path.is_symlink()]
    wanted = {f"elisa/{name}" for name in files(project_root, rooms)}
    own = {f"elisa/{path.name}" for path in (project_root / "src/elisa").iterdir() if path.is_file()}

    assert packed == wanted | own


def files(root: Path, rooms: list[str]) -> set[str]:
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *rooms]
    listed = subprocess.run(argv, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name for name in listed if name and (root / name).is_file()}
