"""The places of one attempt, given at once, are those that the functions of their names give one by one."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from elisa.model import layout
from elisa.model.ids import AttemptId, PipelineId


@pytest.mark.parametrize("name", ["train", "fold[3]", "a/b", ".hidden", "x" * 300])
def test_all_places_at_once_are_those_given_one_by_one(name: str) -> None:
    home, pipeline, attempt = PurePosixPath("/home/ada/.elisa"), PipelineId("p000000001"), AttemptId("t000000001.12")
    where = (home, pipeline, name)

    places = layout.attempt_places(home, pipeline, name, attempt)

    assert places == layout.AttemptPlaces(
        pipeline_dir=str(layout.pipeline_dir(home, pipeline)),
        task_dir=str(layout.task_dir(*where)),
        checkpoint_dir=str(layout.checkpoint_dir(*where)),
        stdout_log=str(layout.stdout_log(*where, attempt)),
        stderr_log=str(layout.stderr_log(*where, attempt)),
        result_file=str(layout.result_file(*where, attempt)),
    )
