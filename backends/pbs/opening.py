"""Open a PBS backend from a site's configuration, with the environment that PBS's programs shall have."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from elisa.backends.pbs.backend import PbsBackend
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.runner import Runner, SubprocessRunner
from elisa.model.ids import BackendName
from elisa.model.ports import Clock

__all__ = ["client_environment", "open_pbs"]

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def open_pbs(
    name: BackendName,
    options: Mapping[str, object],
    *,
    instance: str,
    clock: Clock,
    runner: Runner | None = None,
) -> PbsBackend:
    """Return the backend that a configuration describes. Raises UsageError for options that can't be; asks nothing yet."""
    read = PbsOptions.read(options)
    if not read.path:
        found = shutil.which("qsub")
        read = replace(read, path=str(PurePath(found).parent) if found else "")
    return PbsBackend(
        name=name,
        instance=instance,
        options=read if read.umask else replace(read, umask=_own_umask()),
        runner=runner or SubprocessRunner(scrubbed=(), environment=client_environment(read)),
        clock=clock,
        user=pwd.getpwuid(os.getuid()).pw_name,
    )


def client_environment(options: PbsOptions) -> dict[str, str]:
    """Return what PBS's programs get of the environment: who the user is and where the server, no more."""
    user = pwd.getpwuid(os.getuid())
    conf = options.conf or os.environ.get("PBS_CONF_FILE", "")
    server = options.server or os.environ.get("PBS_SERVER", "") or os.environ.get("PBS_DEFAULT", "")
    return {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "PATH": os.environ.get("PATH", _DEFAULT_PATH),
        "SHELL": user.pw_shell or "/bin/sh",
        "USER": user.pw_name,
        **({"PBS_CONF_FILE": conf} if conf else {}),
        # OpenPBS reads the first, Torque the second
        **({"PBS_SERVER": server, "PBS_DEFAULT": server} if server else {}),
    }


def _own_umask() -> str:
    """Return this process's umask in octal. PBS's own is 077: a team could not read its jobs' files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:04o}"
