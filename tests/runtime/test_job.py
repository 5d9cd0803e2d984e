from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime.job import CheckpointRules, DataFile, JobError, parse_job, read_job

LEAST: dict[str, Any] = {
    "attempt": "t000000001.2",
    "task": "t000000001",
    "number": 2,
    "home": "/h",
    "key": bytes(32).hex(),
    "argv": ["true"],
}


def test_the_least_instructions_give_the_usual_settings() -> None:
    job = parse_job({**LEAST, "call": None, "checkpoint": None, "resume": None, "walltime_s": None})

    assert job.argv == ("true",)
    assert (job.walltime_s, job.grace_s, job.checkpoint, job.resume_step) == (0.0, 30.0, None, None)
    assert job.event_dir == "/h/spool/t000000001.2/events"
    assert job.claim_dir == "/h/claims/t000000001"


def test_everything_that_is_given_is_taken() -> None:
    job = parse_job(
        {
            **LEAST,
            "shell": True,
            "walltime_s": 60,
            "nodes": 2,
            "env": {"A": "b"},
            "checkpoint": {"interval_s": None, "keep": 3, "pattern": "*.nc", "signal": "USR1", "later": 1},
            "resume": {"path": "/c", "step": 7},
            "outputs": [{"name": "model", "path": "m.npy", "format": "npy", "columns": [], "optional": True}],
        }
    )

    assert (job.shell, job.walltime_s, job.nodes, job.env) == (True, 60.0, 2, {"A": "b"})
    assert job.checkpoint == CheckpointRules(keep=3, pattern="*.nc", signal="USR1")
    assert (job.resume_path, job.resume_step) == ("/c", 7)
    assert job.outputs == (DataFile("model", "m.npy", "npy", (), optional=True),)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attempt": "../x"}, "no id"),
        ({"task": ""}, "no id"),
        ({"attempt": ".hidden"}, "no id"),
        ({"argv": None}, "neither a program nor a call"),
        ({"argv": [1]}, "no text"),
        ({"argv": ["a\0b"]}, "NUL"),
        ({"key": "00"}, "32 bytes"),
        ({"key": None}, "lack 'key'"),
        ({"number": "x"}, "make no sense"),
    ],
)
def test_instructions_that_make_no_sense_are_refused(change: dict[str, Any], why: str) -> None:
    given = {name: value for name, value in {**LEAST, **change}.items() if value is not None or name == "argv"}

    with pytest.raises(JobError, match=why):
        parse_job(given)


def test_instructions_must_be_an_object() -> None:
    with pytest.raises(JobError, match="not an object"):
        parse_job([])


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with pytest.raises(JobError, match="cannot be read"):
        read_job(str(path))
    path.write_text("{")
    with pytest.raises(JobError, match="cannot be read"):
        read_job(str(path))
    path.write_text(json.dumps(LEAST))
    assert read_job(str(path)).path == str(path)
