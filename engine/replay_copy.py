"""The files that a replay begins with: copies, so that nothing it does reaches the pipeline it was made from."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from elisa.engine.tokens import fill, folders_of
from elisa.model import layout
from elisa.model.ids import AttemptId, PipelineId
from elisa.model.pipeline import TaskSpec

__all__ = ["Copying"]

_OWN = frozenset({"attempts", "checkpoints"})
_LOGS = frozenset({"stdout.log", "stderr.log"})
# A file that was written in the same moment as the checkpoint belongs to it.
_SAME_MOMENT_S = 1.0

Ignore = Callable[[str, list[str]], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """Copies from the runs of one pipeline to those of another."""

    home: Path
    old: PipelineId
    new: PipelineId

    def environment(self) -> None:
        """Keep what the submitter's environment was."""
        source = layout.environment_file(self.home, self.old)
        if source.exists():
            _private(layout.environment_file(self.home, self.new), source.read_bytes())

    def finished(self, spec: TaskSpec, attempt: AttemptId | None, *, with_checkpoints: bool) -> None:
        """Copy what a task left; what `attempt` returned becomes the result of the first attempt of the copy."""
        left_out = _OWN - ({"checkpoints"} if with_checkpoints else set())
        _copy(self._dir(self.old, spec), self._dir(self.new, spec), _except(self._dir(self.old, spec), left_out))
        if attempt is not None:
            source = layout.attempt_dir(self.home, self.old, spec.name, attempt)
            first = self._dir(self.new, spec) / "attempts" / "1"
            _copy(source, first, _except(source, _LOGS))

    def resumed(self, spec: TaskSpec, checkpoint: Path | None, saved_at: datetime | None) -> Path | None:
        """Copy a checkpoint, and of the task's files what lay there when it was saved; return where the copy is.

        Outputs and restart files are left out: the replay is to write them itself.
        """
        folder = self._dir(self.old, spec)
        if saved_at is not None:
            latest = saved_at.timestamp() + _SAME_MOMENT_S
            _copy(folder, self._dir(self.new, spec), _later_or(folder, latest, self._written(spec)))
        if checkpoint is None:
            return None
        target = layout.checkpoint_dir(self.home, self.new, spec.name) / checkpoint.name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(checkpoint, target, symlinks=True)
        return target

    def undo(self) -> None:
        """Remove all copies: the replay was not stored."""
        shutil.rmtree(layout.pipeline_dir(self.home, self.new), ignore_errors=True)

    def _dir(self, pipeline: PipelineId, spec: TaskSpec) -> Path:
        return layout.task_dir(self.home, pipeline, spec.name)

    def _written(self, spec: TaskSpec) -> tuple[str, ...]:
        """Return patterns of the files, relative to the task's folder, that the task writes for others or for itself."""
        look_up = folders_of(self.home, self.old, spec.name)
        patterns = [fill(output.path, look_up) for output in spec.outputs]
        patterns += [spec.checkpoint.pattern] if spec.checkpoint is not None and spec.checkpoint.pattern else []
        return tuple(patterns)


def _private(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(data)


def _copy(source: Path, target: Path, ignore: Ignore) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=ignore, dirs_exist_ok=True)


def _except(root: Path, names: Iterable[str]) -> Ignore:
    def ignore(folder: str, found: list[str]) -> Iterable[str]:
        return [name for name in found if Path(folder) == root and name in names]

    return ignore


def _later_or(root: Path, latest_s: float, patterns: tuple[str, ...]) -> Ignore:
    def is_left_out(path: Path) -> bool:
        name = str(path.relative_to(root))
        if path.parent == root and path.name in _OWN:
            return True
        is_written = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        return is_written or (not path.is_dir() and path.lstat().st_mtime > latest_s)

    def ignore(folder: str, found: list[str]) -> Iterable[str]:
        return [name for name in found if is_left_out(Path(folder) / name)]

    return ignore
