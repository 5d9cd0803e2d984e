from __future__ import annotations

from pathlib import Path

import pytest

from elisa.backends.slurm.opening import client_environment, open_slurm
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import UsageError
from elisa.model.ids import BackendName
from tests.builders import FakeClock

SLURM = BackendName("slurm")


def test_programs_are_found_once_on_the_path_of_whoever_starts_elisa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert open_slurm(SLURM, {}, instance="ab12", clock=FakeClock()).options.path == str(tmp_path)


def test_machine_without_slurm_opens_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert open_slurm(SLURM, {}, instance="ab12", clock=FakeClock()).options.path == ""


def test_folder_of_the_configuration_wins() -> None:
    backend = open_slurm(SLURM, {"path": "/opt/slurm/bin"}, instance="ab12", clock=FakeClock())

    assert backend.options.path == "/opt/slurm/bin"


def test_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no option `partitions`"):
        open_slurm(SLURM, {"partitions": 1}, instance="ab12", clock=FakeClock())


def test_nothing_of_the_callers_environment_reaches_a_job_but_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "7")

    environment = client_environment(SlurmOptions())

    assert set(environment) == {"HOME", "LOGNAME", "PATH", "SHELL", "SLURM_CONF", "USER"}
    assert (environment["PATH"], environment["SLURM_CONF"]) == ("/usr/bin:/bin", "/etc/slurm/slurm.conf")


def test_configuration_file_of_the_site_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")

    assert client_environment(SlurmOptions(conf="/big/slurm.conf"))["SLURM_CONF"] == "/big/slurm.conf"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pyslurm": False}, "site.yaml says `pyslurm: no`"),
        ({"cluster": "big"}, "libslurm can't be told of the cluster that site.yaml names: big"),
    ],
)
def test_libslurm_is_not_asked_where_it_would_be_another_cluster_or_is_not_wanted(
    options: dict[str, object], why: str
) -> None:
    backend = open_slurm(SLURM, options, instance="ab12", clock=FakeClock())

    assert (backend.pyslurm.library, backend.pyslurm.found.problem) == (None, why)
