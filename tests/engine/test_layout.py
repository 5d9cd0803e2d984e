from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model import layout
from elisa.model.ids import AttemptId, PipelineId, TaskId

HOME = PurePosixPath("/home/ada/.local/share/elisa")
PIPELINE = PipelineId("p7k2m9qx4t")
ATTEMPT = AttemptId("t7k2m9qx4t.3")


def test_every_file_of_an_attempt_has_its_place() -> None:
    found = [
        layout.job_file(HOME, ATTEMPT),
        layout.event_dir(HOME, ATTEMPT),
        layout.fence(HOME, TaskId("t7k2m9qx4t")),
        layout.claim(HOME, ATTEMPT),
        layout.stdout_log(HOME, PIPELINE, "train", ATTEMPT),
        layout.checkpoint_dir(HOME, PIPELINE, "train"),
    ]

    assert [str(path.relative_to(HOME)) for path in found] == [
        "spool/t7k2m9qx4t.3/job.json",
        "spool/t7k2m9qx4t.3/events",
        "claims/t7k2m9qx4t/fence",
        "claims/t7k2m9qx4t/t7k2m9qx4t.3",
        "runs/p7k2m9qx4t/train/attempts/3/stdout.log",
        "runs/p7k2m9qx4t/train/checkpoints",
    ]


def test_the_answer_is_of_the_same_kind_as_home() -> None:
    assert isinstance(layout.database(Path("/tmp")), Path)


@pytest.mark.parametrize("name", ["train", "train-lr=0.1", "a.b_c"])
def test_a_safe_name_stays_as_it_is(name: str) -> None:
    assert layout.task_dir_name(name) == name


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a b", "../../etc", "a\nb", "$(rm)", "x" * 300, "é"])
def test_a_hostile_name_becomes_one_safe_component(name: str) -> None:
    folder = layout.task_dir_name(name)

    assert folder not in {"", ".", ".."}
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=-")
    assert len(folder) < 250


@given(st.text(), st.text())
def test_two_names_never_share_a_folder(one: str, other: str) -> None:
    assert (layout.task_dir_name(one) == layout.task_dir_name(other)) == (one == other)
