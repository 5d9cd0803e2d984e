"""The pretended PBS against the recordings of a real one, and the backend's reading of them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.options import Dialect
from elisa.backends.pbs.states import describe, read_record
from elisa.model.ids import NativeId
from elisa.model.native import NativeState
from elisa.model.states import EndReason
from tests.backends.openpbs.parts import CAPTURES, recorded, recorded_command, recorded_jobs
from tests.fakes.openpbs.fake_openpbs import FakeOpenPbs
from tests.fakes.openpbs.rendering import render_record

REFUSALS = sorted(
    path.stem
    for path in CAPTURES.glob("qsuberr_*.txt")
    if path.stem not in {"qsuberr_server_host", "qsuberr_dep_unknown"}  # another machine; an acceptance
)
ANSWERS = [
    "qdel_mixed", "qdel_unknown", "qdel_finished", "qdel_badid", "qdel_otherserver", "qdel_noargs", "qdel_other_user",
    "qdel_running", "qstat_unknown", "qstat_finished_nox", "qstat_finished_nox_text",
    "qhold_queued", "qhold_running", "qhold_unknown", "qhold_finished", "qrls_ok", "qrls_unknown",
    "qalter_queued_ok", "qalter_unknown", "qalter_finished", "qalter_badres",
    "qsig_queued", "qsig_unknown", "qsig_finished", "qsig_badsig", "qsig_ok",
    "qselect_none", "version_qstat", "pbsnodes_unknown",
]  # fmt: skip


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeOpenPbs]:
    """A server with the jobs that the recordings speak of, none of which really runs."""
    fake = FakeOpenPbs(tmp_path / "pbs")
    fake.pause()
    for number in ("2", "5"):
        fake.add(number, state="F" if number == "2" else "H", substate=92, holds="u", runs=1, status=0)
    fake.add("14")
    for number in ("16", "17", "18", "19", "20"):
        fake.add(number, state="R", stime=1)
    yield fake
    fake.stop()


def _run(fake: FakeOpenPbs, command: str) -> tuple[int, str]:
    """Run a recorded command line with the pretended programs; return its status and what it said on stderr."""
    words = shlex.split(re.sub(r"^.*\| ", "", command))
    done = subprocess.run(
        [fake.bin / words[0], *words[1:]], input="true\n", capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["qstat_f_text_active", "qstat_xf_text_1", "qstat_two_text"])
def test_lines_are_folded_as_a_real_qstat_folds_them(name: str) -> None:
    text = recorded(name).stdout
    records = parse_records(text, "Job Id: ")

    assert "".join(render_record(f"Job Id: {job}", pairs.items()) for job, pairs in records) == text


@pytest.mark.parametrize("name", REFUSALS)
def test_qsub_refuses_with_the_recorded_words_and_status(name: str, fake: FakeOpenPbs) -> None:
    if name == "qsuberr_server_down":
        fake.down()
    real = recorded(name)

    assert _run(fake, recorded_command(name)) == (real.exit_code, real.stderr)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_other_programs_say_what_was_recorded(name: str, fake: FakeOpenPbs) -> None:
    if name == "qdel_other_user":
        fake.put("19", {"owner": "somebody"})
    real = recorded(name)

    assert _run(fake, recorded_command(name)) == (real.exit_code, real.stderr)


@pytest.mark.parametrize("name", ["serverdown_qstat", "serverdown_qdel", "serverdown_qsub", "serverdown_pbsnodes"])
def test_a_server_that_is_down_is_told_in_the_recorded_words(name: str, fake: FakeOpenPbs) -> None:
    fake.down()
    real = recorded(name)

    assert _run(fake, recorded_command(name)) == (real.exit_code, real.stderr)


def test_a_server_without_history_says_so(fake: FakeOpenPbs, tmp_path: Path) -> None:
    forgetful = FakeOpenPbs(tmp_path / "forgetful", history=False)
    real = recorded("qstat_history_disabled")

    assert _run(forgetful, recorded_command("qstat_history_disabled")) == (real.exit_code, real.stderr)


def _seen(attributes: dict[str, str]) -> tuple[object, ...]:
    seen = describe(read_record(attributes), NativeId("1.vm.t000000000.1"), Dialect.OPENPBS)
    return seen.state, seen.end_reason, seen.exit_code, seen.signal


def test_the_recorded_jobs_are_read_as_what_they_were() -> None:
    jobs = dict(parse_records(recorded("qstat_xf_text_1").stdout, "Job Id: "))
    read = {job: _seen(dict(attributes)) for job, attributes in jobs.items()}

    done = (NativeState.ENDED, EndReason.COMPLETED, 0, None)
    over = (NativeState.ENDED, EndReason.TIMEOUT, None, None)
    assert read == {
        "2.vm": done,
        "3.vm": done,
        "4[].vm": (NativeState.ENDED, EndReason.FAILED, 1, None),
        "5.vm": (NativeState.HELD, None, None, None),
        "6.vm": (NativeState.ENDED, EndReason.FAILED, 3, None),
        "7.vm": done,
        "8.vm": (NativeState.ENDED, EndReason.LOST, None, None),
        "9.vm": done,
        "10.vm": over,
        "11.vm": over,
        "12.vm": over,
        "13.vm": (NativeState.QUEUED, None, None, None),
        "14.vm": (NativeState.QUEUED, None, None, None),
        "15.vm": done,
    }


@pytest.mark.parametrize(
    ("name", "job", "seen"),
    [
        ("qstat_norerun_nodefail_json", "237.vm", (NativeState.ENDED, EndReason.NODE_FAILURE, None, None)),
        ("qstat_requeued_after_nodefail_json", "236.vm", (NativeState.QUEUED, None, None, None)),
        ("qstat_suspended", "20.vm", (NativeState.RUNNING, None, None, None)),
        ("qstat_held_u", "14.vm", (NativeState.HELD, None, None, None)),
        ("qstat_badout_json", "196.vm", (NativeState.RUNNING, None, None, None)),
        ("qstat_execargs_json", "194.vm", (NativeState.ENDED, EndReason.COMPLETED, 0, None)),
        ("qstat_dependents_of_deleted_json", "221.vm", (NativeState.QUEUED, None, None, None)),
    ],
)
def test_what_was_only_recorded_as_json_is_read_alike(name: str, job: str, seen: tuple[object, ...]) -> None:
    assert _seen(recorded_jobs(name)[job]) == seen


def test_the_json_of_two_jobs_holds_only_the_first() -> None:
    # Three were asked for, the status was 0: the reason why nothing here reads JSON.
    assert recorded("qstat_two_json").exit_code == 0
    assert list(recorded_jobs("qstat_two_json")) == ["19.vm"]
