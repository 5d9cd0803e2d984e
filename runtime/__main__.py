"""`python -m elisa.runtime run|call --job FILE`: what a native job starts, and what the agent starts for a Python call."""

from __future__ import annotations

import sys

_USAGE = 64


def main(argv: list[str]) -> int:
    """Do what `argv` asks for; return the status to exit with."""
    if len(argv) == 3 and argv[1] == "--job":
        if argv[0] == "run":
            from elisa.runtime.agent import run_job

            return run_job(argv[2])
        if argv[0] == "call":
            from elisa.runtime.call import run_call

            return run_call(argv[2])
    sys.stderr.write("usage: python -m elisa.runtime run|call --job FILE\n")
    return _USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
