from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.hostlist import expand_hosts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n1,n2", ("n1", "n2")),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("gpu[01-03,7]", ("gpu01", "gpu02", "gpu03", "gpu7")),
        ("n[08-11],login", ("n08", "n09", "n10", "n11", "login")),
        ("a[1-2]b[3-4]", ("a1b3", "a1b4", "a2b3", "a2b4")),
        ("n1,n1", ("n1",)),
        ("n[x]", ("n[x]",)),
        ("n[1-", ("n", "1-")),
        ("n[3-1]", ("n[3-1]",)),
        ("n[999999999-1,1-999999999]", ("n[999999999-1,1-999999999]",)),
    ],
)
def test_a_list_of_nodes_becomes_their_names(text: str, names: tuple[str, ...]) -> None:
    assert expand_hosts(text) == names


def test_a_list_without_end_is_cut_off() -> None:
    assert len(expand_hosts("n[1-99999]m[1-99999]")) == 100_000
    assert expand_hosts("n[1-999999999]") == ("n[1-999999999]",)


@given(st.text(alphabet="n01-9[],x ", max_size=30))
def test_any_text_gives_distinct_names(text: str) -> None:
    names = expand_hosts(text)

    assert len(set(names)) == len(names)
    assert "" not in names
