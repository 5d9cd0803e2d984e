"""`elisa checkpoints`, `retry --from-step`, over a real program that saves its work and fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Elisa

Write = Callable[[str], str]

# Counts to ten and saves each step; fails at step 7 unless a file `mended` lies in its folder.
COUNTS = """\
import os, sys
from elisa import checkpoint
with checkpoint.run(interval_s=0, keep=20) as ckpt:
    seen = ckpt.load() or []
    for step in ckpt.steps(10):
        if step == 7 and not os.path.exists("mended"):
            print("cannot go on", file=sys.stderr)
            sys.exit(3)
        seen.append(step)
        ckpt.save(step, seen)
print(seen)
"""


@pytest.fixture
def failed(tmp_path: Path, elisa: Elisa, home: Path, write: Write) -> Path:
    """Run a task that saved steps 0 to 6 and failed; return the folder it works in."""
    (tmp_path / "count.py").write_text(COUNTS, encoding="utf-8")
    task = f"  count: {{command: ['{sys.executable}', count.py], retry: 0}}\n"
    assert elisa("submit", write(task), "--wait").code == 3
    return tmp_path


def steps(answer: Answer, part: str = "checkpoints") -> list[int]:
    return [one["step"] for one in answer.data[part]]


def damage(answer: Answer, step: int) -> None:
    """Change one byte of the state that was saved at a step, and nothing of its size."""
    (folder,) = [Path(one["path"]) for one in answer.data["checkpoints"] if one["step"] == step]
    file = max(folder.iterdir(), key=lambda path: (path.name != "MANIFEST.json", path.stat().st_size))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_list_tells_step_size_and_soundness_newest_first(elisa: Elisa, failed: Path) -> None:
    answer = elisa("checkpoints", "list", "study/count", "--json")

    assert answer.data["schema"] == "elisa.checkpoints-list/1"
    assert steps(answer) == [6, 5, 4, 3, 2, 1, 0]
    assert all(one["sound"] and one["size_bytes"] > 0 and one["attempt"] for one in answer.data["checkpoints"])
    assert (answer.data["next_step"], answer.data["next_is_chosen"]) == (6, False)
    assert "the next attempt begins from step 6" in elisa("checkpoints", "list", "study/count").out


def test_a_task_without_checkpoints_says_so(elisa: Elisa, home: Path, write: Write) -> None:
    elisa("submit", write("  a: {command: [echo, x]}\n"))

    assert "has no checkpoints" in elisa("checkpoints", "list", "study/a").out
    assert elisa("checkpoints", "prune", "study/a").code == 0


def test_where_restart_files_are_looked_for_is_told_while_there_are_none(
    elisa: Elisa, home: Path, write: Write
) -> None:
    elisa("submit", write('  a: {command: [echo, x], checkpoint: {pattern: "restart.*.nc"}}\n'))

    told = "files called restart.*.nc are looked for in $ELISA_TASK_DIR and $ELISA_CHECKPOINT_DIR, nowhere else"
    assert told in elisa("checkpoints", "list", "study/a").out.replace("\n", " ")


def test_a_pipeline_has_no_checkpoints_of_its_own(elisa: Elisa, failed: Path) -> None:
    pipeline = elisa("status", "--all", "--json").data["pipelines"][0]["id"]

    assert elisa("checkpoints", "list", pipeline).code == 2


def test_only_verify_sees_a_changed_byte(elisa: Elisa, failed: Path) -> None:
    damage(elisa("checkpoints", "list", "study/count", "--json"), 4)

    listed = elisa("checkpoints", "list", "study/count", "--json")
    verified = elisa("checkpoints", "verify", "study/count", "--json")

    assert [one["sound"] for one in listed.data["checkpoints"]] == [True] * 7
    assert verified.code == 1
    assert [one["step"] for one in verified.data["checkpoints"] if not one["sound"]] == [4]
    assert "damaged" in elisa("checkpoints", "verify", "study/count").out


def test_prune_keeps_the_newest(elisa: Elisa, failed: Path) -> None:
    trial = elisa("checkpoints", "prune", "study/count", "--keep", "3", "--dry-run", "--json")
    assert steps(elisa("checkpoints", "list", "study/count", "--json")) == [6, 5, 4, 3, 2, 1, 0]

    done = elisa("checkpoints", "prune", "study/count", "--keep", "3", "--json")

    assert steps(trial, "removed") == steps(done, "removed") == [3, 2, 1, 0]
    assert steps(elisa("checkpoints", "list", "study/count", "--json")) == [6, 5, 4]
    assert "checkpoints pruned" in elisa("explain", "study/count").out


def test_prune_never_removes_the_newest_that_is_proved_sound(elisa: Elisa, failed: Path) -> None:
    listed = elisa("checkpoints", "list", "study/count", "--json")
    damage(listed, 6)
    damage(listed, 5)

    done = elisa("checkpoints", "prune", "study/count", "--keep", "1", "--json")

    assert steps(done, "removed") == [3, 2, 1, 0]
    assert steps(done, "kept") == [6, 5, 4]


def test_prune_removes_nothing_if_none_is_sound(elisa: Elisa, failed: Path) -> None:
    listed = elisa("checkpoints", "list", "study/count", "--json")
    for step in range(7):
        damage(listed, step)

    assert elisa("checkpoints", "prune", "study/count", "--keep", "1").code == 2
    assert len(steps(elisa("checkpoints", "list", "study/count", "--json"))) == 7


def test_a_chosen_checkpoint_is_where_the_next_attempt_begins(elisa: Elisa, failed: Path) -> None:
    chosen = elisa("checkpoints", "restore", "study/count", "--step", "2")
    listed = elisa("checkpoints", "list", "study/count", "--json")
    (failed / "mended").touch()
    elisa("retry", "study/count")
    ticked = elisa("tick", "--until-idle")

    assert "elisa retry" in chosen.out
    assert (listed.data["next_step"], listed.data["next_is_chosen"]) == (2, True)
    assert ticked.code == 0
    assert elisa("logs", "study/count").out == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    after = elisa("checkpoints", "list", "study/count", "--json")
    assert steps(after) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [Path(one["path"]).name[:22] for one in after.data["set_aside"]] == [
        "g00000004-step00000000",
        "g00000005-step00000000",
        "g00000006-step00000000",
        "g00000007-step00000000",
    ]
    assert elisa("checkpoints", "list", "study/count").out.count("set aside: ") == 4


def test_a_retry_from_a_step_begins_there(elisa: Elisa, failed: Path) -> None:
    (failed / "mended").touch()

    wished = elisa("retry", "study/count", "--from-step", "4", "--json")
    elisa("tick", "--until-idle")

    assert len(wished.data["changed"]) == 1
    history = elisa("explain", "study/count", "--json").data["history"]
    assert any(one["code"] == "retried_by_user" for one in history)
    assert [
        one["attempt"].partition(".")[2]
        for one in elisa("checkpoints", "list", "study/count", "--json").data["checkpoints"]
    ] == ["2"] * 5 + ["1"] * 5


def test_a_retry_from_a_step_that_was_never_saved_changes_nothing(elisa: Elisa, failed: Path) -> None:
    answer = elisa("retry", "study/count", "--from-step", "44", "--json")

    assert answer.data["changed"] == []
    assert "there are checkpoints of step 0, 1, 2, 3, 4, 5, 6" in next(iter(answer.data["unchanged"].values()))


def test_a_damaged_checkpoint_cannot_be_chosen(elisa: Elisa, failed: Path) -> None:
    damage(elisa("checkpoints", "list", "study/count", "--json"), 3)

    answer = elisa("checkpoints", "restore", "study/count", "--step", "3", "--json")

    assert answer.code == 2
    assert "no sound checkpoint of step 3" in answer.data["error"]["what"]
    assert "step 0, 1, 2, 4, 5, 6" in answer.data["error"]["hint"]


def test_prune_keeps_the_chosen_one(elisa: Elisa, failed: Path) -> None:
    elisa("checkpoints", "restore", "study/count", "--step", "1", "--json")

    assert steps(elisa("checkpoints", "prune", "study/count", "--keep", "1", "--json"), "kept") == [6, 1]


def test_a_task_that_runs_or_has_succeeded_cannot_be_sent_back(elisa: Elisa, failed: Path) -> None:
    (failed / "mended").touch()
    elisa("retry", "study/count")
    elisa("tick", "--until-idle")

    answer = elisa("checkpoints", "restore", "study/count", "--step", "1", "--json")
    listed = elisa("checkpoints", "list", "study/count").out

    assert answer.code == 2
    assert "elisa replay" in answer.data["error"]["hint"]
    assert "it has finished; `elisa replay PIPELINE --from STEP` runs a copy from any of them" in listed


def test_the_interval_is_explained_with_the_numbers_behind_it(elisa: Elisa, failed: Path) -> None:
    data = elisa("checkpoints", "explain", "study/count", "--json").data
    words = elisa("checkpoints", "explain", "study/count").out

    assert data["choice"]["save_s"] > 0
    assert data["interval_s"] == data["choice"]["interval_s"]
    assert data["interruptions"] is None
    assert data["lead"]["saves"] > 0
    assert "one a day is assumed" in words
    assert "told of the end of its walltime" in words


@pytest.mark.slow
def test_the_same_failure_at_the_same_step_ends_the_retries_early_and_says_so(
    tmp_path: Path, elisa: Elisa, home: Path, write: Write
) -> None:
    (tmp_path / "count.py").write_text(COUNTS, encoding="utf-8")
    retry = "{limit: 5, backoff: {initial: 0s}}"
    task = f"  count: {{command: ['{sys.executable}', count.py], retry: {retry}}}\n"

    submitted = elisa("submit", write(task), "--wait")
    words, data = " ".join(elisa("explain", "study/count").out.split()), elisa("explain", "study/count", "--json").data

    assert submitted.code == 3
    (row,) = elisa("status", "--all", "--json").data["tasks"]
    assert (row["state"], row["attempts"]) == ("failed", 2)
    assert "the same failure (failed, exit code 3) came 2 times at step 7" in words
    assert f"the last that it wrote: cannot go on `elisa logs {row['id']} --stream stderr` shows all of it" in words
    assert data["wrote_last"] == "cannot go on"
