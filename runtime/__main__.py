"""What native jobs start (`python -m elisa.runtime run --job FILE`), and what their programs are started with."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_USAGE = 64


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
    sys.exit(main(sys.argv[1:]))
