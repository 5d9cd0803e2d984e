from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.runtime.formats import FORMATS, check_format


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def safetensors(size: int = 8, **header: object) -> bytes:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    text = json.dumps({"__metadata__": {}, "w": tensor, **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


PARQUET = b"PAR1" + b"footer" + struct.pack("<I", 6) + b"PAR1"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
GOOD = {
    "any": b"",
    "csv": b"a,b\n1,2\n\n",
    "gzip": gzip.compress(b"x" * 1000),
    "hdf5": HDF5,
    "json": b'{"a": 1}',
    "jsonl": b'{"a": 1}\n\n{"a": 2}',
    "netcdf": b"CDF\x02" + bytes(40),
    "npy": npy(ARRAY),
    "npz": npz(a=ARRAY, b=ARRAY.T),
    "parquet": PARQUET,
    "safetensors": safetensors(),
    "text": "wörter\n".encode(),
    "zip": zipped(a=b"x"),
}


def check(tmp_path: Path, content: bytes, name: str, *columns: str) -> tuple[bool, str]:
    path = tmp_path / "file"
    path.write_bytes(content)
    return check_format(str(path), name, columns)


def test_every_format_has_an_example_here() -> None:
    assert set(GOOD) | {"directory"} == set(FORMATS)


@pytest.mark.parametrize("name", GOOD)
def test_a_sound_file_passes(tmp_path: Path, name: str) -> None:
    assert check(tmp_path, GOOD[name], name) == (True, "")


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"any"}))
def test_an_empty_file_fails(tmp_path: Path, name: str) -> None:
    assert check(tmp_path, b"", name) == (False, "it is empty")


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"any", "text", "csv", "jsonl", "netcdf", "hdf5"}))
def test_a_file_cut_off_fails(tmp_path: Path, name: str) -> None:
    is_ok, why = check(tmp_path, GOOD[name][:-3], name)

    assert not is_ok
    assert why


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_missing_fails(tmp_path: Path, name: str) -> None:
    assert check_format(str(tmp_path / "none"), name) == (False, "it does not exist")


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"any"}))
def test_a_folder_is_no_file(tmp_path: Path, name: str) -> None:
    assert check_format(str(tmp_path), name) == (False, "it is a folder")


def test_a_folder_may_be_what_was_declared(tmp_path: Path) -> None:
    assert check_format(str(tmp_path), "directory") == (True, "")
    assert check(tmp_path, b"", "directory") == (False, "it is not a folder")


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert check_format(str(tmp_path / "pipe"), "json") == (False, "it is not a regular file")


def test_a_file_that_may_not_be_read_fails(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    assert check_format(str(tmp_path / "loop"), "json")[1].startswith("it cannot be read: Too many levels")


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    is_ok, why = check(tmp_path, b"x", "exe")

    assert (is_ok, why[:30]) == (False, "nobody knows the format 'exe':")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("text", b"\xff\xfe", "it is not UTF-8"),
        ("json", b"{", "it is not JSON"),
        ("json", b"[" * 100_000, "it is nested too deeply"),
        ("jsonl", b'{"a": 1}\n{', "line 2 is not JSON"),
        ("csv", b"a,b\n1\n", "line 2 has 1 fields, the header 2"),
        ("csv", b'a\n"x', "it is not CSV"),
        ("npy", b"nothing of the kind", "it does not begin as a .npy file"),
        ("npy", npy(ARRAY)[:20], "its header is cut off"),
        ("npy", npy(ARRAY) + b"x", "its header promises"),
        ("npy", b"\x93NUMPY\x01\x00\x04\x00{1}\n" + bytes(9), "its header makes no sense"),
        ("npz", zipped(a=b"no array at all"), "its member a is bad"),
        ("zip", GOOD["zip"].replace(b"axPK", b"ayPK"), "its member a is damaged"),
        ("parquet", b"PAR1" + bytes(20), "it does not begin and end"),
        ("parquet", b"PAR1" + struct.pack("<I", 999) + b"PAR1", "its footer cannot"),
        ("hdf5", b"x" * 3000, "it has no HDF5 signature"),
        ("netcdf", b"x" * 30, "it does not begin as a netCDF file"),
        ("safetensors", b"short", "its header cannot"),
        ("safetensors", struct.pack("<Q", 4) + b"nope", "its header is not JSON"),
        ("safetensors", struct.pack("<Q", 2) + b"[]", "its header is not an object"),
        ("safetensors", safetensors(9), "it has 9 bytes of data, its header promises 8"),
        ("safetensors", safetensors(v={"dtype": "F32", "shape": [1], "data_offsets": [9, 13]}), "the tensor v"),
        ("safetensors", safetensors(v={"shape": [1]}), "its header makes no sense"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    is_ok, said = check(tmp_path, content, name)

    assert not is_ok
    assert why in said


def test_declared_columns_must_be_there(tmp_path: Path) -> None:
    assert check(tmp_path, GOOD["csv"], "csv", "b", "a") == (True, "")
    assert check(tmp_path, GOOD["csv"], "csv", "c") == (False, "it lacks the columns c; it has a, b")
    assert check(tmp_path, GOOD["jsonl"], "jsonl", "a") == (True, "")
    assert check(tmp_path, GOOD["jsonl"], "jsonl", "a", "c") == (False, "line 1 lacks c")
    assert check(tmp_path, b"[]", "jsonl", "a") == (False, "line 1 lacks a")


def test_hdf5_may_begin_with_a_block_of_the_users(tmp_path: Path) -> None:
    assert check(tmp_path, bytes(1024) + HDF5, "hdf5") == (True, "")


@pytest.mark.parametrize(
    "dtype", ["f8", ">i4", "?", "S7", "U3", "c16", "M8[ns]", "V5", [("a", "i4"), ("b", "f8")]], ids=str
)
def test_arrays_of_every_type_pass(tmp_path: Path, dtype: object) -> None:
    array = np.zeros((3, 2), dtype=dtype)  # type: ignore[call-overload]

    assert check(tmp_path, npy(array), "npy") == (True, "")
    assert check(tmp_path, npy(np.asfortranarray(array)), "npy") == (True, "")


def test_headers_of_every_version_pass(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, ARRAY, version=(2, 0))

    assert check(tmp_path, stream.getvalue(), "npy") == (True, "")


@given(name=st.sampled_from(sorted(GOOD)), data=st.data())
def test_no_damage_raises(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[name] or b"x")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    is_ok, why = check(tmp_path_factory.getbasetemp(), bytes(content), name)

    assert is_ok == (not why)
