"""The fair tree: groups, projects and users ranked level by level, so that no child can outdo what its parent is due.

After R. Cox and L. Morrison's Fair Tree (slurm.schedmd.com/fair_tree.html): on every level siblings are ordered by
share over use, and the tree is walked from the best branch to the worst. Siblings that tie are treated as one account
with all their children in it, as that page asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

__all__ = ["Account", "fair_tree", "tree_of"]


@dataclass(slots=True)
class Account:
    """A group, project or user. `use` of an inner account is that of all below it."""

    name: str
    shares: float = 1.0
    use: float = 0.0
    children: dict[str, Account] = field(default_factory=dict)

    def child(self, name: str, shares: float) -> Account:
        """Return the child of this name, made with `shares` if it is new."""
        return self.children.setdefault(name, Account(name, shares))


def tree_of(
    leaves: Iterable[tuple[Sequence[str], float]], shares: Mapping[tuple[str, ...], float] | None = None
) -> Account:
    """Return the tree of leaves, each a path of names from the top and its use; unknown `shares` of a path are 1."""
    known = shares or {}
    root = Account("")
    for path, use in leaves:
        account = root
        account.use += use
        for depth, name in enumerate(path):
            account = account.child(name, known.get(tuple(path[: depth + 1]), 1.0))
            account.use += use
    return root


def fair_tree(root: Account) -> Mapping[tuple[str, ...], float]:
    """Return the fair-share factor of every leaf: 1 for the first in the walk, down to 1/n for the last; ties share one."""
    ranked = _walk([((), root)])
    count = sum(len(tied) for tied in ranked)
    factors: dict[tuple[str, ...], float] = {}
    before = 0
    for tied in ranked:
        for path in tied:
            factors[path] = (count - before) / count
        before += len(tied)
    return factors


def _walk(tied: Sequence[tuple[tuple[str, ...], Account]]) -> list[list[tuple[str, ...]]]:
    """Return the leaves below accounts that tie, best first; each inner list holds leaves that tie."""
    entries = [
        (_level(child, account), (*path, child.name), child)
        for path, account in tied
        for child in account.children.values()
    ]
    ranked: list[list[tuple[str, ...]]] = []
    for level in sorted({level for level, _, _ in entries}, reverse=True):
        same = [(path, child) for value, path, child in entries if value == level]
        leaves = sorted(path for path, child in same if not child.children)
        if leaves:
            ranked.append(leaves)
        inner = [(path, child) for path, child in same if child.children]
        if inner:
            ranked.extend(_walk(inner))
    return ranked


def _level(child: Account, parent: Account) -> float:
    """Return share over use among siblings, both normalised: above 1 is due more, below 1 has had more."""
    shares = sum(sibling.shares for sibling in parent.children.values())
    # Use that decayed for years is too small a number to divide by: it is forgotten.
    part = child.use / parent.use if parent.use > 0 else 0.0
    if part <= 0:
        return inf if child.shares > 0 else 0.0
    return child.shares / shares / part if shares > 0 else 0.0
