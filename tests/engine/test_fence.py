from __future__ import annotations

from pathlib import Path

import pytest

from elisa.engine.fence import claimed, fences_to_raise, has_let_go, raise_fence, read_fence, shut_out
from elisa.engine.files import OsFiles
from elisa.model import layout
from elisa.model.ids import AttemptId, TaskId

TASK, ATTEMPT = TaskId("t7k2m9qx4t"), AttemptId("t7k2m9qx4t.2")


def test_a_fence_is_raised_and_never_lowered(tmp_path: Path) -> None:
    raise_fence(OsFiles(), tmp_path, TASK, 3)
    raise_fence(OsFiles(), tmp_path, TASK, 2)

    assert read_fence(OsFiles(), tmp_path, TASK) == 3


def test_a_task_that_was_never_released_has_none(tmp_path: Path) -> None:
    assert read_fence(OsFiles(), tmp_path, TASK) == 0


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"\xff"])
def test_a_damaged_fence_is_put_up_anew(tmp_path: Path, content: bytes) -> None:
    layout.fence(tmp_path, TASK).parent.mkdir(parents=True)
    layout.fence(tmp_path, TASK).write_bytes(content)

    raise_fence(OsFiles(), tmp_path, TASK, 2)

    assert read_fence(OsFiles(), tmp_path, TASK) == 2


def test_an_attempt_that_nobody_claimed_is_shut_out(tmp_path: Path) -> None:
    assert shut_out(OsFiles(), tmp_path, ATTEMPT)

    assert read_fence(OsFiles(), tmp_path, TASK) == 3


def test_an_attempt_that_was_claimed_meanwhile_is_not(tmp_path: Path) -> None:
    layout.claim(tmp_path, ATTEMPT).parent.mkdir(parents=True)
    layout.claim(tmp_path, ATTEMPT).touch()

    assert not shut_out(OsFiles(), tmp_path, ATTEMPT)
    assert claimed(OsFiles(), tmp_path, ATTEMPT)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), False),
        (("",), False),
        (("", ".released"), True),
        (("", ".released", ".r1"), False),
        (("", ".released", ".r1", ".r1.released"), True),
    ],
    ids=["never claimed", "held", "let go", "held by a restart of the job", "let go by the restart"],
)
def test_an_attempt_has_let_go_when_its_newest_holder_says_so(
    tmp_path: Path, files: tuple[str, ...], *, expected: bool
) -> None:
    layout.task_claims(tmp_path, TASK).mkdir(parents=True)
    for name in files:
        (layout.task_claims(tmp_path, TASK) / f"{ATTEMPT}{name}").touch()

    assert has_let_go(OsFiles(), tmp_path, ATTEMPT) is expected


def test_a_first_attempt_needs_no_fence_and_a_second_one_does(tmp_path: Path) -> None:
    other = TaskId("t0000000ab")

    assert fences_to_raise(OsFiles(), tmp_path, {TASK: 2, other: 1}) == {layout.fence(tmp_path, TASK): b"2\n"}
    assert not layout.task_claims(tmp_path, other).exists()
