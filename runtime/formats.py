"""Whether a file has the format it was declared to have: told from its bytes, with no package and no trust in it."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from typing import IO, Any, Callable

__all__ = ["FORMATS", "check_format"]

_NPY_MAGIC = b"\x93NUMPY"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NETCDF_MAGICS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", _HDF5_MAGIC)
_PARQUET_MAGICS = (b"PAR1", b"PARE")
_LARGEST_HEADER = 100 * 2**20
_CHUNK = 2**20
_TOO_LONG_A_LINE = 64 * 2**20

_DTYPE = re.compile(r"[<>|=]?[biufcSUVmM](?P<size>[0-9]+)(\[[^\]]*\])?|\|?b1|\?")
_SAFETENSORS_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
_SAFETENSORS_BYTES.update({"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "F8_E4M3": 1, "F8_E5M2": 1})


class _BadError(Exception):
    """The file does not have the format; the message says in what way."""


def check_format(path: str, name: str, columns: tuple[str, ...] = ()) -> tuple[bool, str]:
    """Return whether what is at `path` has the format `name`, and if not, why.

    `columns` must all be there, for formats that have some (csv, jsonl). Large files are read once, never held.
    """
    check = FORMATS.get(name)
    if check is None:
        return False, f"nobody knows the format {name!r}: known are {', '.join(sorted(FORMATS))}"
    try:
        check(path, columns)
    except _BadError as error:
        return False, str(error)
    except FileNotFoundError:
        return False, "it does not exist"
    except OSError as error:
        return False, f"it cannot be read: {error.strerror or error}"
    except RecursionError:
        return False, "it is nested too deeply"
    return True, ""


def _size(path: str) -> int:
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise _BadError("it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise _BadError("it is not a regular file")
    if found.st_size == 0:
        raise _BadError("it is empty")
    return found.st_size


def _any(path: str, _columns: tuple[str, ...]) -> None:
    os.stat(path)


def _directory(path: str, _columns: tuple[str, ...]) -> None:
    os.stat(path)
    if not os.path.isdir(path):
        raise _BadError("it is not a folder")


def _text(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    with open(path, encoding="utf-8", newline="") as stream:
        try:
            while stream.read(_CHUNK):
                pass
        except UnicodeDecodeError as error:
            raise _BadError(f"it is not UTF-8: {error.reason}") from error


def _json(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    with open(path, "rb") as stream:
        _load_json(stream.read(), "it")


def _load_json(data: bytes, where: str) -> Any:  # noqa: ANN401  (JSON)
    try:
        return json.loads(data)
    except ValueError as error:
        raise _BadError(f"{where} is not JSON: {error}") from error


def _jsonl(path: str, columns: tuple[str, ...]) -> None:
    _size(path)
    with open(path, "rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(_TOO_LONG_A_LINE), b""), 1):
            if line.strip():
                _check_jsonl_line(_load_json(line, f"line {number}"), number, columns)


def _check_jsonl_line(content: object, number: int, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if not isinstance(content, dict) or name not in content]
    if missing:
        raise _BadError(f"line {number} lacks {', '.join(missing)}")


def _csv(path: str, columns: tuple[str, ...]) -> None:
    _size(path)
    with open(path, encoding="utf-8-sig", newline="") as stream:
        try:
            _check_csv(csv.reader(stream, strict=True), columns)
        except (csv.Error, UnicodeDecodeError) as error:
            raise _BadError(f"it is not CSV: {error}") from error


def _check_csv(rows: Any, columns: tuple[str, ...]) -> None:  # noqa: ANN401  (the type of csv.reader has no name)
    header: list[str] = next(rows, [])
    missing = [name for name in columns if name not in header]
    if missing:
        raise _BadError(f"it lacks the columns {', '.join(missing)}; it has {', '.join(header)}")
    for row in rows:
        if row and len(row) != len(header):
            raise _BadError(f"line {rows.line_num} has {len(row)} fields, the header {len(header)}")


def _npy(path: str, _columns: tuple[str, ...]) -> None:
    size = _size(path)
    with open(path, "rb") as stream:
        _check_npy(stream, size)


def _check_npy(stream: IO[bytes], size: int) -> None:
    header_size, data_size = _npy_header(stream)
    expected = None if data_size is None else header_size + data_size
    if expected not in {None, size}:
        raise _BadError(f"it has {size} bytes, its header promises {expected}")


def _npy_header(stream: IO[bytes]) -> tuple[int, int | None]:
    """Return the size of the header and that of the data; None for data whose size the header does not tell."""
    start = stream.read(12)
    if start[:6] != _NPY_MAGIC or len(start) < 12:
        raise _BadError("it does not begin as a .npy file")
    is_old = start[6] == 1
    offset = 10 if is_old else 12
    (length,) = struct.unpack("<H", start[8:10]) if is_old else struct.unpack("<I", start[8:12])
    text = start[offset:] + stream.read(min(length - (12 - offset), _LARGEST_HEADER))
    if len(text) != length:
        raise _BadError("its header is cut off")
    return offset + length, _npy_data_size(text)


def _npy_data_size(text: bytes) -> int | None:
    try:
        header = ast.literal_eval(text.decode("utf-8" if b"\\u" not in text else "latin1"))
        shape, kind = header["shape"], header["descr"]
        count = math.prod(shape)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError) as error:
        raise _BadError("its header makes no sense") from error
    match = _DTYPE.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        return None
    item = int(match["size"] or 1) * (4 if "U" in kind else 1)
    return int(count) * item


def _zip(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    _open_zip(path, lambda _archive: None)


def _npz(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    _open_zip(path, _check_npz)


def _open_zip(path: str, check: Callable[[zipfile.ZipFile], None]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            if bad is not None:
                raise _BadError(f"its member {bad} is damaged")
            check(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise _BadError(f"it is not a sound zip archive: {error}") from error


def _check_npz(archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        with archive.open(member) as stream:
            try:
                _check_npy(stream, member.file_size)
            except _BadError as error:
                raise _BadError(f"its member {member.filename} is bad: {error}") from error


def _gzip(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    try:
        with gzip.open(path) as stream:
            while stream.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise _BadError(f"it is not a sound gzip file: {error}") from error


def _parquet(path: str, _columns: tuple[str, ...]) -> None:
    size = _size(path)
    with open(path, "rb") as stream:
        start = stream.read(4)
        stream.seek(max(0, size - 8))
        end = stream.read(8)
    if start not in _PARQUET_MAGICS or end[4:] != start:
        raise _BadError("it does not begin and end as a Parquet file")
    (length,) = struct.unpack("<I", end[:4])
    if length + 12 > size or length == 0:
        raise _BadError("its footer cannot be as long as it says")


def _hdf5(path: str, _columns: tuple[str, ...]) -> None:
    size = _size(path)
    with open(path, "rb") as stream:
        offset = 0
        while offset < size:  # a user block may come first: the signature then stands at 512, 1024, 2048 ...
            stream.seek(offset)
            if stream.read(8) == _HDF5_MAGIC:
                return
            offset = offset * 2 or 512
    raise _BadError("it has no HDF5 signature")


def _netcdf(path: str, _columns: tuple[str, ...]) -> None:
    _size(path)
    with open(path, "rb") as stream:
        if not stream.read(8).startswith(_NETCDF_MAGICS):
            raise _BadError("it does not begin as a netCDF file")


def _safetensors(path: str, _columns: tuple[str, ...]) -> None:
    size = _size(path)
    with open(path, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _LARGEST_HEADER):
            raise _BadError("its header cannot be as long as it says")
        header = _load_json(stream.read(length), "its header")
    _check_tensors(header, size - 8 - length)


def _check_tensors(header: Any, data_size: int) -> None:  # noqa: ANN401  (JSON)
    if not isinstance(header, dict):
        raise _BadError("its header is not an object")
    end = 0
    try:
        named = [(name, item) for name, item in header.items() if name != "__metadata__"]
        tensors = sorted(((item["data_offsets"], name, item) for name, item in named), key=lambda entry: entry[0])
        for (first, last), name, item in tensors:
            expected = math.prod(item["shape"]) * _SAFETENSORS_BYTES[item["dtype"]]
            if first != end or last - first != expected:
                raise _BadError(f"the tensor {name} does not lie where it should")
            end = last
    except (KeyError, TypeError, ValueError) as error:
        raise _BadError("its header makes no sense") from error
    if end != data_size:
        raise _BadError(f"it has {data_size} bytes of data, its header promises {end}")


FORMATS: dict[str, Callable[[str, tuple[str, ...]], None]] = {
    "any": _any,
    "csv": _csv,
    "directory": _directory,
    "gzip": _gzip,
    "hdf5": _hdf5,
    "json": _json,
    "jsonl": _jsonl,
    "netcdf": _netcdf,
    "npy": _npy,
    "npz": _npz,
    "parquet": _parquet,
    "safetensors": _safetensors,
    "text": _text,
    "zip": _zip,
}
"""How to check each format that an output may be declared to have."""
