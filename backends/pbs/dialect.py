"""Whose PBS it is, told from `qstat --version`: a question that no server has to answer."""

from __future__ import annotations

from elisa.backends.pbs.options import Dialect
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.runner import Completed

__all__ = ["dialect_argv", "parse_dialect"]


def dialect_argv(qstat: str) -> tuple[str, ...]:
    """Return the question."""
    return (qstat, "--version")


def parse_dialect(answer: Completed) -> Dialect:
    """Return OPENPBS for `pbs_version = 23.06.06`, TORQUE for all else. Raises Unavailable where there is no qstat."""
    if answer.exit_code is None:
        raise unavailable("PBS is not here", answer)
    said = (answer.stdout + answer.stderr).lower()
    return Dialect.OPENPBS if "pbs_version" in said else Dialect.TORQUE
