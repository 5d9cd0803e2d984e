from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.pbs.identity import JobRef, Names, native_id_of, number_of, split_native_id
from elisa.model.ids import AttemptId, NativeId
from tests.backends.pbs.bench import attempt

NAMES = Names(instance="ab12", limit=230)
SHORT = Names(instance="ab12", limit=15)


@pytest.mark.parametrize("pbs_id", ["0", "12345", "12345.pbs01", "12345.pbs01.site.example.org"])
def test_native_id_is_taken_apart_again(pbs_id: str) -> None:
    assert split_native_id(native_id_of(pbs_id, attempt("1"))) == JobRef(pbs_id=pbs_id, attempt=attempt("1"))


@pytest.mark.parametrize("pbs_id", ["0", "12345.pbs01"])
def test_id_as_the_job_itself_tells_it_is_understood(pbs_id: str) -> None:
    assert split_native_id(NativeId(pbs_id)) == JobRef(pbs_id=pbs_id, attempt=None)


@pytest.mark.parametrize(
    "text",
    ["", "x", "-u", "1\n2", "1; echo", "5[].vm.t000000001.1", "t000000001.1", "1.vm/x", "1..vm", "a" * 300, "\uff19"],
)
def test_what_is_no_id_of_pbs_is_none(text: str) -> None:
    assert split_native_id(NativeId(text)) is None


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    ref = split_native_id(NativeId(text))

    assert ref is None or text == (ref.pbs_id if ref.attempt is None else native_id_of(ref.pbs_id, ref.attempt))


@pytest.mark.parametrize(
    ("text", "number"), [("12.vm", "12"), ("12[].vm", "12[]"), ("12[7].vm", "12[7]"), ("12", "12"), ("abc", "")]
)
def test_number_is_what_all_programs_print_alike(text: str, number: str) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("names", [NAMES, SHORT], ids=["long", "short"])
def test_a_name_stands_for_its_attempt(names: Names) -> None:
    assert names.attempt_in(names.of(attempt("1"))) == attempt("1")


def test_short_names_are_the_bare_attempt() -> None:
    assert (NAMES.of(attempt("1")), SHORT.of(attempt("1"))) == ("el.ab12.t000000001.1", "t000000001.1")


@pytest.mark.parametrize("name", ["", "t000000001.1", "el.cd34.t000000001.1", "el.ab12.STDIN", "el.ab12.t000000001.1x"])
def test_names_of_others_are_not_ours(name: str) -> None:
    assert NAMES.attempt_in(name) is None
    assert not NAMES.belongs(name, JobRef(pbs_id="1.vm", attempt=None))


def test_a_number_used_again_by_another_attempt_is_not_the_one_meant() -> None:
    ref = JobRef(pbs_id="1.vm", attempt=attempt("1"))

    assert NAMES.belongs("el.ab12.t000000001.1", ref)
    assert not NAMES.belongs("el.ab12.t000000001.2", ref)
    assert NAMES.belongs("el.ab12.t000000001.2", JobRef(pbs_id="1.vm", attempt=None))


def test_no_attempt_has_no_name() -> None:
    assert NAMES.attempt_in(NAMES.of(AttemptId(""))) is None
