"""An attempt that was queued ahead begins only where the one before it has left word to go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime.claim import NativeJob, RefusedError, claim_task, continued, release
from elisa.runtime.durable import make_folder
from elisa.runtime.eventfile import EventFiles
from elisa.runtime.job import Job, JobError, parse_job, read_job
from elisa.runtime.segment import Saved, has_steps_left, newest_saved, say_goes_on
from tests.runtime.agent_cases import TASK, Case, names, python

FIRST = f"{TASK}.1"
SAVED = Saved("checkpoints/g7", 7)
# Saves step after step with the library, and leaves when it is asked to.
SAVER = """
import time
from elisa import checkpoint
with checkpoint.run(interval_s=0) as ckpt:
    state = ckpt.load() or {"n": 0}
    for step in ckpt.steps(%d):
        time.sleep(0.05)
        ckpt.save(step, {"n": step})
print("done from", ckpt.step)
"""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def first(case: Case) -> Job:
    return read_job(str(case.job(1)))


def second(case: Case) -> Job:
    """Return the instructions of the attempt behind the first, which is the newest that the fence knows."""
    path = case.job(2, continues=FIRST)
    (case.home / "claims" / TASK / "fence").write_text("1")
    return read_job(str(path))


def test_it_begins_where_the_one_before_it_left_off(case: Case) -> None:
    before, behind = first(case), second(case)
    claim = claim_task(before, NativeJob("76", 0))
    say_goes_on(before, SAVED)
    release(before, claim)

    job = continued(behind, pytest.fail)

    assert (job.resume_path, job.resume_step, job.is_exact_resume) == ("checkpoints/g7", 7, False)
    assert claim_task(job, NativeJob("77", 0)).native_id == "77"


def test_word_that_shows_late_is_waited_for(case: Case) -> None:
    before, behind = first(case), second(case)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            say_goes_on(before, SAVED)

    assert continued(behind, sleep).resume_step == 7
    assert waits == [1.0, 1.0, 1.0]


def test_it_does_not_begin_beside_the_one_before_it(case: Case) -> None:
    before, behind = first(case), second(case)
    claim_task(before, NativeJob("76", 0))
    waits: list[float] = []

    with pytest.raises(RefusedError, match="did not end so that this one could go on"):
        continued(behind, waits.append)

    assert len(waits) == 60
    # Neither it nor what is queued behind it will ever begin.
    with pytest.raises(RefusedError, match="taken back"):
        claim_task(behind, NativeJob("77", 0))
    third = read_job(str(case.job(3, continues=behind.attempt)))
    with pytest.raises(RefusedError, match="did not end"):
        continued(third, pytest.fail)


def test_one_that_left_without_a_word_is_not_waited_for(case: Case) -> None:
    before, behind = first(case), second(case)
    release(before, claim_task(before, NativeJob("76", 0)))

    with pytest.raises(RefusedError, match="did not end so that this one could go on"):
        continued(behind, pytest.fail)


def test_restart_that_left_without_a_word_counts_for_the_whole(case: Case) -> None:
    before, behind = first(case), second(case)
    release(before, claim_task(before, NativeJob("76", 0)))
    again = claim_task(before, NativeJob("76", 1))
    waits: list[float] = []

    with pytest.raises(RefusedError):
        continued(behind, lambda s: waits.append(s) or (release(before, again) if len(waits) == 2 else None))

    assert len(waits) == 2


def test_task_that_is_done_is_not_begun_again(case: Case) -> None:
    behind = second(case)
    (case.home / "claims" / TASK / "done").write_text("{}")

    with pytest.raises(RefusedError, match="the task is done"):
        continued(behind, pytest.fail)


def test_one_that_was_taken_back_claims_nothing(case: Case) -> None:
    before, behind = first(case), second(case)
    say_goes_on(before, SAVED)
    (case.home / "claims" / TASK / f"{behind.attempt}.recalled").touch()

    with pytest.raises(RefusedError, match="taken back"):
        continued(behind, pytest.fail)


@pytest.mark.parametrize(
    "text",
    ["{torn", "[]", "{}", '{"attempt": "t000000001.9", "path": "p", "step": 1}', '{"attempt": "t000000001.1"}'],
)
def test_word_that_makes_no_sense_is_none(case: Case, text: str) -> None:
    before, behind = first(case), second(case)
    release(before, claim_task(before, NativeJob("76", 0)))
    (case.home / "claims" / TASK / f"{FIRST}.goes_on").write_text(text)

    with pytest.raises(RefusedError, match="did not end"):
        continued(behind, pytest.fail)


def test_names_that_lead_elsewhere_are_no_attempts(case: Case) -> None:
    content = json.loads(case.job().read_text())

    with pytest.raises(JobError, match="is no id"):
        parse_job({**content, "continues": "../../etc.1"})


def test_newest_checkpoint_counts_if_it_is_beyond_where_the_attempt_began(case: Case) -> None:
    case.run(case.job(argv=python(SAVER % 3), checkpoint={"keep": 9}))
    job = read_job(str(case.home / "spool" / FIRST / "job.json"))

    saved = newest_saved(job)

    assert saved is not None
    assert (saved.step, Path(saved.path).parent) == (2, case.task_dir / "checkpoints")
    assert newest_saved(job._replace(resume_step=2)) is None


def limits(**more: Any) -> dict[str, Any]:
    return {"walltime_s": 2, "checkpoint": {"lead_s": 1, "keep": 9}, **more}


@pytest.mark.slow
class TestTheAgent:
    def test_leaves_word_when_its_time_ran_out_and_the_next_one_finishes(self, case: Case) -> None:
        ran_out = case.run(case.job(argv=python(SAVER % 40), **limits()))
        word = json.loads((case.home / "claims" / TASK / f"{FIRST}.goes_on").read_text())

        path = case.job(2, argv=python(SAVER % 40), continues=FIRST, **limits(walltime_s=60))
        (case.home / "claims" / TASK / "fence").write_text("1")
        finished = case.run(path)

        assert (ran_out, finished) == (85, 0)
        assert word["step"] > 0
        assert case.said("started", 2)["resumed_step"] == word["step"]
        assert f"done from {word['step']}" in case.printed
        assert "done" in names(case.home / "claims" / TASK)

    def test_leaves_no_word_when_it_saved_nothing(self, case: Case) -> None:
        sleeper = "import time\ntime.sleep(60)"

        case.run(case.job(argv=python(sleeper), **limits()))

        assert case.said("exited")["why"] == "timeout"
        assert not any(name.endswith("goes_on") for name in names(case.home / "claims" / TASK))

    def test_leaves_no_word_when_somebody_else_ended_it(self, case: Case) -> None:
        with case.start(case.job(argv=python(SAVER % 400), **limits(walltime_s=60))) as process:
            while "checkpoint" not in case.kinds():
                pass
            process.terminate()
            process.communicate(timeout=30)

        assert case.said("exited")["why"] == "stopped"
        assert not any(name.endswith("goes_on") for name in names(case.home / "claims" / TASK))

    def test_that_is_not_to_go_on_starts_no_program(self, case: Case) -> None:
        release(first(case), claim_task(first(case), NativeJob("76", 0)))
        path = case.job(2, argv=["touch", str(case.home / "ran")], continues=FIRST)

        assert case.run(path) == 75
        assert case.kinds(2) == ["refused"]
        assert not (case.home / "ran").exists()


@pytest.mark.parametrize(("saved", "is_left"), [(9, True), (10, False)])
def test_steps_that_were_saved_count_as_done_before_the_program_says_so(
    case: Case,
    saved: int,
    is_left: bool,  # noqa: FBT001 - a column of the table
) -> None:
    job = first(case)
    make_folder(job.event_dir)
    events = EventFiles(job.event_dir, job.attempt, 1, job.key)
    events.write("progress", {"step": 3, "total": 10}, 1.0)
    events.write("checkpoint", {"step": saved}, 2.0)

    assert has_steps_left(job) is is_left
