from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from elisa.runtime.checkpoint.codec import COMPRESSED, Decoder, Encoder, NotSavableError
from elisa.runtime.checkpoint.manifest import DamagedError

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(max_size=50),
)
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.tuples(st.integers(), st.text()))
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.just("$"), st.text()), inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(st.integers(), max_size=1),
        st.sets(st.text(), max_size=1),
        st.dictionaries(st.text(), inner, max_size=3).map(OrderedDict),
        st.binary(max_size=9).map(bytearray),
    ),
    max_leaves=20,
)


def round_trip(folder: Path, state: object, **options: Any) -> Any:
    for piece in Encoder(**options).encode_state(state):
        content = b"".join(piece.chunks())
        assert len(content) == piece.size
        (folder / piece.name).write_bytes(content)
    return Decoder(str(folder)).decode_state()


def same(one: object, other: object) -> bool:
    """Tell whether two states are equal in values, in types and in order."""
    return repr(one) == repr(other) and type(one) is type(other)


@given(STATES)
def test_a_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: object) -> None:
    assert same(round_trip(tmp_path_factory.getbasetemp(), state), state)


@given(
    np_st.arrays(
        dtype=st.one_of(
            np_st.scalar_dtypes(), np_st.byte_string_dtypes(), np_st.unicode_string_dtypes(), np_st.array_dtypes()
        ),
        shape=np_st.array_shapes(min_dims=0, min_side=0, max_side=4),
    ),
    st.sampled_from(["as it is", "fortran", "reversed", "every other"]),
)
def test_arrays_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray[Any, Any], layout: str
) -> None:
    if layout == "fortran":
        array = np.asfortranarray(array)
    if array.ndim and layout == "reversed":
        array = array[::-1]
    if array.ndim and layout == "every other":
        array = array[::2]

    assume(str(array.dtype.descr).isascii())

    restored = round_trip(tmp_path_factory.getbasetemp(), {"a": array})["a"]

    assert (restored.dtype, restored.shape, restored.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_large_parts_are_files_of_their_own(tmp_path: Path) -> None:
    state = {"a": np.arange(10_000.0).reshape(100, 100).T, "b": bytes(9000), "c": bytearray(9000), "s": np.float32(2)}

    restored = round_trip(tmp_path, state)

    assert np.array_equal(restored["a"], state["a"])
    assert (restored["b"], restored["c"], restored["s"].dtype) == (bytes(9000), bytearray(9000), np.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.npy", "00001.bin", "00002.bin", "state.json"]


def test_numbers_json_does_not_have_come_back(tmp_path: Path) -> None:
    restored = round_trip(tmp_path, [math.inf, -math.inf, math.nan, complex(math.inf, 0), 2**200, -0.0])

    assert repr(restored) == f"[inf, -inf, nan, (inf+0j), {2**200}, -0.0]"


def test_paths_come_back_as_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert round_trip(tmp_path, PurePosixPath("a/b")) == Path("a/b")
    assert round_trip(tmp_path, Path("a"), absolute_paths=True) == tmp_path / "a"


class Unknown:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown)

    __hash__ = None  # type: ignore[assignment]  # only compared


class Subclass(np.ndarray[Any, Any]):
    """An array that `.npy` would not bring back as what it is."""


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, Unknown()]}, r"state\['a'\]\[1\]: a tests.*Unknown has no safe format"),
        ({("k", 1): Unknown()}, r"state\[\('k', 1\)\]"),
        (np.array([None, print]), r"state\[1\]: a builtins"),
        (np.zeros(2).view(Subclass), "Subclass"),
        (np.zeros(2, dtype=[(f"{'field' * 20}{number}", "i4") for number in range(700)]), "state: a numpy.ndarray"),
        (np.zeros(2, dtype=[("\u0100", "i4")]), "state: a numpy.ndarray"),
        (print, "builtin_function"),
    ],
)
def test_what_has_no_safe_format_is_refused_by_name(state: object, where: str) -> None:
    with pytest.raises(NotSavableError, match=where):
        Encoder().encode_state(state)


def test_pickle_is_used_only_when_it_is_asked_for(tmp_path: Path) -> None:
    assert round_trip(tmp_path, {"a": Unknown()}, allow_pickle=True) == {"a": Unknown()}


def test_a_compressed_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    import zlib

    round_trip(tmp_path, {"b": bytes(9000)})
    plain = tmp_path / "00000.bin"
    Path(f"{plain}{COMPRESSED}").write_bytes(zlib.compress(plain.read_bytes()))
    plain.unlink()

    assert Decoder(str(tmp_path)).decode_state() == {"b": bytes(9000)}


def test_a_tree_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"$": "hologram.slice"}')

    with pytest.raises(DamagedError, match="newer version"):
        Decoder(str(tmp_path)).decode_state()


class Words:
    """A collector such as an adapter's: it makes one file of all that it was given."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.words: list[str] = []

    def finish(self) -> None:
        self._encoder.add_content(".words", " ".join(self.words).encode())


def test_what_an_adapter_collects_becomes_one_file(tmp_path: Path) -> None:
    encoder = Encoder(prefix="rank00001-")
    encoder.collector(Words).words.append("one")
    encoder.collector(Words).words.append("two")
    for piece in encoder.encode_state({}):
        (tmp_path / piece.name).write_bytes(b"".join(piece.chunks()))
    (tmp_path / "rank00002-00000.words.z").write_bytes(b"")

    decoder = Decoder(str(tmp_path), prefix="rank00001-")
    assert decoder.names(".words") == ["rank00001-00000.words"]
    assert decoder.all_names(".words") == ["rank00001-00000.words", "rank00002-00000.words"]
    with decoder.open("rank00001-00000.words") as stream:
        assert stream.read() == b"one two"
