"""What tests need of the real world, how to tell that it is there, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["PARTS", "PBS_VARIABLES", "RealPart", "find_program", "pbs_answers", "pbs_path", "require_real"]

# Debian keeps PostgreSQL's server programs, and system daemons, off the PATH of ordinary users.
EXTRA_FOLDERS = ("/usr/sbin", "/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPart:
    """One real part: the programs or Python module that show its presence, and the command that installs it."""

    how: str
    programs: Sequence[str] = ()
    module: str = ""
    always_optional: bool = False


PARTS: dict[str, RealPart] = {
    "slurm": RealPart(
        programs=("sbatch", "squeue", "slurmctld", "slurmd", "munged"),
        how="apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge",
    ),
    "slurmdbd": RealPart(
        programs=("sacct", "sacctmgr", "slurmdbd", "mariadbd"),
        how="apt-get install --no-install-recommends slurmdbd mariadb-server",
    ),
    # Slurm's plugin for PMIx opens the library by the name that only its development package has.
    "openmpi": RealPart(
        programs=("mpirun", "mpicc"),
        how="apt-get install --no-install-recommends openmpi-bin libopenmpi-dev libpmix-dev",
    ),
    "postgres": RealPart(
        programs=("initdb", "pg_ctl"),
        how="apt-get install --no-install-recommends postgresql",
    ),
    "strace": RealPart(programs=("strace",), how="apt-get install --no-install-recommends strace"),
    "gcc": RealPart(programs=("gcc",), how="apt-get install --no-install-recommends gcc"),
    "chromium": RealPart(programs=("chromium",), how="apt-get install --no-install-recommends chromium"),
    "cron": RealPart(programs=("crontab",), how="apt-get install --no-install-recommends cron"),
    "torch": RealPart(module="torch", how="make frameworks"),
    "tensorflow": RealPart(module="tensorflow", how="make frameworks"),
    "sklearn": RealPart(module="sklearn", how="make env"),
    "pandas": RealPart(module="pandas", how="make frameworks"),
    "xarray": RealPart(module="xarray", how="make frameworks"),
    "psycopg": RealPart(module="psycopg", how="make frameworks"),
    # No Debian release has a PBS, so nobody can be asked to have one. Its tests run wherever there is one.
    "pbs": RealPart(
        programs=("qsub", "qstat", "qdel", "qselect", "pbsnodes"),
        how="make test-pbs PBS_EXEC=FOLDER on a login node of a PBS, or beside a server of your own (docs/pbs.md)",
        always_optional=True,
    ),
    # No package index has one that is built. Its tests are collected where there is one, and when their file is named.
    "horovod": RealPart(
        module="horovod",
        how="build Horovod from its source beside torch",
        always_optional=True,
    ),
    # No published pyslurm matches the Slurm of a Debian release, so nobody can be asked to have one.
    "pyslurm": RealPart(module="pyslurm", how="pip install 'elisa-scheduler[slurm]'", always_optional=True),
}


def find_program(name: str) -> str | None:
    """Return the path of a program on PATH or where Debian hides it, or None."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(EXTRA_FOLDERS))


PBS_VARIABLES = {name: os.environ[name] for name in ("PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER") if name in os.environ}
"""Where the PBS to try is, as whoever started the tests says."""


def pbs_path() -> str:
    """Return the PATH with the programs of PBS on it."""
    path, home = os.environ.get("PATH", os.defpath), PBS_VARIABLES.get("PBS_EXEC", "")
    return f"{home}/bin{os.pathsep}{path}" if home else path


@cache
def pbs_answers() -> bool:
    """Tell whether PBS's programs are here and their server answers: asked once."""
    if any(shutil.which(name, path=pbs_path()) is None for name in PARTS["pbs"].programs):
        return False
    environment = {**os.environ, **PBS_VARIABLES, "PATH": pbs_path()}
    try:
        asked = subprocess.run(["qstat", "-B"], env=environment, capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def require_real(part: str, *, how: str = "", found: bool | None = None) -> None:
    """Skip the calling test if a real part is missing; fail it instead if `ELISA_REQUIRE_REAL` says so.

    It is 1 for all parts that everybody can have, or names one part. `part` is a key of PARTS, or any name if `how` (a command
    that installs it) and `found` are given.
    """
    known = PARTS.get(part, RealPart(how=how))
    missing = [name for name in known.programs if find_program(name) is None]
    if known.module and find_spec(known.module) is None:
        missing.append(f"module {known.module}")
    if found or (found is None and not missing):
        return
    without = f" (no {', '.join(missing)})" if missing else ""
    reason = f"{part} is not here{without}; get it with: {how or known.how}"
    wanted = os.environ.get("ELISA_REQUIRE_REAL")
    if wanted == part or (wanted == "1" and not known.always_optional):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
