from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from elisa.engine.tokens import fill, fill_shell, folders_of
from elisa.model.ids import PipelineId

LOOK_UP = folders_of(Path("/home/ada/elisa"), PipelineId("p7k2m9qx4t"), "train")


def test_the_folders_of_a_task_and_of_others_are_filled_in() -> None:
    text = "${task_dir} ${checkpoint_dir} ${pipeline_dir} ${dir.prepare data}"

    run = "/home/ada/elisa/runs/p7k2m9qx4t"
    assert fill(text, LOOK_UP) == f"{run}/train {run}/train/checkpoints {run} {run}/prepare_data-6e2d5415"


@pytest.mark.parametrize("text", ["${HOME}", "$task_dir", "${}", "${task_dir", "$${x}", "{task_dir}"])
def test_what_is_no_token_stays_as_it_is(text: str) -> None:
    assert fill(text, LOOK_UP) == text


def test_a_plain_path_stands_in_a_shell_command_as_it_is() -> None:
    assert fill_shell("cat '${dir.a}'/x", LOOK_UP) == "cat '/home/ada/elisa/runs/p7k2m9qx4t/a'/x"


@pytest.mark.parametrize("home", ["/tmp/a b", "/tmp/a'; echo foo; '", "/tmp/$(echo foo)", '/tmp/"x'])
def test_a_hostile_path_cannot_speak_to_the_shell(home: str) -> None:
    look_up = folders_of(Path(home), PipelineId("p7k2m9qx4t"), "train")
    variables = {"ELISA_TASK_DIR": look_up("task_dir") or "", "ELISA_PIPELINE_DIR": look_up("pipeline_dir") or ""}

    command = fill_shell('printf "%s|%s" "${task_dir}" "${dir.other}"', look_up)
    printed = subprocess.run(["/bin/sh", "-c", command], env=variables, capture_output=True, text=True, check=True)

    assert printed.stdout == f"{home}/runs/p7k2m9qx4t/train|{home}/runs/p7k2m9qx4t/other"
