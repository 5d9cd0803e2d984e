"""The one door through which batch backends start a resource manager's programs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["SCRUBBED_PREFIXES", "Completed", "Runner", "SubprocessRunner"]

# A user's SBATCH_TIMELIMIT or SQUEUE_FORMAT would overrule what elisa asks for or change what it reads.
SCRUBBED_PREFIXES = ("SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SLURM_", "PBS_")
_KEPT = frozenset({"SLURM_CONF", "PBS_CONF_FILE", "PBS_SERVER", "PBS_EXEC", "PBS_HOME"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program left. `exit_code` is None if it could not be started or was killed; negative is a signal's number."""

    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """The program ended by itself with status 0."""
        return self.exit_code == 0


class Runner(Protocol):
    """Runs a program to its end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: str | None = None,  # noqa: A002 - named as subprocess names it
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run `argv`, never through a shell. `env` is added to the scrubbed environment. Never raises OSError."""
        ...


class SubprocessRunner:
    """Runs programs in a process group of their own, killed as a whole when the time is over."""

    def __init__(
        self, *, scrubbed: tuple[str, ...] = SCRUBBED_PREFIXES, environment: Mapping[str, str] | None = None
    ) -> None:
        base = os.environ if environment is None else environment
        self._environment = {
            name: value for name, value in base.items() if name in _KEPT or not name.startswith(scrubbed)
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: str | None = None,  # noqa: A002 - named as subprocess names it
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run `argv` and return what it left; bytes that are no UTF-8 are replaced."""
        try:
            process = self._start(argv, env)
        except (OSError, ValueError) as err:
            return Completed(exit_code=None, stderr=f"{argv[0]}: {err}")
        with process:
            try:
                stdout, stderr = process.communicate(_bytes(input), timeout=timeout_s)
            except subprocess.TimeoutExpired:
                return _kill(process, timeout_s)
            except BaseException:
                _kill_group(process)
                raise
        return Completed(exit_code=process.returncode, stdout=_text(stdout), stderr=_text(stderr))

    def _start(self, argv: Sequence[str], env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self._environment, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes], timeout_s: float) -> Completed:
    _kill_group(process)
    try:
        stdout, stderr = process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired:
        # A grandchild that left the group still holds the pipes: what it may yet say is not worth waiting for.
        stdout, stderr = b"", b""
    words = f"no answer within {timeout_s:g} s"
    return Completed(exit_code=None, stdout=_text(stdout), stderr=(_text(stderr) + words), timed_out=True)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
