"""Open a Slurm backend from a site's configuration, with the environment its jobs shall have."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from elisa.backends.runner import Runner, SubprocessRunner
from elisa.backends.slurm.backend import SlurmBackend
from elisa.backends.slurm.library_here import PyslurmHere
from elisa.backends.slurm.options import Pyslurm, SlurmOptions
from elisa.model.ids import BackendName
from elisa.model.ports import Clock

__all__ = ["client_environment", "open_slurm"]

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def open_slurm(  # noqa: PLR0913 - each of these opens the backend to a part of the world
    name: BackendName,
    options: Mapping[str, object],
    *,
    instance: str,
    clock: Clock,
    runner: Runner | None = None,
    memory: Path | None = None,
    topology: Path | None = None,
) -> SlurmBackend:
    """Return the backend that a configuration describes. Raises UsageError for options that can't be; asks nothing yet.

    `memory` is the file that remembers whether pyslurm can be used. With a runner of one's own it is not looked for.
    `topology` is the file that remembers on which switches the nodes hang.
    """
    read = SlurmOptions.read(options)
    if not read.path:
        # named in full, so that a job's own PATH does not decide which sbatch is run
        found = shutil.which("sbatch")
        read = replace(read, path=str(PurePath(found).parent) if found else "")
    environment = client_environment(read)
    programs = runner or SubprocessRunner(environment=environment)
    return SlurmBackend(
        name=name,
        instance=instance,
        options=read,
        runner=programs,
        clock=clock,
        uid=os.getuid(),
        pyslurm=PyslurmHere(
            runner=programs if runner is None else None,
            environment=environment,
            memory=memory,
            unwanted=_why_not_pyslurm(read),
        ),
        topology=topology,
    )


def _why_not_pyslurm(options: SlurmOptions) -> str:
    if options.pyslurm is Pyslurm.NO:
        return "site.yaml says `pyslurm: no`"
    # it always asks the controller of its slurm.conf, where all jobs of another cluster would seem to be gone
    return f"libslurm can't be told of the cluster that site.yaml names: {options.cluster}" if options.cluster else ""


def client_environment(options: SlurmOptions) -> dict[str, str]:
    """Return what Slurm's programs, and through sbatch every job, get of the environment: who the user is, no more."""
    user = pwd.getpwuid(os.getuid())
    conf = options.conf or os.environ.get("SLURM_CONF", "")
    return {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "PATH": os.environ.get("PATH", _DEFAULT_PATH),
        "SHELL": user.pw_shell or "/bin/sh",
        "USER": user.pw_name,
        **({"SLURM_CONF": conf} if conf else {}),
    }
