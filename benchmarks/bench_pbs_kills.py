"""Submissions to the PBS that answers here in trouble: what elisa loses and doubles. Minutes each.

`ELISA_KILLS` sets how often `elisa tick` is killed (200); the server gets a tenth of that in each of two campaigns, where it is
on this machine and whoever measures is root. `PBS_EXEC` and `ELISA_PBS_FOLDER` as in docs/pbs.md; nothing where no PBS is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.figure import Figure
from tests.real.kills import Tally
from tests.real.kills_pbs import PbsDaemon, elisa_killed, elisa_killed_and_server_stopped, server_in_trouble
from tests.real_parts import PBS_VARIABLES, pbs_answers, pbs_path

FIGURES = ("pbs_kill_lost", "pbs_kill_double")

KILLS = int(os.environ.get("ELISA_KILLS", "200"))
FEW = max(1, KILLS // 10)


def measure() -> Iterator[Figure]:
    """Yield the sums over all campaigns, each of which has a state folder of its own."""
    if not pbs_answers():
        print("  no PBS answers here", file=sys.stderr)
        return
    with patch.dict(os.environ, {**PBS_VARIABLES, "PATH": pbs_path()}):
        tallies = list(_campaigns())
    runs = sum(tally.troubles for tally in tallies)
    yield Figure(figure="pbs_kill_lost", value=sum(t.lost for t in tallies), unit="tasks", goal="<=0", runs=runs)
    yield Figure(figure="pbs_kill_double", value=sum(t.double for t in tallies), unit="runs", goal="<=0", runs=runs)


def _campaigns() -> Iterator[Tally]:
    yield _one("elisa killed", lambda folder: elisa_killed(folder, KILLS))
    daemon = PbsDaemon.here()
    if daemon is not None:
        for name, campaign in (
            ("server in trouble", server_in_trouble),
            ("elisa killed before a late answer", elisa_killed_and_server_stopped),
        ):
            yield _one(name, lambda folder, run=campaign: run(folder, FEW, daemon))  # type: ignore[misc]  # bound at once


def _one(name: str, campaign: Callable[[Path], Tally]) -> Tally:
    where = os.environ.get("ELISA_PBS_FOLDER") or None
    with tempfile.TemporaryDirectory(dir=where, ignore_cleanup_errors=True) as folder:
        tally = campaign(Path(folder))
    print(f"  {name}: {tally}", file=sys.stderr, flush=True)
    return tally
