"""The run of a program that saves its state now and then and goes on from there when it is started again."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any, Callable, Iterator, NamedTuple

from elisa.runtime.checkpoint.codec import Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.group import Group, world_of
from elisa.runtime.checkpoint.interval import Choice
from elisa.runtime.checkpoint.manifest import Manifest
from elisa.runtime.checkpoint.pace import Pace
from elisa.runtime.checkpoint.restore import clear_loading_marks
from elisa.runtime.checkpoint.retention import Retention
from elisa.runtime.checkpoint.saver import Saved
from elisa.runtime.checkpoint.storage import Storage, open_storage
from elisa.runtime.checkpoint.together import TogetherStorage
from elisa.runtime.program import (
    ask_to_stop,
    job_setting,
    listen_for_stop,
    progress,
    rank_of_process,
    should_stop,
    tell,
    time_left,
)

__all__ = ["STOPPED_STATUS", "Checkpointer", "Settings", "default_folder", "run"]

STOPPED_STATUS = 85
"""The status with which a program ends that was asked to stop, and saved: ERESTART of Linux, "go on later"."""

_USUAL_FOLDER = "checkpoints"


class Settings(NamedTuple):
    """How to save. `interval_s` None: chosen by itself, from what a save costs."""

    folder: str
    local_folder: str
    retention: Retention
    interval_s: float | None
    mtbf_s: float | None
    at_step: int | None
    is_async: bool
    allow_pickle: bool
    exit_on_stop: bool
    ranks: str
    patience_s: float


def run(  # noqa: PLR0913  (all but the folder by keyword, and each may be left out)
    folder: str | os.PathLike[str] | None = None,
    *,
    interval_s: float | None = None,
    keep: int | None = None,
    keep_every: int = 0,
    keep_best: str = "",
    max_bytes: int = 0,
    beside: bool = False,
    local: str | os.PathLike[str] | None = None,
    allow_pickle: bool = False,
    exit_on_stop: bool = True,
    ranks: str = "all",
    patience_s: float = 600.0,
) -> Checkpointer:
    """Return a context manager that restores the newest sound checkpoint and saves new ones.

    Without arguments the task's own settings hold (in a job of elisa), or the folder `./checkpoints`, two checkpoints
    kept and an interval that is chosen by itself. `interval_s` 0 saves whenever `save` is called. `keep_every`,
    `keep_best` and `max_bytes` are those of `Retention`. `beside` saves a copy of the state while the program goes on.
    `local` is a folder on a fast disk of the node: checkpoints go there first, and some of them on to `folder`.
    With `exit_on_stop` (the usual) the program ends, with status 85, once it saved after having been asked to stop.

    In a distributed job (torchrun, mpirun, srun, horovodrun) every rank calls all of this alike, and each saves its own
    state, all at the same step; with `ranks="first"` the first one saves for all, and with "none" each is for itself.
    `patience_s` is how long a rank waits for the others before it gives a save up.
    """
    if ranks not in {"all", "first", "none"}:
        raise ValueError(f"ranks is {ranks!r}: it can be 'all', 'first' or 'none'")
    resume = job_setting("resume") or {}
    settings = Settings(
        folder=os.path.abspath(folder or default_folder()),
        local_folder=_local_folder(local),
        retention=Retention(
            keep=_first(keep, job_setting("checkpoint", "keep"), 2),
            keep_every=keep_every,
            keep_best=keep_best,
            max_bytes=max_bytes,
        ),
        interval_s=_first(interval_s, job_setting("checkpoint", "interval_s")),
        mtbf_s=job_setting("checkpoint", "mtbf_s"),
        at_step=resume.get("step") if resume.get("exact") else None,
        is_async=beside,
        allow_pickle=allow_pickle,
        exit_on_stop=exit_on_stop,
        ranks=ranks,
        patience_s=patience_s,
    )
    return Checkpointer(settings)


def _open(settings: Settings, pace: Pace) -> Storage | TogetherStorage:
    world = world_of(os.environ)
    took = pace.took if settings.is_async else None

    def told(saved: Saved) -> None:
        tell("checkpoint", {**saved.as_event(), **pace.as_event()})

    if world.size == 1 or settings.ranks == "none":
        return open_storage(settings.folder, settings.local_folder, settings.retention, took=took, told=told)
    group = Group(world, settings.folder, settings.patience_s)
    is_replicated = settings.ranks == "first"
    return TogetherStorage(
        group, Generations(settings.folder), settings.retention, is_replicated=is_replicated, took=took, told=told
    )


def default_folder() -> str:
    """Return the folder for checkpoints of this task, or of any program outside of elisa."""
    return os.environ.get("ELISA_CHECKPOINT_DIR") or _USUAL_FOLDER


def _first(*values: Any) -> Any:  # noqa: ANN401  (the first that is given)
    return next((value for value in values if value is not None), None)


def _local_folder(given: str | os.PathLike[str] | None) -> str:
    """Return the folder of this task on the node's own disk; empty if there is none.

    A site may name it by variables of the job, as `$TMPDIR`: where one is not set there is no such disk.
    """
    if given is not None:
        return os.path.abspath(given)
    site = os.environ.get("ELISA_LOCAL_CHECKPOINT_DIR") or job_setting("checkpoint", "local_dir") or ""
    site = os.path.expandvars(site)
    return os.path.join(site, os.environ.get("ELISA_TASK", "task")) if site and "$" not in site else ""


class Checkpointer:
    """What `run()` gives.

    `state` is what was restored (None: begin at the beginning) and `step` the step it was saved at. When a stop is
    asked for (a signal, or the end of the walltime near), the next `save` saves whatever the interval says.
    """

    def __init__(self, settings: Settings) -> None:
        self.state: Any = None
        self.step: int | None = None
        self._settings = settings
        self._listen = listen_for_stop()
        self._total: int | None = None
        self._is_stop_saved = False
        self._has_saved = False
        self._pace = Pace(fixed_s=settings.interval_s, mtbf_s=settings.mtbf_s, left_s=time_left)
        self._storage = _open(settings, self._pace)

    def __enter__(self) -> Checkpointer:  # noqa: PYI034  (typing.Self is younger than Python 3.8)
        self._listen.__enter__()
        try:
            self._restore()
        except BaseException:
            self._listen.__exit__()
            raise
        return self

    def _restore(self) -> None:
        restored = self._storage.restore(self._settings.at_step)
        if restored is not None:
            self.state = restored.state
            self.step = restored.manifest.step
            self._pace.restored(restored.manifest.seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_well = kind is None or kind is SystemExit
        try:
            self._storage.finish(is_leaving=is_well)
        finally:
            self._storage.agreement.leave(is_well=is_well)
            self._listen.__exit__()
        if kind is None:
            self._clear_marks()

    def load(self) -> Any:  # noqa: ANN401  (whatever was saved)
        """Return the restored state and let go of it; None if there is none."""
        state, self.state = self.state, None
        return state

    def explain(self) -> Choice:
        """Return the interval between saves that holds now, and what it follows from."""
        return self._pace.choice()

    @property
    def should_stop(self) -> bool:
        """Whether the program should save and leave: a signal said so, or the walltime ends."""
        if self._pace.is_late():
            ask_to_stop("walltime")
        return should_stop()

    def steps(self, total: int) -> Iterator[int]:
        """Yield the steps from 0 to `total - 1` that are still to be done, and report each as progress.

        No new one is begun when a stop was asked for and there is nothing left to be saved.
        """
        self._total = total
        first = 0 if self.step is None else self.step + 1
        if first and rank_of_process() == 0:
            progress(first, total)  # so that a failure in the first step is known to be where an earlier one was
        for step in range(first, total):
            if self._is_stop_saved or (self.should_stop and not self._has_saved):
                self._leave()
            yield step
            if rank_of_process() == 0:
                progress(step + 1, total)
            if step == first:
                self._clear_marks()

    def _clear_marks(self) -> None:
        for folder in self._storage.folders:
            clear_loading_marks(folder)

    def _leave(self, why_unsaved: str = "") -> None:
        if self._settings.exit_on_stop:
            raise SystemExit(f"elisa: {why_unsaved}" if why_unsaved else STOPPED_STATUS)

    def is_due(self, step: int | None = None) -> bool:
        """Tell whether `save` would save now. Making the state may cost something: ask before."""
        return self._is_last(step) or self.should_stop or self._pace.is_due()

    def _is_last(self, step: int | None) -> bool:
        return step is not None and self._total is not None and step >= self._total - 1

    def save(
        self,
        step: int,
        state: object | Callable[[], object],
        *,
        force: bool = False,
        metrics: dict[str, float] | None = None,
    ) -> bool:
        """Save `state` as of the end of `step` if it is time to; tell whether it was saved.

        `state` may be a function that makes it, called only when it is time. Raises NotSavableError for what has no safe
        format. A full disk raises nothing: the run goes on, with the older checkpoints, and tries again.
        """
        self._pace.stepped()
        self._has_saved = True
        agreement = self._storage.agreement
        if self.should_stop and agreement.is_broken():
            self._leave("asked to stop when a rank had died: nothing is saved without it")
        is_certain = force or self._is_last(step)
        if not agreement.is_agreed(step, is_due=self._pace.is_due(), is_stop=self.should_stop, is_certain=is_certain):
            return False
        is_saved = self._save_now(int(step), state() if callable(state) else state, metrics or {})
        if agreement.is_stop and is_saved and not self._is_last(step):
            self._is_stop_saved = True
            self._storage.finish(is_leaving=True)
            self._leave()
        return is_saved

    def _save_now(self, step: int, content: object, metrics: dict[str, float]) -> bool:
        pieces = Encoder(allow_pickle=self._settings.allow_pickle, prefix=self._storage.prefix).encode_state(content)
        about = Manifest(
            generation=self._storage.next_number(),
            step=step,
            files=(),
            saved_at=round(time.time(), 6),
            attempt=os.environ.get("ELISA_ATTEMPT", ""),
            metrics={name: float(value) for name, value in metrics.items()},
        )
        began = time.monotonic()
        is_saved = self._storage.save(about, pieces)
        blocked_s = time.monotonic() - began
        self._pace.saved(blocked_s)
        if not self._settings.is_async:
            self._pace.took(blocked_s)
        return is_saved
