"""NumPy arrays and scalars as `.npy`, which any language reads."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

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


def encode(value: object, encoder: Encoder, _where: str) -> dict[str, Any] | None:
    """Return the node of an array or scalar; None for what `.npy` does not carry: objects, subclasses, odd fields."""
    if isinstance(value, np.generic):
        tag, array = "numpy.scalar", np.asarray(value)
    elif type(value) is np.ndarray:
        tag, array = "numpy.array", value
    else:
        return None
    if array.dtype.hasobject or not _is_plain(str(array.dtype.descr)):
        return None
    node: dict[str, Any] = encoder.add_bytes(tag, ".npy", [npy_header(array), _raw(array)])
    return node


def decode(node: dict[str, Any], decoder: Decoder) -> object:
    """Return the array or scalar."""
    with decoder.stream(node) as stream:
        array = np.load(stream, allow_pickle=False)
    return array[()] if node["$"] == "numpy.scalar" else array
