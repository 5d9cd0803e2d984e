"""Jobs named for a person."""

from __future__ import annotations

from elisa.model.ids import NativeId
from elisa.model.text import job_words


def test_job_is_named_by_its_number() -> None:
    assert job_words("prep", None) == "prep's job"
    assert job_words("prep", NativeId("3.t7k2m9qx4t.1")) == "prep's job 3"
