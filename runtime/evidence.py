"""Whether a process is alive, told so that neither a reused pid nor a reboot can mislead."""

from __future__ import annotations

import os

from elisa.runtime.lean import signal
from elisa.runtime.tuples import NamedTuple

__all__ = ["Identity", "has_ended", "host_name", "kill_all", "own_identity", "processes_of", "start_ticks"]


class Identity(NamedTuple):
    """A process for all times: its start is counted in ticks since the boot named by `boot_id`.

    `namespace` names the pid namespace, since a container has pids of its own.
    """

    host: str
    boot_id: str
    namespace: str
    pid: int
    started: int


def host_name() -> str:
    """Return what this host calls itself: what `socket.gethostname` returns, without loading that."""
    return os.uname().nodename


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as stream:
            return stream.read().strip().decode()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """Return when `pid` started, in clock ticks since boot; None if there is no such process, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def own_identity() -> Identity:
    """Return who this process is."""
    pid = os.getpid()
    return Identity(host_name(), _boot_id(), _namespace(), pid, start_ticks(pid) or 0)


def has_ended(who: Identity, me: Identity) -> bool:
    """Tell whether `who` is known to have ended. False means: alive, or on another host where nobody here can look."""
    if who.host != me.host or who.host.startswith("localhost") or not who.boot_id or not me.boot_id:
        return False
    if who.boot_id != me.boot_id:
        return True
    return who.namespace == me.namespace and start_ticks(who.pid) != who.started


def processes_of(home: str, attempt: str) -> list[int]:
    """Return this user's processes on this host that an agent started for `attempt`, whoever their parents are.

    The state folder counts too: the same ids may live in a copy of it.
    """
    job = os.path.abspath(os.path.join(home, "spool", attempt, "job.json"))
    marks = (b"\0ELISA_JOB=" + os.fsencode(job) + b"\0", b"\0ELISA_INCARNATION=")
    found = []
    for pid in _all_pids():
        environment = _environment(pid)
        if pid != os.getpid() and all(mark in environment for mark in marks):
            found.append(pid)
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return b"\0" + stream.read() + b"\0"
    except OSError:  # another user's, or gone
        return b""


def kill_all(pids: list[int]) -> None:
    """Send SIGKILL to each of `pids` that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
