"""scontrol: which leaf switch each node hangs on, asked once a day and remembered.

https://slurm.schedmd.com/topology.html, `show topology`, one record a line (seen with 22.05). Cables are seldom moved, and
every tick is a new process: what was learnt stands in a file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from elisa.backends.slurm.options import SlurmOptions
from elisa.model.hostlist import expand_hosts

__all__ = ["parse_topology", "remembered", "topology_argv"]

_SWITCH = re.compile(r"^SwitchName=(\S+) Level=0 .*?\bNodes=(\S+)", re.MULTILINE)
_A_DAY_S = 86_400.0


def topology_argv(scontrol: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the question about all switches."""
    cluster = (f"--cluster={options.cluster}",) if options.cluster else ()
    return (scontrol, *cluster, "--oneliner", "show", "topology")


def parse_topology(text: str) -> Mapping[str, str]:
    """Return the leaf switch of each node; nothing where the site configured no tree."""
    return {node: switch for switch, nodes in _SWITCH.findall(text) for node in expand_hosts(nodes)}


def remembered(memory: Path, nodes: Collection[str], now: datetime, ask: Callable[[], str]) -> Mapping[str, str]:
    """Return the leaf switch of each node; `ask` only if nothing is known that is of these nodes and of this day."""
    names = sorted(nodes)
    known = _recall(memory)
    if known is not None and known[0] == names and 0 <= now.timestamp() - known[1] < _A_DAY_S:
        return known[2]
    switches = parse_topology(ask())
    _remember(memory, {"nodes": names, "at": now.timestamp(), "switches": switches})
    return switches


def _recall(memory: Path) -> tuple[Sequence[str], float, Mapping[str, str]] | None:
    try:
        known = json.loads(memory.read_bytes())
        return known["nodes"], float(known["at"]), dict(known["switches"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _remember(memory: Path, known: Mapping[str, object]) -> None:
    """Write it down; where that fails, it is asked again next time."""
    new = memory.with_name(f"{memory.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(known), encoding="utf-8")
        new.replace(memory)
    except OSError:
        new.unlink(missing_ok=True)
