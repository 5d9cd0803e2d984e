"""Own a tree of processes, so that whatever was started through it ends when its owner ends.

Two halves in one file. `Guard` is used by a test; it starts this very file as a program, which spawns the processes. The
program is a subreaper: daemons that fork away, and what they start, stay its descendants. It ends them all and removes
its folder as soon as the owner closes the pipe, exits or is killed, whatever the signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["Guard", "is_alive", "jobs_of", "kill_trees"]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
WATCH_S = 0.5


class Guard:
    """Start processes that can't outlive this object's process; `folder` goes with them."""

    def __init__(self, folder: Path) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-I", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one process with its output appended to `log`; return its process id."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        order = {"argv": list(argv), "env": dict(env), "log": str(log)}
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())

    def close(self) -> None:
        """End every process started here and remove the folder."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        self._program.wait(timeout=30)
        self._program.stdout.close()


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and was not waited for yet does not."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def jobs_of(*marks: str) -> list[int]:
    """Return the slurmstepds that started a process with all these variables in its environment."""
    found = set()
    for pid in _all_pids():
        parent = _state_and_parent(pid)[1]
        if (
            set(marks) <= set(_read(f"/proc/{pid}/environ").split("\0"))
            and _read(f"/proc/{parent}/comm") == "slurmstepd\n"
        ):
            found.add(parent)
    return sorted(found)


def kill_trees(roots: Sequence[int]) -> None:
    """Kill these processes and all below them at once; return when none is left."""
    doomed = list(roots)
    parents = {pid: _state_and_parent(pid)[1] for pid in _all_pids()}
    for pid in doomed:  # it grows while it is walked through
        doomed += [child for child, parent in parents.items() if parent == pid]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # none is to see another's end
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + 10
    while any(map(is_alive, doomed)):
        assert time.monotonic() < deadline, f"some of {doomed} do not die"
        time.sleep(0.01)


def _all_pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _serve(folder: Path) -> None:
    """Obey orders from standard input until it is closed or the owner is gone."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    owner = os.getppid()
    unread = b""
    while os.getppid() == owner:
        _reap()
        if not select.select([0], [], [], WATCH_S)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *orders, unread = (unread + chunk).split(b"\n")
        for order in orders:
            os.write(1, b"%d\n" % _spawn(**json.loads(order)))
    _end_descendants()
    shutil.rmtree(folder, ignore_errors=True)


def _spawn(argv: list[str], env: dict[str, str], log: str) -> int:
    pid = os.fork()
    if pid == 0:
        _become(argv, env, log)
    return pid


def _become(argv: list[str], env: dict[str, str], log: str) -> NoReturn:
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execvpe(argv[0], argv, env)
    finally:
        os._exit(127)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_descendants(give_up_after_s: float = 20.0) -> None:
    deadline = time.monotonic() + give_up_after_s
    while (doomed := _descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        _reap()


def _descendants(root: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    children: dict[int, list[int]] = {}
    for pid in pids:
        children.setdefault(_state_and_parent(pid)[1], []).append(pid)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
