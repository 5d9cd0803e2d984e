"""A site's limits on a real Slurm with accounts: back-pressure, never a failure, whoever used them up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.backends.slurm.options import SlurmOptions
from elisa.model.errors import AtLimit, Rejected
from elisa.model.native import NativeState
from elisa.model.resources import Resources
from tests.real.elisa_on_slurm import a_state_folder
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import SlurmWorld, a_world, wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow]

ENFORCED = ["AccountingStorageEnforce=associations,limits,qos", "MaxArraySize=4"]
NO_LIMIT = "-1"


@pytest.fixture(scope="module")
def _strict_cluster(slurm_installed: None) -> Iterator[SlurmCluster]:
    with SlurmCluster(accounting=True, message_timeout_s=2, extra=ENFORCED) as cluster:
        yield cluster


@pytest.fixture
def strict(_strict_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Give a cluster that enforces limits; those that a test sets are gone after it."""
    yield _strict_cluster
    _strict_cluster.clear()
    _strict_cluster.sacctmgr("modify", "account", "science", "set", f"MaxSubmitJobs={NO_LIMIT}", f"MaxWall={NO_LIMIT}")
    _strict_cluster.sacctmgr("modify", "qos", "normal", "set", f"MaxSubmitJobsPerUser={NO_LIMIT}")


@pytest.fixture
def world(strict: SlurmCluster, tmp_path: Path) -> SlurmWorld:
    return a_world(strict, tmp_path)


def test_limit_of_a_qos_on_submissions_is_back_pressure(world: SlurmWorld) -> None:
    world.cluster.sacctmgr("modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=1")
    world.submit("sleep 600")

    with pytest.raises(AtLimit, match="QOSMaxSubmitJobPerUserLimit"):
        world.submit("true")


def test_jobs_of_the_user_that_are_not_elisas_count(world: SlurmWorld) -> None:
    world.cluster.sacctmgr("modify", "account", "science", "set", "MaxSubmitJobs=1")
    world.cluster.sbatch(wrap="sleep 600")

    with pytest.raises(AtLimit, match="AssocMaxSubmitJobLimit"):
        world.submit("true")


def test_limit_on_the_walltime_of_one_job_is_told_as_what_waiting_will_not_change(world: SlurmWorld) -> None:
    world.cluster.sacctmgr("modify", "account", "science", "set", "MaxWall=60")

    too_long = world.submit("true", resources=Resources(walltime_s=7200))

    wait_until(lambda: "AssocMaxWallDurationPerJobLimit" in getattr(world.see(too_long), "detail", ""))
    assert world.wait_for(too_long, NativeState.QUEUED).detail == (
        "AssocMaxWallDurationPerJobLimit: it will never start as it is"
    )


def test_array_longer_than_the_site_allows_is_refused_and_leaves_nothing(world: SlurmWorld) -> None:
    requests = [world.job("true") for _ in range(6)]

    with pytest.raises((AtLimit, Rejected), match="Invalid job array specification"):
        world.backend.submit_array(requests)

    assert not world.backend.find([request.attempt for request in requests]).ids


def test_tasks_wait_for_room_under_a_limit_and_each_runs_once(
    strict: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", strict.env()["SLURM_CONF"])
    elisa = a_state_folder(strict, tmp_path)
    strict.sacctmgr("modify", "account", "science", "set", "MaxSubmitJobs=3")
    strict.sbatch(wrap="sleep 4")
    tasks = "\n".join(
        f"  t{n}: {{command: [sh, -c, 'echo {n} >>ran'], resources: {{memory: {n + 1}0MiB}}}}" for n in range(6)
    )
    elisa.submit(f"name: many\nproject: demo\ntasks:\n{tasks}\n")

    report = elisa.tick()
    elisa.tick_to_the_end()

    assert report.withdrawn
    assert set(elisa.states().values()) == {"succeeded"}
    assert sorted(elisa.runs()) == list(range(6))


def test_site_that_allows_short_arrays_only_is_described_so(strict: SlurmCluster, tmp_path: Path) -> None:
    world = a_world(strict, tmp_path, SlurmOptions())

    said = world.backend.describe()

    assert said.options == {"array_size": "3"}
    assert said.accounts == ("science", "root")
