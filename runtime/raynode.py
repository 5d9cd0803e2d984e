"""One node's part in a Ray cluster: its own processes only, for as long as the program on the first node runs.

`ray stop` ends every Ray of a user on a node, those of his other jobs too: here each node ends what it began.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import Iterator, Mapping, Sequence

from elisa.runtime.firstnode import LOOK_S, answers, wait_for_first
from elisa.runtime.launch import Layout, layout_of, node_rank

__all__ = ["run_ray_node"]

_MISSED_LOOKS = 4  # in a row: the head has ended
_END_S = 10.0


def run_ray_node(program: Sequence[str], env: Mapping[str, str]) -> int:
    """Start the head and then the program on the first node, a worker on others; return the status to exit with."""
    layout = layout_of(env)
    resources = [f"--num-cpus={layout.tasks_per_node * layout.cpus_per_task}", f"--num-gpus={layout.gpus_per_node}"]
    is_first = node_rank(env, layout) == 0
    place = ["--head", f"--port={layout.port}"] if is_first else [f"--address={_address(layout)}"]
    argv = ["ray", "start", *place, *resources, "--block"]
    try:
        return _lead(argv, program, env, layout) if is_first else _follow(argv, layout)
    except OSError as error:
        sys.stderr.write(f"elisa: {error.filename} cannot be started: {error.strerror}\n")
        return 127


def _address(layout: Layout) -> str:
    return f"{layout.address}:{layout.port}"


def _lead(argv: Sequence[str], program: Sequence[str], env: Mapping[str, str], layout: Layout) -> int:
    with _running(argv) as head:
        if not wait_for_first(layout, head):
            return head.returncode or 1
        return subprocess.call(list(program), env={**env, "RAY_ADDRESS": _address(layout)})


def _follow(argv: Sequence[str], layout: Layout) -> int:
    """Be a worker until the head has ended; a worker that ends before it fails, so that the others are not left alone."""
    if not wait_for_first(layout):
        return 1
    missed = 0
    with _running(argv) as worker:
        while missed < _MISSED_LOOKS:
            if worker.poll() is not None and missed == 0:
                return worker.returncode or 1
            time.sleep(LOOK_S)
            missed = 0 if answers(layout) else missed + 1
    return 0


@contextlib.contextmanager
def _running(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()
        process.wait()
