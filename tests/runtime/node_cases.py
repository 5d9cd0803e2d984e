"""Nodes of a job that a launcher has started something on, each in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

__all__ = ["Nodes", "wait_until"]


class Nodes:
    """The processes of `python -m elisa.runtime NAME` on the nodes of a job of Slurm's on this machine."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "ELISA_TASKS_PER_NODE": "2", **env}
        self._name = name
        self._started: list[subprocess.Popen[str]] = []

    def start(self, node: int, *program: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "elisa.runtime", self._name, *program],
            env={**self.env, "SLURM_NODEID": str(node), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)
