from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.errors import SpecError
from elisa.pipelines import strict_yaml
from elisa.pipelines.nodes import ListNode, MapNode, Mark, Scalar, at, from_value, plain, walk


def parsed(text: str | bytes) -> object:
    return plain(strict_yaml.load(text, "p.yaml"))


def whats(text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        strict_yaml.load(text, "p.yaml")
    return [problem.what for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("True", "True"), ("NULL", "NULL"), ("y", "y"),
        ("0", 0), ("-7", -7), ("+7", 7), ("42", 42), ("007", "007"), ("-01", "-01"), ("0o17", "0o17"), ("0x1F", "0x1F"),
        ("0b11", "0b11"), ("1_000", "1_000"), ("12:30", "12:30"), ("190:20:30", "190:20:30"),
        ("2026-11-24", "2026-11-24"), ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z"),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-.5", -0.5), ("1e3", 1000.0), ("1e-3", 0.001), ("1.5E+2", 150.0),
        (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("1.5.2", "1.5.2"), (".", "."), ("00.5", "00.5"),
        ("9" * 18, int("9" * 18)), ("9" * 19, "9" * 19), ("=", "="), ("1e", "1e"), ("\u0663", "\u0663"),
    ],
)  # fmt: skip
def test_a_plain_word_means_what_it_looks_like(word: str, value: object) -> None:
    found = strict_yaml.value_of(word)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("quoted", ["'true'", '"12"', "'null'", '"1.5"'])
def test_what_is_in_quotes_is_text(quoted: str) -> None:
    assert parsed(quoted) == quoted[1:-1]


def test_a_block_of_text_is_text() -> None:
    assert parsed("a: |\n  12\n  true\nb: >-\n  one\n  line\n") == {"a": "12\ntrue\n", "b": "one line"}


def test_everything_knows_its_line() -> None:
    node = strict_yaml.load("a: 1\nb:\n  - x\n  - {c: 3,\n     d: 4}\n", "p.yaml")

    assert isinstance(node, MapNode)
    assert [(entry.key.text, entry.key.mark.line) for entry in node.entries] == [("a", 1), ("b", 2)]
    assert [(value.text, value.mark) for value in walk(node)] == [
        ("1", Mark("p.yaml", 1)),
        ("x", Mark("p.yaml", 3)),
        ("3", Mark("p.yaml", 4)),
        ("4", Mark("p.yaml", 5)),
    ]


def test_a_path_leads_to_a_line() -> None:
    node = strict_yaml.load("a: 1\nb:\n  - x\n  - {c: 3,\n     d: 4}\n", "p.yaml")

    lines = [at(node, path).line for path in ([], ["b"], ["b", 0], ["b", 1, "d"], ["b", 1, "nothing"], ["b", 9], ["z"])]
    assert lines == [1, 3, 3, 5, 4, 3, 1]


def test_windows_line_ends_are_no_control_characters() -> None:
    node = strict_yaml.load(b"a: 1\r\nb: |\r\n  x\r\n  y\r\n", "p.yaml")

    assert plain(node) == {"a": 1, "b": "x\ny\n"}
    assert at(node, ["b"]).line == 2


def test_all_traps_are_told_at_once() -> None:
    text = "a: &x 1\nb: *x\nc: !!str 3\na: 4\n? [k]\n: 5\n<<: {d: 6}\n"

    assert whats(text) == [
        "an anchor",
        "an alias",
        "a tag",
        "`a` stands here again",
        "a list or map as a key",
        "a merge key",
    ]


def test_a_quoted_merge_key_is_refused_too() -> None:
    assert whats('"<<": {a: 1}\n') == ["a merge key"]


def test_an_anchor_on_a_map_a_list_and_a_key_is_refused() -> None:
    assert whats("a: &m {b: 1}\nc: &l [1]\n&k d: 1\n") == ["an anchor"] * 3


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u202e", "\u2028", "\ufeff", "\u200f"])
def test_characters_that_cannot_be_seen_are_refused(character: str) -> None:
    assert whats(f"a: x{character}y") == ["a character that cannot be seen"]


@pytest.mark.parametrize("escape", [r"\0", r"\e", r"\x07", r"\u202e", r"\N", r"\L"])
def test_an_escape_brings_none_of_them_in(escape: str) -> None:
    assert whats(f'a: "x{escape}y"') == ["a character that cannot be seen"]


def test_names_in_all_languages_are_welcome() -> None:
    assert parsed("owner: Jörg Łukasiewicz 李\n") == {"owner": "Jörg Łukasiewicz 李"}


def test_limits_are_exact() -> None:
    inside = "a: " + "x" * (strict_yaml.MAX_BYTES - 3)
    assert parsed(inside) == {"a": inside[3:]}
    assert whats(inside + "x") == [f"{strict_yaml.MAX_BYTES + 1} bytes; {strict_yaml.MAX_BYTES} is the most"]

    def nested(depth: int) -> str:
        return "[" * depth + "1" + "]" * depth

    assert parsed(nested(strict_yaml.MAX_DEPTH))
    assert whats(nested(strict_yaml.MAX_DEPTH + 1)) == [f"nested more than {strict_yaml.MAX_DEPTH} deep"]

    most = "[" + ", ".join(["1"] * (strict_yaml.MAX_NODES - 1)) + "]"
    assert len(parsed(most)) == strict_yaml.MAX_NODES - 1  # type: ignore[arg-type]
    assert whats(most.replace("]", ", 1]")) == [f"more than {strict_yaml.MAX_NODES} values"]


@pytest.mark.parametrize("bomb", ["alias_bomb", "merge_key_bomb", "deep_flow", "deep_block"])
def test_a_bomb_goes_off_nowhere(bomb: str, request: pytest.FixtureRequest) -> None:
    text = (request.path.parent / "bad" / f"{bomb}.yaml").read_bytes()
    began = time.process_time()

    with pytest.raises(SpecError):
        strict_yaml.load(text, "p.yaml")

    assert time.process_time() - began < 0.5


def test_without_the_c_parser_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, {b: 'x'}]\nc: |\n  text\n"
    expected = parsed(text)

    monkeypatch.setattr(strict_yaml, "_LOADER", yaml.SafeLoader)

    assert parsed(text) == expected


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner),
    max_leaves=12,
)


@given(values)
def test_json_is_read_as_json(value: object) -> None:
    assert parsed(json.dumps(value)) == value


@given(values)
def test_a_value_becomes_a_tree_and_comes_back(value: object) -> None:
    assert plain(from_value(value, Mark("p.py", 3))) == value


@given(st.text(max_size=80))
def test_any_text_is_yaml_or_told_what_is_wrong(text: str) -> None:
    try:
        node = strict_yaml.load(text, "p.yaml")
    except SpecError as err:
        assert all(problem.what and problem.file == "p.yaml" for problem in err.problems)  # noqa: PT017 - either way
    else:
        assert isinstance(node, (Scalar, ListNode, MapNode))


@given(st.binary(max_size=80))
def test_any_bytes_are_yaml_or_told_what_is_wrong(raw: bytes) -> None:
    try:
        strict_yaml.load(raw, "p.yaml")
    except SpecError as err:
        assert err.problems  # noqa: PT017 - either way


def test_what_is_no_value_has_no_tree() -> None:
    endless: list[object] = []
    endless.append(endless)

    for value, words in [
        ({1}, "a set"),
        (object(), "a object"),
        ({1: 2}, "1 cannot be a key"),
        (endless, "too deeply"),
    ]:
        with pytest.raises(TypeError, match=words):
            from_value(value, Mark("p.py", 1))


def test_a_tree_within_a_value_stays_as_it_is() -> None:
    inner = strict_yaml.load("a: 1", "other.yaml")

    node = from_value([inner], Mark("p.py", 1))

    assert isinstance(node, ListNode)
    assert node.items[0] is inner
