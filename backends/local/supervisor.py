"""The process that stays with one local job: it starts the agent, waits, and writes down how it ended.

Run by path as `python -I -S supervisor.py <job folder>`, so it imports nothing that is slow or large (9 MB resident);
what the backend reads of jobs and processes is here too, for the same reason. The files of a job folder, all of them
`name=value` lines but the first:

    request   what to run
    job       pid, start, boot, host, at   of the supervisor, or `void=1`: linked into place once and never changed, so
              that whoever comes first decides whether this job ever runs
    program   pid, start, at               of the agent, written before it is let go
    cancel    at                           somebody asked to stop it
    trouble   why                          the agent could not be started
    exit      status, stopped, oom, at     the last word
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing would cost a third of the start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

__all__ = [
    "CORES",
    "Request",
    "boot_id",
    "host_name",
    "kill_all",
    "link_once",
    "main",
    "read_fields",
    "start_ticks",
    "write_fields",
]

# What a job's processes are known by, wherever they hide: the name of a variable in their environment.
MARK = b"ELISA_NATIVE_ID"
CORES = "ELISA_CORES"
"""The variable that names the cores a job is kept on."""
# As the agent's own exit status for a program that cannot be started.
CANNOT_START = 73
# The agent enforces the limit itself; the supervisor comes after it, for agents that are stuck.
WALLTIME_MARGIN_S = 2.0
# Everything that outlives the agent in its job is told to go, and killed after this.
LEFTOVER_GRACE_S = 2.0
_FOREVER_S = 86400.0
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Request:
    """What to run, as the backend wrote it: fields that end with a NUL byte, which none of them can contain."""

    __slots__ = ("argv", "attempt", "environment", "grace_s", "stderr", "stdout", "walltime_s", "workdir")

    def __init__(self, data: bytes) -> None:
        fields = data.split(b"\0")[:-1]
        self.attempt, self.workdir, self.stdout, self.stderr = fields[:4]
        self.walltime_s, self.grace_s = float(fields[4]), float(fields[5])
        count = int(fields[6])
        self.environment = dict(item.split(b"=", 1) for item in fields[7 : 7 + count])
        self.argv = fields[7 + count :]


def main(folder: str) -> NoReturn:
    """Leave the caller, supervise the job of `folder`, and end. The caller sees status 0 once the job exists for sure."""
    os.closerange(3, 4096)
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _supervise(folder, tell)
    os._exit(0)


def _supervise(folder: str, tell: int) -> None:
    with open(f"{folder}/request", "rb") as file:
        request = Request(file.read())
    pid = os.getpid()
    job = {"pid": pid, "start": start_ticks(pid), "boot": boot_id(), "host": host_name(), "at": time.time()}
    if not link_once(f"{folder}/job", job):
        return
    os.write(tell, b"1")
    os.close(tell)
    native_id = b"%d.%s" % (pid, request.attempt)
    ooms = _oom_kills()
    program = _start(folder, request, native_id)
    status, stopped = _wait(folder, request, native_id, program)
    _clear(native_id, program)
    killed = status in {signal.SIGKILL, (128 + signal.SIGKILL) << 8}
    _say_last_word(folder, {"status": status, "stopped": stopped, "oom": int(killed and _oom_kills() > ooms)})


def _start(folder: str, request: Request, native_id: bytes) -> int:
    """Fork the agent, write its identity down, and only then let it go."""
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(folder, request, native_id, wait)
    os.close(wait)
    write_fields(f"{folder}/program", {"pid": pid, "start": start_ticks(pid), "at": time.time()})
    os.write(go, b"1")
    os.close(go)
    return pid


def _become(folder: str, request: Request, native_id: bytes, wait: int) -> NoReturn:
    try:
        if os.read(wait, 1):  # nothing if the supervisor died first: then nobody would know of us
            _take_shape(request)
            environment = {**request.environment, MARK: native_id}
            os.execvpe(request.argv[0], request.argv, environment)  # noqa: S606 - an argv list is what there is
    except OSError as err:
        write_fields(f"{folder}/trouble", {"why": f"{err.strerror}: {os.fsdecode(err.filename or request.argv[0])}"})
    os._exit(CANNOT_START)


def _take_shape(request: Request) -> None:
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; a program expects the default
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for path, target in ((request.stdout, 1), (request.stderr, 2)):
        os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, target)
    _prefer_as_oom_victim()
    _keep_on_cores(request.environment.get(os.fsencode(CORES), b""))
    os.chdir(request.workdir)


def _keep_on_cores(cores: bytes) -> None:
    try:
        if cores:
            os.sched_setaffinity(0, [int(core) for core in cores.split(b",")])
    except OSError:  # they were taken away meanwhile: only a hint
        pass


def _prefer_as_oom_victim() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("300")
    except OSError:  # already higher than that, or no such file: only a preference
        pass


def _wait(folder: str, request: Request, native_id: bytes, program: int) -> tuple[int, str]:
    """Return the agent's wait status and who stopped it: `cancel`, `walltime`, `outside`, or nobody."""
    stopped = ""
    limit = request.walltime_s + WALLTIME_MARGIN_S if request.walltime_s else _FOREVER_S * 3650
    act_at = time.monotonic() + limit
    while True:
        done, status = os.waitpid(program, os.WNOHANG)
        if done:
            return status, stopped
        came = signal.sigtimedwait(_SIGNALS, max(0.0, min(act_at - time.monotonic(), _FOREVER_S)))
        if came is None and time.monotonic() < act_at:
            continue
        if came is None and stopped:
            kill_all(native_id, program, signal.SIGKILL)
            act_at = time.monotonic() + LEFTOVER_GRACE_S
        elif not stopped and (came is None or came.si_signo in {signal.SIGTERM, signal.SIGINT}):
            stopped = _why_stopped(folder, by_signal=came is not None)
            _kill_group(program, signal.SIGTERM)
            act_at = time.monotonic() + request.grace_s


def _why_stopped(folder: str, *, by_signal: bool) -> str:
    if not by_signal:
        return "walltime"
    return "cancel" if os.path.exists(f"{folder}/cancel") else "outside"


def _clear(native_id: bytes, session: int) -> None:
    """End what the agent left behind: a job is over only when nothing of it runs."""
    until = time.monotonic() + LEFTOVER_GRACE_S
    number = signal.SIGTERM
    while kill_all(native_id, session, number):
        if time.monotonic() > until:
            number = signal.SIGKILL
            until += 10 * LEFTOVER_GRACE_S
        time.sleep(0.05)


def _say_last_word(folder: str, fields: dict[str, object]) -> None:
    trouble = read_fields(f"{folder}/trouble") or {}
    fields = {**fields, "at": time.time(), **trouble}
    for _ in range(600):  # a full disk may be freed within ten minutes; the truth is worth waiting for
        try:
            write_fields(f"{folder}/exit", fields, durable=True)
            break
        except FileNotFoundError:  # somebody removed the whole folder: nobody will ask
            return
        except OSError:
            time.sleep(1.0)
    parent, _, tag = folder.rpartition("/")
    try:  # noqa: SIM105 - contextlib would be one more import
        os.unlink(f"{parent}/live/{tag}")
    except OSError:  # whoever looks for room removes it as well
        pass


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, in this control group or on this machine."""
    group = _read("/proc/self/cgroup").rpartition(b"0::")[2].split(b"\n")[0].decode()
    for path in (f"/sys/fs/cgroup{group}/memory.events", "/proc/vmstat"):
        for line in _read(path).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def read_fields(path: str) -> dict[str, str] | None:
    """Return the `name=value` lines of a file; None if there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except FileNotFoundError:
        return None


def write_fields(path: str, fields: Mapping[str, object], *, durable: bool = False) -> None:
    """Write `name=value` lines so that a reader sees all of them, or the file as it was."""
    os.rename(_write_temporary(path, fields, durable=durable), path)


def link_once(path: str, fields: Mapping[str, object]) -> bool:
    """Write the file only if nobody did before, all of it at once; tell whether this call did."""
    temporary = _write_temporary(path, fields)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _write_temporary(path: str, fields: Mapping[str, object], *, durable: bool = False) -> str:
    # Hidden, so that what a killed writer left is never taken for one of the files that readers list.
    temporary = "{}/.{}.{}".format(*os.path.split(path), os.getpid())
    lines = "".join("{}={}\n".format(name, str(value).replace("\n", " ")) for name, value in fields.items())
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, lines.encode("utf-8", "surrogateescape"))
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)
    return temporary


def boot_id() -> str:
    """Return what changes with every start of this machine."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def host_name() -> str:
    """Return this machine's name."""
    return os.uname().nodename


def start_ticks(pid: int) -> int:
    """Return when a living process started, in clock ticks since boot; 0 if there is none (a zombie is none)."""
    stat = _stat(pid)
    return 0 if not stat or stat[0] in b"ZX" else int(stat[19])


def kill_all(native_id: bytes, session: int, number: int) -> int:
    """Signal every living process of a job: those that carry its mark or belong to its session. Return how many."""
    count = 0
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        if pid != os.getpid() and _belongs(pid, MARK + b"=" + native_id, session):
            count += _signal(pid, number)
    return count


def _belongs(pid: int, mark: bytes, session: int) -> bool:
    stat = _stat(pid)
    if not stat or stat[0] in b"ZX":
        return False
    return int(stat[3]) == session or mark in _read(f"/proc/{pid}/environ").split(b"\0")


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on (state, parent, group, session, ...); none if it is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # gone meanwhile, or not ours to stop
        return False
    return True


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # it has not come so far as to have a group of its own
        _signal(pid, number)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError:  # the process went away, or belongs to somebody else
        return b""


if __name__ == "__main__":
    main(sys.argv[1])
