from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.slurm.identity import JobKey, array_tag, native_id_of, split_native_id, tag_of_name
from elisa.model.ids import AttemptId, NativeId

ATTEMPTS = st.from_regex(r"t[0-9a-hjkmnp-tv-z]{9}\.[1-9][0-9]{0,3}", fullmatch=True).map(AttemptId)
NUMBERS = st.from_regex(r"[1-9][0-9]{0,8}(_[0-9]{1,7})?", fullmatch=True)


def test_id_of_a_job_shows_its_number_and_its_attempt() -> None:
    attempt = AttemptId("t7k2m9qx4t.1")

    assert native_id_of(JobKey("12345", attempt), attempt) == "12345.t7k2m9qx4t.1"


def test_id_of_an_element_shows_its_arrays_tag_too() -> None:
    first, attempt = AttemptId("t0000000a1.1"), AttemptId("t7k2m9qx4t.1")

    assert native_id_of(JobKey("12345_7", first), attempt) == "12345_7.t7k2m9qx4t.1+t0000000a1.1"


@given(number=NUMBERS, tag=ATTEMPTS, attempt=ATTEMPTS)
def test_id_is_read_back_as_it_was_made(number: str, tag: AttemptId, attempt: AttemptId) -> None:
    key = JobKey(number, tag)

    assert split_native_id(native_id_of(key, attempt)) == (key, attempt)


@pytest.mark.parametrize(
    "text", ["", "12", "12.x", "0.t7k2m9qx4t.1", "12_.t7k2m9qx4t.1", "12.t7k2m9qx4t.1+x", "-u.t7k2m9qx4t.1", "1\n2"]
)
def test_id_that_was_never_given_out_is_none(text: str) -> None:
    assert split_native_id(NativeId(text)) is None


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("el.ab12.t7k2m9qx4t.1", "t7k2m9qx4t.1"),
        (array_tag("ab12", AttemptId("t7k2m9qx4t.1"), 1000), "t7k2m9qx4t.1"),
        ("el.ab12.t7k2m9qx4t.1+", None),
        ("el.ab12.t7k2m9qx4t.1+x", None),
        ("el.zz99.t7k2m9qx4t.1", None),
        ("t7k2m9qx4t.1", None),
        ("el.ab12.t7k2m9qx4t", None),
        ("", None),
    ],
)
def test_only_names_of_this_instance_carry_a_tag(name: str, tag: str | None) -> None:
    assert tag_of_name("ab12", name) == tag
