"""The way in: one command, its exit status, and expected errors in three lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from elisa.model.errors import ElisaError, ExitCode

from . import quick
from .output import print_error
from .streams import flush_output, forget_output, prepare_streams, told_by_the_system

__all__ = ["main", "run"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main() -> None:
    """Run the command line of this process and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status. Unexpected exceptions pass through: they are bugs."""
    prepare_streams()
    try:
        status = _dispatch(list(arguments))
        flush_output()
    except BrokenPipeError:
        # The reader of our output has left (`elisa status | head`).
        forget_output()
        return int(ExitCode.DONE)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ElisaError as err:
        return _failed(err, arguments)
    except OSError as err:
        return _failed(told_by_the_system(err), arguments)
    return status


def _failed(err: ElisaError, arguments: Sequence[str]) -> int:
    """Say what went wrong; `--debug` shows where."""
    if "--debug" in arguments:
        raise err
    with suppress(ElisaError, OSError):
        flush_output()
    with suppress(OSError):
        print_error(err, wants_json="--json" in arguments)
    return int(err.exit_code)


def _dispatch(arguments: list[str]) -> int:
    call = quick.match(arguments)
    if call is not None:
        return call()
    from .typer_way import run_typer

    return run_typer(arguments)
