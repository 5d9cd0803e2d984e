"""Policies by name: those that are built in, and those that other packages bring along.

A package adds an order key with an entry point in the group `elisa.policies`, named `order.<key>`:
a function that takes a `Snapshot` and returns one number for each ready task, the smaller first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from elisa.policies.ageing import comes_of_age_s
from elisa.policies.order import LATE_KEYS, ORDER_KEYS
from elisa.policies.snapshot import OrderPlugin

__all__ = ["GROUP", "ORDER", "Plugins", "load_plugins", "unknown_keys"]

GROUP = "elisa.policies"
_PREFIX = "order."

ORDER: Mapping[str, Callable[..., object]] = {**ORDER_KEYS, **LATE_KEYS, "aged": comes_of_age_s}


class Plugins(NamedTuple):
    """Order keys from outside by name, and what is wrong with those that could not be loaded."""

    order: Mapping[str, OrderPlugin]
    problems: tuple[str, ...]


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Return the order keys of all installed packages; one that cannot be loaded, or takes a built-in name, is left out."""
    order: dict[str, OrderPlugin] = {}
    problems: list[str] = []
    for entry in entry_points(group=GROUP) if found is None else found:
        name = entry.name.removeprefix(_PREFIX)
        if not entry.name.startswith(_PREFIX) or name in ORDER:
            problems.append(f"`{entry.name}` of {entry.value}: a new name that begins with `{_PREFIX}` is needed")
            continue
        try:
            loaded = entry.load()
        except Exception as err:  # noqa: BLE001 - importing code from outside may fail in any way
            problems.append(f"`{entry.name}` of {entry.value} cannot be loaded: {err}")
            continue
        if callable(loaded):
            order[name] = loaded
        else:
            problems.append(f"`{entry.name}` of {entry.value} is no function")
    return Plugins(order, tuple(problems))


def unknown_keys(names: Iterable[str], plugins: Mapping[str, OrderPlugin]) -> tuple[str, ...]:
    """Return the keys of a site's order that nobody provides."""
    return tuple(name for name in names if name not in ORDER and name not in plugins)
