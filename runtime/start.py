"""Starting a program so that nothing of it can get lost: a session of its own, and an end with its agent's."""

from __future__ import annotations

import errno
import os

from elisa.runtime.durable import make_folder
from elisa.runtime.lean import Ignored, signal
from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, Callable, Mapping, NoReturn, Sequence

__all__ = ["StartError", "adopt_orphans", "die_with_parent", "open_output", "start_program"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Ignored by whoever began all this (`nohup`, a shell's `&`), these would be so in the program, which is asked to leave by
# them; and the last two Python itself ignores.
_OUTLAST_EXEC = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)
_LAST_STANDARD = 2


class StartError(Exception):
    """The program could not be started; the message says why."""


def _found_prctl() -> Callable[[int, int], object]:
    try:  # `ctypes` itself is as large again as all that an agent loads
        from _ctypes import call_function, dlopen, dlsym

        prctl = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None: what is loaded already
    except (ImportError, TypeError):
        from ctypes import CDLL

        return lambda option, value: CDLL(None).prctl(option, value, 0, 0, 0)
    return lambda option, value: call_function(prctl, (option, value, 0, 0, 0))


_prctl = _found_prctl()


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
) -> int:
    """Start `argv`, without a shell and without input, and return its pid: that of its session and process group, too.

    Raises StartError. To be called before this process has threads: the child sets itself right between fork and exec.
    """
    hears, tells = os.pipe()  # closed by the exec, which is how the parent learns that the program runs
    agent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_program(agent, argv, workdir, env, (stdout.fileno(), stderr.fileno(), tells))
    os.close(tells)
    with open(hears, "rb") as stream:
        why = stream.read().decode("utf-8", "surrogateescape")
    if why:
        os.waitpid(pid, 0)
        raise StartError(why)
    return pid


def _become_program(
    agent: int, argv: Sequence[str], workdir: str, env: Mapping[str, str], fds: tuple[int, int, int]
) -> NoReturn:
    """Be the program; or tell why that cannot be, and end."""
    stdout, stderr, tells = fds
    try:
        stdin = _beyond_standard(os.open(os.devnull, os.O_RDONLY))
        stdout, stderr, tells = map(_beyond_standard, fds)
        os.setsid()
        for number in _OUTLAST_EXEC:
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(agent)
        _pass_on(stdin, stdout, stderr)
        if workdir:
            os.chdir(workdir)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _execute(argv, env)
    except (OSError, ValueError) as error:
        os.write(tells, _why(error, argv, workdir).encode("utf-8", "surrogateescape"))
    finally:
        os._exit(255)


def _beyond_standard(fd: int) -> int:
    """Return `fd` under a number that is not one of the standard ones: an agent may be started without those."""
    while fd <= _LAST_STANDARD:
        fd = os.dup(fd)
    return fd


def _pass_on(*standard: int) -> None:
    """Make these the standard files of what is executed next, which inherits no others, whoever left them open."""
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > _LAST_STANDARD:
            with Ignored(OSError):  # the folder itself was one of them
                os.set_inheritable(fd, False)  # noqa: FBT003  (it has no name)


def _execute(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Be the program, found as a shell finds it; raises OSError or ValueError if it cannot be."""
    if "/" in argv[0]:
        os.execve(argv[0], list(argv), env)  # noqa: S606  (what the author asked for)
    denied: OSError | None = None
    for folder in env.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, argv[0])
        if not os.path.lexists(path):  # to be told so by exec takes twenty times as long
            continue
        try:
            os.execve(path, list(argv), env)  # noqa: S606  (as above)
        except OSError as error:
            denied = denied or error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _why(error: Exception, argv: Sequence[str], workdir: str) -> str:
    if workdir and not os.path.isdir(workdir):
        return f"the working folder {workdir} does not exist"
    return f"{argv[0]} cannot be started: {getattr(error, 'strerror', None) or error}"
