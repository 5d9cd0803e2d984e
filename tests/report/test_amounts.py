"""Amounts of budgets in a person's units."""

from __future__ import annotations

import pytest

from elisa.model.reasons import Reason, ReasonCode, because
from elisa.model.site import Metered
from elisa.report.amounts import in_hours
from elisa.report.words import in_words


def exhausted(resource: str, left: int, cap: int, asked: int) -> Reason:
    return because(ReasonCode.BUDGET_EXHAUSTED, project="vision", resource=resource, left=left, cap=cap, asked=asked)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        pytest.param(
            exhausted("gpu_s:a100", 112_320, 1_800_000, 172_800),
            "project vision has 31.2 gpu-h of a100 left of 500, this asks for 48",
            id="gpu seconds of one type",
        ),
        pytest.param(
            exhausted("memory_mib_s", -1024 * 3600, 1024 * 36_000, 1024 * 900),
            "project vision has -1 GiB-h left of 10, this asks for 0.25",
            id="a budget that was cut below its use",
        ),
        pytest.param(
            because(
                ReasonCode.CONCURRENCY_CAP, project="nlp", resource="memory_mib", in_use=1536, cap=2048, asked=1024
            ),
            "project nlp uses 1.5 GiB of the 2 it may use at once, this asks for 1",
            id="memory held now",
        ),
        pytest.param(
            because(ReasonCode.CONCURRENCY_CAP, project="nlp", resource="jobs", in_use=2, cap=2, asked=1),
            "project nlp uses 2 jobs of the 2 it may use at once, this asks for 1",
            id="what is counted is told as it is",
        ),
    ],
)
def test_a_budget_is_told_in_the_units_of_people(reason: Reason, words: str) -> None:
    assert in_words(reason) == words


@pytest.mark.parametrize("resource", list(Metered))
def test_no_amount_is_told_in_seconds_or_mebibytes(resource: Metered) -> None:
    told = in_hours(exhausted(resource.value, 1, 2, 3).facts)

    assert not str(told["resource"]).endswith(("_s", "_mib"))
