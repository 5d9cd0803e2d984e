"""Starting a program so that nothing of it can get lost: a session of its own, and an end with its agent's."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import IO, Mapping, NamedTuple, Sequence

from elisa.runtime.durable import make_folder

__all__ = ["StartError", "Started", "adopt_orphans", "die_with_parent", "open_output", "start_program"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Ignored by whoever began all this (`nohup`, a shell's `&`), these would be so in the program, which is asked to leave by them.
_OUTLAST_EXEC = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StartError(Exception):
    """The program could not be started; the message says why."""


class Started(NamedTuple):
    """A running program; its pid is also that of its session and its process group."""

    pid: int
    process: subprocess.Popen[bytes]


_LIBC = ctypes.CDLL(None)


def _prctl(option: int, value: int) -> None:
    _LIBC.prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when `parent` ends, and at once if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before it could be bound to
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every process whose parent below this one ends: none can hide by forking twice."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def open_output(path: str) -> IO[bytes]:
    """Open a file for what a program prints, to be appended to; raises StartError."""
    try:
        make_folder(os.path.dirname(path))
        return open(path, "ab", 0, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from error


def start_program(
    argv: Sequence[str], *, workdir: str, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> Started:
    """Start `argv`, without a shell and without input; raises StartError.

    To be called before this process has threads: the child sets its signals right between fork and exec.
    """
    agent = os.getpid()

    def prepare() -> None:
        for number in _OUTLAST_EXEC:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(agent)

    try:
        process = subprocess.Popen(
            argv,
            cwd=workdir or None,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  (there are no threads yet)
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartError(_why(error, argv, workdir)) from error
    return Started(process.pid, process)


def _why(error: Exception, argv: Sequence[str], workdir: str) -> str:
    if workdir and not os.path.isdir(workdir):
        return f"the working folder {workdir} does not exist"
    return f"{argv[0]} cannot be started: {getattr(error, 'strerror', None) or error}"
