from __future__ import annotations

import pytest

from elisa.backends.local.opening import read_slots
from elisa.backends.simulated.parse import parse_cluster
from elisa.model.errors import UsageError
from scripts.backend_options import LOCAL, SIMULATED
from scripts.site_reference import page

PLACES = {
    "The cluster": {},
    "A node type": {"nodes": {"n": {}}},
    "A partition": {"partitions": {"p": {}}},
    "Faults": {"faults": {}},
    "Answers": {"faults": {"answers": {}}},
}


def put(options: dict[str, object], settings: dict[str, object]) -> dict[str, object]:
    """Return `options` with `settings` in its innermost mapping."""
    if not options:
        return settings
    ((name, inside),) = options.items()
    assert isinstance(inside, dict)
    return {name: put(inside, settings)}


def known(hint: str) -> set[str]:
    return {word.strip(" ,`") for word in hint.partition(" are ")[2].split()}


def test_page_names_settings_with_their_types_defaults_and_meanings() -> None:
    lines = page().splitlines()

    assert (
        "| `carry_over` | number from 0 to 1 | `0` | The part of what is left at the end that the project's next grant adds. |"
        in lines
    )
    assert (
        "| `history` | `auto`, `yes`, `no` | `auto` | Whether the server remembers finished jobs; `auto`: until it says no. |"
        in lines
    )
    assert "| `half_life` | duration | `7d` | After this time use counts half; `0s` never forgets. |" in lines


def test_page_names_every_option_of_the_local_backend() -> None:
    with pytest.raises(UsageError) as caught:
        read_slots({"xyz": 1})

    assert known(caught.value.hint) == set(LOCAL)


@pytest.mark.parametrize("title", SIMULATED)
def test_page_names_every_option_of_a_simulated_cluster(title: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_cluster(put(PLACES[title], {"qqqqqq": 1}))

    assert known(caught.value.hint) == set(SIMULATED[title])


@pytest.mark.parametrize("title", SIMULATED)
def test_defaults_of_a_simulated_cluster_are_those_on_the_page(title: str) -> None:
    from elisa.pipelines.nodes import plain
    from elisa.pipelines.strict_yaml import load

    written = {name: one.default.strip("`") for name, one in SIMULATED[title].items() if one.default.startswith("`")}
    written.pop("partitions", None)
    text = "".join(f"{name}: {value}\n" for name, value in written.items())
    told = plain(load(text, "page"))
    assert isinstance(told, dict)

    assert parse_cluster(put(PLACES[title], told)) == parse_cluster(PLACES[title])
