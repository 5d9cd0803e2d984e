"""What `elisa explain` tells of a real program that took too much memory, and of checkpoints that were set aside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

pytestmark = pytest.mark.slow

# Takes too much at step 2 for the memory it has at first; the agent looks before the second is over.
GROWS = """\
import os, time
from elisa import checkpoint
with checkpoint.run(interval_s=0) as ckpt:
    for step in ckpt.steps(3):
        if step == 2:
            much = bytearray(150 << 20)
            time.sleep(0 if os.environ["ELISA_ATTEMPT"].endswith(".2") else 60)
        ckpt.save(step, step)
"""
TASK = """\
  grow:
    command: ['{python}', grow.py]
    resources: {{memory: 128MiB, walltime: 5m}}
    retry: {{limit: 1, backoff: {{initial: 0s}}}}
"""


def test_who_took_too_much_memory_is_told_how_much_and_what_it_may_take_next(
    tmp_path: Path, elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    (tmp_path / "grow.py").write_text(GROWS, encoding="utf-8")

    submitted = elisa("submit", write(TASK.format(python=sys.executable)), "--wait")
    words = [one["words"] for one in elisa("explain", "study/grow", "--json").data["history"]]

    assert submitted.code == 0
    (over,) = [one for one in words if one.startswith("it came to ")]
    assert over.endswith("MiB of memory, of the 128MiB it may use")
    assert "the job itself said so: out of memory (signal 9) at step 2" in words
    assert (
        "it is tried again after out of memory: failure 1 of the 1 that are allowed;"
        " it may use 192MiB of memory in place of 128MiB; it resumes from step 1"
    ) in words


def test_checkpoints_newer_than_the_chosen_one_are_told_as_set_aside(
    tmp_path: Path, elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    program = (
        "from elisa import checkpoint\n"
        "with checkpoint.run(interval_s=0, keep=9) as ckpt:\n"
        "    [ckpt.save(step, step) for step in ckpt.steps(3)]\n"
        "    assert ckpt.step == 0\n"
    )
    (tmp_path / "count.py").write_text(program, encoding="utf-8")
    elisa("submit", write(f"  count: {{command: ['{sys.executable}', count.py], retry: 0}}\n"), "--wait")

    elisa("retry", "study/count", "--from-step", "0")
    elisa("tick", "--until-idle")
    history = elisa("explain", "study/count", "--json").data["history"]

    told = [one["words"] for one in history if one["code"] == "noted.quarantined"]
    assert len(told) == 2
    assert all(one.startswith(f"a checkpoint was set aside, {home}") for one in told)
    assert all(one.endswith("it is newer than step 0, from which the run was to be resumed") for one in told)
