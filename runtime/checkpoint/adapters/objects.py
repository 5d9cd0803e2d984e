"""Estimators of scikit-learn and other objects of the scientific packages, taken apart into arrays and plain values.

They are asked for their parts as `copy` and `pickle` ask, but what is written names classes of these packages only, and
reading it back makes instances of nothing else: no code comes out of a checkpoint.
"""

from __future__ import annotations

import copyreg
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Decoder, Encoder

__all__ = ["again", "decode", "encode", "number", "remember"]

_PACKAGES = frozenset({"numpy", "scipy", "sklearn"})
# What the packages themselves put into their pickles to make an object: functions that do nothing else.
_MAKERS = re.compile(r"__pyx_unpickle_\w+|__(randomstate|generator|bit_generator)_ctor|newObj")


def encode(value: object, encoder: Encoder, where: str) -> dict[str, Any] | None:
    """Return the node of an object; None if something in its making is not of these packages."""
    known = again(value, encoder)
    if known is not None:
        return known
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        name = _name(value)
        return {"$": "sklearn.name", "v": name} if name else None
    mark = number(value, encoder)
    node = _encode_parts(value, encoder, where)
    return None if node is None else {"$": "sklearn.object", "n": mark, **node}


def again(value: object, encoder: Encoder) -> dict[str, Any] | None:
    """Return the node that stands for something met before."""
    known = encoder.numbers.get(id(value))
    return None if known is None else {"$": "sklearn.again", "n": known[0]}


def number(value: object, encoder: Encoder) -> int:
    """Return a number for something met for the first time. The encoder keeps it alive: its id must stay its own."""
    encoder.numbers[id(value)] = (len(encoder.numbers), value)
    return len(encoder.numbers) - 1


def remember(node: dict[str, Any], value: Any, decoder: Decoder) -> Any:  # noqa: ANN401  (whatever was saved)
    """Return `value`, to be found again under the number of its node."""
    decoder.cache.setdefault("objects", {})[node["n"]] = value
    return value


def _encode_parts(value: object, encoder: Encoder, where: str) -> dict[str, Any] | None:
    parts = value.__reduce_ex__(4)
    if not isinstance(parts, tuple):
        return None
    maker, args, state, items, pairs = (*parts, None, None, None)[:5]
    is_new = maker is copyreg.__newobj__  # type: ignore[attr-defined]  # what object.__reduce_ex__ gives
    name = _name(args[0] if is_new else maker)
    if name is None or items is not None or pairs is not None:
        return None
    arguments = [encoder.encode(item, f"{where}: an argument") for item in (args[1:] if is_new else args)]
    return {"make": name, "new": is_new, "args": arguments, "state": encoder.encode(state, where)}


def _name(maker: Any) -> str | None:  # noqa: ANN401  (a class or a function)
    """Return how the maker is called, if it may be: a class of these packages, or a function that is known."""
    module, name = getattr(maker, "__module__", None) or "", getattr(maker, "__qualname__", "")
    full = f"{module}:{name}"
    try:
        return full if _resolve(full) is maker else None
    except (ValueError, AttributeError, ImportError):
        return None


def _resolve(full: str) -> Any:  # noqa: ANN401  (a class or a function)
    """Return what is called `full`; raises ValueError for what is none of a class's or a maker's business."""
    module, _, name = full.partition(":")
    if module.partition(".")[0] not in _PACKAGES or "." in name:
        raise ValueError(f"{full} may not be made from a checkpoint")
    found = getattr(import_module(module), name)
    if not isinstance(found, (type, np.ufunc)) and not _MAKERS.fullmatch(name):
        raise ValueError(f"{full} may not be made from a checkpoint")
    return found


def decode(node: dict[str, Any], decoder: Decoder) -> Any:  # noqa: ANN401  (whatever was saved)
    """Return the object, the very same for each place where it stood."""
    if node["$"] == "sklearn.again":
        return decoder.cache["objects"][node["n"]]
    if node["$"] == "sklearn.name":
        return _resolve(node["v"])
    maker = _resolve(node["make"])
    args = [decoder.decode(item) for item in node["args"]]
    value = remember(node, maker.__new__(maker, *args) if node["new"] else maker(*args), decoder)
    _set_state(value, decoder.decode(node["state"]))
    return value


def _set_state(value: Any, state: Any) -> None:  # noqa: ANN401  (as `copy` does it)
    if state is None:
        return
    if hasattr(value, "__setstate__"):
        value.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    value.__dict__.update(attributes or {})
    for name, item in (slots or {}).items():
        setattr(value, name, item)
