"""Which files a replay begins with."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from elisa.engine.replay_copy import Copying
from elisa.model import layout
from elisa.model.ids import AttemptId, PipelineId
from elisa.model.pipeline import CheckpointPolicy, Output, TaskSpec

OLD, NEW = PipelineId("pold000000"), PipelineId("pnew000000")
SAVED_AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SPEC = TaskSpec(
    name="train",
    command=("true",),
    outputs=(Output(name="model", path="model.bin"),),
    checkpoint=CheckpointPolicy(pattern="restart.*.nc"),
)


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    return Copying(home=tmp_path, old=OLD, new=NEW)


def put(home: Path, name: str, *, later_s: float = -60.0) -> None:
    path = layout.task_dir(home, OLD, "train") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    at = SAVED_AT.timestamp() + later_s
    os.utime(path, (at, at))


def copied(home: Path) -> list[str]:
    root = layout.task_dir(home, NEW, "train")
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_resumed_task_finds_what_lay_there_when_its_checkpoint_was_saved(copying: Copying) -> None:
    for name in ("config.json", "data/vocabulary", "checkpoints/g1/MANIFEST.json", "checkpoints/g2/MANIFEST.json"):
        put(copying.home, name)
    put(copying.home, "attempts/1/stdout.log")
    put(copying.home, "model.bin")
    put(copying.home, "restart.0001.nc")
    put(copying.home, "late.txt", later_s=60)
    chosen = layout.checkpoint_dir(copying.home, OLD, "train") / "g1"

    copy = copying.resumed(SPEC, chosen, SAVED_AT)

    assert copy == layout.checkpoint_dir(copying.home, NEW, "train") / "g1"
    assert copied(copying.home) == ["checkpoints/g1/MANIFEST.json", "config.json", "data/vocabulary"]


def test_a_checkpoint_that_is_only_simulated_brings_no_files(copying: Copying) -> None:
    assert copying.resumed(SPEC, None, None) is None
    assert not layout.task_dir(copying.home, NEW, "train").exists()


@pytest.mark.parametrize("with_checkpoints", [True, False])
def test_a_finished_task_leaves_its_files_and_its_result_to_the_copy(
    copying: Copying, *, with_checkpoints: bool
) -> None:
    for name in ("model.bin", "checkpoints/g1/MANIFEST.json", "attempts/1/result.json"):
        put(copying.home, name)
    for name in ("attempts/2/result.json", "attempts/2/result-7-array.npy", "attempts/2/stdout.log"):
        put(copying.home, name)

    copying.finished(SPEC, AttemptId("t000000000.2"), with_checkpoints=with_checkpoints)

    saved = ["checkpoints/g1/MANIFEST.json"] if with_checkpoints else []
    own = ["attempts/1/result-7-array.npy", "attempts/1/result.json"]
    assert copied(copying.home) == [*own, *saved, "model.bin"]
    assert (layout.task_dir(copying.home, NEW, "train") / "attempts/1/result.json").read_text() == (
        "attempts/2/result.json"
    )


def test_the_kept_environment_is_copied_readable_by_its_owner_alone(copying: Copying) -> None:
    source = layout.environment_file(copying.home, OLD)
    source.parent.mkdir(parents=True)
    source.write_bytes(b'{"PATH": "/bin"}')

    copying.environment()

    copy = layout.environment_file(copying.home, NEW)
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (b'{"PATH": "/bin"}', 0o600)
    copying.undo()
    assert not copy.parent.exists()
    assert source.exists()
