from __future__ import annotations

import json
import signal as standard
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import reload
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import elisa
from elisa.runtime import lean

ENV = {"PYTHONPATH": str(Path(elisa.__file__).parent.parent)}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)
BAD = ["", " ", "nul", "1 2", '{"a": 1}}', "[1", '{"a" 1}', '"\n"', "\ufeff1", "[1,]", "'a'", "\u00a01"]


@given(VALUES)
def test_json_is_written_and_read_as_the_standard_library_does(value: object) -> None:
    assert lean.dump_json(value) == json.dumps(value)
    assert lean.dump_json(value, is_short=True) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert lean.parse_json(f" \t{json.dumps(value)}\r\n") == value


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity, -Infinity]", "1e999", '{"a": 1, "a": 2}'])
def test_what_no_standard_allows_is_read_alike(text: str) -> None:
    assert repr(lean.parse_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("parse", [lean.parse_json, json.loads])
def test_what_is_not_json_is_an_error(text: str, parse: Callable[[str], object]) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_it_is_an_error_too_where_nothing_else_has_loaded_the_standard_library() -> None:
    code = (
        "import sys; from elisa.runtime.lean import parse_json; words = sys.argv[1]; assert 'json' not in sys.modules\n"
        "try: parse_json(words)\n"
        "except ValueError: print('bad')"
    )
    for text in BAD:
        done = subprocess.run([sys.executable, "-S", "-c", code, text], check=False, capture_output=True, env=ENV)
        assert (done.stdout, done.stderr) == (b"bad\n", b""), text


@pytest.mark.parametrize("write", [lean.dump_json, json.dumps])
def test_what_has_no_json_is_an_error(write: Callable[[object], str]) -> None:
    with pytest.raises(TypeError, match="JSON"):
        write({"a": {1}})


def test_a_file_is_read_with_errors_as_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'["\xff"]')

    assert lean.load_json(str(tmp_path / "f"), "surrogateescape") == ["\udcff"]
    with pytest.raises(ValueError, match="utf-8"):
        lean.load_json(str(tmp_path / "f"))


@pytest.mark.parametrize("kind", [FileNotFoundError, NotADirectoryError])
def test_only_errors_that_are_named_are_ignored(kind: type[OSError]) -> None:
    with lean.Ignored(FileNotFoundError, NotADirectoryError):
        raise kind
    with pytest.raises(PermissionError), lean.Ignored(FileNotFoundError):
        raise PermissionError


def test_signals_have_the_numbers_of_the_standard_library() -> None:
    names = [name for name in dir(standard) if name.startswith("SIG") and not name.startswith("SIG_")]

    assert [getattr(lean.signal, name) for name in names] == [getattr(standard, name) for name in names]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load the module as where CPython's own parts are missing."""
    with monkeypatch.context() as patched:
        for name in ("_json", "_signal"):
            patched.setitem(sys.modules, name, None)
        reload(lean)
    yield
    reload(lean)


@pytest.mark.usefixtures("without")
def test_where_cpython_is_another_the_standard_library_does_it() -> None:
    assert lean.signal is standard
    assert lean.parse_json is json.loads
    assert [lean.dump_json(["é"]), lean.dump_json(["é"], is_short=True)] == ['["\\u00e9"]', '["é"]']
