"""Names of the tasks that a matrix or a list makes: readable, safe in a path, and the same every time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from elisa.model.pipeline import JSONScalar

__all__ = ["instance_name"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
# Long enough to tell instances apart by eye, short enough for a folder's name with room to spare (255 bytes).
_LONGEST_VALUE = 32
_LONGEST = 120


def instance_name(group: str, values: Sequence[tuple[str, JSONScalar]]) -> str:
    """Return a name such as `train-seed=1-lr=0.01`.

    `=` never stands in a name that an author wrote, so the two cannot clash. Where values had to be shortened or lost
    characters, a hash of all values keeps names different.
    """
    shown = [(name, _shown(value)) for name, value in values]
    full = "-".join([group, *(f"{name}={text}" for name, text in shown)])
    faithful = all(text == _written(value) for (_, text), (_, value) in zip(shown, values, strict=True))
    if faithful and len(full) <= _LONGEST:
        return full
    digest = hashlib.blake2s(json.dumps(list(values)).encode(), digest_size=4).hexdigest()
    return f"{full[:_LONGEST]}-{digest}"


def _written(value: JSONScalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: JSONScalar) -> str:
    return _UNSAFE.sub("_", _written(value))[:_LONGEST_VALUE]
