"""NumPy arrays and scalars as `.npy`, which any language reads, and NumPy's other objects by their parts."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from elisa.runtime.checkpoint.adapters import objects

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Decoder, Encoder

__all__ = ["decode", "encode", "npy_header"]

_LONGEST_HEADER = 10_000  # `numpy.load` trusts none that is longer


def npy_header(array: np.ndarray[Any, Any]) -> bytes:
    """Return the first bytes of the `.npy` file of `array`."""
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, npy.header_data_from_array_1_0(array))
    return stream.getvalue()


def _is_plain(fields: str) -> bool:
    """Tell whether a header of the first version can name these fields, and any reader will take it."""
    return fields.isascii() and len(fields) < _LONGEST_HEADER // 2


def _raw(array: np.ndarray[Any, Any]) -> memoryview:
    if array.size == 0:
        return memoryview(b"")
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    flat = (array.T if is_fortran else np.ascontiguousarray(array)).reshape(-1)
    return flat.view(np.uint8).data


def encode(value: object, encoder: Encoder, where: str) -> dict[str, Any] | None:
    """Return the node of an array, a scalar or another object of NumPy, such as a random generator.

    None for arrays that nothing carries: those of odd fields, and subclasses. An array that stands in two places of the
    state is one array again when it comes back.
    """
    if isinstance(value, np.generic):
        return _encode_plain("numpy.scalar", np.asarray(value), encoder)
    if isinstance(value, np.dtype):
        return {"$": "numpy.dtype", "v": encoder.encode(npy.dtype_to_descr(value), where)}
    if not isinstance(value, np.ndarray):
        return objects.encode(value, encoder, where)
    if type(value) is not np.ndarray:
        return None
    again = objects.again(value, encoder)
    if again is not None:
        return again
    is_of_objects = value.dtype == np.dtype(object)
    node = _encode_objects(value, encoder, where) if is_of_objects else _encode_plain("numpy.array", value, encoder)
    return node and {**node, "n": objects.number(value, encoder)}


def _encode_plain(tag: str, array: np.ndarray[Any, Any], encoder: Encoder) -> dict[str, Any] | None:
    if array.dtype.hasobject or not _is_plain(str(array.dtype.descr)):
        return None
    node: dict[str, Any] = encoder.add_bytes(tag, ".npy", [npy_header(array), _raw(array)])
    return node


def _encode_objects(array: np.ndarray[Any, Any], encoder: Encoder, where: str) -> dict[str, Any]:
    items = [encoder.encode(item, f"{where}[{index}]") for index, item in enumerate(array.flat)]
    return {"$": "numpy.objects", "shape": list(array.shape), "v": items}


def decode(node: dict[str, Any], decoder: Decoder) -> object:
    """Return what `encode` made the node of."""
    if node["$"] == "numpy.dtype":
        return npy.descr_to_dtype(decoder.decode(node["v"]))
    if node["$"] == "numpy.objects":
        array = np.empty(len(node["v"]), dtype=object)
        for index, item in enumerate(node["v"]):
            array[index] = decoder.decode(item)
        array = array.reshape(node["shape"])
    else:
        array = _array_in(decoder.memory_of(node))
    if node["$"] == "numpy.scalar":
        return array[()]
    return objects.remember(node, array, decoder)


def _array_in(content: memoryview) -> np.ndarray[Any, Any]:
    """Return the array of a `.npy` file, in place: its numbers begin at a multiple of 64 bytes."""
    stream = io.BytesIO(content[: _LONGEST_HEADER + 16])
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream, max_header_size=_LONGEST_HEADER)
    count = math.prod(shape)
    if count * dtype.itemsize == 0:
        return np.empty(shape, dtype, order="F" if is_fortran else "C")
    flat = np.frombuffer(content, dtype, count, offset=stream.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C")
