"""Dataclasses and named tuples to JSON values and back, checked against their annotations. `decode(T, encode(x)) == x`."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

__all__ = ["decode", "encode"]

T = TypeVar("T")


def encode(value: object) -> Any:  # noqa: ANN401 - a JSON value has no narrower type
    """Return the JSON value for a dataclass, enum, datetime, mapping, sequence or scalar.

    Fields that equal their default are left out, so that stored texts stay short and new fields need no migration.
    """
    kind: Any = type(value)
    return value if kind in _SCALARS else _encoder(kind)(value)


_SCALARS = frozenset({bool, float, int, str, type(None)})


@cache
def _encoder(kind: type[Any]) -> Callable[[Any], Any]:
    """Return what encodes values of a class: it is found out once, since a tick writes the same few again and again."""
    if issubclass(kind, Enum):
        return attrgetter("value")
    if issubclass(kind, datetime):
        return _encode_moment
    if is_dataclass(kind):
        return partial(_encode_fields, _defaults(cast("Any", kind)))
    if issubclass(kind, Mapping):
        return _encode_mapping
    if issubclass(kind, (list, tuple, frozenset)):
        return _encode_items
    return _as_it_is


def _as_it_is(value: T) -> T:
    return value


def _encode_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _encode_mapping(mapping: Mapping[Any, object]) -> Any:  # noqa: ANN401 - an object, or a list of pairs
    if any(isinstance(key, tuple) for key in mapping):
        return [[encode(key), encode(item)] for key, item in mapping.items()]
    return {str(key): encode(item) for key, item in mapping.items()}


def _encode_items(items: Collection[object]) -> list[Any]:
    # A column of a hundred thousand numbers is not looked at one by one.
    return list(items) if _SCALARS.issuperset(map(type, items)) else [encode(item) for item in items]


def _encode_fields(defaults: Sequence[tuple[str, object]], owner: object) -> dict[str, Any]:
    said = {}
    for name, default in defaults:
        value = getattr(owner, name)
        if value is not default and value != default:
            said[name] = value if type(value) in _SCALARS else encode(value)
    return said


@cache
def _defaults(kind: Any) -> tuple[tuple[str, object], ...]:  # noqa: ANN401 - any dataclass
    """Return each field's name and default; what has none differs from every value."""
    return tuple((f.name, f.default if f.default_factory is MISSING else f.default_factory()) for f in fields(kind))


def decode(kind: type[T], data: object) -> T:
    """Return the `kind` that `data` stands for.

    Raises ValueError when `data` does not fit the annotations of `kind`.
    """
    return cast("T", _decode(kind, data))


def _decode(kind: Any, data: Any) -> Any:  # noqa: ANN401 - works on annotations
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), data)
    if origin is tuple:
        return _decode_tuple(get_args(kind), data)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(data, list):
            pairs = [_decode_tuple(get_args(kind), pair) for pair in data]
            return types.MappingProxyType(dict(pairs))
        return types.MappingProxyType({key: _decode(get_args(kind)[1], item) for key, item in data.items()})
    if origin is Sequence:
        return _decode_sequence(get_args(kind)[0], data)
    if hasattr(kind, "__supertype__"):
        return _decode(kind.__supertype__, data)
    if isinstance(kind, type):
        return _decode_class(kind, data)
    raise ValueError(f"no rule to read {kind}")


def _decode_class(kind: type, data: Any) -> Any:  # noqa: ANN401 - works on annotations
    if is_dataclass(kind):
        return _decode_dataclass(kind, data)
    if hasattr(kind, "_fields"):
        return kind(*_decode_tuple(_said(kind, data), data))
    if issubclass(kind, Enum):
        return kind(data)
    if kind is datetime:
        return datetime.fromisoformat(data)
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:
        raise ValueError(f"{data!r} is no {kind.__name__}")
    return data


def _said(kind: Any, data: Any) -> tuple[Any, ...]:  # noqa: ANN401 - works on annotations
    """Return the annotations of the fields that a list says; the last ones may be missing where they have defaults."""
    kinds = tuple(_hints(kind).values())
    count = len(data) if isinstance(data, (list, tuple)) else len(kinds)
    return kinds[: max(count, len(kinds) - len(kind._field_defaults))]


def _decode_dataclass(kind: Any, data: Any) -> Any:  # noqa: ANN401 - works on annotations
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r} is no {kind.__name__}")
    hints = _hints(kind)
    unknown = set(data) - set(hints)
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {min(unknown)}")
    try:
        return kind(**{name: _decode(hints[name], item) for name, item in data.items()})
    except TypeError as err:
        raise ValueError(f"{kind.__name__}: {err}") from err


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode_union(kinds: tuple[Any, ...], data: Any) -> Any:  # noqa: ANN401 - works on annotations
    if data is None and type(None) in kinds:
        return None
    exact = [kind for kind in kinds if kind is type(data)]
    if exact:
        return data
    for kind in kinds:
        if kind is not type(None):
            try:
                return _decode(kind, data)
            except (ValueError, TypeError):
                continue
    raise ValueError(f"{data!r} fits none of {kinds}")


def _decode_sequence(kind: Any, data: Any) -> tuple[Any, ...]:  # noqa: ANN401 - works on annotations
    if not isinstance(data, list):
        raise ValueError(f"{data!r} is no list")
    return tuple(data) if {kind}.issuperset(map(type, data)) else tuple(_decode(kind, item) for item in data)


def _decode_tuple(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:  # noqa: ANN401 - works on annotations
    if not isinstance(data, (list, tuple)):
        raise ValueError(f"{data!r} is no list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item) for item in data)
    if len(kinds) != len(data):
        raise ValueError(f"{data!r} has {len(data)} items, not {len(kinds)}")
    return tuple(_decode(kind, item) for kind, item in zip(kinds, data, strict=True))
