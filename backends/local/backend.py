"""This machine as a backend."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from elisa.backends.local import supervisor
from elisa.backends.local.job import Life, LocalJob, held_of, split_native_id
from elisa.backends.local.numa import ANYWHERE
from elisa.backends.local.pressure import memory_left
from elisa.backends.local.slots import Held, LocalSlots, NeverFits, NoRoom, assign, free_gpus
from elisa.backends.promises import PLENTY
from elisa.backends.protocol import refuse_components, tag_of
from elisa.model import layout
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, BackendName, NativeId
from elisa.model.native import (
    Answered,
    CancelOutcome,
    Capabilities,
    ClusterView,
    Found,
    Gone,
    JobRequest,
    NodeState,
    NodeView,
    Observation,
    PartitionView,
    Poll,
    Unreachable,
)
from elisa.model.ports import Clock, CrashPoint, no_crash

__all__ = ["LocalBackend"]

# A supervisor is up in 10 ms on an idle machine; this is for one that swaps.
_LAUNCH_TIMEOUT_S = 20.0


class LocalBackend:
    """Run jobs as detached processes of this machine, each under a supervisor of its own.

    Nothing here stays in memory: a job's folder says all, whoever asks. Submitting the same attempt again gives the job
    that is there, so an answer is never uncertain for longer than it takes to look.
    """

    def __init__(
        self,
        home: Path,
        instance: str,
        slots: LocalSlots,
        clock: Clock,
        crash: CrashPoint = no_crash,
        *,
        name: str = "local",
    ) -> None:
        self.name = BackendName(name)
        self._home = home
        self._root = layout.local_jobs(home)
        self._instance = instance
        self._slots = slots
        self._clock = clock
        self._crash = crash
        self._avoided = Held(cpus=0, memory_mib=0)
        self.capabilities = Capabilities(queues=False, overcommits=slots.promised != (100, 100))

    def avoid_gpus(self, gpus: Collection[int]) -> None:
        """Give these to no job from now on, and count them as taken."""
        whole = [gpu for gpu in sorted(gpus) for _ in range(self._slots.parts_of(gpu))]
        self._avoided = Held(cpus=0, memory_mib=0, gpus=tuple(whole))

    def submit(self, request: JobRequest) -> NativeId:
        """Start a job now. Raises Unavailable while something else holds what it asks for."""
        refuse_components(request)
        job = self._job(request.attempt)
        try:
            with self._alone():
                if job.life() is Life.UNSTARTED or job.life() is Life.VOID:
                    self._prepare(job, request)
                    self._launch(job)
        except OSError as err:
            raise self._settle(job, f"{err.strerror}: {err.filename}") from err
        native_id = job.native_id
        if native_id is None:
            raise self._settle(job, self._words_of(job))
        return native_id

    def poll(self, ids: Collection[NativeId]) -> Poll:
        """Describe jobs; those without a supervisor are held to their time limit while we are at it."""
        if not self._home.is_dir():
            return Unreachable(what=f"{self._home} is not there")
        return Answered(observations={native_id: self._observe(native_id) for native_id in ids})

    def cancel(self, ids: Collection[NativeId]) -> Mapping[NativeId, CancelOutcome]:
        """Ask supervisors to stop their jobs: TERM, then KILL after the request's grace."""
        return {native_id: self._cancel(native_id) for native_id in ids}

    def find(self, tags: Collection[AttemptId]) -> Found:
        """Return the jobs of these attempts; one that is not found now will never run."""
        if not self._home.is_dir():
            raise Unavailable(f"{self._home} is not there", hint="is its filesystem mounted?")
        try:
            return Found(ids={tag: self._find(tag) for tag in tags}, complete=True)
        except OSError as err:
            raise Unavailable("local jobs cannot be looked up", f"{err.strerror}: {err.filename}") from err

    def cluster(self) -> ClusterView:
        """Return one node: this machine."""
        try:
            taken = (*self._taken(), self._avoided)
        except OSError as err:
            raise Unavailable("local jobs cannot be looked up", f"{err.strerror}: {err.filename}") from err
        slots, host = self._slots.all_promised, supervisor.host_name()
        left = memory_left(self._slots) if self.capabilities.overcommits else PLENTY
        node = NodeView(
            name=host,
            cpus=slots.cpus,
            memory_mib=slots.memory_mib,
            free_cpus=max(0, slots.cpus - sum(held.cpus for held in taken)),
            free_memory_mib=max(0, slots.memory_mib - sum(held.memory_mib for held in taken)),
            gpus=_count(tuple(slots.kind_of(gpu) for gpu in free_gpus(slots, ()))),
            free_gpus=_count(tuple(slots.kind_of(gpu) for gpu in free_gpus(slots, taken))),
            gpu_memory_mib=slots.gpu_memory_mib,
            partitions=("local",),
            state=NodeState.UP if left.is_enough else NodeState.DRAINED,
            promised=slots.promised,
            short_mib=left.short_mib,
        )
        partition = PartitionView(name="local", is_default=True)
        return ClusterView(backend=self.name, nodes=(node,), partitions=(partition,), seen_at=self._clock.now())

    def _job(self, attempt: AttemptId) -> LocalJob:
        return LocalJob(folder=self._root / tag_of(self._instance, attempt), attempt=attempt)

    def _known(self, native_id: NativeId) -> LocalJob | None:
        parts = split_native_id(native_id)
        job = self._job(parts[1]) if parts else None
        return job if job and job.native_id == native_id else None

    def _marker(self, job: LocalJob) -> Path:
        return self._root / "live" / job.folder.name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other submitters out, so that no two of them count the same core as free."""
        for folder in (self._root, self._root / "live"):  # never the home itself: it may be waiting to be mounted
            folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            flock(handle, LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _prepare(self, job: LocalJob, request: JobRequest) -> None:
        self._crash("local.submit.begin")
        held = self._room_for(request)
        job.folder.mkdir(mode=0o700, exist_ok=True)
        self._crash("local.submit.folder")
        job.write_request(request, self._environment(request, held))
        self._crash("local.submit.request")
        gpus = ",".join(str(gpu) for gpu in held.gpus)
        supervisor.write_fields(
            str(self._marker(job)), {"cpus": held.cpus, "memory_mib": held.memory_mib, "gpus": gpus, "numa": held.numa}
        )
        self._crash("local.submit.marked")
        if job.life() is Life.VOID:
            job.allow_again()
        self._crash("local.submit.allowed")

    def _room_for(self, request: JobRequest) -> Held:
        held = assign(self._slots, (*self._taken(), self._avoided), request.resources)
        if isinstance(held, NeverFits):
            raise Rejected(
                f"{request.attempt} asks for {held.asked} {held.resource}; this machine gives {held.largest}",
                hint="ask for less, or choose another backend",
            )
        if isinstance(held, NoRoom):
            raise Unavailable(
                f"no room for {request.attempt} now", f"it asks for {held.asked} {held.resource}, {held.free} are free"
            )
        return held

    def _environment(self, request: JobRequest, held: Held) -> Mapping[str, str]:
        more: dict[str, str] = {}
        if held.numa != ANYWHERE:
            more[supervisor.CORES] = ",".join(map(str, self._slots.numa[held.numa]))
        if self._slots.gpus:
            # Given to jobs without GPUs too: what was not asked for must not be used.
            more["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(map(str, held.gpus)))
        if any(gpu in self._slots.mps for gpu in held.gpus):
            more["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(len(held.gpus))
        return {**dict(request.environment), **more}

    def _launch(self, job: LocalJob) -> None:
        launcher = _spawn(str(job.folder))
        self._crash("local.submit.spawned")
        _wait_for(launcher)
        self._crash("local.submit.started")

    def _settle(self, job: LocalJob, why: str) -> Unavailable | SubmitUncertain:
        """Make sure that a job which did not come up never will, and return what to tell the caller."""
        try:
            if job.folder.is_dir() and not job.void():
                return SubmitUncertain(f"{job.attempt} may have started", why)
            self._marker(job).unlink(missing_ok=True)
        except OSError as err:
            return SubmitUncertain(f"{job.attempt} may have started", f"{why}; {err.strerror}")
        return Unavailable(f"{job.attempt} could not be started on this machine", why)

    def _words_of(self, job: LocalJob) -> str:
        with suppress(OSError):
            lines = (job.folder / "supervisor.log").read_text(encoding="utf-8", errors="replace").splitlines()
            return lines[-1] if lines else "its supervisor did not come up"
        return "its supervisor did not come up"

    def _observe(self, native_id: NativeId) -> Observation:
        job = self._known(native_id)
        if job is None:
            return Gone(native_id=native_id)
        life = job.life()
        if life is Life.ORPHANED:
            job.enforce(self._clock.now())
        if life is Life.ENDED and not job.has_last_word and job.sweep():
            life = Life.ORPHANED  # it is over only when nothing of it runs
        return job.describe(life, native_id)

    def _cancel(self, native_id: NativeId) -> CancelOutcome:
        job = self._known(native_id)
        if job is None or (life := job.life()) in {Life.ENDED, Life.REBOOTED}:
            return CancelOutcome.ALREADY_GONE
        if life is Life.ELSEWHERE:
            return CancelOutcome.FAILED
        try:
            job.stop("cancel", self._clock.now())
        except OSError:
            return CancelOutcome.FAILED
        return CancelOutcome.ASKED

    def _find(self, tag: AttemptId) -> tuple[NativeId, ...]:
        job = self._job(tag)
        if not job.folder.is_dir():
            return ()
        if job.record is None:
            with self._alone():
                if job.record is None and job.void():
                    self._marker(job).unlink(missing_ok=True)
        native_id = job.native_id
        return () if native_id is None else (native_id,)

    def _taken(self) -> list[Held]:
        """Return what live jobs hold; markers whose jobs ended without removing them are removed."""
        taken = []
        for marker in self._root.joinpath("live").glob("el.*"):
            fields = supervisor.read_fields(str(marker))
            job = LocalJob(folder=self._root / marker.name, attempt=AttemptId(marker.name.split(".", 2)[2]))
            if fields is None or job.life() in {Life.ENDED, Life.REBOOTED, Life.VOID}:
                marker.unlink(missing_ok=True)
            else:
                taken.append(held_of(fields))
        return taken


def _spawn(folder: str) -> int:
    # An interpreter from a module system may need the library path; nothing else of our environment may leak into jobs.
    environment = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    return os.posix_spawn(
        sys.executable,
        (sys.executable, "-I", "-S", supervisor.__file__, folder),
        environment,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, f"{folder}/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ),
        setsigmask=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
        setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
    )


def _wait_for(launcher: int) -> None:
    """Wait until the launcher has seen the supervisor come up, or fail to."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(launcher)
        try:
            watch = select.poll()
            watch.register(handle, select.POLLIN)
            if not watch.poll(1000 * _LAUNCH_TIMEOUT_S):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
    with suppress(ChildProcessError):
        os.waitpid(launcher, 0)


def _count(types: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(types).items()))
