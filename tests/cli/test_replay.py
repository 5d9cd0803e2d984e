"""A pipeline replayed from one of its checkpoints, with real programs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.store.reader import Reader
from tests.cli.conftest import SITE, Elisa

Write = Callable[[str], str]

TRAIN = """\
import json, os, sys
from elisa import checkpoint, runtime
start = json.load(open(os.path.join(os.environ["ELISA_PIPELINE_DIR"], "prepare", "start.json")))
with checkpoint.run(interval_s=0, keep=20) as ckpt:
    total = ckpt.load() or start
    first = None
    for step in ckpt.steps(6):
        first = step if first is None else first
        total += step
        ckpt.save(step, total)
here = os.environ["ELISA_TASK_DIR"]
json.dump({"total": total, "first": first}, open(os.path.join(here, "total.json"), "w"))
"""
PIPELINE = """\
  prepare:
    command: [sh, -c, 'echo 100 > "$ELISA_TASK_DIR/start.json"; echo x >> prepared']
    outputs: {{start: {{path: start.json, format: json}}}}
  train:
    command: ['{python}', train.py]
    needs: [prepare]
    resources: {{cpus: 2}}
    outputs: {{total: {{path: total.json, format: json}}}}
  report:
    command: [sh, -c, 'cat "$ELISA_PIPELINE_DIR/train/total.json"']
    needs: [train]
"""


@pytest.fixture
def pipeline(tmp_path: Path, elisa: Elisa, home: Path, write: Write) -> str:
    """Run a pipeline to its end; return its id."""
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    answer = elisa("submit", write(PIPELINE.format(python=sys.executable)), "--json")
    assert elisa("tick", "--until-idle").code == 0, elisa("status", "--all").out
    return str(answer.data["pipeline"])


def states(elisa: Elisa, pipeline: str) -> dict[str, str]:
    return {task["name"]: task["state"] for task in elisa("status", pipeline, "--all", "--json").data["tasks"]}


def printed(elisa: Elisa, home: Path, pipeline: str, task: str) -> str:
    with Reader.open(home) as reader:
        (found,) = [row.id for row in reader.task_rows(pipeline=pipeline) if row.name == task]
    return elisa("logs", found).out


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_replay_goes_on_from_the_checkpoint_and_leaves_the_original_alone(
    elisa: Elisa, home: Path, pipeline: str
) -> None:
    before = fingerprint(home / "runs" / pipeline)
    told = elisa("status", pipeline, "--all", "--json").data["tasks"]

    made = elisa("replay", pipeline, "--from", "2", "--json")
    again = made.data["pipeline"]
    ticked = elisa("tick", "--until-idle")

    assert (made.code, ticked.code) == (0, 0)
    assert made.data | {"pipeline": ""} == {
        "schema": "elisa.replay/1",
        "pipeline": "",
        "name": "study-replay",
        "backend": "local",
        "task": "train",
        "step": 2,
        "taken": ["prepare"],
        "again": ["train", "report"],
        "warnings": [],
    }
    assert states(elisa, again) == {"prepare": "succeeded", "train": "succeeded", "report": "succeeded"}
    assert json.loads(printed(elisa, home, again, "report")) == {"total": 115, "first": 3}
    assert json.loads(printed(elisa, home, pipeline, "report")) == {"total": 115, "first": 0}
    assert fingerprint(home / "runs" / pipeline) == before
    assert elisa("status", pipeline, "--all", "--json").data["tasks"] == told
    assert (home.parent / "prepared").read_text() == "x\n"


def test_the_store_is_sound_after_a_replay_and_what_was_taken_costs_nothing(
    elisa: Elisa, home: Path, pipeline: str
) -> None:
    again = elisa("replay", pipeline, "--from", "2", "--json").data["pipeline"]

    with Reader.open(home) as reader:
        (prepare,) = [row.id for row in reader.task_rows(pipeline=again) if row.name == "prepare"]
        booked = [row.charge.cpu_s for row in reader.ledger() if row.attempt == f"{prepare}.1"]
        check = reader.verify_audit()
    assert set(booked) == {0}
    assert check.problems == ()
    assert "it was taken as it was in" in elisa("explain", prepare).out


def test_with_rerun_everything_before_runs_again(elisa: Elisa, home: Path, pipeline: str) -> None:
    made = elisa("replay", pipeline, "--from", "4", "--rerun", "--json")
    elisa("tick", "--until-idle")

    assert (made.data["taken"], made.data["again"]) == ([], ["prepare", "train", "report"])
    assert json.loads(printed(elisa, home, made.data["pipeline"], "report")) == {"total": 115, "first": 5}
    assert (home.parent / "prepared").read_text() == "x\nx\n"


def test_a_checkpoint_is_named_by_its_folder_too(elisa: Elisa, home: Path, pipeline: str) -> None:
    listed = elisa("checkpoints", "list", "study/train", "--json").data["checkpoints"]
    (path,) = [one["path"] for one in listed if one["step"] == 3]

    made = elisa("replay", pipeline, "--from", path, "--json")

    assert (made.data["task"], made.data["step"]) == ("train", 3)


def test_a_damaged_checkpoint_is_no_beginning_and_nothing_is_left_behind(
    elisa: Elisa, home: Path, pipeline: str
) -> None:
    listed = elisa("checkpoints", "list", "study/train", "--json").data["checkpoints"]
    (folder,) = [Path(one["path"]) for one in listed if one["step"] == 3]
    state = next(path for path in folder.iterdir() if path.name != "MANIFEST.json")
    state.write_bytes(bytes(byte ^ 1 for byte in state.read_bytes()))

    answer = elisa("replay", pipeline, "--from", "3", "--json")

    assert answer.code == 2
    assert "no sound checkpoint of step 3" in answer.data["error"]["what"]
    assert [folder.name for folder in (home / "runs").iterdir()] == [pipeline]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        pytest.param(["--from", "77"], "no checkpoint `77`", id="a step that was never saved"),
        pytest.param(["--from", "2", "--task", "nobody"], "nobody", id="a task that is not there"),
        pytest.param(["--from", "2", "--task", "report"], "no checkpoint `2`", id="a task without checkpoints"),
        pytest.param(["--from", "2", "--on", "mars"], "cannot run on `mars`", id="a backend that is not there"),
    ],
)
def test_what_cannot_be_replayed_is_told(elisa: Elisa, home: Path, pipeline: str, words: list[str], what: str) -> None:
    answer = elisa("replay", pipeline, *words, "--json")

    assert answer.code == 2
    assert what in answer.data["error"]["what"]


def test_a_task_is_no_pipeline(elisa: Elisa, home: Path, pipeline: str) -> None:
    assert elisa("replay", "study/train", "--from", "2").code == 2


def test_requests_are_cut_down_to_this_machine_and_that_is_told(elisa: Elisa, home: Path, pipeline: str) -> None:
    (home / "site.yaml").write_text(SITE.replace("cpus: 4", "cpus: 1"), encoding="utf-8")

    answer = elisa("replay", pipeline, "--from", "2")

    assert "warning: train asks for 1 nodes, 1 cpus, 0 gpus instead of 1 nodes, 2 cpus, 0 gpus" in answer.err


def test_without_a_local_or_simulated_backend_a_replay_has_nowhere_to_run(
    elisa: Elisa, home: Path, pipeline: str
) -> None:
    (home / "site.yaml").write_text("backends: {cluster: {kind: slurm}}\n", encoding="utf-8")

    answer = elisa("replay", pipeline, "--from", "2", "--json")

    assert "nowhere to run" in answer.data["error"]["what"]
