"""Hold coverage to what was agreed: `coverage_gates.py COVERAGE_JSON`; exits 1 and names what is missing.

The gates are read off one file that `coverage json` wrote, for the whole suite at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

__all__ = ["GATES", "Gate", "Shortfall", "shortfalls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """At least `percent` of the lines or branches in the files that match one of `patterns` and none of `but_not`."""

    what: str
    unit: str  # "lines" or "branches"
    percent: float
    patterns: Sequence[str]
    but_not: Sequence[str] = ()
    needs_real: bool = False  # holds only where every real part must be there: ELISA_REQUIRE_REAL=1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A gate that was missed, and the files that miss most."""

    gate: Gate
    percent: float
    worst: Sequence[tuple[str, int]]


# Who may use how much, where work may run, and who has to leave for whom.
_ALLOCATION = (
    "policies/affinity*.py",
    "policies/board.py",
    "policies/budgets*.py",
    "policies/elastic*.py",
    "policies/exploring.py",
    "policies/first_claim.py",
    "policies/free.py",
    "policies/fusion.py",
    "policies/gangs.py",
    "policies/growing.py",
    "policies/inbundle.py",
    "policies/locality*.py",
    "policies/makeroom*.py",
    "policies/placement*.py",
    "policies/preemption*.py",
    "policies/room*.py",
    "policies/shares.py",
    "policies/snapshot.py",
    "policies/together.py",
    "policies/topology*.py",
    "policies/walk*.py",
    "policies/ways.py",
)
# What else decides about money and rights.
_MONEY = (
    "policies/claims*.py",
    "policies/heldroom*.py",
    "policies/lending*.py",
    "policies/overcommit*.py",
    "policies/periods*.py",
    "policies/power*.py",
    "policies/relief*.py",
    "policies/reservations*.py",
    "policies/rights*.py",
)

GATES = (
    Gate(what="all rooms", unit="lines", percent=90, patterns=("*",)),
    Gate(what="policies", unit="branches", percent=95, patterns=("policies/*",)),
    Gate(what="allocation", unit="lines", percent=100, patterns=_ALLOCATION),
    Gate(what="allocation", unit="branches", percent=100, patterns=_ALLOCATION),
    Gate(what="money", unit="lines", percent=100, patterns=_MONEY),
    Gate(
        what="checkpoint and resume",
        unit="lines",
        percent=100,
        patterns=(
            "runtime/checkpoint/*",
            "runtime/badgpu.py",
            "runtime/segment.py",
            "policies/badgpus.py",
            "policies/badnodes.py",
            "policies/blame.py",
            "policies/closing.py",
            "policies/death.py",
            "policies/fault.py",
            "policies/hibernation.py",
            "policies/recovery.py",
            "policies/resuming.py",
            "policies/retrying.py",
            "policies/segments.py",
            "policies/unexplained.py",
            "engine/avoidance.py",
            "engine/checkpoint*.py",
            "engine/clearing.py",
            "engine/cutoff.py",
            "engine/drain.py",
            "engine/fence.py",
            "engine/parking.py",
            "engine/replay_*.py",
            "engine/replay.py",
            "engine/segments.py",
            "engine/settle.py",
            "cli/commands/checkpoints.py",
            "cli/commands/drain.py",
        ),
        but_not=("runtime/checkpoint/adapters/*",),
    ),
    Gate(
        what="adapters to frameworks",
        unit="lines",
        percent=100,
        patterns=("runtime/checkpoint/adapters/*",),
        needs_real=True,
    ),
)

# (covered, all) in the summaries of `coverage json`
COUNTS = {"lines": ("covered_lines", "num_statements"), "branches": ("covered_branches", "num_branches")}


def shortfalls(coverage: Mapping[str, Any], gates: Sequence[Gate] = GATES) -> Iterator[Shortfall]:
    """Yield each gate that the document of `coverage json` doesn't pass."""
    for gate in gates:
        counts = _counts(coverage, gate)
        percent = _percent(counts)
        if percent < gate.percent:
            yield Shortfall(gate=gate, percent=percent, worst=_worst(counts))


def _counts(coverage: Mapping[str, Any], gate: Gate) -> Mapping[str, tuple[int, int]]:
    covered, total = COUNTS[gate.unit]
    return {
        name: (file["summary"][covered], file["summary"][total])
        for name, file in coverage["files"].items()
        if _matches(name, gate.patterns) and not _matches(name, gate.but_not)
    }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _percent(counts: Mapping[str, tuple[int, int]]) -> float:
    total = sum(total for _, total in counts.values())
    return 100.0 * sum(covered for covered, _ in counts.values()) / total if total else 100.0


def _worst(counts: Mapping[str, tuple[int, int]]) -> Sequence[tuple[str, int]]:
    missed = {name: total - covered for name, (covered, total) in counts.items() if covered < total}
    return sorted(missed.items(), key=lambda item: (-item[1], item[0]))[:10]


def main(path: str) -> int:
    coverage = json.loads(Path(path).read_text())
    with_real = os.environ.get("ELISA_REQUIRE_REAL") == "1"
    found = list(shortfalls(coverage, [gate for gate in GATES if with_real or not gate.needs_real]))
    for shortfall in found:
        gate = shortfall.gate
        print(f"error: {gate.what}: {shortfall.percent:.2f} % of {gate.unit} covered; {gate.percent:g} % agreed")
        for name, missed in shortfall.worst:
            print(f"  {name}: {missed} {gate.unit} missed")
    if not found:
        print(f"coverage: {_percent(_counts(coverage, GATES[0])):.2f} % of lines; every gate passed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
