"""What every test gets: an environment of its own, real parts on demand, and a result file fit to be committed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import real_parts, results

# Nothing of the user's own elisa, cluster or terminal may reach a test.
FOREIGN = ("ELISA_", "PBS_", "SACCT_", "SALLOC_", "SBATCH_", "SCONTROL_", "SLURM_", "SQUEUE_", "SRUN_")
KEPT = ("ELISA_REQUIRE_REAL",)

settings.register_profile("default", derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "soak",
    derandomize=False,
    deadline=None,
    print_blob=True,
    max_examples=int(os.environ.get("ELISA_SOAK_EXAMPLES", "2000")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("ELISA_HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long tests of real parts first: each worker brings up its own, and they wait most of their time."""
    for item in items:
        if item.nodeid.startswith("tests/real/"):
            item.add_marker(pytest.mark.real)
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


def pytest_report_header() -> str | None:
    """Say of the one real part that no CI can have how its tests are run."""
    if real_parts.pbs_answers():
        return None
    return f"real PBS: none answers, its tests are not collected; {real_parts.PARTS['pbs'].how}"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs a real PBS where none answers: all but the one test that says so, in CI that one too."""
    if not collection_path.match("tests/real/test_pbs*.py") or real_parts.pbs_answers():
        return None
    return collection_path.name != "test_pbs.py" or os.environ.get("ELISA_REQUIRE_REAL") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite golden files with what elisa says now")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Give `golden(path, text)`: assert that the file says `text`, or make it say so under --bless."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--bless"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(autouse=True)
def own_environment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a state folder of its own, and hide the user's settings."""
    for name in [name for name in os.environ if name.startswith(FOREIGN) and name not in KEPT]:
        monkeypatch.delenv(name)
    if request.node.get_closest_marker("real") is None:
        monkeypatch.setenv("PATH", _without_pbs(os.environ.get("PATH", os.defpath)))
    monkeypatch.setenv("ELISA_HOME", str(tmp_path / "elisa-home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TZ", "UTC")


def _without_pbs(path: str) -> str:
    """Return a PATH on which `elisa init` finds no PBS that happens to run on this machine, in a folder of its own."""
    folders = path.split(os.pathsep)
    return os.pathsep.join(one for one in folders if Path(one, "env").exists() or not Path(one, "qstat").exists())


@pytest.fixture(scope="session")
def require_real() -> Callable[..., None]:
    """Give `require_real(part, how=..., found=...)`: skip, or fail under ELISA_REQUIRE_REAL=1, if it is missing."""
    return real_parts.require_real


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_json_modifyreport(json_report: dict[str, Any]) -> None:
    results.fit_to_commit(json_report, results.masks_of_this_machine(Path(__file__).resolve().parent.parent))
