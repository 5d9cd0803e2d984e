"""libslurm through pyslurm against Slurm's programs, on a real cluster. Needs a pyslurm that matches the installed Slurm."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figure import Figure, median_of, seconds_of
from elisa.backends.runner import SubprocessRunner
from elisa.backends.slurm.library_here import PyslurmHere
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import SlurmWorld, a_world

FIGURES = ("slurm_library_submit_100_s", "slurm_library_poll_1000_ms", "slurm_library_poll_again_ms")


def measure() -> Iterator[Figure]:
    """Yield each figure, and that of the programs beside it. Raises RuntimeError where pyslurm can't be used."""
    with SlurmCluster(message_timeout_s=2) as cluster, tempfile.TemporaryDirectory() as folder:
        here = PyslurmHere(runner=SubprocessRunner(environment=cluster.env()), environment=cluster.env())
        if here.library is None:
            raise RuntimeError(here.advice("").what)
        programs = a_world(cluster, Path(folder))
        library = replace(programs, backend=replace(programs.backend, pyslurm=here))
        yield from _submissions(cluster, library, programs)
        yield from _polls(library, programs)


def _submissions(cluster: SlurmCluster, library: SlurmWorld, programs: SlurmWorld) -> Iterator[Figure]:
    for world, peer in ((library, ""), (programs, "/sbatch")):

        def submit(world: SlurmWorld = world) -> float:
            requests = [world.job("true") for _ in range(100)]
            return seconds_of(lambda: [world.backend.submit(request) for request in requests])

        yield Figure(figure=f"slurm_library_submit_100_s{peer}", value=median_of(submit, 3), unit="s", runs=3)
        cluster.clear()


def _polls(library: SlurmWorld, programs: SlurmWorld) -> Iterator[Figure]:
    """Ask about 1,000 jobs that wait. What changes all the time is fetched; what does not, is not."""
    ids = list(
        programs.backend.submit_array([replace(programs.job("sleep 600"), at_once=1) for _ in range(1000)]).values()
    )
    assert library.backend.pyslurm.library is not None

    def fetched() -> float:
        assert library.backend.pyslurm.library is not None
        library.backend.pyslurm.library.forget()
        return 1000 * seconds_of(lambda: library.backend.poll(ids))

    def again() -> float:
        return 1000 * seconds_of(lambda: library.backend.poll(ids))

    yield Figure(figure="slurm_library_poll_1000_ms", value=median_of(fetched, 9), unit="ms", runs=9)
    yield Figure(figure="slurm_library_poll_again_ms", value=median_of(again, 9, warm_up=3), unit="ms", runs=9)
    squeue = median_of(lambda: 1000 * seconds_of(lambda: programs.backend.poll(ids)), 9)
    yield Figure(figure="slurm_library_poll_1000_ms/squeue", value=squeue, unit="ms", runs=9)
