"""What native jobs start (`python -S …/elisa/runtime/__main__.py run --job FILE`), and what programs are started with.

`python -m elisa.runtime` does the same, some milliseconds later.
"""

from __future__ import annotations

import os
import sys

if not __package__:  # started as a file: what is beside it is no module of its own
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

__all__ = ["main"]

_USAGE = 64
# They hold nothing that is not written down, so that the interpreter need not be taken apart: it would take milliseconds.
_AGENTS = ("run", "bundle")


def main(argv: list[str]) -> int:
    """Do what `argv` asks for; return the status to exit with."""
    if len(argv) == 3 and argv[1] == "--job":
        if argv[0] == "run":
            from elisa.runtime.agent import run_job

            return run_job(argv[2])
        if argv[0] == "bundle":
            from elisa.runtime.bundle import run_bundle

            return run_bundle(argv[2])
        if argv[0] == "call":
            from elisa.runtime.call import run_call

            return run_call(argv[2])
    if argv[:1] == ["launch"]:
        from elisa.runtime.launch import run_launch

        return run_launch(argv[1:], dict(os.environ))
    if argv[:1] == ["ray-node"]:
        from elisa.runtime.raynode import run_ray_node

        return run_ray_node(argv[1:], dict(os.environ))
    if argv[:1] == ["horovod-node"]:
        from elisa.runtime.horovodnode import run_horovod_node

        return run_horovod_node(argv[1:], dict(os.environ))
    sys.stderr.write("usage: python -m elisa.runtime run|bundle|call --job FILE | launch NAME PROGRAM...\n")
    return _USAGE


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if sys.argv[1:] and sys.argv[1] in _AGENTS:
        os._exit(status)
    sys.exit(status)
