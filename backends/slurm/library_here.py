"""pyslurm as one backend sees it: looked for when it is first needed, and then used or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock

from elisa.backends.protocol import Advice
from elisa.backends.runner import Runner
from elisa.backends.slurm.library import SlurmLibrary, load_library
from elisa.backends.slurm.library_probe import Probe, how_to_get_it, probe

__all__ = ["PyslurmHere"]


@dataclass(kw_only=True)
class PyslurmHere:
    """Where it is `unwanted`, for that reason, it is not looked for.

    `environment` is that of Slurm's programs, `memory` the file that remembers.
    libslurm belongs to the process: a thread that submits through it holds `turn`.
    """

    runner: Runner | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: Path | None = None
    unwanted: str = ""
    turn: Lock = field(default_factory=Lock)

    @cached_property
    def found(self) -> Probe:
        """Whether it can be imported here."""
        if self.unwanted or self.runner is None:
            return Probe(problem=self.unwanted)
        return probe(self.runner, self.environment, self.memory)

    @cached_property
    def library(self) -> SlurmLibrary | None:
        """libslurm, or None where only the programs can be used."""
        return load_library(self.environment) if self.found.is_usable else None

    def advice(self, slurm_version: str) -> Advice:
        """Return what `elisa doctor` says of it."""
        if self.library is not None:
            return Advice(f"libslurm is used through pyslurm {self.found.version}")
        why = self.found.problem or "this process already uses it for another cluster"
        return Advice(f"the programs of Slurm are used, not pyslurm: {why}", how_to_get_it(slurm_version))
