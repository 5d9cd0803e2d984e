"""The steps by which a database of any earlier version becomes one of this version, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from elisa.store.migrations import (
    v0001_first_tables,
    v0002_closures,
    v0003_rules,
    v0004_chains,
    v0005_ranks,
    v0006_bundles,
    v0007_energy,
    v0008_segments,
    v0009_member_caps,
    v0010_heirs,
    v0011_watts,
)

__all__ = ["MIGRATIONS", "Migration", "latest_version"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step. `run` is given a function that executes one statement; it runs in a transaction of its own."""

    version: int
    name: str
    run: Callable[[Callable[[str], object]], None]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(version=1, name="first tables", run=v0001_first_tables.run),
    Migration(version=2, name="closures", run=v0002_closures.run),
    Migration(version=3, name="rules", run=v0003_rules.run),
    Migration(version=4, name="chains", run=v0004_chains.run),
    Migration(version=5, name="ranks", run=v0005_ranks.run),
    Migration(version=6, name="bundles", run=v0006_bundles.run),
    Migration(version=7, name="energy", run=v0007_energy.run),
    Migration(version=8, name="segments", run=v0008_segments.run),
    Migration(version=9, name="member caps", run=v0009_member_caps.run),
    Migration(version=10, name="heirs", run=v0010_heirs.run),
    Migration(version=11, name="watts", run=v0011_watts.run),
)


def latest_version(migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Return the version of the schema that this elisa reads and writes."""
    return migrations[-1].version
