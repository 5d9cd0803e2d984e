"""Policies by name: those that are built in, and those that other packages bring along.

A package adds them with entry points in the group `elisa.policies`, all functions that take a `Snapshot`. `order.<key>` is an
order key: it returns one number for each ready task, the smaller first. `factor.<name>` is a factor of the multifactor order:
one number from 0 to 1 for each ready task. `score.<name>` is a term that ranks places: one from 0 to 1 for each shape (a row)
in each pool. `cost.<name>` adds to the cost of stopping work: billing hours for each running attempt, infinite for those that
nobody may stop. `planner.<name>` takes the place of the whole plan: it returns a `Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, NamedTuple

from elisa.model.site import Factors, SitePolicy
from elisa.policies.ageing import ahead_us
from elisa.policies.factors import weights_of
from elisa.policies.opinions import FACTOR, KINDS, SCORE, opinions_named
from elisa.policies.order import LATE_KEYS, ORDER_KEYS
from elisa.policies.plan import Plan
from elisa.policies.score import TERMS
from elisa.policies.snapshot import OrderPlugin, Snapshot

__all__ = ["GROUP", "ORDER", "Planner", "Plugins", "load_plugins", "named_by"]

GROUP = "elisa.policies"
_ORDER, _PLANNER = "order.", "planner."
_PREFIXES = (_ORDER, *KINDS, _PLANNER)
_PREFIX_WORDS = ", ".join(f"`{prefix}`" for prefix in _PREFIXES[:-1]) + f" or `{_PLANNER}`"

Planner = Callable[[Snapshot], Plan]

ORDER: Mapping[str, Callable[..., object]] = {**ORDER_KEYS, **LATE_KEYS, "aged": ahead_us}

_BUILT_IN = frozenset(
    {
        *(_ORDER + name for name in ORDER),
        *(FACTOR + name for name in weights_of(Factors())),
        *(SCORE + name for name in TERMS),
    }
)


class Plugins(NamedTuple):
    """Order keys and planners from outside by name, the other kinds by their whole names, and what could not be loaded."""

    order: Mapping[str, OrderPlugin]
    problems: tuple[str, ...]
    planners: Mapping[str, Planner] = MappingProxyType({})
    opinions: Mapping[str, OrderPlugin] = MappingProxyType({})

    @property
    def calls(self) -> Mapping[str, OrderPlugin]:
        """All but planners, as a snapshot takes them."""
        return {**self.order, **self.opinions}


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Return what all installed packages bring; one that cannot be loaded, or takes a built-in name, is left out."""
    loaded: dict[str, Any] = {}
    problems: list[str] = []
    for entry in entry_points(group=GROUP) if found is None else found:
        if not entry.name.startswith(_PREFIXES) or entry.name in _BUILT_IN:
            problems.append(f"`{entry.name}` of {entry.value}: a new name that begins with {_PREFIX_WORDS} is needed")
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
    opinions = {name: plugin for name, plugin in loaded.items() if name.startswith(tuple(KINDS))}
    return Plugins(_named(loaded, _ORDER), tuple(problems), _named(loaded, _PLANNER), opinions)


def _named(loaded: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    return {name.removeprefix(prefix): plugin for name, plugin in loaded.items() if name.startswith(prefix)}


def named_by(site: SitePolicy) -> tuple[str, ...]:
    """Return the plug-ins that a site's rules name, by their whole names."""
    keys = (_ORDER + name for name in site.order if name not in ORDER)
    return (*keys, *opinions_named(site))
