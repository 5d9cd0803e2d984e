"""Every example loads; the small ones run to their end on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elisa.pipelines.load import load
from tests.pipelines.documents import NOW

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FILES = {
    "climate/pipeline.yaml": 7,
    "digits/pipeline.py": 8,
    "digits/pipeline.yaml": 8,
    "elastic/pipeline.yaml": 4,
    "first/pipeline.yaml": 3,
    "shards/pipeline.py": 3,
    "shards/pipeline.yaml": 3,
    "sweep/pipeline.yaml": 10,
}
IN_BOTH_FORMS = ["digits", "shards"]
SITE = "backends:\n  local: {kind: local, options: {cpus: 4}}\n"


def test_every_example_is_listed_here() -> None:
    found = {
        str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("pipeline.*") if "__pycache__" not in path.parts
    }

    assert found == set(FILES)


@pytest.mark.parametrize(("file", "tasks"), FILES.items())
def test_example_loads(file: str, tasks: int) -> None:
    assert len(load(EXAMPLES / file).tasks) == tasks


@pytest.mark.parametrize("name", IN_BOTH_FORMS)
def test_both_forms_of_an_example_are_the_same_pipeline(name: str) -> None:
    one, other = (load(EXAMPLES / name / f"pipeline.{form}", now=NOW) for form in ("yaml", "py"))

    assert one == other


def elisa(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elisa.cli", *words],
        env={**os.environ, "ELISA_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "settings", "log", "words"),
    [
        ("climate/pipeline.yaml", ["years=60"], "summary", "560,"),
        ("sweep/pipeline.yaml", ["noise=0.05"], "choose", "degree 9, ridge 0.0: 0.0027"),
        ("shards/pipeline.py", ["most=3"], "add", "functions in 3 packages"),
        ("digits/pipeline.yaml", ["epochs=2", "seeds=[1]", "threshold=0.5"], "report", "- seed 1: 0.9"),
    ],
)
def test_example_runs_to_its_end_on_this_machine(
    file: str, settings: list[str], log: str, words: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    elisa(home, "init")
    (home / "site.yaml").write_text(SITE)
    chosen = [word for setting in settings for word in ("--set", setting)]

    done = elisa(home, "submit", str(EXAMPLES / file), *chosen, "--wait")

    assert done.returncode == 0, done.stderr
    pipeline = done.stdout.partition(":")[0]
    assert words in elisa(home, "logs", f"{pipeline}/{log}").stdout


@pytest.mark.slow
def test_a_function_runs_in_the_folder_that_its_task_names(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "study"
    (folder / "below").mkdir(parents=True)
    (folder / "f.py").write_text("import os\n\n\ndef where():\n    print('here:', os.getcwd())\n")
    (folder / "p.yaml").write_text("name: x\ntasks:\n  a: {call: f.py:where, workdir: below}\n")
    elisa(home, "init")

    done = elisa(home, "submit", str(folder / "p.yaml"), "--wait")

    assert done.returncode == 0, done.stderr
    assert f"here: {folder / 'below'}" in elisa(home, "logs", f"{done.stdout.partition(':')[0]}/a").stdout


def on_a_simulated_cluster(name: str, home: Path) -> None:
    elisa(home, "init")
    (home / "site.yaml").write_text((EXAMPLES / name / "cluster.yaml").read_text())
    elisa(home, "submit", str(EXAMPLES / name / "pipeline.yaml"))

    done = elisa(home, "tick", "--until-idle")

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_climate_example_runs_on_a_simulated_cluster(tmp_path: Path) -> None:
    on_a_simulated_cluster("climate", tmp_path)

    assert "7 succeeded" in elisa(tmp_path, "status", "--all").stdout


@pytest.mark.slow
def test_the_elastic_example_grows_gives_way_and_grows_again(tmp_path: Path) -> None:
    on_a_simulated_cluster("elastic", tmp_path)

    told = " ".join(elisa(tmp_path, "explain", "elastic/tune").stdout.split())
    began = re.findall(r"attempt [0-9] intended .*? with ([0-9]) of 2 to 8 gpus", told)
    assert began == ["2", "8", "4", "8"]
    assert "completed at step 960" in told


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    subprocess.run(["sh", "make_grid.sh", "18"], cwd=EXAMPLES / "climate", env=_folders(tmp_path), check=True)
    return tmp_path / "grid.txt"


def _folders(folder: Path) -> dict[str, str]:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    names = {"ELISA_TASK_DIR": str(folder), "ELISA_CHECKPOINT_DIR": str(folder / "checkpoints")}
    return {"PATH": os.environ["PATH"], **names}


def _run_model(folder: Path, grid: Path, years: int) -> None:
    words = ["sh", "run_model.sh", str(grid), "560", str(years)]
    subprocess.run(words, cwd=EXAMPLES / "climate", env=_folders(folder), check=True, stdout=subprocess.DEVNULL)


def test_the_climate_model_goes_on_from_its_own_restart_files_as_if_nothing_had_happened(
    grid: Path, tmp_path: Path
) -> None:
    _run_model(tmp_path / "whole", grid, 50)

    _run_model(tmp_path / "broken", grid, 30)
    (tmp_path / "broken" / "checkpoints" / "restart.00030.dat.done").unlink()  # killed while it wrote this one
    _run_model(tmp_path / "broken", grid, 50)

    for name in ("state.dat", "series.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()
