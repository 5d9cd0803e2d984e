from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elisa.policies.ranks import order_of, packed, ranks_of

column = st.lists(st.floats(allow_nan=False), min_size=5, max_size=5) | st.lists(
    st.sampled_from([-2.0, 0.0, 1.5, 3.0]), min_size=5, max_size=5
)


@given(st.lists(column, min_size=1, max_size=4))
def test_packed_keys_sort_like_tuples(columns: list[list[float]]) -> None:
    code = packed([ranks_of(np.array(one)) for one in columns], 5).of

    rows: Any = list(zip(*columns, strict=True))
    assert [[bool(code[i] < code[j]) for j in range(5)] for i in range(5)] == [
        [rows[i] < rows[j] for j in range(5)] for i in range(5)
    ]


def test_more_keys_than_fit_into_one_integer_still_sort() -> None:
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, 2**15, size=1000) for _ in range(7)]

    code = packed([ranks_of(one) for one in columns], 1000)

    assert np.array_equal(np.argsort(code.of, kind="stable"), np.lexsort(columns[::-1]))
    assert code.size < 2**63
    assert np.array_equal(order_of(code), np.lexsort(columns[::-1]))


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 2**40), min_size=1, max_size=8))
def test_whole_numbers_of_any_range_keep_their_order(key: list[int]) -> None:
    ranks = ranks_of(np.array(key, dtype=np.int64))

    assert (ranks.of[:, None] < ranks.of).tolist() == [[one < other for other in key] for one in key]


@given(column)
def test_rows_are_ordered_by_their_code_and_equals_stay_as_they_were(key: list[float]) -> None:
    ranks = ranks_of(np.array(key))

    assert order_of(ranks).tolist() == sorted(range(len(key)), key=ranks.of.tolist().__getitem__)
