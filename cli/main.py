"""The way in: one command, its exit status, and expected errors in three lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from elisa.model.errors import ElisaError, ExitCode

from . import quick
from .output import print_error

__all__ = ["main", "run"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main() -> None:
    """Run the command line of this process and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status. Unexpected exceptions pass through: they are bugs."""
    wants_json = "--json" in arguments
    try:
        return _dispatch(list(arguments))
    except ElisaError as err:
        if "--debug" in arguments:
            raise
        print_error(err, wants_json=wants_json)
        return int(err.exit_code)
    except BrokenPipeError:
        # The reader of our output has left (`elisa status | head`); keep the interpreter from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    call = quick.match(arguments)
    if call is not None:
        return call()
    from .typer_way import run_typer

    return run_typer(arguments)
