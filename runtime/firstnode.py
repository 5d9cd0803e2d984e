"""Waiting for what the first node of a job offers to the others, at the address that its launcher was told."""

from __future__ import annotations

import socket
import subprocess
import time

from elisa.runtime.launch import Layout

__all__ = ["LOOK_S", "answers", "wait_for_first"]

LOOK_S = 0.5
_WAIT_S = 120.0


def wait_for_first(layout: Layout, server: subprocess.Popen[bytes] | None = None) -> bool:
    """Tell whether the first node answers within two minutes; not if `server`, which is to answer there, ends before."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and (server is None or server.poll() is None):
        if answers(layout):
            return True
        time.sleep(LOOK_S)
    return False


def answers(layout: Layout) -> bool:
    """Tell whether somebody listens at the first node's address."""
    try:
        socket.create_connection((layout.address, layout.port), timeout=5.0).close()
    except OSError:
        return False
    return True
