from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.pbs.attributes import parse_mib, parse_nodes, parse_records, parse_seconds, parse_time, whole
from tests.backends.pbs.bench import recorded
from tests.fakes.pbs.printing import fold


def test_folded_lines_are_joined_without_a_gap() -> None:
    [(name, pairs)] = list(
        parse_records("Job Id: 1.vm\n    comment = Job run and fini\n\tshed\n    x = 1\n", "Job Id: ")
    )

    assert (name, pairs) == ("1.vm", {"comment": "Job run and finished", "x": "1"})


def test_a_comment_that_ends_with_the_line_is_whole() -> None:
    text = "Job Id: 1.vm\n    comment = sent for execution\n\t\n    etime = x\n"

    assert dict(parse_records(text, "Job Id: ")) == {"1.vm": {"comment": "sent for execution", "etime": "x"}}


def test_an_attribute_counts_as_it_came_first() -> None:
    text = "Job Id: 1.vm\n    job_state = R\n    job_state = F\n"

    assert dict(parse_records(text, "Job Id: ")) == {"1.vm": {"job_state": "R"}}


# qstat itself loses empty words between commas
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=200)


@given(st.lists(WORDS, min_size=1, max_size=8).map(",".join))
def test_any_printable_value_survives_the_folding(value: str) -> None:
    text = f"Job Id: 1.vm\n{fold('    Submit_arguments = ', value)}\n\n"

    assert dict(parse_records(text, "Job Id: ")) == {"1.vm": {"Submit_arguments": value}}


def test_a_real_listing_has_every_job_and_its_folded_values() -> None:
    jobs = dict(parse_records(recorded("qstat-jobs").stdout, "Job Id: "))

    assert len(jobs) == 20
    assert jobs["2024.vm"]["comment"] == (
        "Job run at Tue Nov 24 at 03:41 on (vm:ncpus=1) and exceeded resource walltime"
    )
    assert jobs["2021.vm"]["Submit_arguments"].endswith("t000000001.1.err")
    assert {pairs["job_state"] for pairs in jobs.values()} == set("FRHWSQ")


def test_nodes_are_parted_by_their_names() -> None:
    text = "n1\n     state = free\n     jobs = 1.vm/0, 2.vm/1\n\nn2\n     state = down,offline\n\n"

    assert dict(parse_nodes(text)) == {
        "n1": {"state": "free", "jobs": "1.vm/0, 2.vm/1"},
        "n2": {"state": "down,offline"},
    }


def test_no_text_holds_no_records() -> None:
    assert list(parse_records("", "Job Id: ")) == []
    assert list(parse_nodes("")) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("26:00:00", 93600), ("10:30", 630), ("90", 90), ("", 0), ("abc", 0), (None, 0)]
)
def test_durations(text: str | None, seconds: int) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("16gb", 16384),
        ("250mb", 250),
        ("102400kb", 100),
        ("1048576", 1),
        ("1048576b", 1),
        ("2mw", 16),
        ("1TB", 1048576),
        ("", 0),
        ("much", 0),
        (None, 0),
    ],
)
def test_sizes(text: str | None, mib: int) -> None:
    assert parse_mib(text) == mib


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Mon Nov 23 23:58:15 2026", datetime(2026, 11, 23, 23, 58, 15, tzinfo=UTC)),
        ("Tue Nov  3 03:58:15 2026", datetime(2026, 11, 3, 3, 58, 15, tzinfo=UTC)),
        ("1795478227", datetime(2026, 11, 23, 23, 57, 7, tzinfo=UTC)),
        ("99999999999999999999", None),
        ("UNKNOWN", None),
        (None, None),
    ],
)
def test_times(text: str | None, time: datetime | None) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(("text", "number"), [("-29", -29), ("0", 0), ("1.5", None), ("", None), (None, None)])
def test_whole_numbers(text: str | None, number: int | None) -> None:
    assert whole(text) == number
