"""The run of a program that saves its state now and then and goes on from there when it is started again."""

from __future__ import annotations

import math
import os
import time
from types import TracebackType
from typing import Any, Callable, Iterator, NamedTuple

from elisa.runtime.checkpoint.codec import Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.interval import Choice, choose_interval
from elisa.runtime.checkpoint.manifest import DamagedError, Manifest, verify
from elisa.runtime.checkpoint.restore import Restored, clear_loading_marks, restore_newest
from elisa.runtime.program import job_setting, listen_for_stop, progress, should_stop, tell, time_left

__all__ = ["STOPPED_STATUS", "Checkpointer", "run"]

STOPPED_STATUS = 143
"""The status with which a program ends that was asked to stop and saved: 128 + SIGTERM, as if it had not caught it."""

_USUAL_FOLDER = "checkpoints"
_USUAL_KEEP = 2


class Settings(NamedTuple):
    """How to save. `interval_s` None: chosen by itself, from what a save costs."""

    folder: str
    keep: int
    interval_s: float | None
    mtbf_s: float | None
    at_step: int | None
    allow_pickle: bool


def run(
    folder: str | os.PathLike[str] | None = None,
    *,
    keep: int | None = None,
    interval_s: float | None = None,
    allow_pickle: bool = False,
) -> Checkpointer:
    """Return a context manager that restores the newest sound checkpoint and saves new ones.

    Without arguments the task's own settings hold (in a job of elisa), or the folder `./checkpoints`, two checkpoints
    kept and an interval that is chosen by itself. `interval_s` 0 saves whenever `save` is called.
    """
    return Checkpointer(_settings(folder, keep, interval_s, allow_pickle=allow_pickle))


def _settings(
    folder: str | os.PathLike[str] | None, keep: int | None, interval_s: float | None, *, allow_pickle: bool
) -> Settings:
    resume = job_setting("resume") or {}
    return Settings(
        folder=os.fspath(folder or os.environ.get("ELISA_CHECKPOINT_DIR") or _USUAL_FOLDER),
        keep=max(1, _first(keep, job_setting("checkpoint", "keep"), _USUAL_KEEP)),
        interval_s=_first(interval_s, job_setting("checkpoint", "interval_s")),
        mtbf_s=job_setting("checkpoint", "mtbf_s"),
        at_step=resume.get("step") if resume.get("exact") else None,
        allow_pickle=allow_pickle,
    )


def _first(*values: Any) -> Any:  # noqa: ANN401  (the first that is given)
    return next((value for value in values if value is not None), None)


class Checkpointer:
    """What `run()` gives.

    `state` is what was restored (None: begin at the beginning) and `step` the step it was saved at. When a stop is
    asked for (signal, end of the walltime near), the next `save` saves whatever the interval says, and the program ends.
    """

    def __init__(self, settings: Settings) -> None:
        self.state: Any = None
        self.step: int | None = None
        self.choice: Choice | None = None
        self._settings = settings
        self._generations = Generations(os.path.abspath(settings.folder))
        self._listen = listen_for_stop()
        self._saved_at = -math.inf
        self._cost_s = 0.0
        self._total: int | None = None
        self._verified: set[int] = set()

    def __enter__(self) -> Checkpointer:  # noqa: PYI034  (typing.Self is younger than Python 3.8)
        self._listen.__enter__()
        self._generations.sweep(time.time())
        restored = restore_newest(self._generations, at_step=self._settings.at_step)
        if restored is not None:
            self._resume(restored)
        return self

    def _resume(self, restored: Restored) -> None:
        self.state = restored.state
        self.step = restored.manifest.step
        self._verified.add(restored.generation.number)
        self._cost_s = restored.manifest.seconds
        self._saved_at = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listen.__exit__()
        if kind is None:
            clear_loading_marks(self._generations)

    def load(self) -> Any:  # noqa: ANN401  (whatever was saved)
        """Return the restored state and let go of it; None if there is none."""
        state, self.state = self.state, None
        return state

    def steps(self, total: int) -> Iterator[int]:
        """Yield the steps from 0 to `total - 1` that are still to be done.

        When a stop is asked for, the step under way is finished and the program ends (SystemExit, status 143) instead of
        beginning the next one.
        """
        self._total = total
        first = 0 if self.step is None else self.step + 1
        for step in range(first, total):
            self._leave_if_asked()
            yield step
            progress(step + 1, total)
            if step == first:
                clear_loading_marks(self._generations)

    def _leave_if_asked(self) -> None:
        if should_stop():
            raise SystemExit(STOPPED_STATUS)

    def is_due(self, step: int | None = None) -> bool:
        """Tell whether `save` would save now. Making the state may cost something: ask before."""
        is_last = step is not None and self._total is not None and step >= self._total - 1
        return is_last or should_stop() or time.monotonic() - self._saved_at >= self._interval_s()

    def _interval_s(self) -> float:
        if self._settings.interval_s is not None:
            return self._settings.interval_s
        self.choice = choose_interval(self._cost_s, mtbf_s=self._settings.mtbf_s, remaining_s=time_left())
        return self.choice.interval_s

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
        if not force and not self.is_due(step):
            return False
        content = state() if callable(state) else state
        began = time.monotonic()
        is_saved = self._write(int(step), content, metrics or {})
        self._cost_s = time.monotonic() - began
        self._saved_at = time.monotonic()
        return is_saved

    def _write(self, step: int, content: object, metrics: dict[str, float]) -> bool:
        pieces = Encoder(allow_pickle=self._settings.allow_pickle).encode_state(content)
        about = Manifest(
            generation=self._generations.next_number(),
            step=step,
            files=(),
            saved_at=round(time.time(), 6),
            attempt=os.environ.get("ELISA_ATTEMPT", ""),
            metrics={name: float(value) for name, value in metrics.items()},
        )
        try:
            generation, manifest = self._generations.write(about, pieces)
        except OSError:
            return False
        size, seconds = manifest.size_bytes, manifest.seconds
        tell("checkpoint", {"path": generation.path, "step": step, "size_bytes": size, "seconds": seconds})
        self._prune()
        return True

    def _prune(self) -> None:
        """Delete what is beyond `keep`, once a checkpoint that stays was read back and found sound."""
        all_of_them = self._generations.newest_first()
        kept, rest = all_of_them[: self._settings.keep], all_of_them[self._settings.keep :]
        if rest and self._has_verified(kept[0].number, kept[0].path):
            for generation in rest:
                self._generations.remove(generation)

    def _has_verified(self, number: int, path: str) -> bool:
        if number not in self._verified:
            try:
                verify(path)
            except (DamagedError, OSError):
                return False
            self._verified.add(number)
        return True
