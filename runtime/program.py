"""What a program may say and ask while elisa runs it. Outside of a job nothing is said, and nothing is limited."""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, Union

from elisa.runtime.eventfile import EventFiles, Scalar, key_of

__all__ = [
    "ask_to_stop",
    "forget",
    "is_in_job",
    "job_setting",
    "listen_for_stop",
    "metric",
    "mine",
    "progress",
    "rank_of_process",
    "should_stop",
    "tell",
    "time_left",
]

_RANK_VARIABLES = ("RANK", "HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_STRIDE = 65536  # between the event ranks that one process may try: more than any job has processes
_LOOK_S = 1.0  # how long an answer about the stop file serves: one stat a second is nothing to any filesystem

_Handler = Union[Callable[[int, Union[FrameType, None]], Any], int, signal.Handlers, None]


class _Voice:
    """This process's line to elisa; a forked child gets its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.stop_asked = False
        self.looked_at = float("-inf")
        self.job = _read_job(os.environ.get("ELISA_JOB", ""))
        self.files = _event_files(self.job)


def _read_job(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            job = json.load(stream)
    except (OSError, ValueError):
        return {}
    return job if isinstance(job, dict) else {}


def _event_files(job: dict[str, Any]) -> EventFiles | None:
    folder, attempt = os.environ.get("ELISA_EVENTS", ""), os.environ.get("ELISA_ATTEMPT", "")
    if not folder or not attempt:
        return None
    try:
        key = key_of(str(job.get("key", "")))
        incarnation = int(os.environ.get("ELISA_INCARNATION", "0"))
    except ValueError:
        return None
    return EventFiles(folder, attempt, incarnation, key, rank=rank_of_process() + 1, stride=_STRIDE)


_lock = threading.Lock()
_voice: _Voice | None = None


def mine() -> _Voice:
    """Return this process's voice."""
    global _voice  # noqa: PLW0603  (one a process)
    if _voice is None or _voice.pid != os.getpid():
        _voice = _Voice()
    return _voice


def forget() -> None:
    """Read the environment anew at the next use."""
    global _voice  # noqa: PLW0603  (as in `mine`)
    _voice = None


def rank_of_process() -> int:
    """Return this process's rank among those of a distributed job, as its launcher told it; 0 alone."""
    for name in _RANK_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return 0


def is_in_job() -> bool:
    """Tell whether elisa runs this process."""
    return mine().files is not None


def job_setting(*names: str) -> Any:  # noqa: ANN401  (JSON, judged by its user)
    """Return what the job's instructions hold under `names`, one inside the other; None if there is no such thing."""
    found: Any = mine().job
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def tell(kind: str, data: dict[str, Scalar]) -> bool:
    """Write an event; tell whether it was written. A full disk is no reason for a program to end."""
    files = mine().files
    if files is None:
        return False
    with _lock:
        try:
            files.write(kind, data, time.time())
        except OSError:
            return False
    return True


def metric(name: str, value: float, step: int | None = None) -> None:
    """Report a measured value, such as a loss; conditions of other tasks and `elisa status` read it."""
    tell("metric", {"name": str(name), "value": float(value), "step": None if step is None else int(step)})


def progress(step: int, total: int | None = None) -> None:
    """Report that `step` of `total` steps are done."""
    tell("progress", {"step": int(step), "total": None if total is None else int(total)})


def time_left() -> float:
    """Return the seconds until the walltime ends; infinity where nothing limits it."""
    return _end_of_walltime(os.environ.get("ELISA_DEADLINE", "")) - time.monotonic()


@functools.lru_cache(maxsize=1)
def _end_of_walltime(deadline: str) -> float:
    """Return a time of the day by the monotonic clock, which does not jump while the program runs."""
    try:
        return time.monotonic() + float(deadline) - time.time()
    except ValueError:
        return float("inf")


def should_stop() -> bool:
    """Tell whether the job is about to be stopped: save and leave. Cheap enough to ask at every step."""
    voice = mine()
    if not voice.stop_asked and time.monotonic() - voice.looked_at >= _LOOK_S:
        voice.looked_at = time.monotonic()
        path = os.environ.get("ELISA_STOP", "")
        voice.stop_asked = bool(path) and os.path.exists(path)
    return voice.stop_asked


def ask_to_stop(why: str) -> None:
    """Let `should_stop` be true from now on, and tell elisa why."""
    if not mine().stop_asked:
        mine().stop_asked = True
        tell("stopping", {"signal": None, "why": why})


class listen_for_stop:  # noqa: N801  (reads as a function: `with listen_for_stop():`)
    """Within this block SIGTERM and SIGUSR2 ask for a stop instead of ending the process.

    Only the main thread may listen; in another one the block changes nothing. A second SIGTERM acts as it did before.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}
        self._was_told = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR2):
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        mine().stop_asked = True
        if number == signal.SIGTERM:
            if self._was_told:
                signal.signal(number, self._before[number] or signal.SIG_DFL)
                os.kill(os.getpid(), number)
            self._was_told = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}
