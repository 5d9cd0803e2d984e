"""What a reported number promises."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.forecast.promise import promise_of
from elisa.model.pipeline import Promise

ACCURACY = Promise(metric="accuracy", worst=0.5, best=1.0)
LOSS = Promise(metric="loss", worst=4.0, best=0.0)


@pytest.mark.parametrize(
    ("promise", "values", "worth"),
    [
        (ACCURACY, [0.75], 0.5),
        (LOSS, [1.0], 0.75),
        (ACCURACY, [0.1], 0.0),
        (LOSS, [-1.0], 1.0),
        (ACCURACY, [None, 0.75], 0.5),
        (ACCURACY, [nan, inf, 1.0], 1.0),
        (ACCURACY, [], 0.0),
    ],
    ids=[
        "larger is better",
        "smaller is better",
        "below",
        "above",
        "the first that is told",
        "no numbers",
        "nothing told",
    ],
)
def test_a_value_promises_as_much_as_it_is_on_the_way_from_worst_to_best(
    promise: Promise, values: list[float | None], worth: float
) -> None:
    assert promise_of(promise, values) == worth


@given(worst=st.floats(-1e6, 1e6), best=st.floats(-1e6, 1e6), value=st.floats())
def test_a_promise_lies_between_nothing_and_one(worst: float, best: float, value: float) -> None:
    if abs(worst - best) > 1e-9:
        assert 0 <= promise_of(Promise(metric="m", worst=worst, best=best), [value]) <= 1
