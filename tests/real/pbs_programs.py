"""elisa above a real PBS whose programs it calls through links of its own: a shell command can be put before each."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.backends.pbs.elisa_on_pbs import ElisaOnPbs, a_state_folder

__all__ = ["PROGRAMS", "before", "through_programs"]

PROGRAMS = ("qsub", "qstat", "qselect", "qdel", "qsig", "qalter", "qhold", "qrls", "pbsnodes", "pbs_rstat")


def through_programs(folder: Path) -> ElisaOnPbs:
    """Return a state folder in `folder` that calls PBS so. Raises FileNotFoundError where the PATH lacks one of them."""
    (folder / "bin").mkdir()
    elisa = a_state_folder(folder, path=folder / "bin", submit_timeout_s=20)
    for name in PROGRAMS:
        before(elisa, name, "")
    return elisa


def before(elisa: ElisaOnPbs, name: str, command: str) -> None:
    """Have every call of a program preceded by a shell command; an empty one leaves it as it is."""
    real = shutil.which(name)
    if real is None:
        raise FileNotFoundError(name)
    program = elisa.folder / "bin" / name
    program.unlink(missing_ok=True)
    if command:
        program.write_text(f'#!/bin/sh\n{command}\nexec {real} "$@"\n')
        program.chmod(0o755)
    else:
        program.symlink_to(real)
