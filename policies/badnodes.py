"""Nodes that break more work than others do: avoided for a while, on the evidence of past attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["NodeOutcome", "NodeRules", "Suspect", "suspects"]


class NodeOutcome(NamedTuple):
    """How one attempt on a node went: `failed` only if the node may be to blame (not a bug in the program)."""

    node: str
    age_s: float
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """When a node is avoided: enough failures, a rate that beats all others' by `factor`, and not too many at once.

    Old outcomes count half after `half_life_s`, so that a mended node comes back by itself. `prior` attempts without
    failure are granted to every node.
    """

    half_life_s: float = 86400.0
    failures: float = 1.5
    factor: float = 3.0
    prior: float = 10.0
    at_most: float = 0.1


class Suspect(NamedTuple):
    """A node to avoid, with its decayed count of failures and attempts."""

    node: str
    failures: float
    attempts: float


def suspects(outcomes: Iterable[NodeOutcome], nodes: int, rules: NodeRules = NodeRules()) -> tuple[Suspect, ...]:
    """Return the nodes to avoid, the worst first; of a cluster of `nodes` never more than the share that rules allow.

    When everything fails everywhere, the nodes are not to blame, and none is avoided.
    """
    failures: dict[str, float] = defaultdict(float)
    attempts: dict[str, float] = defaultdict(float)
    for outcome in outcomes:
        weight = 0.5 ** (max(0.0, outcome.age_s) / rules.half_life_s)
        attempts[outcome.node] += weight
        failures[outcome.node] += weight * outcome.failed
    all_failures, all_attempts = sum(failures.values()), sum(attempts.values())
    found = []
    for node, count in attempts.items():
        others = (all_failures - failures[node]) / (all_attempts - count + rules.prior)
        rate = failures[node] / (count + rules.prior)
        if failures[node] >= rules.failures and rate > rules.factor * others:
            found.append(Suspect(node, failures[node], count))
    worst_first = sorted(found, key=lambda one: (-one.failures / (one.attempts + rules.prior), one.node))
    return tuple(worst_first[: int(nodes * rules.at_most)])
