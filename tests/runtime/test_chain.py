"""A job that was queued behind others looks for their marks before it begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elisa.runtime.chain import wait_for_others
from elisa.runtime.claim import NativeJob, RefusedError, claim_task
from elisa.runtime.job import Job, JobError, parse_job, read_job
from tests.runtime.agent_cases import TASK, Case, names

OTHER = "t000000002.3"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path, {"behind": [OTHER]})


def a_job(case: Case) -> Job:
    return read_job(str(case.job()))


def finish(case: Case, attempt: str = OTHER, text: str | None = None) -> None:
    folder = case.home / "claims" / "t000000002"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "done").write_text(text if text is not None else json.dumps({"attempt": attempt}))


def test_job_begins_at_once_when_those_before_it_have_finished(case: Case) -> None:
    finish(case)
    waits: list[float] = []

    assert wait_for_others(a_job(case), waits.append) == ""
    assert waits == []


def test_mark_that_shows_late_is_waited_for(case: Case) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            finish(case)

    assert wait_for_others(a_job(case), sleep) == ""
    assert waits == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "text", [None, "{torn", "[]", '{"attempt": "t000000002.2"}'], ids=["none", "torn", "no object", "another attempt"]
)
def test_job_whose_predecessor_did_not_finish_claims_nothing(case: Case, text: str | None) -> None:
    job = a_job(case)
    if text is not None:
        finish(case, text=text)

    with pytest.raises(RefusedError, match=f"attempt {OTHER}, which this was queued behind, did not finish its task"):
        claim_task(job, NativeJob("77", 0), lambda _seconds: None)

    assert names(case.home / "claims" / TASK) == ["fence"]


def test_names_that_lead_elsewhere_are_no_attempts(case: Case) -> None:
    content = json.loads(case.job().read_text())

    with pytest.raises(JobError, match="is no id"):
        parse_job({**content, "behind": ["../../etc.1"]})
