from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.slurm.identity import JobKey
from elisa.backends.slurm.listing import ListingError, parse_listing, poll_argv
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.states import Record, parse_time
from tests.backends.slurm.jobs import INSTANCE, VERSIONS, attempt, recording

WIDTHS = (24, 16, 8, 6, 20, 20, 20, 64, 64, 48)


# 22.05 fails to launch what 24.11 runs; arrays have a test of their own
NOT_COMPARED = {attempt(character) for character in "67km"}


def line(job: str = "7", state: str = "RUNNING", name: str = "el.ab12.t000000001.1", reason: str = "None") -> str:
    when = "2026-11-24T02:40:08"
    cells = (job, state, "0:0", "0", when, when, "N/A", reason, "n1", name)
    return "".join(cell[:width].ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)) + "\n"


def test_question_names_the_user_all_states_and_every_column_with_its_width() -> None:
    argv = poll_argv("/usr/bin/squeue", 1000, SlurmOptions(cluster="big"))

    assert argv == (
        "/usr/bin/squeue",
        "--clusters=big",
        "--noheader",
        "--array",
        "--states=all",
        "--user=1000",
        "--Format=JobArrayID:24,State:16,exit_code:8,RestartCnt:6,SubmitTime:20,StartTime:20,EndTime:20,Reason:64,NodeList:64,Name:48",
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_listing_is_read_in_full(version: str) -> None:
    listed = parse_listing(recording("squeue", version), INSTANCE)

    assert {of: record.state for (_, of), record in listed.items() if of not in NOT_COMPARED} == {
        attempt("1"): "FAILED",
        attempt("2"): "FAILED",
        attempt("3"): "TIMEOUT",
        attempt("4"): "CANCELLED",
        attempt("5"): "PENDING",
        attempt("8"): "PENDING",
        attempt("9"): "PENDING",
        attempt("a"): "NODE_FAIL",
        attempt("b"): "FAILED",
        attempt("c"): "FAILED",
        attempt("d"): "PENDING",
        attempt("e"): "DEADLINE",
        attempt("f"): "COMPLETED",
        attempt("g"): "PREEMPTED",
        attempt("h"): "COMPLETED",
        attempt("j"): "PENDING",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_array_is_listed_element_by_element(version: str) -> None:
    listed = parse_listing(recording("squeue", version), INSTANCE)

    elements = {
        key.number.partition("_")[2]: listed[key] for key in listed if key.tag == attempt("m") and "_" in key.number
    }
    assert {index: (record.state, record.reason) for index, record in elements.items()} == {
        "0": ("RUNNING", "None"),
        "1": ("PENDING", "JobArrayTaskLimit"),
        "2": ("PENDING", "JobArrayTaskLimit"),
    }
    ended = {key.number.partition("_")[2]: listed[key].exit_code for key in listed if key.tag == attempt("k")}
    assert (ended["0"], ended["1"]) == (0, 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_row_is_read_to_its_last_column(version: str) -> None:
    listed = parse_listing(recording("squeue", version), INSTANCE)

    record = next(record for (_, of), record in listed.items() if of == attempt("1"))
    assert record.submitted_at is not None
    assert record == Record(
        job="1",
        name="el.ab12.t000000001.1",
        state="FAILED",
        exit_code=3,
        reason="NonZeroExitCode",
        nodes="n1",
        submitted_at=record.submitted_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_requeue_by_an_administrator_shows_as_a_restart(version: str) -> None:
    listed = parse_listing(recording("squeue", version), INSTANCE)

    record = next(record for (_, of), record in listed.items() if of == attempt("j"))
    assert (record.state, record.restarts, record.reason) == ("PENDING", 1, "BeginTime")


def test_times_are_utc() -> None:
    (record,) = parse_listing(line(), INSTANCE).values()

    assert record.submitted_at == parse_time("2026-11-24T02:40:08")
    assert record.ended_at is None


def test_other_peoples_names_are_skipped() -> None:
    text = line(name="el.zz99.t000000001.1") + line(name="el.ab12.sneaky") + line(name="x") + line(name="")

    assert parse_listing(text, INSTANCE) == {}


def test_newline_in_a_foreign_name_is_skipped_with_it() -> None:
    text = line(job="6", name="a\nb|c") + line()

    assert set(parse_listing(text, INSTANCE)) == {JobKey("7", attempt("1"))}


def test_row_in_a_foreign_name_forges_nothing() -> None:
    forged = line(job="6", name="x\n" + line(state="FAILED").rstrip("\n"))

    (record,) = parse_listing(line() + forged, INSTANCE).values()

    assert record.state == "RUNNING"


def test_cluster_heading_is_no_garbage() -> None:
    assert parse_listing("CLUSTER: big\n" + line(), INSTANCE).keys() == {JobKey("7", attempt("1"))}


def test_empty_answer_is_a_complete_one() -> None:
    assert parse_listing("", INSTANCE) == {}


@pytest.mark.parametrize("text", ["Welcome to the cluster!\n", line() + "slurm is moody today\n", "<html>\n" + line()])
def test_garbage_proves_nothing(text: str) -> None:
    with pytest.raises(ListingError, match="squeue printed"):
        parse_listing(text, INSTANCE)


@given(cut=st.integers(min_value=1, max_value=len(line()) - 1))
def test_answer_cut_anywhere_proves_nothing(cut: int) -> None:
    with pytest.raises(ListingError, match="breaks off"):
        parse_listing(line() + line(job="8")[:cut], INSTANCE)


@given(name=st.text(max_size=60).filter(lambda name: not name.startswith("el.")))
def test_no_foreign_name_hides_or_shifts_our_job(name: str) -> None:
    text = line(job="5", name=name) + line() + line(job="9", name=name)

    listed = parse_listing(text, INSTANCE)

    assert listed[JobKey("7", attempt("1"))].state == "RUNNING"
