"""Whose PBS it is, told from `qstat --version`: a question that no server has to answer."""

from __future__ import annotations

from elisa.backends.pbs.options import Dialect
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.runner import Completed
from elisa.model.errors import Unavailable

__all__ = ["dialect_argv", "parse_dialect"]

# Slurm's own qsub and qstat for who comes from PBS (Debian's slurm-wlm-torque 22.05.8)
_STAND_IN = "unknown option: version"


def dialect_argv(qstat: str) -> tuple[str, ...]:
    """Return the question."""
    return (qstat, "--version")


def parse_dialect(answer: Completed) -> Dialect:
    """Return OPENPBS for `pbs_version = 23.06.06`, TORQUE for all else.

    Raises Unavailable where there is no qstat, or only Slurm's stand-in for one.
    """
    if answer.exit_code is None:
        raise unavailable("PBS is not here", answer)
    said = (answer.stdout + answer.stderr).lower()
    if _STAND_IN in said:
        raise Unavailable(
            "these are Slurm's stand-ins for the programs of PBS",
            why="they tell neither how a job ended nor which jobs there are of a name",
            hint="use a backend of the kind slurm",
        )
    return Dialect.OPENPBS if "pbs_version" in said else Dialect.TORQUE
