"""Real clusters for tests: one of each kind a session, cleared after every test that used it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.real.pbs_site import PbsSite, a_pbs_site
from tests.real.slurm_cluster import SlurmCluster
from tests.real_parts import PBS_VARIABLES, pbs_answers, pbs_path, require_real

# No package index has a Horovod that is built: where there is none, there is nothing to be tested.
collect_ignore = [] if importlib.util.find_spec("horovod") else ["test_slurm_horovod.py"]


@pytest.fixture(scope="session")
def slurm_installed() -> None:
    """Skip or fail where the programs of a private Slurm cluster with accounting are missing."""
    require_real("slurm")
    require_real("slurmdbd")


@pytest.fixture(scope="session")
def _plain_cluster() -> Iterator[SlurmCluster]:
    require_real("slurm")
    with SlurmCluster(message_timeout_s=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _accounting_cluster(slurm_installed: None) -> Iterator[SlurmCluster]:
    with SlurmCluster(accounting=True, message_timeout_s=2, min_job_age_s=2) as cluster:
        yield cluster


@pytest.fixture
def slurm(_plain_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Give a running cluster without accounting; it remembers ended jobs for 300 s."""
    yield _plain_cluster
    _plain_cluster.clear()


@pytest.fixture
def slurm_with_accounting(_accounting_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Give a running cluster with slurmdbd; the controller forgets ended jobs within seconds, sacct doesn't."""
    yield _accounting_cluster
    _accounting_cluster.clear()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[PbsSite]:
    """Give the PBS that answers here. Where none does, only whoever names a file gets its tests collected."""
    require_real("pbs", found=pbs_answers())
    for name, value in {**PBS_VARIABLES, "PATH": pbs_path()}.items():
        monkeypatch.setenv(name, value)
    with a_pbs_site() as made:
        yield made
