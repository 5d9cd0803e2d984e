"""Several short tasks in one native job: each has an agent of its own, forked from a process that is warm.

Every member is claimed, run, and told the end of as if it had a native job for itself. This process only decides who
begins: whose turn it is, what has finished that must come before, and whether there is time left. Of everybody else it says
that they did not begin, under their claim, so that they are ready again at once.
"""

from __future__ import annotations

import gc
import mmap
import os
import sys
import time

from elisa.runtime.agent import CANNOT_START, decline, do_job
from elisa.runtime.crash import crash
from elisa.runtime.job import Job, JobError, read_job
from elisa.runtime.lean import Ignored, load_json, signal
from elisa.runtime.start import die_with_parent
from elisa.runtime.supervise import SIGNALS, block_signals
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

__all__ = ["Bundle", "parse_bundle", "run_bundle"]

_LOOK_S = 1.0  # between two looks for members that are not wanted any more
_MARGIN_S = 2.0  # to end in
_WIDTH = 8  # bytes of an integer that a lane and its agents share
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Bundle(NamedTuple):
    """`members` in the order of their turns; `behind` holds, for each, the members that must have finished before.

    `lanes` members run side by side. Nothing begins that might not be over `walltime_s` after the start; 0: no limit.
    """

    members: tuple[Job, ...]
    behind: tuple[tuple[int, ...], ...]
    walltime_s: float = 0.0
    lanes: int = 1


def parse_bundle(content: dict[str, Any], read: Callable[[str], Job] = read_job) -> Bundle:
    """Return the bundle that instructions describe; raises JobError."""
    try:
        members = tuple(read(str(path)) for path in content["jobs"])
        numbers = {job.attempt: number for number, job in enumerate(members)}
        behind = tuple(tuple(numbers[one] for one in job.behind if one in numbers) for job in members)
        return Bundle(members, behind, float(content["walltime_s"]), max(1, int(content["lanes"])))
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(f"the instructions of the bundle make no sense: {error!r}") from error


def run_bundle(path: str) -> int:
    """Run the members of the bundle at `path`; return 0 if each of them has finished its task."""
    block_signals()
    try:
        bundle = parse_bundle(load_json(path))
    except (OSError, ValueError, JobError) as error:
        sys.stderr.write(f"elisa agent: {path} cannot be used: {error}\n")
        return CANNOT_START
    gc.freeze()  # a collection in a child would copy every page of ours
    return _Run(bundle).run()


class _Run:
    """One run of a bundle. A member is waiting, running in a lane, finished, or dropped: failed, or not begun."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._began = time.monotonic()
        self._waiting = list(range(len(bundle.members)))
        self._finished: set[int] = set()
        self._dropped: set[int] = set()
        self._lanes = list(range(bundle.lanes))
        self._running: dict[int, tuple[int, int]] = {}  # a pid's member and lane
        self._tellers: set[int] = set()
        self._booked = mmap.mmap(-1, _WIDTH * bundle.lanes)
        self._is_leaving = False

    def run(self) -> int:
        self._go_on()
        while self._running or self._tellers:
            self._receive()
            self._go_on()
        return 0 if len(self._finished) == len(self._bundle.members) else 1

    def _go_on(self) -> None:
        """Drop those that will not begin, and start those whose turn it is."""
        dropped: dict[str, list[int]] = {}
        for member in tuple(self._waiting):
            why = self._why_not(member)
            if why:
                self._waiting.remove(member)
                self._dropped.add(member)
                dropped.setdefault(why, []).append(member)
            elif self._lanes and self._finished.issuperset(self._bundle.behind[member]):
                self._waiting.remove(member)
                self._start(member, self._lanes.pop(0))
        if dropped:
            self._tellers.add(_fork(lambda: self._decline(dropped)))

    def _why_not(self, member: int) -> str:
        """Return why a waiting member will not begin; empty if it may."""
        job = self._bundle.members[member]
        if self._dropped.intersection(self._bundle.behind[member]):
            return "what it was to follow in the same job did not finish"
        if self._is_leaving:
            return "its job was asked to leave before its turn"
        if os.path.exists(job.leave_file):
            return "it was withdrawn before its turn"
        left_s = self._began + self._bundle.walltime_s - time.monotonic()
        if self._bundle.walltime_s and left_s < job.walltime_s + _MARGIN_S and self._has_begun():
            return "its job had no time left for it"
        return ""

    def _has_begun(self) -> bool:
        """Tell whether any member had its turn: the first one fits by what the job asks for, whatever a start took."""
        return bool(self._running or self._finished or self._dropped)

    def _decline(self, dropped: dict[str, list[int]]) -> int:
        taken = _who_deletes() if self._is_leaving else {}
        for why, members in dropped.items():
            for member in members:
                decline(self._bundle.members[member], why, was_asked=self._is_leaving, taken=taken)
        return 0

    def _start(self, member: int, lane: int) -> None:
        crash("bundle.start")
        job = self._bundle.members[member]
        pid = _fork(lambda: do_job(job, share_s=lambda: self._book(lane)))
        self._running[pid] = (member, lane)
        crash("bundle.started")

    def _book(self, lane: int) -> int:
        """Return the whole seconds of the job that nobody in this lane was charged with yet: all shares add up to its time."""
        place = slice(_WIDTH * lane, _WIDTH * (lane + 1))
        until_s = int(time.monotonic() - self._began)
        share_s = until_s - int.from_bytes(self._booked[place], "little")
        self._booked[place] = until_s.to_bytes(_WIDTH, "little")
        return share_s

    def _receive(self) -> None:
        info = signal.sigtimedwait(SIGNALS, _LOOK_S)
        if info is None:
            self._stop_unwanted()
        elif info.si_signo == signal.SIGCHLD:
            self._reap()
        else:
            # A warning, too, says that the time is nearly over: nobody else begins.
            self._is_leaving = self._is_leaving or info.si_signo != signal.SIGCONT
            for pid in self._running:
                _send(pid, info.si_signo)

    def _stop_unwanted(self) -> None:
        for pid, (member, _) in self._running.items():
            if os.path.exists(self._bundle.members[member].leave_file):
                _send(pid, signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._tellers.discard(pid)
            if pid in self._running:
                member, lane = self._running.pop(pid)
                self._lanes.append(lane)
                self._settle(member, has_succeeded=status == 0)

    def _settle(self, member: int, *, has_succeeded: bool) -> None:
        """Note how a member ended. One that an earlier life of this job finished was turned away, and counts as finished."""
        job = self._bundle.members[member]
        is_done = has_succeeded or _finisher(job) == job.attempt
        (self._finished if is_done else self._dropped).add(member)


def _who_deletes() -> Mapping[str, str]:
    from elisa.runtime.deletion import inquire  # few are asked to leave

    inquiry = inquire(os.environ)
    return inquiry.answer() if inquiry is not None else {}


def _finisher(job: Job) -> str:
    """Return the attempt that finished a task; empty if none did."""
    try:
        return str(load_json(os.path.join(job.claim_dir, "done"))["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _fork(work: Callable[[], int]) -> int:
    """Have a child do `work` and exit with what it returns; return its pid. It dies with this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = CANNOT_START
    try:
        die_with_parent(parent)
        status = work()
    except BaseException:  # noqa: BLE001 - the child must never go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        with Ignored(OSError):
            sys.stderr.flush()
        os._exit(status)


def _send(pid: int, number: int) -> None:
    with Ignored(ProcessLookupError):
        os.kill(pid, number)
