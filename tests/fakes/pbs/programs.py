"""The programs of a pretended PBS that really runs its jobs.

Called under their names from the `bin` of the server's folder. They print and return what OpenPBS 23.06.06 does, as far as
its recordings go (`tests/backends/pbs/test_fakes_and_recordings.py` compares them), or what Torque does; `fake_pbs.py` makes
them go wrong.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.fakes.pbs.questions import pbs_rstat, pbsnodes, qselect, qstat
from tests.fakes.pbs.requests import qalter, qdel, qhold, qrerun, qrls, qsig
from tests.fakes.pbs.running import run_job
from tests.fakes.pbs.submission import qsub
from tests.fakes.pbs.world import Fault, fail, say, server

PROGRAMS = {
    "qsub": qsub,
    "qstat": qstat,
    "qdel": qdel,
    "qselect": qselect,
    "qhold": qhold,
    "qrls": qrls,
    "qalter": qalter,
    "qsig": qsig,
    "qrerun": qrerun,
    "pbsnodes": pbsnodes,
    "pbs_rstat": pbs_rstat,
}


def next_fault(home: Path, program: str) -> Fault:
    """Take the next fault planned for this program, or none."""
    with server(home) as state:
        for fault in state["faults"]:
            if fault["program"] == program and fault["times"] > 0:
                fault["times"] -= 1
                return dict(fault)
    return {"kind": "none"}


def main() -> None:
    program, argv = Path(sys.argv[0]), sys.argv[1:]
    if argv[:1] == ["_job"]:
        run_job(Path(argv[1]), argv[2])
        return
    call(program.parent.parent, program.name, argv)


def call(home: Path, program: str, argv: list[str]) -> None:
    """Do what a program does, and go wrong as planned."""
    fault = next_fault(home, program)
    match fault["kind"]:
        case "hang":
            time.sleep(3600)
        case "fail":
            fail(fault["words"], fault.get("status", 1))
        case "garbage":
            say(fault["words"])
        case _:
            PROGRAMS[program](home, argv, fault)
