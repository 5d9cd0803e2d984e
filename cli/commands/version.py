"""`elisa version`."""

from __future__ import annotations

import platform
import sqlite3

import elisa
from elisa.cli.output import print_json, print_plain

__all__ = ["version"]


def version(*, json: bool) -> int:
    """Print the version."""
    if json:
        print_json(
            "version",
            1,
            {"version": elisa.__version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version},
        )
    else:
        print_plain(f"elisa {elisa.__version__}")
    return 0
