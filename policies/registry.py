"""Policies by name: those that are built in, and those that other packages bring along.

A package adds them with entry points in the group `elisa.policies`. `order.<key>` is an order key: a function that takes a
`Snapshot` and returns one number for each ready task, the smaller first. `planner.<name>` takes the place of the whole plan:
a function that takes a `Snapshot` and returns a `Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, NamedTuple

from elisa.policies.ageing import comes_of_age_s
from elisa.policies.order import LATE_KEYS, ORDER_KEYS
from elisa.policies.plan import Plan
from elisa.policies.snapshot import OrderPlugin, Snapshot

__all__ = ["GROUP", "ORDER", "Planner", "Plugins", "load_plugins", "unknown_keys"]

GROUP = "elisa.policies"
_ORDER, _PLANNER = "order.", "planner."

Planner = Callable[[Snapshot], Plan]

ORDER: Mapping[str, Callable[..., object]] = {**ORDER_KEYS, **LATE_KEYS, "aged": comes_of_age_s}


class Plugins(NamedTuple):
    """Order keys and planners from outside by name, and what is wrong with those that could not be loaded."""

    order: Mapping[str, OrderPlugin]
    problems: tuple[str, ...]
    planners: Mapping[str, Planner] = MappingProxyType({})


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Return what all installed packages bring; one that cannot be loaded, or takes a built-in name, is left out."""
    loaded: dict[str, Any] = {}
    problems: list[str] = []
    for entry in entry_points(group=GROUP) if found is None else found:
        if not entry.name.startswith((_ORDER, _PLANNER)) or entry.name.removeprefix(_ORDER) in ORDER:
            problems.append(f"`{entry.name}` of {entry.value}: a new name that begins with `{_ORDER}` is needed")
            continue
        try:
            plugin = entry.load()
        except Exception as err:  # noqa: BLE001 - importing code from outside may fail in any way
            problems.append(f"`{entry.name}` of {entry.value} cannot be loaded: {err}")
            continue
        if callable(plugin):
            loaded[entry.name] = plugin
        else:
            problems.append(f"`{entry.name}` of {entry.value} is no function")
    return Plugins(_named(loaded, _ORDER), tuple(problems), _named(loaded, _PLANNER))


def _named(loaded: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    return {name.removeprefix(prefix): plugin for name, plugin in loaded.items() if name.startswith(prefix)}


def unknown_keys(names: Iterable[str], plugins: Mapping[str, OrderPlugin]) -> tuple[str, ...]:
    """Return the keys of a site's order that nobody provides."""
    return tuple(name for name in names if name not in ORDER and name not in plugins)
