"""Slurm through its command-line tools. `open_slurm` is the way in; the modules beside it are pure."""

from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.opening import open_slurm
from elisa.backends.slurm.options import SlurmOptions

__all__ = ["SlurmBackend", "SlurmOptions", "open_slurm"]
