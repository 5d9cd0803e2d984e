"""libslurm through pyslurm: the quick way to what `squeue`, `scontrol show` and `sbatch` also say and do.

libslurm holds one configuration for the life of the process: a second cluster in the same process is asked with programs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from elisa.backends.runner import Completed
from elisa.backends.slurm.identity import JobKey, component_of, tag_of_name
from elisa.backends.slurm.inventory import parse_nodes, parse_partitions
from elisa.backends.slurm.library_records import records_of
from elisa.backends.slurm.library_submit import description_of_job
from elisa.backends.slurm.libslurm import Libslurm
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import Record, whole
from elisa.model.errors import Unavailable
from elisa.model.native import JobRequest, NodeView, PartitionView

__all__ = ["SlurmLibrary", "load_library"]

_in_use: list[tuple[str, SlurmLibrary]] = []


def load_library(environment: Mapping[str, str]) -> SlurmLibrary | None:
    """Import pyslurm for the cluster of this environment; None if this process already talks to another.

    Call it only where `probe` found that it works: else it may end the process.
    """
    conf = environment.get("SLURM_CONF", "")
    if not _in_use:
        with _variables({"SLURM_CONF": conf} if conf else {}):
            import pyslurm
        _in_use.append((conf, SlurmLibrary(pyslurm)))
    known, library = _in_use[0]
    return library if known == conf else None


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for a while: libslurm reads its own when it is loaded."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Jobs(NamedTuple):
    """The jobs of a user when they were last fetched."""

    owner: int
    records: Sequence[Record]


class SlurmLibrary:
    """Asks the controller through pyslurm. Only what changed since it last asked is fetched again."""

    def __init__(self, pyslurm: Any) -> None:  # noqa: ANN401 - a module that is not here when types are checked
        self._pyslurm = pyslurm
        self._release = tuple(map(int, pyslurm.__version__.split(".")[:2]))
        self._libslurm = Libslurm()
        self._jobs: _Jobs | None = None

    def jobs(self, uid: int, instance: str) -> Mapping[JobKey, Record]:
        """Return a user's jobs that carry this instance's tags. Raises Unavailable."""
        if self._jobs is None or self._jobs.owner != uid or self._libslurm.have_jobs_changed():
            # a site's other jobs are many, and to describe one takes as long as to fetch two
            found = [job for job in self._load(self._pyslurm.Jobs) if job.user_id == uid]
            self._jobs = _Jobs(uid, [record for job in found for record in records_of(job)])
        parts: dict[JobKey, list[Record]] = {}
        for record in self._jobs.records:
            tag = tag_of_name(instance, record.name)
            if tag is not None:
                parts.setdefault(JobKey(component_of(record.job)[0], tag), []).append(record)
        return {key: whole(records) for key, records in parts.items()}

    def inventory(self) -> tuple[Sequence[NodeView], Sequence[PartitionView]] | None:
        """Return nodes and partitions; None where only scontrol tells them so that they can be read. Raises Unavailable."""
        # not pyslurm's: it asks for the whole configuration, too, and does not tell how many of the GPUs are in use
        told = self._libslurm.inventory()
        return None if told is None else (parse_nodes(told.nodes, zone=None), parse_partitions(told.partitions))

    def submit(
        self, request: JobRequest, instance: str, options: SlurmOptions, script: str, base: Mapping[str, str]
    ) -> Completed | None:
        """Submit a job as sbatch does and answer as sbatch does; None for a request that pyslurm can't say in full.

        `base` is the environment that sbatch would be started in.
        """
        wanted = description_of_job(request, instance, options, script, base, self._release)
        if wanted is None or _is_inside_a_job():
            return None
        try:
            number = self._pyslurm.JobSubmitDescription(**wanted).submit()
        except self._pyslurm.RPCError as err:
            return Completed(exit_code=1, stderr=f"sbatch: error: Batch job submission failed: {err}")
        self.forget()
        return Completed(exit_code=0, stdout=f"{number}\n")

    def forget(self) -> None:
        """Have all jobs fetched again when they are next asked for."""
        self._jobs = None

    def _load(self, collection: Any) -> Sequence[Any]:  # noqa: ANN401 - as above
        try:
            return tuple(collection.load().values())
        except self._pyslurm.RPCError as err:
            self.forget()
            raise Unavailable("Slurm did not answer", str(err), "`elisa doctor` shows how Slurm is reached") from err


def _is_inside_a_job() -> bool:
    """Tell whether pyslurm would hand on variables of a job that this process runs in: it takes all of Slurm's own."""
    return any(name.startswith("SLURM_") and name != "SLURM_CONF" for name in os.environ)
