"""Which resource managers this machine has, as lines for a new site.yaml."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

__all__ = ["found_backends"]

Which = Callable[[str], str | None]

# Each kind by the program that hands jobs over: where that is, the others are.
_PROGRAMS: Mapping[str, str] = {"slurm": "sbatch", "pbs": "qsub"}


def found_backends(which: Which = shutil.which) -> tuple[str, ...]:
    """Return, for Slurm and for PBS, a comment line of site.yaml that says where it was found, or how it is written."""
    return tuple(_line(kind, which(program)) for kind, program in _PROGRAMS.items())


def _line(kind: str, path: str | None) -> str:
    if path is None:
        return f"  # {kind}: {{kind: {kind}, window: 20}}"
    return f"  # {kind}: {{kind: {kind}, window: 20}}  # {path} is here: take away the first # to use it"
